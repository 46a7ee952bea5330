"""How the vectors of a text's tokens become one, and which way a base encoder was taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairtag.base.errors import ConfigError
from fairtag.encoder.base_model import family_of, published_json
from fairtag.encoder.folder import Pooling

MODULES = "modules.json"  # where sentence-transformers says what stands behind the transformer
_POOLING_FOLDER = "1_Pooling"
_PUBLISHED: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}  # its names, and ours
_OLD_KEYS = {  # until its version 6 each way had a switch
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")  # what this encoder has a place for

# By the start of a model's name, as its card has it; what a folder says comes before them. All others: mean.
FAMILIES: tuple[tuple[str, Pooling], ...] = (
    (r"bge-(small|base|large)-(en|zh)|bge-m3|snowflake-arctic-embed|mxbai-embed|gte-(base|large)-en-v1\.5", "cls"),
    (r"qwen3-embedding|gte-qwen(1\.5|2)|e5-mistral", "last"),
)


def pooling_of(base: str, given: Pooling | None) -> Pooling:
    """How an encoder pools: as is given, else as its folder says, else as its family does, else by the mean.

    Args:
        base: ``minilm``, a directory or a hub id.
        given: The way to pool whatever the base says; None leaves it to the base.

    Raises:
        ConfigError: The base names a way, or a layer behind it, that this encoder does not have; or its folder cannot
            be read.
    """
    if given is not None:
        return given
    published = _published(base)
    if published is not None:
        return published
    return family_of(base, FAMILIES, "mean")


def published_modules(pooling: Pooling, dimension: int) -> dict[str, Any]:
    """Files by their path that say it to :func:`pooling_of`, and to sentence-transformers as its older versions did."""
    stages = [("", "Transformer"), (_POOLING_FOLDER, "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(stages)
    ]
    switches = {key: _PUBLISHED.get(way) == pooling for key, way in _OLD_KEYS.items()}
    return {MODULES: modules, f"{_POOLING_FOLDER}/config.json": {"word_embedding_dimension": dimension, **switches}}


def _published(base: str) -> Pooling | None:
    """What the base's own folder says; None where it says nothing."""
    found = published_json(base, MODULES, "encoder.base.pooling")
    if found is None:
        return None
    file, modules = found
    if not isinstance(modules, list) or not all(isinstance(module, Mapping) for module in modules):
        raise ConfigError(f"base encoder {base!r}: {file} is no list of modules; mend it, or give encoder.base.pooling")
    folders = {str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", "")) for module in modules}
    if strange := [kind for kind in folders if kind not in _KNOWN_MODULES]:
        raise ConfigError(
            f"base encoder {base!r}: {file} has a module {strange[0]}, which would be left out; "
            f"choose another base, or give encoder.base.pooling to go without it"
        )
    if "Pooling" not in folders:
        return None
    settings = published_json(base, f"{folders['Pooling']}/config.json", "encoder.base.pooling")
    if settings is None:
        return None
    file, document = settings
    ways = _ways(document)
    if len(ways) != 1 or ways[0] not in _PUBLISHED:
        raise ConfigError(
            f"base encoder {base!r}: {file} pools by {' and '.join(map(str, ways)) or 'nothing'}; "
            f"it must be one of {', '.join(_PUBLISHED)}; choose another base, or give encoder.base.pooling"
        )
    if not document.get("include_prompt", True):
        raise ConfigError(
            f"base encoder {base!r}: {file} leaves the words before a text out of its vector, which this encoder "
            f"does not; choose another base, or give encoder.base.pooling to pool them too"
        )
    return _PUBLISHED[ways[0]]


def _ways(document: Any) -> list[Any]:
    """The ways to pool that a Pooling module's settings name, as sentence-transformers calls them."""
    if not isinstance(document, Mapping):
        return []
    way = document.get("pooling_mode")
    if way is not None:
        return list(way) if isinstance(way, list) else [way]
    return [name for key, name in _OLD_KEYS.items() if document.get(key)]
