"""Parquet files of a log on any fsspec URL, each of which is whole or absent: found, read, written and removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from fairtag.base import schema

OPENED = re.compile(r"(\d{8}T\d{6})")  # time at which the file was opened, in its name
HIDDEN = re.compile(r"(^|/)[._][^/]*")
ENDING = ".tmp"  # of a file that is being written


class ParquetFiles:
    """The files under a URL.

    Args:
        url: fsspec URL of the folder.
        storage_options: Options of the file system.
    """

    def __init__(self, url: str, storage_options: dict[str, Any] | None = None) -> None:
        self.fs, self.root = fsspec.core.url_to_fs(url, **(storage_options or {}))

    def paths(self) -> list[str]:
        """All files, by name; none where the folder is not there."""
        if not self.fs.exists(self.root):
            return []
        found = [path for path in self.fs.find(self.root) if path.endswith(".parquet")]
        return sorted(path for path in found if not HIDDEN.search(self.short(path)))

    def leftovers(self, older_than: float) -> Iterator[str]:
        """Files that a process began to write and did not end, on a local disk.

        Args:
            older_than: Unix seconds; a younger one may still be in the making.
        """
        if isinstance(self.fs, LocalFileSystem):
            for file in Path(self.root).rglob(f".*{ENDING}"):
                if file.stat().st_mtime < older_than:
                    yield str(file)

    def short(self, path: str) -> str:
        """A path below the URL."""
        return path.removeprefix(str(self.root)).lstrip("/") or path

    def read(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A file, or some of its columns; those that it lacks are left out.

        Raises:
            OSError: It cannot be read.
            pyarrow.ArrowException: It is no Parquet file.
        """
        with self.fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            names = file.schema_arrow.names
            return file.read(None if columns is None else [name for name in columns if name in names])

    def write(self, path: str, table: pa.Table) -> None:
        """Write a file whole, in place of what was there."""
        write_parquet(self.fs, path, table)

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""
        try:
            self.fs.rm_file(path)
        except FileNotFoundError:
            return

    def footer(self, path: str) -> pq.FileMetaData:
        """What a file says of its columns, without reading them."""
        with self.fs.open(path, "rb") as stream:
            return pq.read_metadata(stream)


def opened(path: str) -> datetime | None:
    """When a file was opened, by its name; no row of it is older than the page that opened it."""
    match = OPENED.search(path.rsplit("/", 1)[-1])
    return None if match is None else datetime.strptime(match.group(1), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def write_parquet(fs: Any, path: str, table: pa.Table) -> None:
    """Write a file that is whole or absent: an object store shows an object when its upload is whole."""
    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
    if isinstance(fs, LocalFileSystem):
        _write_local(table, Path(path))
    else:
        with fs.open(path, "wb") as stream:
            pq.write_table(table, stream, compression="zstd")


def _write_local(table: pa.Table, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}{ENDING}")
    try:
        with temporary.open("wb") as stream:
            pq.write_table(table, stream, compression="zstd")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive the loss of power: its journal is deleted next."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def oldest(footer: pq.FileMetaData) -> datetime | None:
    """The time of a file's oldest row; None where its statistics do not say."""
    times = [statistics.min for statistics in _statistics(footer, schema.TS) if statistics.has_min_max]
    if len(times) < footer.num_row_groups or not all(isinstance(time, datetime) for time in times):
        return None
    return min((time if time.tzinfo is not None else time.replace(tzinfo=UTC) for time in times), default=None)


def is_empty(footer: pq.FileMetaData, column: str) -> bool:
    """Whether the statistics say that a column holds nothing."""
    found = [statistics for statistics in _statistics(footer, column) if statistics.has_null_count]
    nothing: bool = sum(each.null_count for each in found) == footer.num_rows
    return nothing and len(found) == footer.num_row_groups


def _statistics(footer: pq.FileMetaData, name: str) -> Iterator[Any]:
    for group in map(footer.row_group, range(footer.num_row_groups)):
        columns = map(group.column, range(footer.num_columns))
        yield from (each.statistics for each in columns if each.path_in_schema == name and each.statistics is not None)
