"""Erases people from the quote log, its journal, and the outcomes that the shop reported.

Rows go as a whole. A row without its pseudonym would still have its quote id, which the shop's own orders may hold.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from fairtag.base import schema
from fairtag.base.errors import UnavailableError
from serving.stores.journal import SUFFIX
from serving.stores.parquet_files import ParquetFiles

WHOSE = (schema.USER_KEY, schema.GUEST_KEY)  # columns of the quote log that say whose a row is


def quotes_of(url: str, keys: Set[str]) -> dict[str, set[str]]:
    """The quotes of people by the file of the log that holds them.

    Args:
        url: fsspec URL of the quote log.
        keys: Pseudonyms.

    Raises:
        UnavailableError: A file cannot be read, so that nobody could say that the log is clean.
    """
    found = {}
    for path, table in _tables(ParquetFiles(url), (*WHOSE, schema.QUOTE_ID)):
        theirs = table.filter(_theirs(table, WHOSE, keys))
        if theirs.num_rows:
            found[path] = set(theirs[schema.QUOTE_ID].to_pylist())
    return found


def erase_rows(url: str, columns: Sequence[str], values: Set[str], *, dry_run: bool) -> int:
    """Remove the rows of a log that have one of some values in one of some columns; how many there are.

    Each file is replaced as a whole, or removed where nothing is left of it.

    Raises:
        UnavailableError: A file cannot be read or written.
    """
    files, erased = ParquetFiles(url), 0
    for path, table in _tables(files, columns):
        theirs = _theirs(table, columns, values)
        count = pc.sum(theirs).as_py() or 0
        erased += count
        if not count or dry_run:
            continue
        try:
            if count == table.num_rows:
                files.remove(path)
            else:
                files.write(path, files.read(path).filter(pc.invert(theirs)))
        except OSError as error:
            raise UnavailableError(
                f"{path}: cannot be written ({type(error).__name__}), and {count} rows of it are left; look at the "
                "disk or at the rights of the identity, and erase again"
            ) from error
    return erased


def erase_journal(folder: Path, keys: Set[str], *, dry_run: bool) -> tuple[int, int]:
    """Remove people's pages from the journals of endpoints that have ended.

    Returns:
        Pages that were removed, and pages in the journal of a running endpoint, which will be in a file soon.
    """
    removed = waiting = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as stream:
                count, kept = _without(stream.read(), keys)
                if not count:
                    continue
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    waiting += count
                    continue
                removed += count
                if not dry_run:
                    _replace(path, kept)
        except FileNotFoundError:  # its pages are in a file now
            continue
    return removed, waiting


def _without(content: bytes, keys: Set[str]) -> tuple[int, bytes]:
    """How many pages of a journal are somebody's, and the journal without them."""
    lines, count = [], 0
    for line in content.splitlines(keepends=True):
        try:
            page = orjson.loads(line)
            mine = any(page.get(column) in keys for column in WHOSE)
        except orjson.JSONDecodeError:  # cut off by a crash; it may be anybody's
            mine = any(key.encode() in line for key in keys)
        count += mine
        if not mine:
            lines.append(line)
    return count, b"".join(lines)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def _tables(files: ParquetFiles, columns: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
    for path in files.paths():
        try:
            yield path, files.read(path, tuple(columns))
        except FileNotFoundError:  # too old, and removed meanwhile
            continue
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UnavailableError(
                f"{path}: cannot be read ({type(error).__name__}), so that nobody can say whose rows it holds; restore "
                "or remove it, and erase again"
            ) from error


def _theirs(table: pa.Table, columns: Iterable[str], values: Set[str]) -> Any:
    """Which rows have one of some values in one of some columns; older files lack the newest columns."""
    wanted, found = pa.array(sorted(values), pa.string()), pa.array(np.zeros(table.num_rows, dtype=bool))
    for column in columns:
        if column in table.schema.names:
            found = pc.or_(found, pc.fill_null(pc.is_in(table[column].cast(pa.string()), value_set=wanted), False))
    return found
