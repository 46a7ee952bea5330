"""A shop's own tables, one file a table, as docs/data.md describes them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError, MissingDataError
from fairtag.base.money import USUAL_CURRENCY, currency
from fairtag.base.settings import parse
from fairtag.base.tables import METADATA, Tables, coerce, no_rows
from fairtag.base.values import TimeFormat, read_times
from fairtag.data.csv_files import CsvDialect, contract_names, read_csv_file
from fairtag.data.currencies import one_currency, require_signs, take_currency
from fairtag.data.derived_tables import AS_OF
from fairtag.data.folders import read_file

OTHER_FORMS = (".tsv", ".txt", ".xlsx", ".xls", ".ods", ".json", ".csv.zip")  # a shop that puts one there means it
SETTINGS = ("currency", "times", "csv", "price_menu")
NEARLY = 0.85  # similarity from which on a name is a setting's with a typing error
SIMULATED = "synthetic"  # the data set of the simulator
MOST_SHARE = 10.0  # of list, in a price menu: [80, 90, 100] are percentages and not shares


@dataclass(frozen=True)
class ShopMetadata:
    """What a shop says of its files in ``metadata.json``.

    Args:
        currency: ISO 4217 code of all money; None where the shop states none.
        times: How times are written where not in ISO 8601, by ``table.column``.
        csv: How the CSV files are written, instead of what would be detected.
        notes: Everything else, shown in the reports.
    """

    currency: str | None = None
    times: Mapping[str, TimeFormat] = field(default_factory=dict)
    csv: CsvDialect = field(default_factory=CsvDialect)
    notes: Mapping[str, Any] = field(default_factory=dict)

    def times_of(self, table: schema.Table) -> dict[str, TimeFormat]:
        """The stated formats of a table's columns, by column name."""
        prefix = f"{table.name}."
        return {name.removeprefix(prefix): kind for name, kind in self.times.items() if name.startswith(prefix)}


def read_own(data: Path, suffixes: tuple[str, ...], dataset: str) -> Tables:
    """Read ``<table><suffix>`` for every table of the contract, and ``metadata.json`` where there is one.

    A column of which a value cannot be read as its kind stays text: validation names the value, sets its row aside and
    counts it, and the others go on.

    Only ``items`` must be there; what can be derived from the others is derived after validation
    (:mod:`fairtag.data.derived_tables`). A catalogue without ``updated_at`` is as old as its file, or as ``as_of`` in
    ``metadata.json`` says.

    Args:
        data: Folder of the files.
        suffixes: File endings; the first that exists is read. A parquet table may be a folder of parts.
        dataset: Name that the tables carry.

    Raises:
        MissingDataError: The folder or a required table or column is absent.
        DataError: A file cannot be read, has a column that the contract does not name, or the currency is unknown.
    """
    frames, metadata, errors = read_each(data, suffixes, dataset, strict=True)
    if errors:
        raise errors[0]
    for table in (schema.USERS, schema.IMPRESSIONS, schema.ORDERS):
        frames.setdefault(table.name, no_rows(table))
    return Tables(**frames, metadata=metadata)


def read_each(
    data: Path, suffixes: tuple[str, ...], dataset: str, *, strict: bool = False
) -> tuple[dict[str, pd.DataFrame], dict[str, Any], list[DataError]]:
    """Every table that can be read, the metadata, and the error of each that cannot.

    Args:
        data: Folder of the files.
        suffixes: File endings; the first that exists is read.
        dataset: Name that the tables carry.
        strict: Stop at the first error, and refuse a table with an absent or unknown column; otherwise such a table is
            returned as it is, for validation to name all that is wrong with it.

    Raises:
        MissingDataError: There is no such folder.
        DataError: ``metadata.json`` is refused.
    """
    if not data.is_dir():
        raise MissingDataError(f"{data}: there is no such folder; name the one that holds items{suffixes[0]}")
    metadata = read_metadata(data / METADATA)
    frames: dict[str, pd.DataFrame] = {}
    dialects: dict[str, str] = {}
    errors: list[DataError] = []
    assumed: list[str] = []
    currencies: dict[str, str] = {}
    for table in schema.TABLES:
        try:
            frame = _read_one(data, suffixes, table, metadata, dialects, currencies, strict=strict)
        except DataError as error:
            error.table = error.table or table.name
            errors.append(error)
            if strict:
                break
            continue
        if frame is not None:
            frames[table.name] = frame
    try:
        code = one_currency(metadata.currency, currencies)
        if metadata.currency is None and not currencies:
            assumed.append(f"no currency in {METADATA}: all money is read as {code}")
    except DataError as error:
        errors.append(error)
        code = metadata.currency or USUAL_CURRENCY
    described = _described(metadata, code, dataset, frames, dialects)
    if assumed:
        described["lacks"] = [*described.get("lacks", ()), *assumed]
    if "items" in frames and schema.UPDATED_AT not in frames["items"] and AS_OF not in described:
        described[AS_OF] = _written(cast(Path, _file(data, schema.ITEMS, suffixes))).isoformat()
    return frames, described, errors


def read_beside(data: Path, metadata: ShopMetadata, tables: Sequence[schema.Table]) -> dict[str, pd.DataFrame]:
    """Those of some tables that lie in a folder in the contract's own form.

    Raises:
        DataError: One of them cannot be read.
    """
    found = {
        table.name: _read_one(data, (".csv", ".csv.gz", ".parquet"), table, metadata, {}, {}, strict=True)
        for table in tables
        if not table.required
    }
    return {name: frame for name, frame in found.items() if frame is not None}


def _read_one(
    data: Path,
    suffixes: tuple[str, ...],
    table: schema.Table,
    metadata: ShopMetadata,
    dialects: dict[str, str],
    currencies: dict[str, str],
    *,
    strict: bool,
) -> pd.DataFrame | None:
    file = _file(data, table, suffixes)
    if file is None:
        return None
    inspect = partial(_in_one_currency, table=table, file=file, metadata=metadata, currencies=currencies)
    if file.suffix == ".parquet":
        raw = read_file(file)
        raw = inspect(raw.set_axis(contract_names(file, list(map(str, raw.columns)), table), axis="columns"))
    else:
        raw, dialect = read_csv_file(file, table, metadata.csv, inspect)
        dialects[file.name] = dialect.text()
    return coerce(raw, table, keep_unreadable=True, keep_columns=not strict, times=metadata.times_of(table))


def _file(data: Path, table: schema.Table, suffixes: tuple[str, ...]) -> Path | None:
    """The file of a table, whatever the case of its name; None where a table that may be absent is absent.

    Raises:
        MissingDataError: A table that is required is absent, or one lies there in a form that is not read.
    """
    there = {path.name.lower(): path for path in sorted(data.iterdir(), reverse=True)}
    wanted = [f"{table.name}{suffix}" for suffix in suffixes]
    found = next((there[name] for name in wanted if name in there), None)
    if found is not None:
        return found
    other = next((there[name] for each in OTHER_FORMS if (name := f"{table.name}{each}") in there), None)
    if other is None and not table.required:
        return None
    put = f"put {' or '.join(wanted)} there"
    if other is not None:
        raise MissingDataError(f"{other}: {other.suffix} is not read; save it as CSV, and {put}", table=table.name)
    raise MissingDataError(f"{data}: the table {table.name} is required; {put}", table=table.name)


def _in_one_currency(
    raw: pd.DataFrame, table: schema.Table, file: Path, metadata: ShopMetadata, currencies: dict[str, str]
) -> pd.DataFrame:
    """The table without its currency column, whose code is noted by file."""
    raw, code = take_currency(raw, file)
    if code is not None:
        currencies[file.name] = code
    require_signs(raw, table, file, code or metadata.currency)
    return raw


def read_csv(data: Path) -> Tables:
    """Read ``<table>.csv`` or ``<table>.csv.gz``; errors as in :func:`read_own`."""
    return read_own(data, (".csv", ".csv.gz"), "csv")


def read_parquet(data: Path) -> Tables:
    """Read ``<table>.parquet``; errors as in :func:`read_own`."""
    return read_own(data, (".parquet",), "parquet")


def read_metadata(path: Path) -> ShopMetadata:
    """Read a shop's ``metadata.json``; everything has its default where there is none.

    Raises:
        DataError: The file is not a JSON object, or one of its settings is refused.
    """
    if not path.is_file():
        return ShopMetadata()
    try:
        text = path.read_text(encoding="utf-8-sig")
        given = json.loads(text, object_pairs_hook=_each_once, parse_constant=_no_number)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a JSON object in UTF-8: {error}", rule="a JSON object") from error
    if not isinstance(given, dict):
        raise DataError(
            f'{path}: not a JSON object: it holds {given!r}; write an object such as {{"currency": "EUR"}}',
            rule="a JSON object",
        )
    _require_spelling(given, path)
    notes = {name: value for name, value in given.items() if name not in ("currency", "times", "csv", "fingerprint")}
    code = currency(given["currency"], f"{path}: currency").code if "currency" in given else None
    _require_menu(given.get("price_menu"), path)
    _require_kinds(notes, path)
    if notes.get("dataset") == SIMULATED:
        del notes["dataset"]  # a shop's own tables are nobody's simulation, whatever they are copied from
    try:
        dialect = parse(CsvDialect, given.get("csv", {}), "csv")
        return ShopMetadata(code, _time_formats(given.get("times", {})), dialect, notes)
    except ConfigError as error:
        raise DataError(f"{path}: {error}", rule="a setting of metadata.json") from error


def _require_spelling(given: Mapping[str, Any], path: Path) -> None:
    """Refuse what is nearly spelled as a setting is: as a note it would be without effect, and nobody would know."""
    known = {name.casefold(): name for name in (*SETTINGS, *KINDS)}
    for name in (name for name in given if name not in known.values()):
        near = difflib.get_close_matches(name.casefold(), known, n=1, cutoff=NEARLY)
        if near:
            raise DataError(
                f"{path}: {name!r} is no setting; did you mean {known[near[0]]!r}?",
                column=name,
                rule="a setting's name",
            )


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands more than once")
    return dict(pairs)


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _require_kinds(notes: Mapping[str, Any], path: Path) -> None:
    """Refuse what the code reads of the notes where it is not of its kind: a date that must be guessed, for one."""
    for name, (rule, holds) in KINDS.items():
        if name in notes and not holds(notes[name]):
            raise DataError(f"{path}: {name}: {notes[name]!r} is refused; write {rule}", column=name, rule=rule)


def _is_instant(value: Any) -> bool:
    return isinstance(value, str) and bool(read_times(pd.Series([value], dtype=object)).notna().all())


def _is_map(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    AS_OF: ("when the catalogue was exported, in ISO 8601: 2026-01-31", _is_instant),
    "provenance": ('where each table comes from: {"items": "recorded"}', _is_map),
    "files": ("how each file is written", _is_map),
    "left_out": ("rows by reason", lambda value: isinstance(value, dict)),
    "lacks": ("a list of texts", lambda value: isinstance(value, list)),
    "observational": ("true or false", lambda value: isinstance(value, bool)),
    "dataset": ("a name", lambda value: isinstance(value, str)),
}


def _require_menu(menu: object, path: Path) -> None:
    """Refuse a price menu that is not two or more shares of list."""
    if menu is None:
        return
    shares = menu if isinstance(menu, list) else []
    if len(set(map(str, shares))) < 2 or not all(
        isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= MOST_SHARE for share in shares
    ):
        raise DataError(
            f"{path}: price_menu: {menu!r} is refused; write two or more shares of list, such as [0.8, 0.9, 1.0]",
            column="price_menu",
            rule="shares of list",
        )


def _written(file: Path) -> datetime:
    """When a file was last written, UTC, to the second."""
    return datetime.fromtimestamp(int(file.stat().st_mtime), UTC)


def _time_formats(given: object) -> dict[str, TimeFormat]:
    times = [
        f"{table.name}.{column.name}" for table in schema.TABLES for column in table.columns if column.kind == "time"
    ]
    if not isinstance(given, dict):
        raise ConfigError(f'times: {given!r} is refused; write an object such as {{"orders.ts": {{"unit": "ms"}}}}')
    if unknown := sorted(set(given) - set(times)):
        raise ConfigError(f"times: {', '.join(unknown)} is no time column; there are {', '.join(times)}")
    return {name: parse(TimeFormat, value, f"times.{name}") for name, value in given.items()}


def _described(
    metadata: ShopMetadata, code: str, dataset: str, frames: Mapping[str, pd.DataFrame], dialects: Mapping[str, str]
) -> dict[str, Any]:
    """The metadata that the tables carry on."""
    shown = frames.get("impressions")
    propensity = None if shown is None else shown.get(schema.PROPENSITY)
    explored = propensity is not None and bool(propensity.notna().any())
    return {
        "dataset": dataset,
        "currency": code,
        "provenance": dict.fromkeys(frames, "recorded: as given by the shop"),
        "observational": not explored,
        **({"files": dict(dialects)} if dialects else {}),
        **metadata.notes,
    }
