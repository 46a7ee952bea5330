"""The tables of a shop, in memory and on disk.

Every reader passes its frames through :func:`coerce`, so the types are right everywhere else.

>>> price = pd.DataFrame({"order_id": ["o1"], "item_id": [7], "ts": ["2026-01-01T10:00:00Z"], "user_id": ["u1"],
...                       "quantity": ["2"], "price": ["19.90"]})
>>> orders = coerce(price, schema.ORDERS)
>>> orders["item_id"].tolist(), orders["price"].tolist()
(['7'], [19.9])

A folder of tables holds ``<table>.parquet`` for each table, and ``metadata.json`` with the provenance of each table and
the fingerprint of the content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Number
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.files import directory_atomic, read_json, write_json
from fairtag.base.values import UNREADABLE, TimeFormat, present, read_values

METADATA = "metadata.json"


@dataclass(frozen=True)
class Tables:
    """The tables of one shop, and their metadata.

    Args:
        items: Snapshots of the catalogue, key (item_id, updated_at).
        users: Snapshots of customer behaviour, key (user_id, updated_at); no rows where the shop has none, as in the
            next two.
        impressions: Items shown on priced pages.
        orders: Order lines.
        judgements: Graded query-item relevance, with the judged text.
        audit_groups: Groups of users, for the fairness audit only.
        metadata: ``dataset``, ``currency``, ``provenance`` (table -> "recorded", "derived" or "simulated", with a
            note), ``observational`` (true if prices were not randomised), and anything else to show in reports.
    """

    items: pd.DataFrame
    users: pd.DataFrame
    impressions: pd.DataFrame
    orders: pd.DataFrame
    judgements: pd.DataFrame | None = None
    audit_groups: pd.DataFrame | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def frame(self, name: str) -> pd.DataFrame | None:
        """The table of that name; None if the shop does not have it."""
        frame: pd.DataFrame | None = getattr(self, name)
        return frame

    def frames(self) -> dict[str, pd.DataFrame]:
        """All tables of the shop by name."""
        present = ((table.name, self.frame(table.name)) for table in schema.TABLES)
        return {name: frame for name, frame in present if frame is not None}

    def latest_items(self) -> pd.DataFrame:
        """The newest snapshot of each item, one row each, sorted by item_id."""
        return _latest(self.items, schema.ITEM_ID)

    def latest_users(self) -> pd.DataFrame:
        """The newest snapshot of each user, one row each, sorted by user_id."""
        return _latest(self.users, schema.USER_ID)

    def fingerprint(self) -> str:
        """Hex SHA-256 of the names, columns and values of all tables; independent of row order."""
        digest = hashlib.sha256()
        for name, frame in sorted(self.frames().items()):
            ordered = frame[sorted(frame.columns)]
            hashable = ordered.map(lambda value: tuple(value) if isinstance(value, list | np.ndarray) else value)
            rows = np.sort(pd.util.hash_pandas_object(hashable, index=False).to_numpy())
            digest.update(f"{name}:{','.join(map(str, ordered.columns))}:{len(frame)}".encode())
            digest.update(rows.tobytes())
        return digest.hexdigest()


def read_tables(path: Path) -> Tables:
    """Read a folder written by :func:`write_tables`.

    Raises:
        MissingDataError: The folder, its metadata or a required table is absent.
        DataError: A column cannot be read as its declared kind.
    """
    if not (path / METADATA).is_file():
        raise MissingDataError(f"{path}: no {METADATA}; a folder of tables is made by the ingest step")
    frames: dict[str, pd.DataFrame] = {}
    for table in schema.TABLES:
        file = path / f"{table.name}.parquet"
        if file.is_file():
            frames[table.name] = coerce(pd.read_parquet(file), table)
        elif table.required:
            raise MissingDataError(f"{file}: the table {table.name} is required", table=table.name)
    for table in (schema.USERS, schema.IMPRESSIONS, schema.ORDERS):
        frames.setdefault(table.name, no_rows(table))
    return Tables(**frames, metadata=read_json(path / METADATA))


def no_rows(table: schema.Table) -> pd.DataFrame:
    """A table with its required columns and no rows, for a shop that does not have it."""
    return coerce(pd.DataFrame({name: pd.Series([], dtype=object) for name in table.required_names}), table)


def write_tables(tables: Tables, path: Path) -> Path:
    """Write all tables and the metadata with the fingerprint; the folder is replaced as a whole."""
    with directory_atomic(path) as temporary:
        for name, frame in tables.frames().items():
            frame.to_parquet(temporary / f"{name}.parquet", index=False, coerce_timestamps="us", compression="zstd")
        write_json(temporary / METADATA, {**tables.metadata, "fingerprint": tables.fingerprint()})
    return path


def coerce(
    frame: pd.DataFrame,
    table: schema.Table,
    *,
    keep_unreadable: bool = False,
    keep_columns: bool = False,
    times: Mapping[str, TimeFormat] | None = None,
) -> pd.DataFrame:
    """Set the type of every declared column; a column outside the contract is refused.

    Args:
        frame: Rows; numbers, times, flags and (JSON) lists may be given as text.
        table: The contract.
        keep_unreadable: Leave a column of which a value cannot be read as text, for validation to name the value and
            set its row aside; false refuses the table.
        keep_columns: Leave columns outside the contract, and bear absent ones, for validation to name them all.
        times: Time formats of the shop by column name; other times are ISO 8601.

    Raises:
        MissingDataError: A required column is absent.
        DataError: A value cannot be read as its kind, or a column is not in the contract.
    """
    table = table.with_own(map(str, frame.columns))
    missing = [name for name in table.required_names if name not in frame.columns]
    if missing and not keep_columns:
        raise MissingDataError(
            f"{table.name}: column {', '.join(missing)} is missing; the table needs {', '.join(table.required_names)}",
            table=table.name,
            column=missing[0],
            rule="required column",
        )
    unknown = [str(name) for name in frame.columns if name not in table.names]
    if unknown and not keep_columns:
        raise DataError(
            f"{table.name}: column {', '.join(unknown)} is not in the contract; it may hold {', '.join(table.names)}",
            table=table.name,
            column=unknown[0],
            rule="known column",
        )
    read = _typed_or_text if keep_unreadable else _typed
    given = [column for column in table.columns if column.name in frame.columns]
    formats = times or {}
    typed = pd.DataFrame({c.name: read(frame[c.name], c, table.name, formats.get(c.name)) for c in given})
    return typed.assign(**{name: frame[name] for name in unknown}) if unknown else typed


TEXT_KINDS = ("id", "text", "category")


def _typed_or_text(
    values: pd.Series[Any], column: schema.Column, _table: str, time_format: TimeFormat | None
) -> pd.Series[Any]:
    """The typed column, or all of it as text where a value of it cannot be read.

    Times that were read in a format of the shop's own are written as ISO 8601, so that only the others stand out.
    """
    typed, unreadable = read_values(values, column, time_format)
    if not unreadable.any():
        return _on_disk(typed, column)
    text = values.map(_time_text if column.kind == "time" else _text, na_action="ignore").astype(object)
    if column.kind in TEXT_KINDS:  # as a text it could be read after all
        text = text.mask(unreadable, other=text.map(lambda value: f"{value}{UNREADABLE}", na_action="ignore"))
    if time_format is not None:
        text = text.mask(typed.notna(), other=typed.map(pd.Timestamp.isoformat, na_action="ignore"))
    return text.mask(~present(values), other=cast(Any, None))


def _time_text(value: Any) -> str:
    """A value of a time column as text; the number 20250705 must not become the date of the same digits."""
    number = isinstance(value, Number) and not isinstance(value, bool)
    return f"{value} (a number)" if number else _text(value)


def _text(value: Any) -> str:
    return json.dumps(list(value)) if isinstance(value, list | tuple | np.ndarray) else str(value)


def _typed(values: pd.Series[Any], column: schema.Column, table: str, time_format: TimeFormat | None) -> pd.Series[Any]:
    typed, unreadable = read_values(values, column, time_format)
    if unreadable.any():
        bad, examples = int(unreadable.sum()), values[unreadable].head(3).tolist()
        raise DataError(
            f"{table}.{column.name}: {bad} values cannot be read as {column.kind}, such as {examples}",
            table=table,
            column=column.name,
            rule=f"readable as {column.kind}",
            count=bad,
            examples=examples,
        )
    return _on_disk(typed, column)


def _on_disk(typed: pd.Series[Any], column: schema.Column) -> pd.Series[Any]:
    """The type of the kind: whole numbers and flags without a gap have one that holds no gap."""
    if column.kind == "flag":
        return typed.astype(bool) if typed.notna().all() else typed
    if column.kind == "integer" and typed.notna().all():
        return typed.astype("int64")
    return typed


def _latest(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    newest = frame.sort_values([key, schema.UPDATED_AT], kind="stable").drop_duplicates(key, keep="last")
    return newest.reset_index(drop=True)
