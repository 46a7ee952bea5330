"""The encoder in torch: any Hugging Face encoder with pooling and unit rows, and the heads trained on it.

>>> TorchEncoder.base("minilm").encode(["oak chair"], role="query").shape    # doctest: +SKIP
(1, 384)
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from fairtag.base.errors import ConfigError
from fairtag.base.text import normalise
from fairtag.encoder.base_model import pooling_of, prefixes_of, resolve_base
from fairtag.encoder.encoder import MODEL, Pooling, Prefixes, Role, RoleText, describe_encoder
from fairtag.encoder.onnx import batches_by_length, pad


class Encoder(nn.Module):
    """A transformer, a pooling, and normalisation to length 1.

    Args:
        backbone: A transformer whose output has ``last_hidden_state``.
        pooling: ``mean`` over the tokens of the text, ``cls`` (the first token) or ``last``.
    """

    def __init__(self, backbone: nn.Module, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return int(cast(Any, self.backbone).config.hidden_size)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit rows (batch, d) of token ids (batch, length), padded on the right."""
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return functional.normalize(self._pool(hidden, attention_mask).float(), dim=-1)

    def _pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[:, 0]
        if self.pooling == "last":
            last = (mask.sum(1) - 1).clamp(min=0)
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), last]
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


class RelevanceHead(nn.Module):
    """Graded relevance of a pair of embeddings: an affine map of their product and absolute difference.

    It starts as the cosine itself, so training moves the embeddings before it moves the head.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.product = nn.Linear(dimension, 1)
        self.difference = nn.Linear(dimension, 1, bias=False)
        nn.init.ones_(self.product.weight)
        nn.init.zeros_(self.product.bias)
        nn.init.zeros_(self.difference.weight)

    def forward(self, query: Tensor, item: Tensor) -> Tensor:
        """Relevance (n,) of the embeddings of queries (n, d) and items (n, d)."""
        joined = self.product(query * item) + self.difference((query - item).abs())
        return cast(Tensor, joined.squeeze(-1))


class PriceHead(nn.Module):
    """Standardised log price of an item from its embedding.

    The components of a unit row are about 1 / sqrt(d). They are scaled to 1 first; otherwise the head would learn d
    times slower than its learning rate suggests.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dimension, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, item: Tensor) -> Tensor:
        """Standardised log price (n,) of embeddings (n, d)."""
        return cast(Tensor, self.linear(item * item.shape[-1] ** 0.5).squeeze(-1))


class ClickHead(nn.Module):
    """Logits of click and purchase, from the relevance of the pair and log(price / list)."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.relevance = RelevanceHead(dimension)
        self.outcome = nn.Linear(2, 2)
        nn.init.zeros_(self.outcome.weight)
        nn.init.zeros_(self.outcome.bias)
        with torch.no_grad():
            self.outcome.weight[:, 0] = 1.0

    def forward(self, query: Tensor, item: Tensor, log_discount: Tensor) -> Tensor:
        """Logits (n, 2); ``log_discount`` (n,) is log(price / list)."""
        return cast(Tensor, self.outcome(torch.stack([self.relevance(query, item), log_discount], dim=-1)))


class Heads(nn.Module):
    """The heads that are trained: ``relevance``, ``price``, ``click``; a task without data has none."""

    def __init__(self, dimension: int, tasks: Sequence[str]) -> None:
        super().__init__()
        kinds: dict[str, type[nn.Module]] = {"relevance": RelevanceHead, "price": PriceHead, "click": ClickHead}
        self.tasks = nn.ModuleDict({name: kinds[name](dimension) for name in kinds if name in tasks})


class TorchEncoder:
    """A :class:`~fairtag.encoder.encoder.TextEncoder` in torch.

    Args:
        model: The encoder.
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Tokens read of a text.
        prefixes: Text put before each text, by its role.
        device: Where the model runs.
    """

    def __init__(
        self, model: Encoder, tokenizer: Any, *, max_length: int, prefixes: Prefixes, device: str = "cpu"
    ) -> None:
        self.model = model.to(device).eval()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.prefixes = prefixes
        self.device = device

    @classmethod
    def load(cls, path: Path, threads: int | None = None, device: str = "cpu") -> TorchEncoder:
        """Load the weights of an encoder folder."""
        description = describe_encoder(path)
        if threads is not None:
            torch.set_num_threads(threads)
        model, tokenizer = load_base(str(path / MODEL), description.pooling)
        return cls(model, tokenizer, max_length=description.max_length, prefixes=description.prefixes, device=device)

    @classmethod
    def base(cls, name: str, *, max_length: int = 64, device: str = "cpu") -> TorchEncoder:
        """An encoder as published, without fine-tuning, with the pooling and prefixes it was trained with."""
        model, tokenizer = load_base(name)
        return cls(model, tokenizer, max_length=max_length, prefixes=prefixes_of(name), device=device)

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return self.model.dimension

    def tokenise(self, texts: Sequence[str], role: Role) -> list[list[int]]:
        """Token ids of normalised texts after their role's prefix, cut to the encoder's length."""
        return tokenise(self.tokenizer, [(role, text) for text in texts], self.max_length, self.prefixes)

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:
        """Embed texts of a role as (n, d) unit rows; texts of similar length share a batch."""
        return embed(self.model, self.tokenise(texts, role), pad_id(self.tokenizer), batch_size)


def embed(model: Encoder, encoded: Sequence[Sequence[int]], pad_token_id: int, batch_size: int) -> NDArray[np.float32]:
    """Embed token ids as (n, d) unit rows with dropout off; the model's mode is restored."""
    device = next(model.parameters()).device
    rows = np.zeros((len(encoded), model.dimension), dtype=np.float32)
    training = model.training
    model.eval()
    with torch.no_grad():  # not inference mode: a sharded encoder cannot be gathered in it
        for batch in batches_by_length([len(ids) for ids in encoded], batch_size):
            ids, mask = pad([encoded[row] for row in batch], pad_token_id)
            rows[batch] = model(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)).cpu().numpy()
    model.train(training)
    return rows


def tokenise(tokenizer: Any, texts: Sequence[RoleText], max_length: int, prefixes: Prefixes) -> list[list[int]]:
    """Token ids of normalised texts, each after its role's prefix."""
    if not texts:
        return []
    plain = [prefixes.before(role) + normalise(text) for role, text in texts]
    ids: list[list[int]] = tokenizer(plain, truncation=True, max_length=max_length, padding=False)["input_ids"]
    return ids


def pad_id(tokenizer: Any) -> int:
    """The token that fills a batch; 0 where the tokenizer names none, as the mask hides it."""
    return int(tokenizer.pad_token_id or 0)


def load_base(name: str, pooling: Pooling | None = None) -> tuple[Encoder, Any]:
    """The encoder and tokenizer of a base: ``minilm``, a directory or a hub id.

    Args:
        name: The base.
        pooling: How it pools; None takes what the base was trained with.

    Raises:
        ConfigError: The model cannot be loaded, or it has no fast tokenizer.
    """
    where = resolve_base(name)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(where, clean_up_tokenization_spaces=False)
            backbone = AutoModel.from_pretrained(where)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"base encoder {name!r} cannot be loaded: it is not a directory with config, weights and tokenizer, it is "
            f"not in this machine's hub cache, and the hub was not reached. Use 'minilm', which needs no network; or "
            f"give a directory; or run `hf download {name}` on a connected machine and set HF_HOME to that cache."
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"base encoder {name!r} has no fast tokenizer, which serving needs; convert it to a tokenizer.json"
        )
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # unused: we pool ourselves, and its weights would neither train nor quantise
    return Encoder(backbone, pooling_of(name, pooling)), tokenizer


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and reports off the console; its settings are restored afterwards."""
    library: Any = logging  # its functions carry no types
    level, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the library warns about names that it uses itself
            yield
    finally:
        library.set_verbosity(level)
        if bars:
            library.enable_progress_bar()
