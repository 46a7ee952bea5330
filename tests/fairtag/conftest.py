"""A random encoder of a few words, so that a test of anything around it takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from fairtag.policy.guardrails import GuardrailLimits


def _tiny_bert(folder: Path, words: Iterable[str], *, layers: int, positions: int) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: row for row, word in enumerate([*specials, *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    BertModel(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_bert() -> Callable[..., Path]:
    """Writes a random BERT of 32 dimensions and its word-piece tokenizer into a folder."""
    return _tiny_bert


def _draw_pages(seed, *shape):
    """Random but plausible pages: a, b, cost, anchor, lo, hi."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.4, 0.8, shape)
    return (
        rng.normal(1, 1.5, shape),
        rng.uniform(1, 6, shape),
        cost,
        rng.uniform(0.8, 1.1, shape),
        np.maximum(cost / 0.95, 0.7),
        rng.uniform(1.0, 1.6, shape),
    )


@pytest.fixture(scope="session")
def draw_pages():
    return _draw_pages


@pytest.fixture(scope="session")
def strict():
    """Limits with every bound in force."""
    return GuardrailLimits(
        min_margin=0.1,
        max_discount=0.3,
        max_decrease=0.1,
        max_increase=0.05,
        competitor_below=0.2,
        competitor_above=0.1,
        corridor_ratio=1.1,
    )
