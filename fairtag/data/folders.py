"""Find and read the files of a data set; a file that is absent or unreadable is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from fairtag.base.errors import DataError, MissingDataError


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
    raise MissingDataError(f"{data}: there is no folder {name}; {held}; name its parent with --data", table=name)


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
        DataError: The file cannot be read as its suffix says.
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
