"""Settings as frozen pydantic models; what a person writes wrongly is refused with its path, value, rule and remedy.

>>> class Schedule(Settings):
...     epochs: int = Field(1, ge=1)
>>> read_settings(Schedule, '{"epochs": 2}', root="schedule")
Schedule(epochs=2)
>>> read_settings(Schedule, '{"epochs": 0}', root="schedule")
Traceback (most recent call last):
fairtag.base.errors.ConfigError: schedule.epochs is 0; it must be a whole number of at least 1 (default: 1)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from fairtag.base.errors import ConfigError

__all__ = ["Field", "Settings", "layered", "leaves", "read_settings", "rule_of"]

SHOWN = 80  # characters of a refused value that a message repeats


class Settings(BaseModel):
    """A frozen group of settings. Unknown names are refused, and no value is converted: ``"3"`` is not 3.

    A string below a field is its description: it goes into the documentation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


S = TypeVar("S", bound=BaseModel)


def read_settings(
    model: type[S], values: str | Mapping[str, Any], *, root: str, moved: Mapping[str, str] | None = None
) -> S:
    """Build a settings model from JSON text or a mapping.

    Args:
        model: The settings model.
        values: Settings that differ from the defaults.
        root: What the settings are called in messages, such as ``encoder``.
        moved: Names that a setting had before, each with its path now.

    Raises:
        ConfigError: The text is not a JSON object, a name is unknown, or a value is outside what it may be.
    """
    try:
        document = json.loads(values) if isinstance(values, str) else values
    except ValueError as error:
        raise ConfigError(f"{root} settings are {_shown(values)}, which is no JSON object ({error})") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f'{root} settings are {_shown(document)}; they must be a JSON object, such as {{"seed": 1}}')
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        raise ConfigError("\n".join(_messages(error, model, root, moved or {}))) from error


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One nested mapping out of several; a later layer replaces single values of an earlier one.

    >>> layered({"base": {"name": "minilm", "max_length": 64}}, {"base": {"max_length": 32}})
    {'base': {'name': 'minilm', 'max_length': 32}}
    """
    out: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = out.get(name)
            if isinstance(value, Mapping) and isinstance(below, Mapping):
                value = layered(below, value)  # noqa: PLW2901  (the value of this layer over the one below)
            out[name] = value
    return out


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every single setting of a model with its dotted path, sections opened, in the order they are written."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is None:
            yield prefix + name, field
        else:
            yield from leaves(section, f"{prefix}{name}.")


def rule_of(field: FieldInfo) -> str:
    """What a setting may be, in words, from its type and its bounds."""
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not NoneType]
    nullable = NoneType in _alternatives(field.annotation)
    words = " or ".join(_kind(kind) for kind in kinds) + _bounds(field)
    return f"{words}, or null" if nullable else words


def _section(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(kind))
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return names.get(kind, "an object of settings")


def _bounds(field: FieldInfo) -> str:
    found = {name: getattr(bound, name) for bound in field.metadata for name in _BOUNDS if hasattr(bound, name)}
    if {"ge", "le"} <= found.keys():
        return f" from {found['ge']:g} to {found['le']:g}"
    return "".join(f" {_BOUNDS[name]} {value:g}" for name, value in found.items())


_BOUNDS = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}


def _messages(error: ValidationError, model: type[BaseModel], root: str, moved: Mapping[str, str]) -> Iterator[str]:
    """One line for each setting that was refused."""
    for found in error.errors(include_url=False):
        path = ".".join(map(str, found["loc"]))
        place = f"{root}.{path}" if path else root
        if found["type"] == "extra_forbidden":
            yield _unknown(path, found["input"], model, root, moved)
        elif found["type"] == "value_error":
            # A check of one field says the rule; a check of a whole section begins with the field's name.
            text = str(found["ctx"]["error"])
            yield f"{place}.{text}" if _at(model, path) is None else f"{place} is {_shown(found['input'])}; {text}"
        elif field := _at(model, path):
            default = json.dumps(field.default)
            yield f"{place} is {_shown(found['input'])}; it must be {rule_of(field)} (default: {default})"
        else:
            yield f"{place} is {_shown(found['input'])}; it must be an object of settings"


def _at(model: type[BaseModel], path: str) -> FieldInfo | None:
    """The single setting at a path; None for a section."""
    return dict(leaves(model)).get(path)


def _unknown(path: str, value: Any, model: type[BaseModel], root: str, moved: Mapping[str, str]) -> str:
    """Say that a name is no setting, and where what was meant lives."""
    paths = [place for place, _ in leaves(model)]
    name = path.rpartition(".")[2]
    same = [moved[path]] if path in moved else [place for place in paths if place.rpartition(".")[2] == name]
    if len(same) == 1:
        example: Any = value
        for part in reversed(same[0].split(".")):
            example = {part: example}
        return f"{root}.{path} is not a setting; it is called {root}.{same[0]}: write {json.dumps(example)}"
    section = path.rpartition(".")[0]
    inside = [place.removeprefix(f"{section}.") for place in paths if not section or place.startswith(f"{section}.")]
    names = dict.fromkeys(place.partition(".")[0] for place in inside)
    here = ".".join(filter(None, [root, section]))
    near = [f"{root}.{place}" for place in same] or [
        *(f"{here}.{other}" for other in get_close_matches(name, names, n=1)),
        *(f"{root}.{place}" for place in paths if get_close_matches(name, [place.rpartition(".")[2]], cutoff=0.65)),
    ]
    if near:
        return f"{root}.{path} is not a setting; did you mean {' or '.join(dict.fromkeys(near))}?"
    return f"{root}.{path} is not a setting; {here} has {', '.join(names)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
