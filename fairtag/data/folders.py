"""Files of a data set, found and read, or refused with a message that says which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import csv

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.tables import coerce

_PARSE = csv.ParseOptions(newlines_in_values=True)


def dataset_folder(data: Path, name: str) -> Path:
    """The folder of a data set: ``data/name``, or ``data`` itself when it has that name.

    Raises:
        MissingDataError: Neither exists.
    """
    for candidate in (data / name, data):
        if candidate.is_dir() and candidate.name == name:
            return candidate
    found = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    held = f"it holds {', '.join(found[:8])}" if found else "it holds no folder"
    raise MissingDataError(f"{data}: there is no folder {name}; {held}", table=name)


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read named columns of a parquet, CSV or gzipped CSV file.

    Raises:
        MissingDataError: The file or a column is absent.
        DataError: The file cannot be read or has no rows.
    """
    if not path.is_file():
        raise MissingDataError(f"{path}: the file is absent", table=path.name)
    frame = read_file(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        message = f"{path}: column {', '.join(missing)} is missing; the file has {', '.join(map(str, frame.columns))}"
        raise MissingDataError(message, table=path.name, column=missing[0], rule="required column")
    if frame.empty:
        raise DataError(f"{path}: the file has no rows", table=path.name, rule="at least one row")
    return frame[list(columns)]


def read_file(path: Path) -> pd.DataFrame:
    """Read a whole parquet or CSV file.

    Raises:
        DataError: The file cannot be read as what its name says.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path)
    except (
        pa.ArrowException,
        OSError,
        UnicodeError,
        EOFError,
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
    ) as error:
        message = f"{path}: cannot be read as {path.suffix.lstrip('.')}: {error}"
        raise DataError(message, table=path.name, rule="a readable file") from error


def read_text(path: Path) -> pd.DataFrame:
    """Read a CSV file with every value as text, so that an id such as 00123 keeps its zeros; an empty cell is None.

    A row with more or fewer fields than the header is refused: shifted or padded, its values would be another column's.

    Raises:
        DataError: The file is no CSV in UTF-8, names a column twice, or has such a row.
    """
    try:
        with csv.open_csv(path, parse_options=_PARSE) as file:
            names = file.schema.names
        text = csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        )
        frame: pd.DataFrame = csv.read_csv(path, parse_options=_PARSE, convert_options=text).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as csv: {error}", table=path.name, rule="a readable file") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"{path}: column {', '.join(twice)} stands more than once in the header"
        raise DataError(message, table=path.name, column=twice[0], rule="one column of a name")
    return frame


def empty(table: schema.Table) -> pd.DataFrame:
    """A table with all its required columns and no rows, for data sets that do not record it."""
    return coerce(pd.DataFrame({name: pd.Series([], dtype=object) for name in table.required_names}), table)
