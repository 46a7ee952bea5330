"""The mapping of a shop system's exports to the contract's tables: one YAML file, which a shop can copy and change.

    feed = read_map("shopify")                 # of the package
    feed = read_map(Path("my-map.yaml"))       # a shop's own

A table of a mapping names its files, which rows count, and an expression for each column of the contract. An expression
is the name of a column of the export, a list of expressions (the first that is not empty counts), or one of::

    {join: [Title, Option1 Value], with: " / ", without: [Default Title]}
    {constant: shop}
    {hash: Email}                              # a pseudonym of a text: no address enters the tables
    {map: availability, values: {out_of_stock: "0"}}
    {minus: [qty_ordered, qty_canceled, qty_refunded]}
    {per_unit: Lineitem discount, quantity: Lineitem quantity}
    {take: Stock, unless: {Backorders allowed?: ["1"], Tracker: [""]}}    # nothing where a column has such a value

Names of columns are found whatever their case, and by their ``aliases``: the names that another version or another
language of the system writes.

docs/how-to/start-from-an-export.md walks through one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, cast

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ConfigError, MissingDataError
from fairtag.base.values import present, read_numbers
from fairtag.base.yaml_text import read_yaml

Expression = Any  # str, list or mapping, as the module's docstring has it
PACKAGED = ("shopify", "woocommerce", "magento", "google-merchant")
TABLES = ("items", "orders")


@dataclass(frozen=True)
class Filter:
    """Rows of an export that count or do not.

    Args:
        column: A column of the export; rows count where it is absent.
        one_of: Values that count, whatever their case; empty for any.
        none_of: Values that do not.
        known: Values that are known to count; rows with any other count as well, and it is reported. Empty for any.
        empty: True keeps only rows in which the column is empty.
        why: What is left out, in words, for the report.
    """

    column: str
    one_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    empty: bool = False
    why: str = ""


@dataclass(frozen=True)
class TableMap:
    """How one table is read.

    Args:
        files: Patterns of file names; every file that matches one is read.
        columns: An expression for each column of the contract.
        needs: Columns of the export without which it is not this export.
        aliases: Other names of a column, as other versions and languages of the system write them.
        fill_down: Columns that only the first row of a group has, by the column that groups the rows.
        inherit: Columns that a variant takes from its parent: ``{parent: Parent, id: ID, sku: SKU, columns: [...]}``.
        keep: Filters.
        element: XML element of a row; for feeds that are XML.
    """

    files: tuple[str, ...]
    columns: Mapping[str, Expression]
    needs: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fill_down: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inherit: Mapping[str, Any] = field(default_factory=dict)
    keep: tuple[Filter, ...] = ()
    element: str = "item"


@dataclass(frozen=True)
class FeedMap:
    """The mapping of a system's exports.

    Args:
        name: Name of the mapping, which the tables carry as their data set.
        title: What is exported, and where in the system.
        tables: ``items``, and ``orders`` where the system exports them.
        currency: Column of an export with the ISO 4217 code, by table; or the price column that ends in it.
        limits: What these exports cannot say, and its consequence.
    """

    name: str
    title: str
    tables: Mapping[str, TableMap]
    currency: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


def read_map(source: str | Path) -> FeedMap:
    """A mapping of the package by its name, or a shop's own from a file.

    Raises:
        MissingDataError: There is no such file.
        ConfigError: It is no YAML, or has a key that it cannot have.

    >>> sorted(read_map("shopify").tables)
    ['items', 'orders']
    """
    name = str(source)
    try:
        text = map_text(name) if name in PACKAGED else Path(source).read_text(encoding="utf-8")
        document = read_yaml(text)
    except OSError as error:
        known = ", ".join(PACKAGED)
        raise MissingDataError(f"{source}: no such mapping; name a file, or one of {known}") from error
    except ValueError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    given = _fields(document, FeedMap, name)
    tables = {key: _table(value, f"{name}: tables.{key}", key) for key, value in given.pop("tables", {}).items()}
    if "items" not in tables:
        raise ConfigError(f"{name}: tables.items is missing; a shop needs its items")
    return FeedMap(**{**given, "tables": tables, "limits": tuple(given.get("limits", ()))})


def map_text(name: str) -> str:
    """The text of a packaged mapping."""
    return resources.files("fairtag.data").joinpath("feeds", f"{name}.yaml").read_text(encoding="utf-8")


def _table(given: Any, where: str, name: str) -> TableMap:
    if name not in TABLES:
        raise ConfigError(f"{where} is refused; a mapping has {' and '.join(TABLES)}")
    values = _fields(given, TableMap, where)
    unknown = sorted(set(values.get("columns", {})) - set(schema.table(name).names))
    if unknown:
        raise ConfigError(f"{where}.columns: {', '.join(unknown)} is not in the contract; {name} has "
                          f"{', '.join(schema.table(name).names)}")  # fmt: skip
    for column, expression in values.get("columns", {}).items():
        _check(expression, f"{where}.columns.{column}")
    values["keep"] = tuple(_filter(each, f"{where}.keep") for each in values.get("keep", ()))
    values["files"], values["needs"] = tuple(values.get("files", ())), tuple(values.get("needs", ()))
    values["aliases"] = {own: tuple(names) for own, names in values.get("aliases", {}).items()}
    values["fill_down"] = {by: tuple(names) for by, names in values.get("fill_down", {}).items()}
    return TableMap(**values)


def _filter(given: Any, where: str) -> Filter:
    values = _fields(given, Filter, where)
    for name in ("one_of", "none_of", "known"):
        values[name] = tuple(str(value).lower() for value in values.get(name, ()))
    return Filter(**values)


def _fields(given: Any, kind: type[Any], where: str) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    if not isinstance(given, dict) or set(given) - names:
        wrong = ", ".join(map(str, sorted(set(given) - names, key=str))) if isinstance(given, dict) else repr(given)
        raise ConfigError(f"{where}: {wrong} is refused; it may hold {', '.join(sorted(names))}")
    return dict(given)


def _check(expression: Expression, where: str) -> None:
    if isinstance(expression, list):
        for each in expression:
            _check(each, where)
    elif isinstance(expression, dict):
        if not any(name in expression for name in _OPERATIONS):
            raise ConfigError(f"{where}: {expression!r} is refused; it must be one of {', '.join(_OPERATIONS)}")
    elif not isinstance(expression, str):
        raise ConfigError(f"{where}: {expression!r} is refused; write the name of a column of the export")


def evaluate(expression: Expression, rows: pd.DataFrame) -> pd.Series[Any]:
    """Values of an expression (n,), as text; None where it has none.

    >>> rows = pd.DataFrame({"Title": ["Mug", "Bowl"], "Size": ["L", None]})
    >>> evaluate({"join": ["Title", "Size"], "with": " / "}, rows).tolist()
    ['Mug / L', 'Bowl']
    """
    if isinstance(expression, str):
        values = rows[expression] if expression in rows else pd.Series(None, index=rows.index, dtype=object)
        return _text(values)
    if isinstance(expression, list):
        found = evaluate(expression[0], rows)
        for other in expression[1:]:
            found = found.where(found.notna(), evaluate(other, rows))
        return found
    operation = next(name for name in _OPERATIONS if name in expression)
    return _OPERATIONS[operation](expression, rows)


def columns_of(expression: Expression) -> Iterator[str]:
    """The columns of the export that an expression reads."""
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, list):
        for each in expression:
            yield from columns_of(each)
    elif "constant" not in expression:
        for name in ("join", "hash", "map", "minus", "per_unit", "quantity", "take"):
            if name in expression:
                yield from columns_of(expression[name])


def under_own_names(rows: pd.DataFrame, table: TableMap) -> pd.DataFrame:
    """The rows of an export under the names that the mapping uses, whatever their case, blanks, version and language.

    >>> table = TableMap(files=(), columns={"title": "Name"}, aliases={"Name": ("Nombre",)})
    >>> under_own_names(pd.DataFrame({"NOMBRE": ["Taza"]}), table).columns.tolist()
    ['Name']
    """
    there = {_folded(str(name)): name for name in reversed(rows.columns.tolist())}
    found: dict[str, str] = {}
    for own in sorted(_read_columns(table) - set(rows.columns)):
        names = (_folded(name) for name in (own, *table.aliases.get(own, ())))
        name = next((there[name] for name in names if name in there), None)
        if name is not None:
            found.setdefault(name, own)
    return rows.rename(columns=found)


def _folded(name: str) -> str:
    """A name of a column as it is compared: ``Sale Price``, ``sale-price`` and ``g:sale_price`` are one."""
    return re.sub(r"[\s_-]+", "_", name.casefold().removeprefix("g:"))


def _read_columns(table: TableMap) -> set[str]:
    """Every column of the export that a mapping names."""
    found = {*table.needs, *table.aliases, *(each.column for each in table.keep)}
    for expression in table.columns.values():
        found |= set(columns_of(expression)) | set(_conditions(expression))
    for by, names in table.fill_down.items():
        found |= {by, *names}
    for name in ("parent", "id", "sku"):
        found |= {str(table.inherit[name])} if name in table.inherit else set()
    return found | set(table.inherit.get("columns", ()))


def _conditions(expression: Expression) -> Iterator[str]:
    if isinstance(expression, list):
        for each in expression:
            yield from _conditions(each)
    elif isinstance(expression, dict):
        yield from expression.get("unless", {})


def unknown_values(expression: Expression, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Values that a ``map`` has no answer to, by column: they count as if nothing stood there.

    >>> rows = pd.DataFrame({"availability": ["in stock", "sold out"]})
    >>> unknown_values({"map": "availability", "values": {"in stock": ""}}, rows)
    {'availability': ['sold out']}
    """
    if isinstance(expression, list):
        return {name: values for each in expression for name, values in unknown_values(each, rows).items()}
    if not isinstance(expression, dict) or "map" not in expression:
        return {}
    known = {str(name).lower() for name in expression["values"]}
    found = evaluate(expression["map"], rows).dropna().unique()
    unknown = sorted(str(value) for value in found if str(value).lower() not in known)
    return {", ".join(columns_of(expression["map"])): unknown} if unknown else {}


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    stripped = values.map(lambda value: str(value).strip(), na_action="ignore").astype(object)
    return stripped.where(present(stripped), other=cast(Any, None))


def _join(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    parts = [evaluate(part, rows) for part in expression["join"]]
    without, glue = set(expression.get("without", ())), str(expression.get("with", " "))
    joined = [
        glue.join(value for value in values if value is not None and value not in without)
        for values in zip(*parts, strict=True)
    ]
    return _text(pd.Series(joined, index=rows.index, dtype=object))


def _constant(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    return pd.Series(str(expression["constant"]), index=rows.index, dtype=object)


def _hash(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    def pseudonym(value: str) -> str:
        return "c" + hashlib.sha256(value.lower().encode()).hexdigest()[:16]

    return evaluate(expression["hash"], rows).map(pseudonym, na_action="ignore").astype(object)


def _map(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    values = {str(name).lower(): str(value) for name, value in expression["values"].items()}
    found = evaluate(expression["map"], rows)
    return _text(found.map(lambda value: values.get(str(value).lower()), na_action="ignore"))


def _take(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    found = evaluate(expression["take"], rows)
    for column, values in expression.get("unless", {}).items():
        if column in rows:
            stands = evaluate(column, rows).map(str.lower, na_action="ignore").fillna("")
            found = found.mask(stands.isin([str(value).lower() for value in values]), other=cast(Any, None))
    return found


def _minus(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    first, *others = (read_numbers(evaluate(part, rows)) for part in expression["minus"])
    return _numbers(first - sum(other.fillna(0.0) for other in others))


def _per_unit(expression: Mapping[str, Any], rows: pd.DataFrame) -> pd.Series[Any]:
    total, units = (read_numbers(evaluate(expression[name], rows)) for name in ("per_unit", "quantity"))
    return _numbers(total / units.where(units > 0))


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(lambda value: f"{value:.10g}" if pd.notna(value) else None).astype(object)


_OPERATIONS: Mapping[str, Callable[[Mapping[str, Any], pd.DataFrame], pd.Series[Any]]] = {
    "join": _join,
    "constant": _constant,
    "hash": _hash,
    "map": _map,
    "minus": _minus,
    "per_unit": _per_unit,
    "take": _take,
}

__all__: Sequence[str] = (
    "PACKAGED",
    "FeedMap",
    "Filter",
    "TableMap",
    "columns_of",
    "evaluate",
    "map_text",
    "read_map",
    "under_own_names",
    "unknown_values",
)
