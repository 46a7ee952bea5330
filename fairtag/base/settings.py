"""Settings: frozen pydantic models whose mistakes are one :class:`ConfigError` with field, value, rule and remedy.

>>> class Shop(Settings):
...     items: int = Field(3_000, ge=1, description="Products of the shop.")
>>> Shop(items=0)
Traceback (most recent call last):
    ...
fairtag.base.errors.ConfigError: items: 0 is refused; it must be greater than or equal to 1 (Products of the shop.)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from fairtag.base.errors import ConfigError

__all__ = ["Field", "Settings", "dotted", "explain", "layered", "leaves", "nested", "parse", "rule_of"]

Kind = TypeVar("Kind")
Place = tuple[int | str, ...]


class Settings(BaseModel):
    """A frozen group of settings that refuses names it does not know.

    A string below a field is its description, where ``Field`` gives none.

    Attributes:
        RENAMED: Former names of settings, each with its path from this group; whoever writes one is told the new path.

    Raises:
        ConfigError: A name is unknown, or a value is not what its field allows.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        arbitrary_types_allowed=True,
        use_attribute_docstrings=True,
    )
    RENAMED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(error, type(self))) from error

    # Groups inside a group are validated by pydantic itself, so that an error knows its whole path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic's own mark of a base class's init


def parse(kind: type[Kind], values: str | Mapping[str, Any], where: str = "") -> Kind:
    """Settings from a JSON text or a mapping: a :class:`Settings` group, or a frozen dataclass of settings.

    Args:
        kind: The class.
        values: The settings that differ from the defaults.
        where: What the settings are called in an error, such as ``evaluation``.

    Raises:
        ConfigError: The text is not a JSON object, a name is unknown, or a value is not what its field allows.
    """
    if isinstance(values, str):
        try:
            values = json.loads(values)
        except ValueError as error:
            raise ConfigError(f"{where or 'settings'}: {values!r} is not JSON ({error})") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f'{where or "settings"}: {values!r} is refused; write a JSON object, such as {{"seed": 1}}')
    holder = create_model("holder", __base__=Settings, held=(kind, ...))  # gives a dataclass our own strictness
    prefix: Place = (where,) if where else ()
    try:
        held: Kind = cast(Any, holder.model_validate({"held": dict(values)})).held
    except ValidationError as error:
        raise ConfigError(explain(error, holder, lambda path: dotted((*prefix, *path[1:])))) from error
    return held


def dotted(path: Sequence[int | str]) -> str:
    """A path as it is written in messages and in the documentation: ``evaluation.launch.ess``."""
    return ".".join(map(str, path))


def explain(error: ValidationError, kind: type[Any], name: Callable[[Place], str] = dotted) -> str:
    """What is wrong with each value: its name, the value, the rule, and what the setting is.

    Args:
        error: What pydantic found.
        kind: The class that was to be made.
        name: How a path is called.
    """
    return "; ".join(_explained(one, kind, name) for one in error.errors(include_url=False))


def _explained(error: ErrorDetails, kind: type[Any], name: Callable[[Place], str]) -> str:
    path = error["loc"]
    owner, field = _field(kind, path)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if new := _renamed(kind, path):
            place, example = name((*path[:-1], *new.split("."))), json.dumps(nested(new, error["input"]), default=str)
            return f"{name(path)} is not a setting; it is {place} now: write {example}"
        near = get_close_matches(str(path[-1]), owner, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{name(path)} is not a setting; there are {', '.join(owner)}{hint}"
    raised = error.get("ctx", {}).get("error")
    if raised is not None:  # a rule of our own, which says all of it
        said = str(raised)
        return f"{name(path)}: {said}" if path and not said.startswith(name(path)) else said
    rule = error["msg"].removeprefix("Input should be ")
    return f"{name(path)}: {error['input']!r} is refused; it must be {rule}" + (f" ({field})" if field else "")


def _field(kind: Any, path: Place) -> tuple[list[str], str]:
    """The names beside the last one of a path, and the description of the field that it names."""
    names, description = _names(kind), ""
    for step in path:
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or step not in kind.model_fields:
            break
        field = kind.model_fields[str(step)]
        description, kind = _first_sentence(field.description or ""), field.annotation
        if step != path[-1]:
            names = _names(kind)
    return names, description


def _names(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def _renamed(kind: Any, path: Place) -> str:
    """Where the setting of a former name is now, from the group that the name was written in; else nothing."""
    for step in path[:-1]:
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or step not in kind.model_fields:
            return ""
        kind = kind.model_fields[str(step)].annotation
    names: Mapping[str, str] = getattr(kind, "RENAMED", {})
    return names.get(str(path[-1]), "")


def _first_sentence(text: str) -> str:
    first, stop, _ = " ".join(text.split()).partition(". ")
    return first + stop.strip()


def nested(path: str, value: Any) -> Any:
    """A value under its dotted path.

    >>> nested("base.name", "minilm")
    {'base': {'name': 'minilm'}}
    """
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping out of several; a later layer replaces single values of an earlier one.

    >>> layered({"base": {"name": "minilm", "max_length": 64}}, {"base": {"max_length": 32}})
    {'base': {'name': 'minilm', 'max_length': 32}}
    """
    out: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = out.get(name)
            both = isinstance(value, Mapping) and isinstance(below, Mapping)
            out[name] = layered(cast(Any, below), value) if both else value
    return out


def leaves(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every single setting of a group with its dotted path, inner groups opened, in the order they are written."""
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def rule_of(field: FieldInfo) -> str:
    """What a setting may be, in words, from its type and its bounds; for documentation."""
    annotation: Any = field.annotation
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    words = " or ".join(_kind_in_words(kind) for kind in kinds if kind is not NoneType) + _bounds_in_words(field)
    return f"{words}, or null" if NoneType in kinds else words


def _kind_in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return "a list"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", date: "a date"}
    return names.get(kind, "an object")


def _bounds_in_words(field: FieldInfo) -> str:
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    found = {name: getattr(bound, name) for bound in field.metadata for name in words if hasattr(bound, name)}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:g}"
    return "".join(f" {words[name]} {value:g}" for name, value in found.items())
