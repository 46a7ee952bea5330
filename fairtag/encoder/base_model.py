"""How a base encoder was trained to be used: how it pools tokens, and what it puts before a query and before an item.

A setting comes first, then what the model's own folder or hub page publishes, then what its family's model cards say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from fairtag.base.errors import ConfigError
from fairtag.base.files import read_json
from fairtag.encoder.folder import Pooling, resolve_base

T = TypeVar("T")


def published_json(base: str, name: str, instead: str) -> tuple[Path, Any] | None:
    """A JSON file of a base encoder's folder and its path; None where the base has no such file.

    Args:
        base: ``minilm``, a directory or a hub id.
        name: Path within the folder.
        instead: The settings that replace the file, for the error message.

    Raises:
        ConfigError: The hub could not be asked for the file, or it is not JSON.
    """
    file = _file(resolve_base(base), name, instead)
    if file is None:
        return None
    try:
        return file, read_json(file)
    except ValueError as error:
        raise ConfigError(f"base encoder {base!r}: {file} is not readable as JSON ({error})") from error


def family_of(base: str, families: tuple[tuple[str, T], ...], otherwise: T) -> T:
    """What a base encoder's family was trained with, by the start of its lower-case name.

    Args:
        base: ``minilm``, a directory or a hub id.
        families: Patterns of names, with what is wanted.
        otherwise: For a name that none of them matches.
    """
    name = _name(base)
    return next((known for start, known in families if re.match(rf"(?:{start})(?![a-z0-9])", name)), otherwise)


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
    except EntryNotFoundError:  # the model has no such file, or offline, it is not in this machine's cache
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"base encoder {where!r}: whether it has {name} could not be read; give {instead}") from error


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

# By the start of a model's name, from its model card. A folder's own settings come first; all others pool by the mean.
POOLING_FAMILIES: tuple[tuple[str, Pooling], ...] = (
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
    return family_of(base, POOLING_FAMILIES, "mean")


def published_modules(pooling: Pooling, dimension: int) -> dict[str, Any]:
    """The files, by path, that tell :func:`pooling_of` and sentence-transformers how an encoder pools."""
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


Role = Literal["query", "item"]
ROLES: tuple[Role, ...] = get_args(Role)
RoleText = tuple[Role, str]

PROMPTS = "config_sentence_transformers.json"  # where a published folder says what goes before its texts
_ITEM_PROMPTS = ("document", "passage", "corpus")  # names of an item's there, in sentence-transformers' own order

# The task of an instructed query: the one these models' own cards give for search.
_INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


@dataclass(frozen=True)
class Prefixes:
    """Words put before each text of a role, as they stand.

    Args:
        query: Before what a customer asks, such as ``"query: "`` for E5.
        item: Before what describes an item, such as ``"passage: "`` for E5.
    """

    query: str = ""
    item: str = ""

    def before(self, role: Role) -> str:
        """The words of a role.

        Raises:
            ConfigError: There is no such role.
        """
        if role not in ROLES:
            raise ConfigError(f"the role of a text is {role!r}; it must be one of {', '.join(ROLES)}")
        return self.query if role == "query" else self.item

    @property
    def any(self) -> bool:
        """Whether either role has words."""
        return bool(self.query or self.item)


# By the start of a model's name, from its model card. A folder's own prompts come first.
PREFIX_FAMILIES: tuple[tuple[str, Prefixes], ...] = (
    (r"qwen3-embedding", Prefixes(query=_INSTRUCTION)),
    (r"multilingual-e5-large-instruct|e5-mistral-7b-instruct|gte-qwen(1\.5|2)", Prefixes(query=f"{_INSTRUCTION} ")),
    (r"(multilingual-)?e5-(small|base|large)", Prefixes("query: ", "passage: ")),
    (r"bge-(small|base|large)-en", Prefixes(query="Represent this sentence for searching relevant passages: ")),
    (r"bge-(small|base|large)-zh", Prefixes(query="为这个句子生成表示以用于检索相关文章：")),  # noqa: RUF001  (its card's)
)


def prefixes_of(base: str, *, query: str | None = None, item: str | None = None) -> Prefixes:
    """What goes before the texts of an encoder: what is given, else what its folder says, else its family's.

    Args:
        base: ``minilm``, a directory or a hub id.
        query: Words before a query; None leaves it to the encoder.
        item: Words before an item; None leaves it to the encoder.

    Raises:
        ConfigError: The base has no name, or the prompts in its folder cannot be read.
    """
    if query is not None and item is not None:
        return Prefixes(query, item)
    published = _prompts(base)
    # sentence-transformers writes empty prompts into each folder it saves: they say that nobody named any.
    own = published if published.any else family_of(base, PREFIX_FAMILIES, Prefixes())
    return Prefixes(own.query if query is None else query, own.item if item is None else item)


def published_prompts(prefixes: Prefixes) -> dict[str, Any]:
    """The prefixes as sentence-transformers' file has them, so that a tuned encoder can be a base in its turn."""
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
            f"mend it, or give encoder.base.query_prefix and encoder.base.item_prefix"
        )
    other = prompts.get(document.get("default_prompt_name") or "") or ""
    item = next((prompts[name] for name in _ITEM_PROMPTS if name in prompts), other)
    return Prefixes(prompts.get("query", other) or "", item or "")
