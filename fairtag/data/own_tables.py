"""A shop's own tables, one file a table, as docs/data.md describes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.files import read_json
from fairtag.base.tables import METADATA, Tables, coerce
from fairtag.data.folders import read_file, read_text


def read_own(data: Path, suffixes: tuple[str, ...], dataset: str) -> Tables:
    """Read ``<table><suffix>`` for every table of the contract, and ``metadata.json`` where there is one.

    A column of which a value cannot be read as its kind stays text: validation names the value, sets its row aside and
    counts it, and the others go on.

    Args:
        data: Folder of the files.
        suffixes: File endings, the first that exists is read.
        dataset: Name that the tables carry.

    Raises:
        MissingDataError: The folder or a required table or column is absent.
        DataError: A file cannot be read, or has a column that the contract does not name.
    """
    if not data.is_dir():
        raise MissingDataError(f"{data}: there is no such folder")
    frames: dict[str, pd.DataFrame] = {}
    for table in schema.TABLES:
        file = next(
            (data / f"{table.name}{suffix}" for suffix in suffixes if (data / f"{table.name}{suffix}").is_file()), None
        )
        if file is not None:
            frames[table.name] = coerce(
                (read_file if file.suffix == ".parquet" else read_text)(file), table, keep_unreadable=True
            )
        elif table.required:
            wanted = " or ".join(f"{table.name}{suffix}" for suffix in suffixes)
            raise MissingDataError(f"{data}: the table {table.name} is required; put {wanted} there", table=table.name)
    return Tables(**frames, metadata=_metadata(data, dataset, frames))


def read_csv(data: Path) -> Tables:
    """Read ``<table>.csv`` or ``<table>.csv.gz``; errors as in :func:`read_own`."""
    return read_own(data, (".csv", ".csv.gz"), "csv")


def read_parquet(data: Path) -> Tables:
    """Read ``<table>.parquet``; errors as in :func:`read_own`."""
    return read_own(data, (".parquet",), "parquet")


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
