"""A text encoder as the rest of the code sees it: texts in, unit rows out, and the folder that holds it.

>>> encoder = load_encoder(Path("encoder"))                           # doctest: +SKIP
>>> encoder.encode(["wooden chair"], role="query").shape              # doctest: +SKIP
(1, 384)

Serving imports this module and :mod:`fairtag.encoder.onnx`, and neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ConfigError, ModelFolderError, ModelFolderMissing
from fairtag.base.files import read_json

SCHEMA = "fairtag.encoder/2"
OLD_SCHEMA = "fairtag.encoder/1"  # had one prefix for queries and items; it goes before both
DESCRIPTION = "encoder.json"  # what the folder holds, which export serves and why
MODEL = "model"  # a Hugging Face directory: config, weights, tokenizer
TOKENIZER = f"{MODEL}/tokenizer.json"
HEADS = "heads.safetensors"
ONNX_FP32 = "onnx/model.onnx"
ONNX_INT8 = "onnx/model.int8.onnx"
REPORT = "training_report.json"

TORCH_PACKAGES = ("torch", "transformers")  # what an encoder without an ONNX export runs on

Backend = Literal["auto", "onnx", "torch"]
Pooling = Literal["mean", "cls", "last"]  # over a text's tokens: their mean, the first, the last
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Role = Literal["query", "item"]
ROLES: tuple[Role, ...] = get_args(Role)
RoleText = tuple[Role, str]


@dataclass(frozen=True)
class Prefixes:
    """Text put before every text of a role, exactly as it stands.

    >>> Prefixes("query: ", "passage: ").before("item")
    'passage: '

    Args:
        query: Goes before a query, such as ``"query: "`` for E5.
        item: Goes before the text of an item, such as ``"passage: "`` for E5.
    """

    query: str = ""
    item: str = ""

    def before(self, role: Role) -> str:
        """The prefix of a role.

        Raises:
            ConfigError: There is no such role.
        """
        if role not in ROLES:
            raise ConfigError(f"the role of a text is {role!r}; it must be one of {', '.join(ROLES)}")
        return self.query if role == "query" else self.item

    @property
    def any(self) -> bool:
        """Whether either role has a prefix."""
        return bool(self.query or self.item)


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that embeds texts as unit rows."""

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        ...

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:
        """Embed texts of one role. An empty text has an embedding too: that of an empty sentence.

        Args:
            texts: Queries, or texts of items.
            role: Which of the two they are: many encoders expect another prefix before a query than before an item.
            batch_size: Texts embedded together.

        Returns:
            (n, d) float32 rows of length 1, in the order of the texts.

        Raises:
            ConfigError: There is no such role.
        """
        ...


@dataclass(frozen=True)
class EncoderDescription:
    """The contents of ``encoder.json``.

    Args:
        base: The encoder it was fine-tuned from.
        dimension: Length d of an embedding.
        max_length: Tokens read of a text; the rest is cut.
        pooling: How token vectors become one: ``mean``, ``cls`` or ``last``.
        query_prefix: Text put before each query.
        item_prefix: Text put before each item.
        serving: The export that serves: ``fp32``, ``int8``, or ``torch`` where no export passed.
        pad_token_id: Token that fills a batch.
        fingerprint: Hex SHA-256 of weights and tokenizer.
        document: The whole JSON, with the exports, their fidelity, and the settings of the training.
    """

    base: str
    dimension: int
    max_length: int
    pooling: Pooling
    query_prefix: str
    item_prefix: str
    serving: str
    pad_token_id: int
    fingerprint: str
    document: dict[str, Any]

    @property
    def onnx_file(self) -> str | None:
        """Relative path of the ONNX file that serves; None where torch serves."""
        return {"fp32": ONNX_FP32, "int8": ONNX_INT8}.get(self.serving)

    @property
    def prefixes(self) -> Prefixes:
        """What goes before the texts of each role."""
        return Prefixes(self.query_prefix, self.item_prefix)


def describe_encoder(path: Path) -> EncoderDescription:
    """Read the ``encoder.json`` of a folder.

    Raises:
        ModelFolderMissing: There is no encoder folder at the path.
        ModelFolderError: The description has another schema or lacks a field.
    """
    file = path / DESCRIPTION
    if not file.is_file():
        raise ModelFolderMissing(f"{path}: no {DESCRIPTION}; an encoder folder is made by train_encoder")
    document = read_json(file)
    if document.get("schema") == OLD_SCHEMA and "prefix" in document:
        both = {"query_prefix": document["prefix"], "item_prefix": document["prefix"]}
        document = {**document, **both, "schema": SCHEMA}
    if document.get("schema") != SCHEMA:
        raise ModelFolderError(f"{file}: schema is {document.get('schema')!r}, this code reads {SCHEMA!r}; train again")
    fields = [name for name in EncoderDescription.__dataclass_fields__ if name != "document"]
    missing = [name for name in fields if name not in document]
    if missing:
        raise ModelFolderError(f"{file}: {', '.join(missing)} is missing; train again")
    if document["pooling"] not in POOLINGS:
        raise ModelFolderError(f"{file}: pooling is {document['pooling']!r}; it must be one of {', '.join(POOLINGS)}")
    return EncoderDescription(**{name: document[name] for name in fields}, document=document)


def load_encoder(path: Path, backend: Backend = "auto", threads: int = 1) -> TextEncoder:
    """Load the encoder of a folder.

    Args:
        path: Encoder folder.
        backend: ``auto`` takes what the folder recorded at export; ``onnx`` never imports torch.
        threads: CPU threads of one call.

    Raises:
        ModelFolderMissing: There is no encoder at the path.
        ModelFolderError: The encoder runs on torch only, and torch is not installed.
        ConfigError: The backend is unknown, or the folder does not have it.
    """
    description = describe_encoder(path)
    if backend not in ("auto", "onnx", "torch"):
        raise ConfigError(f"encoder backend is {backend!r}; it must be one of auto, onnx, torch")
    if backend == "torch" or (backend == "auto" and description.onnx_file is None):
        return _load_torch(path, threads)
    if description.onnx_file is None:
        raise ConfigError(f"{path}: no ONNX export passed its fidelity gate; load with backend='torch'")
    from fairtag.encoder.onnx import OnnxEncoder

    return OnnxEncoder(path, description, threads=threads)


def _load_torch(path: Path, threads: int) -> TextEncoder:
    """The encoder on torch, which endpoints and monitors need not have installed."""
    try:
        from fairtag.encoder.model import TorchEncoder
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in TORCH_PACKAGES:
            raise
        raise ModelFolderError(
            f"{path}: this encoder has no ONNX export that may serve, so it needs {missing}, which is not installed "
            "here; train it with the encoder setting export: auto, or install fairtag[train]"
        ) from error
    return TorchEncoder.load(path, threads=threads)
