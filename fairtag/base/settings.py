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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic_core import ErrorDetails

from fairtag.base.errors import ConfigError

__all__ = ["Field", "Settings", "differences", "explain", "parse"]

Kind = TypeVar("Kind")
Path = tuple[int | str, ...]


class Settings(BaseModel):
    """A frozen group of settings that refuses names it does not know.

    Raises:
        ConfigError: A name is unknown, or a value is not what its field allows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=True)

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
    prefix: Path = (where,) if where else ()
    try:
        held: Kind = cast(Any, holder.model_validate({"held": dict(values)})).held
    except ValidationError as error:
        raise ConfigError(explain(error, holder, lambda path: dotted((*prefix, *path[1:])))) from error
    return held


def differences(settings: object) -> dict[str, Any]:
    """The settings that differ from their class's defaults, as a JSON object; groups inside are cut likewise."""
    kind: Any = type(settings)
    less: dict[str, Any] = _less(_as_json(settings), _as_json(kind()))
    return less


def dotted(path: Sequence[int | str]) -> str:
    """A path as it is written in messages and in the documentation: ``evaluation.launch.ess``."""
    return ".".join(map(str, path))


def explain(error: ValidationError, kind: type[Any], name: Callable[[Path], str] = dotted) -> str:
    """What is wrong with each value: its name, the value, the rule, and what the setting is.

    Args:
        error: What pydantic found.
        kind: The class that was to be made.
        name: How a path is called.
    """
    return "; ".join(_explained(one, kind, name) for one in error.errors(include_url=False))


def _explained(error: ErrorDetails, kind: type[Any], name: Callable[[Path], str]) -> str:
    path = error["loc"]
    owner, field = _field(kind, path)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = get_close_matches(str(path[-1]), owner, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{name(path)} is not a setting; there are {', '.join(owner)}{hint}"
    raised = error.get("ctx", {}).get("error")
    if raised is not None:  # a rule of our own, which says all of it
        return f"{name(path)}: {raised}" if path else str(raised)
    rule = error["msg"].removeprefix("Input should be ")
    return f"{name(path)}: {error['input']!r} is refused; it must be {rule}" + (f" ({field})" if field else "")


def _field(kind: Any, path: Path) -> tuple[list[str], str]:
    """The names beside the last one of a path, and the description of the field that it names."""
    names, description = _names(kind), ""
    for step in path:
        if not isinstance(kind, type) or not issubclass(kind, BaseModel) or step not in kind.model_fields:
            break
        field = kind.model_fields[str(step)]
        description, kind = field.description or "", field.annotation
        if step != path[-1]:
            names = _names(kind)
    return names, description


def _names(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return list(kind.model_fields)
    return [field.name for field in fields(kind)] if is_dataclass(kind) else []


def _as_json(settings: object) -> Any:
    return TypeAdapter(type(settings)).dump_python(settings, mode="json")


def _less(values: Any, defaults: Any) -> Any:
    if not isinstance(values, dict) or not isinstance(defaults, dict):
        return values
    return {name: _less(value, defaults.get(name)) for name, value in values.items() if value != defaults.get(name)}
