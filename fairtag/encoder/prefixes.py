"""Whether a text is a query or an item, and what an encoder wants before each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from fairtag.base.errors import ConfigError
from fairtag.encoder.base_model import family_of, published_json

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


# By the start of a model's name. Each is what its own card asks for; a folder's own prompts come before them.
FAMILIES: tuple[tuple[str, Prefixes], ...] = (
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
    own = published if published.any else family_of(base, FAMILIES, Prefixes())
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
