"""Find and read the files of a data set; a file that is absent or unreadable is refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pyarrow as pa
from pyarrow import parquet as pq

from fairtag.base.errors import DataError, MissingDataError

ABSENT_PARTITION = "__HIVE_DEFAULT_PARTITION__"  # how Hive names the folder of rows without the value


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
    """Read a whole parquet or CSV file, or a folder of parquet files as Spark writes it.

    Of a folder every part counts with every column that it has; a name such as ``category=007`` is a column of text.
    Whole numbers stay whole beside gaps.

    Raises:
        DataError: The file cannot be read as its suffix says.
    """
    try:
        if path.suffix == ".parquet":
            return _parquet(path)
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


def _parquet(path: Path) -> pd.DataFrame:
    tables = [_part(file, path) for file in _parts(path)]
    if not tables:
        raise DataError(f"{path}: the folder holds no part file; write *.parquet files into it", table=path.name)
    try:
        return _to_pandas(pa.concat_tables(tables, promote_options="permissive"))
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # parts that hold a column as a number and as a text
        frames = [_to_pandas(table).astype(object) for table in tables if table.num_rows]
        return pd.concat(frames, ignore_index=True)


def _parts(path: Path) -> Iterator[Path]:
    """The parquet files of a table; what begins with a dot or an underscore is no part (``_SUCCESS``, checksums)."""
    if path.is_file():
        yield path
        return
    for file in sorted(path.rglob("*")):
        names = file.relative_to(path).parts
        if file.is_file() and not any(name.startswith((".", "_")) for name in names):
            yield file


def _part(file: Path, path: Path) -> pa.Table:
    """One part with the columns that its folders name."""
    table = pq.ParquetFile(file).read()
    for folder in file.relative_to(path).parts[:-1] if path.is_dir() else ():
        name, sign, value = folder.partition("=")
        if sign and name not in table.column_names:
            text = None if value == ABSENT_PARTITION else unquote(value)
            table = table.append_column(name, pa.array([text] * table.num_rows, pa.string()))
    return table


def _to_pandas(table: pa.Table) -> pd.DataFrame:
    """A table as pandas, without an index: dictionaries are their values, and whole numbers with gaps are objects."""
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)  # noqa: PLW2901 - the same column, plainly written
        if pa.types.is_integer(column.type) and column.null_count:
            columns[name] = pd.Series(column.to_pylist(), dtype=object)
        else:
            columns[name] = column.to_pandas()
    if len(columns) < table.num_columns:
        twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
        raise pa.ArrowInvalid(f"column {', '.join(twice)} stands more than once; keep one of them")
    return pd.DataFrame(columns)
