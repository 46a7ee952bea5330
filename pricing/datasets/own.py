"""A shop's own tables, one file a table, as docs/data.md describes them. Changes no value and guesses none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pricing import schema
from pricing.datasets.folders import read_file
from pricing.errors import DataError, MissingDataError
from pricing.files import read_json
from pricing.tables import METADATA, Tables, coerce

FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def read_own(data: Path, suffixes: tuple[str, ...], dataset: str) -> Tables:
    """Read ``<table><suffix>`` for every table of the contract, and ``metadata.json`` where there is one.

    Args:
        data: Folder of the files.
        suffixes: File endings, the first that exists is read.
        dataset: Name that the tables carry.

    Raises:
        MissingDataError: The folder or a required table or column is absent.
        DataError: A file cannot be read, or a value is not of its column's kind.
    """
    if not data.is_dir():
        raise MissingDataError(f"{data}: there is no such folder")
    frames: dict[str, pd.DataFrame] = {}
    for table in schema.TABLES:
        file = next(
            (data / f"{table.name}{suffix}" for suffix in suffixes if (data / f"{table.name}{suffix}").is_file()), None
        )
        if file is not None:
            frames[table.name] = coerce(_parsed(_read(file), table), table)
        elif table.required:
            wanted = " or ".join(f"{table.name}{suffix}" for suffix in suffixes)
            raise MissingDataError(f"{data}: the table {table.name} is required; put {wanted} there", table=table.name)
    return Tables(**frames, metadata=_metadata(data, dataset, frames))


def _read(file: Path) -> pd.DataFrame:
    """The file's rows; from CSV everything as text, so that an id such as 00123 keeps its zeros."""
    if file.suffix == ".parquet":
        return read_file(file)
    return read_file(file, dtype=str, keep_default_na=False, na_values=[""])


def _parsed(frame: pd.DataFrame, table: schema.Table) -> pd.DataFrame:
    """Lists, flags and numbers read from their texts; whatever is not text is left as it is."""
    frame = frame.copy()
    for column in table.columns:
        if column.name not in frame.columns:
            continue
        if column.kind in ("ids", "numbers", "flag"):
            frame[column.name] = [_value(value, column, table.name) for value in frame[column.name]]
        elif column.kind in ("money", "number", "integer", "share"):
            frame[column.name] = _numbers(frame[column.name])
    return frame


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Numbers to the last digit (pandas' own reading of text may be off by one); texts are left for the contract."""
    try:
        return values.astype("float64")
    except (TypeError, ValueError):
        return values


def _value(value: Any, column: schema.Column, table: str) -> Any:
    if column.kind == "flag":
        return _flag(value, column, table) if isinstance(value, str) else value
    if not isinstance(value, str):
        return [] if value is None or (isinstance(value, float) and pd.isna(value)) else value
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise _bad_list(value, column, table) from error
    if not isinstance(parsed, list):
        raise _bad_list(value, column, table)
    return parsed


def _flag(value: str, column: schema.Column, table: str) -> bool:
    if value.strip().lower() not in FLAGS:
        raise DataError(
            f"{table}.{column.name}: {value!r} is not a flag; write one of {', '.join(FLAGS)}",
            table=table,
            column=column.name,
            rule="a flag",
            count=1,
            examples=[value],
        )
    return FLAGS[value.strip().lower()]


def _bad_list(value: str, column: schema.Column, table: str) -> DataError:
    return DataError(
        f'{table}.{column.name}: {value!r} is not a JSON list; write it as [1.5, 3] or ["a", "b"]',
        table=table,
        column=column.name,
        rule="a JSON list",
        count=1,
        examples=[value],
    )


def _metadata(data: Path, dataset: str, frames: dict[str, pd.DataFrame]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if (data / METADATA).is_file():
        try:
            given = read_json(data / METADATA)
        except ValueError as error:
            raise DataError(f"{data / METADATA}: not a JSON object: {error}", rule="a JSON object") from error
    propensity = frames["impressions"].get(schema.PROPENSITY)
    explored = propensity is not None and bool(propensity.notna().any())
    provenance = dict.fromkeys(frames, "recorded: as given by the shop")
    defaults = {"dataset": dataset, "currency": "USD", "provenance": provenance, "observational": not explored}
    return {**defaults, **{name: value for name, value in given.items() if name != "fingerprint"}}
