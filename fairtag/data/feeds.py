"""Reads the exports and feeds of shop systems into the contract's tables, by a mapping.

    tables = read_feed(Path("exports"), read_map("shopify"))

What an export lacks is named with its consequence (``lacks`` in the metadata). What does not count as a sale or an
item is left out and counted (``left_out``): drafts, cancelled and refunded orders, free lines, lines of unknown
items. Tables of the contract that lie beside the exports, such as ``impressions.csv``, are read as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.money import codes_of, currency
from fairtag.base.tables import METADATA, Tables, coerce, no_rows
from fairtag.base.text import normalise
from fairtag.base.values import present, read_numbers
from fairtag.data.amounts import plain_numbers
from fairtag.data.csv_files import NUMBER_KINDS, CsvDialect, read_rows
from fairtag.data.currencies import DIGITS, ONE_EACH
from fairtag.data.derived_tables import AS_OF
from fairtag.data.feed_map import FeedMap, TableMap, columns_of, evaluate, read_map, under_own_names, unknown_values
from fairtag.data.own_tables import ShopMetadata, read_beside, read_metadata

Rule = Callable[[pd.DataFrame], "pd.Series[bool]"]
UNKNOWN_SHOWN = 3  # values that a mapping does not know, of one column
UNKNOWN_LINES = 0.9  # of the order lines: what is left is no history of this shop
CONSEQUENCES = {
    schema.UNIT_COST: "no unit cost: every item stays at list price; export it, or add the column unit_cost",
    schema.STOCK: "no stock: every item counts as in stock",
    schema.CATEGORY: "no category: all items count as one",
    schema.BRAND: "no brand: search and f(v) know none",
    "orders": "no orders: no customer is known, nothing is derived from purchases, and prices stay at list",
    "impressions": "no impressions: pages are derived from orders, and what is learned from them is observational; "
    "log what you show, bought or not, as impressions.csv beside the exports",
}


def read_named(data: Path, name: str) -> Tables:
    """The tables of a folder of exports, by a mapping of the package; errors as in :func:`read_feed`."""
    return read_feed(data, read_map(name))


@dataclass
class _Report:
    """What was read and left out."""

    files: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)  # currencies that the exports name

    def note_unknown(self, column: str, values: Sequence[str], consequence: str) -> None:
        """Tell of values that the mapping does not know."""
        if values:
            shown = ", ".join(map(repr, values[:UNKNOWN_SHOWN])) + (", ..." if len(values) > UNKNOWN_SHOWN else "")
            self.lacks.append(
                f"{column}: the mapping does not know {shown}; {consequence}: add the value to a copy of the mapping "
                "(fairtag intake --show-map)"
            )

    def leave_out(self, why: str, count: int) -> None:
        """Count rows that do not go on."""
        if count:
            self.left_out[why] = self.left_out.get(why, 0) + count


def read_feed(data: Path, feed: FeedMap) -> Tables:
    """The tables of a folder of exports.

    Args:
        data: Folder of the exports; ``metadata.json`` in it may state the currency and how files and times are written.
        feed: The mapping.

    Raises:
        MissingDataError: The folder, the export of the items, or a column that the mapping needs is absent.
        DataError: A file cannot be read, prices are in several currencies, or the currency is not known.
    """
    if not data.is_dir():
        raise MissingDataError(f"{data}: there is no such folder; name the one that holds the exports of {feed.title}")
    metadata, report = read_metadata(data / METADATA), _Report()
    raw = {name: _rows(data, feed, name, metadata, report) for name in feed.tables}
    items_raw = raw["items"]
    if items_raw is None:
        wanted, needed = (", ".join(names) for names in (feed.tables["items"].files, feed.tables["items"].needs))
        raise MissingDataError(
            f"{data}: no export of the items is there; it needs a file {wanted} with the columns {needed}",
            table="items",
        )
    code = _currency(data, report.codes, metadata.currency)
    items = _items(items_raw, feed.tables["items"], metadata, report)
    frames = {"items": items}
    if (orders_raw := raw.get("orders")) is not None:
        frames["orders"] = _orders(orders_raw, feed.tables["orders"], items, metadata, report)
    beside = read_beside(data, metadata, [table for table in schema.TABLES if table.name not in frames])
    frames |= beside
    for name in ("orders", "impressions"):
        if name not in frames:
            report.lacks.append(CONSEQUENCES[name])
    for table in (schema.USERS, schema.IMPRESSIONS, schema.ORDERS):
        frames.setdefault(table.name, no_rows(table))
    exported = max(path.stat().st_mtime for path in data.iterdir() if path.name in report.files)
    provenance = {
        name: f"recorded: {feed.title}" if name in feed.tables else "recorded: as given by the shop"
        for name, frame in frames.items()
        if len(frame)
    }
    described = {
        "dataset": feed.name,
        "currency": code,
        "provenance": provenance,
        "observational": True,
        AS_OF: datetime.fromtimestamp(int(exported), UTC).isoformat(),
        "files": report.files,
        "left_out": report.left_out,
        "lacks": [*report.lacks, *feed.limits],
        **metadata.notes,
    }
    return Tables(**frames, metadata=described)


def _rows(data: Path, feed: FeedMap, name: str, metadata: ShopMetadata, report: _Report) -> pd.DataFrame | None:
    """The rows of every file of a table that count, as text; None where there is no such file."""
    table = feed.tables[name]
    parts: list[pd.DataFrame] = []
    others: list[tuple[Path, list[str]]] = []
    for file in sorted({path for pattern in table.files for path in data.glob(pattern) if path.is_file()}):
        if (name != "items" and file.name in report.files) or file.stem in _OWN:
            continue
        rows, how = _read_file(file, table, metadata)
        rows = under_own_names(rows, table)
        missing = [need for need in table.needs if need not in rows]
        if missing:
            if len(missing) < len(table.needs):
                others.append((file, missing))
            continue
        if name in feed.currency:
            report.codes |= _codes(evaluate(feed.currency[name], rows))
        mark = how.separator if isinstance(how, CsvDialect) and how.separator else ","
        plain, sign = plain_numbers(file, rows, _numbers(table, name), metadata.csv.decimal, mark)
        report.files[file.name] = replace(how, decimal=sign).text() if isinstance(how, CsvDialect) else how
        parts.append(plain)
    if not parts:
        if others:
            file, missing = min(others, key=lambda other: len(other[1]))
            raise _not_this_export(file, feed, name, missing)
        return None
    return _kept(_inherited(_filled(pd.concat(parts, ignore_index=True), table), table), table, report)


_OWN = frozenset({"users", "impressions", "judgements", "audit_groups"})  # in the contract's own form


def _numbers(table: TableMap, name: str) -> list[str]:
    """Columns of the export from which numbers are read."""
    kinds = {column.name: column.kind for column in schema.table(name).columns}
    wanted = [expression for column, expression in table.columns.items() if kinds[column] in NUMBER_KINDS]
    return [column for expression in wanted for column in columns_of(expression)]


def _not_this_export(file: Path, feed: FeedMap, name: str, missing: list[str]) -> MissingDataError:
    read = sorted({column for expression in feed.tables[name].columns.values() for column in columns_of(expression)})
    return MissingDataError(
        f"{file}: column {', '.join(missing)} is missing for {name}; the mapping {feed.name} reads {', '.join(read)}; "
        "export these, or copy the mapping and change it (fairtag intake --show-map)",
        table=name,
        column=missing[0],
        rule="required column",
    )


def _kept(rows: pd.DataFrame, table: TableMap, report: _Report) -> pd.DataFrame:
    """The rows that every filter lets through; the others are counted."""
    for each in table.keep:
        if each.column not in rows:
            continue
        value = evaluate(each.column, rows)
        lower = value.map(str.lower, na_action="ignore")
        stays = pd.Series(True, index=rows.index)
        if each.one_of:
            stays &= lower.isin(each.one_of)
        if each.none_of:
            stays &= ~lower.isin(each.none_of)
        if each.empty:
            stays &= value.isna()
        report.leave_out(each.why or each.column, int((~stays).sum()))
        if each.known:
            others = lower[stays].dropna()
            report.note_unknown(each.column, sorted(set(others) - {*each.one_of, *each.known}), "such rows count")
        rows = rows[stays]
    return rows.reset_index(drop=True)


def _read_file(file: Path, table: TableMap, metadata: ShopMetadata) -> tuple[pd.DataFrame, CsvDialect | str]:
    if file.suffix == ".xml":
        return _read_xml(file, table.element), "XML"
    return read_rows(file, metadata.csv)


def _read_xml(file: Path, element: str) -> pd.DataFrame:
    """The elements of a feed as rows; names lose their namespace, and of a repeated one the first counts."""
    try:
        tree = ElementTree.parse(file)  # noqa: S314 - the shop's own file; entities from outside are not resolved
    except (ElementTree.ParseError, OSError) as error:
        raise DataError(f"{file}: cannot be read as XML: {error}", table=file.name, rule="a readable file") from error
    rows: list[dict[str, str | None]] = []
    for node in tree.iter():
        if _local(node.tag) in (element, "entry"):
            row: dict[str, str | None] = {}
            for child in node:
                row.setdefault(_local(child.tag), (child.text or "").strip() or None)
            rows.append(row)
    if not rows:
        raise DataError(f"{file}: it holds no element {element}", table=file.name, rule="a readable file")
    return pd.DataFrame(rows, dtype=object)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _filled(rows: pd.DataFrame, table: TableMap) -> pd.DataFrame:
    """Rows with what only the first row of their group has."""
    for by, names in table.fill_down.items():
        known = [name for name in names if name in rows]
        if by in rows and known:
            values = rows[known].apply(lambda column: column.where(present(column), other=cast(Any, None)))
            group = rows[by].where(present(rows[by])).ffill()
            rows = rows.assign(**{by: group, **{name: values[name].groupby(group).ffill() for name in known}})
    return rows


def _inherited(rows: pd.DataFrame, table: TableMap) -> pd.DataFrame:
    """Variants with what they take from their parent, which they name by SKU or by ``id:NUMBER``."""
    how = table.inherit
    if not how or how["parent"] not in rows:
        return rows
    parent = evaluate(how["parent"], rows)
    place = {f"id:{value}": row for row, value in evaluate(how["id"], rows).dropna().items()}
    place |= {value: row for row, value in evaluate(how["sku"], rows).dropna().items()}
    source = parent.map(place)
    for name in how["columns"]:
        if name in rows:
            own = evaluate(name, rows)
            rows = rows.assign(**{name: own.where(own.notna(), source.map(own))})
    return rows


def _mapped(rows: pd.DataFrame, table: TableMap, contract: schema.Table, metadata: ShopMetadata) -> pd.DataFrame:
    """The columns of the contract, typed; a column of which nothing is known is absent."""
    text = pd.DataFrame({name: evaluate(expression, rows) for name, expression in table.columns.items()})
    required = set(contract.required_names)
    text = text[[name for name in text if name in required or text[name].notna().any()]]
    return coerce(text, contract, keep_unreadable=True, times=metadata.times_of(contract))


def _items(raw: pd.DataFrame, table: TableMap, metadata: ShopMetadata, report: _Report) -> pd.DataFrame:
    for name in (schema.UNIT_COST, schema.STOCK, schema.CATEGORY, schema.BRAND):
        if not evaluate(table.columns.get(name, []) or "", raw).notna().any():
            report.lacks.append(CONSEQUENCES[name])
    for column, values in unknown_values(list(table.columns.values()), raw).items():
        report.note_unknown(column, values, "such rows count as if nothing stood there")
    items = _mapped(raw, table, schema.ITEMS, metadata)
    for name in (schema.TITLE, schema.DESCRIPTION):
        if name in items:
            items[name] = items[name].map(normalise, na_action="ignore")
    rules: tuple[tuple[str, Rule], ...] = (
        ("rows without an id or a title", lambda rows: rows[schema.ITEM_ID].isna() | rows[schema.TITLE].isna()),
        ("rows without a price above 0, such as pictures", partial(_not_above_0, column=schema.LIST_PRICE)),
        ("repeated items, of which the first counts", lambda rows: rows.duplicated(schema.ITEM_ID)),
    )
    twice = items[schema.ITEM_ID][items.duplicated(schema.ITEM_ID) & items[schema.ITEM_ID].notna()].unique().tolist()
    if twice:
        report.lacks.append(
            f"the id {', '.join(map(repr, twice[:UNKNOWN_SHOWN]))} stands at several items: give each its own"
        )
    items = _without(items, rules, report)
    if schema.MSRP in items:  # a price that was struck out counts only where it is the higher one
        msrp, listed = read_numbers(items[schema.MSRP]), read_numbers(items[schema.LIST_PRICE])
        items = items.assign(**{schema.MSRP: msrp.where(msrp > listed)})
    if schema.STOCK in items and (oversold := read_numbers(items[schema.STOCK]) < 0).any():
        report.lacks.append(f"{int(oversold.sum()):,} items with a stock below 0, sold before they came: sold out")
        items = items.assign(**{schema.STOCK: items[schema.STOCK].mask(oversold, other=0.0)})
    return items


def _not_above_0(rows: pd.DataFrame, column: str) -> pd.Series[bool]:
    """Rows with 0, less, or nothing in a column; not those with what is no number, which validation names."""
    numbers = read_numbers(rows[column])
    wrong: pd.Series[bool] = ~(numbers > 0) & ~(present(rows[column]) & numbers.isna())
    return wrong


def _orders(
    raw: pd.DataFrame, table: TableMap, items: pd.DataFrame, metadata: ShopMetadata, report: _Report
) -> pd.DataFrame:
    """Order lines, one for each order and item; a line without an id finds its item by its title."""
    by_title = dict(zip(items[schema.TITLE], items[schema.ITEM_ID], strict=True))
    known = set(items[schema.ITEM_ID])
    named = evaluate(table.columns[schema.ITEM_ID], raw)
    ids = named.map(lambda name: name if name in known else by_title.get(normalise(name), name), na_action="ignore")
    _require_known(ids, known, table)
    lines = _mapped(raw, table, schema.ORDERS, metadata).assign(**{schema.ITEM_ID: ids})
    rules: tuple[tuple[str, Rule], ...] = (
        (
            "lines of which nothing is left after refunds and cancellations",
            partial(_not_above_0, column=schema.QUANTITY),
        ),
        ("free lines", partial(_not_above_0, column=schema.PRICE)),
        ("lines of items that are not in the catalogue", lambda rows: ~rows[schema.ITEM_ID].isin(known)),
        ("lines without a customer", lambda rows: rows[schema.USER_ID].isna()),
    )
    lines = _without(lines, rules, report)
    return _one_line_each(lines) if len(lines) else no_rows(schema.ORDERS)


def _require_known(ids: pd.Series[Any], known: set[str], table: TableMap) -> None:
    """Refuse order lines that nearly all name items which the export of the items does not have.

    Raises:
        DataError: The two exports are of different shops, or name items differently.
    """
    named = ids.dropna()
    unknown = named[~named.isin(known)]
    if len(unknown) > UNKNOWN_LINES * len(named):
        asked = ", ".join(columns_of(table.columns[schema.ITEM_ID]))
        raise DataError(
            f"orders: {len(unknown):,} of {len(named):,} lines name an item that is not in the catalogue, such as "
            f"{unknown.unique()[:3].tolist()} (read from {asked}); export all products of the same shop, or copy the "
            "mapping and name the column that holds the items' ids (fairtag intake --show-map)",
            table="orders",
            column=schema.ITEM_ID,
            rule="known items",
            count=len(unknown),
            examples=unknown.unique()[:3].tolist(),
        )


def _without(rows: pd.DataFrame, rules: tuple[tuple[str, Rule], ...], report: _Report) -> pd.DataFrame:
    """The rows of which no rule is true; the others are counted."""
    for why, wrong in rules:
        out = wrong(rows)
        report.leave_out(why, int(out.sum()))
        rows = rows[~out]
    return rows.reset_index(drop=True)


def _one_line_each(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of one order and item as one, at their mean price; those that cannot be read stay, to be named."""
    numbers = [read_numbers(lines[name]) for name in (schema.QUANTITY, schema.PRICE)]
    readable = numbers[0].notna() & numbers[1].notna()
    unread, lines = lines[~readable], lines[readable]
    units = read_numbers(lines[schema.QUANTITY])
    lines = lines.assign(**{schema.QUANTITY: units, "value": units * read_numbers(lines[schema.PRICE])})
    merged = lines.groupby([schema.ORDER_ID, schema.ITEM_ID], sort=False, as_index=False).agg(
        **{
            schema.TS: (schema.TS, "first"),
            schema.USER_ID: (schema.USER_ID, "first"),
            schema.QUANTITY: (schema.QUANTITY, "sum"),
            "value": ("value", "sum"),
        }
    )
    price = np.round(merged["value"] / merged[schema.QUANTITY], 4)
    merged = merged.drop(columns="value").assign(**{schema.PRICE: price})
    both = pd.concat([merged.astype(object), unread[merged.columns]], ignore_index=True) if len(unread) else merged
    return coerce(both, schema.ORDERS, keep_unreadable=True)


def _codes(values: pd.Series[Any]) -> set[str]:
    """The currencies that texts such as ``12.99 EUR``, ``12.99USD`` or ``EUR`` name; a sign of several names none."""
    named = (codes_of(DIGITS.sub("", str(value))) for value in values.dropna().unique())
    return {codes[0] for codes in named if len(codes) == 1}


def _currency(data: Path, codes: set[str], stated: str | None) -> str:
    """The currency of all exports: what ``metadata.json`` states, or what they say themselves."""
    if len(codes) > 1:
        raise DataError(
            f"{data}: the exports hold several currencies ({', '.join(sorted(codes))}); export one, as a shop has one",
            rule="one currency",
        )
    if stated is not None and codes - {stated}:
        raise DataError(
            f"{data}: {METADATA} says {stated}, the exports say {next(iter(codes))}; correct the code there, or "
            f"{ONE_EACH}",
            rule="one currency",
        )
    code = stated or next(iter(codes), None)
    if code is None:
        raise DataError(
            f'{data}: no export names the currency; write {{"currency": "EUR"}} into {METADATA} there',
            rule="a known currency",
        )
    return currency(code, f"{data}: currency").code
