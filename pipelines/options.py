"""Groups of settings as options of a command line: each field of a model is one option, read, checked and named once.

A command takes a whole group; :func:`spread` gives it one option a field::

    @spread("run")
    def run(settings: RunSettings, force: bool = False) -> None: ...
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

import typer
import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from fairtag.base.errors import ConfigError
from fairtag.base.settings import Field, Settings, dotted, explain, layered, nested

Command = Literal["run", "submit"]
Group = TypeVar("Group", bound=Settings)

PLAIN = (bool, int, float, Path, str)  # types that a command line reads itself; all else is read from a text
FILE = "settings_file"  # parameter of the option --settings
PAIRS = "parameter"  # parameter of the option --parameter


def setting(
    default: Any,
    help: str,
    *,
    name: str = "",
    only: Literal["", "run", "submit"] = "",
    submit: Any = None,
    document: str = "",
    many: bool = False,
    **rules: Any,
) -> Any:
    """A field of a group of settings.

    Args:
        default: Its default.
        help: One sentence: the help of the option and the description of the pipeline's parameter.
        name: Its name on the command line and as a parameter of the pipeline; the field's own when empty.
        only: The one command that it belongs to: ``run`` on this machine, or ``submit`` to a cluster.
        submit: Its default on a cluster, where that is another one.
        document: ``module:Class`` of a field that is a JSON object of that class's settings.
        many: Whether the option may be repeated.
        **rules: What pydantic's ``Field`` checks, such as ``ge=1``.
    """
    cluster = default if submit is None else submit
    facts = {"name": name, "only": only, "submit": cluster, "document": document, "many": many}
    return Field(default, description=help, json_schema_extra=facts, **rules)


@dataclass(frozen=True)
class Setting:
    """One field of a group, as a command line and Kubeflow see it.

    Args:
        path: Where it stands in the outermost group.
        field: The field.
        group: The group that holds it.
        only: The one command that it belongs to; empty for both.
    """

    path: tuple[str, ...]
    field: FieldInfo
    group: type[Settings]
    only: str

    @property
    def facts(self) -> dict[str, Any]:
        """What :func:`setting` noted."""
        return _facts(self.field)

    @property
    def name(self) -> str:
        """Its name as a parameter."""
        return str(self.facts["name"] or self.path[-1])

    @property
    def option(self) -> str:
        """Its option on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be, where there are only a few."""
        kind = self.field.annotation
        return get_args(kind) if get_origin(kind) is Literal else ()

    @property
    def kind(self) -> type[Any]:
        """The type of one text on the command line."""
        for each in get_args(self.field.annotation) or (self.field.annotation,):
            if each in PLAIN and not self.facts["many"] and not self.facts["document"]:
                return cast(type[Any], each)
        return str

    def default(self, command: Command | None) -> Any:
        """Its default under a command."""
        return self.facts["submit"] if command == "submit" else self.field.default

    def value(self, settings: Settings) -> Any:
        """Its value in the outermost group."""
        found: Any = settings
        for step in self.path:
            found = getattr(found, step)
        return found


def flat(
    model: type[Settings], command: Command | None = None, path: tuple[str, ...] = (), only: str = ""
) -> Iterator[Setting]:
    """Every setting of a group and of the groups inside it that a command has; all of them when none is named."""
    for name, field in model.model_fields.items():
        kind, scope = field.annotation, _facts(field).get("only") or only
        if command and scope not in ("", command):
            continue
        if isinstance(kind, type) and issubclass(kind, Settings):
            yield from flat(kind, command, (*path, name), scope)
        else:
            yield Setting((*path, name), field, model, scope)


def _facts(field: FieldInfo) -> dict[str, Any]:
    noted = field.json_schema_extra
    return noted if isinstance(noted, dict) else {}


def read(
    model: type[Group], given: Mapping[str, Any], command: Command | None = None, file: Path | None = None
) -> Group:
    """A group from what was given on a command line, over what a file holds, over the defaults.

    Args:
        model: The group.
        given: Values by the name of the setting.
        command: The command, whose defaults and settings count.
        file: YAML or JSON with the group as one nested document.

    Raises:
        ConfigError: A name is unknown, belongs to the other command, or a value is not what its setting allows.
    """
    known = {each.name: each for each in flat(model, command)}
    document = layered(*(nested(dotted(each.path), each.default(command)) for each in known.values()))
    if file is not None:
        own = _read_document(str(file), "--settings")
        _refuse_foreign(model, command, own, file)
        document = layered(document, own)
    for name, value in given.items():
        each = known[name]
        text = _read_document(value, each.option) if each.facts["document"] else value
        document = layered(document, nested(dotted(each.path), text))

    def called(path: tuple[int | str, ...]) -> str:
        own = (each for each in known.values() if each.name in given and each.path == path[: len(each.path)])
        return next((dotted((each.option, *path[len(each.path) :])) for each in own), dotted(path))

    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain(error, model, called)) from error


def _read_document(text: str, option: str) -> dict[str, Any]:
    """A JSON object, or the file of YAML or JSON that holds one."""
    try:
        loaded = json.loads(text) if text.lstrip().startswith(("{", "[")) else yaml.safe_load(Path(text).read_text())
    except OSError as error:
        raise ConfigError(
            f"{option}: {text}: cannot be read ({error.strerror}); write a JSON object or a file"
        ) from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{option}: {text!r} is neither JSON nor YAML ({' '.join(str(error).split())})") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{option}: {text!r} is refused; it must be an object of settings, such as {{'seed': 1}}")
    return loaded


def _refuse_foreign(model: type[Settings], command: Command | None, document: Mapping[str, Any], file: Path) -> None:
    """Refuse a setting of the other command: it would be read and then ignored."""
    for each in flat(model):
        inside: Any = document
        for step in each.path:
            inside = inside.get(step) if isinstance(inside, Mapping) else None
        if inside is not None and command is not None and each.only not in ("", command):
            raise ConfigError(f"{file}: {dotted(each.path)} is a setting of `fairtag {each.only}` alone; remove it")


def spread(command: Command | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each field of its parameters that are groups of settings.

    A group that a file can hold (``fairtag run``, ``fairtag submit``) gets the option ``--settings`` too.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        groups = {name: given.annotation for name, given in signature.parameters.items() if _is_group(given.annotation)}
        names = {group: [each.name for each in flat(groups[group], command)] for group in groups}

        @wraps(function)
        def spread_out(**given: Any) -> None:
            file, pairs = given.pop(FILE, None), given.pop(PAIRS, None) or []
            for group, model in groups.items():
                options = {name: given.pop(name) for name in names[group]}
                options = {name: value for name, value in options.items() if value not in (None, [])}
                given[group] = read(model, {**_pairs(pairs, model, command), **options}, command, file)
            function(**given)

        shown = list(_options(signature, groups, command))
        spread_out.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]  # read by inspect
        spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        del spread_out.__wrapped__  # else its own signature would be read
        return spread_out

    return decorate


def _pairs(texts: Sequence[str], model: type[Settings], command: Command | None) -> dict[str, Any]:
    """Settings from texts ``name=value``.

    Raises:
        ConfigError: A text is not such a pair, or there is no setting of that name.
    """
    known = {each.name: each for each in flat(model, command)}
    given: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            raise ConfigError(f"--parameter {text!r} is refused; write name=value with a name of {', '.join(known)}")
        given[name] = [*given.get(name, []), value] if known[name].facts["many"] else value
    return given


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


def _options(
    signature: inspect.Signature, groups: Mapping[str, type[Settings]], command: Command | None
) -> Iterator[Parameter]:
    for name, parameter in signature.parameters.items():
        if name not in groups:
            yield parameter.replace(kind=Parameter.KEYWORD_ONLY)
            continue
        if command:
            text = "YAML or JSON file with any of these settings (docs/configuration.md); options win over it."
            file = Annotated[Path | None, typer.Option("--settings", help=text, metavar="FILE")]
            yield Parameter(FILE, Parameter.KEYWORD_ONLY, default=None, annotation=file)
        if command == "submit":
            text = "Any of these settings as name=value; repeat it."
            pairs = Annotated[list[str] | None, typer.Option("--parameter", "-p", help=text, metavar="NAME=VALUE")]
            yield Parameter(PAIRS, Parameter.KEYWORD_ONLY, default=None, annotation=pairs)
        for each in flat(groups[name], command):
            yield Parameter(
                each.name, Parameter.KEYWORD_ONLY, default=None, annotation=_option(each, groups[name], command)
            )


def _option(each: Setting, outermost: type[Settings], command: Command | None) -> Any:
    """What typer reads of a setting; None is its default, so that what was given can be told from what was not."""
    default = each.default(command)
    said = f" [default: {default}]" if default not in (None, "", {}, [], False) else ""
    metavar = "JSON|FILE" if each.facts["document"] else "|".join(each.choices) or None
    panel = None if each.group is outermost else (each.group.__doc__ or "").strip().removesuffix(".")
    option = typer.Option(each.option, help=f"{each.field.description}{said}", metavar=metavar, rich_help_panel=panel)
    if each.kind is bool:
        return Annotated[bool | None, option]
    return Annotated[list[str] | None, option] if each.facts["many"] else Annotated[each.kind | None, option]
