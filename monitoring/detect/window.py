"""Reads one window of a quote or outcome log in batches and counts everything that is wrong with it.

A log is a set of parquet files under an fsspec URL, as the endpoint writes them. Unreadable files are counted and
named. Rows that break the contract, repeat an earlier row, are dated in the future or came late are counted by rule.
Nothing is dropped silently. Memory is one batch plus eight bytes for each row, to find duplicates.

    reader = LogReader("s3://fairtag/quotes", schema.QUOTES, window)
    for frame in reader.batches():
        ...
    print(reader.intake.as_json())
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.base.errors import ConfigError

BATCH_ROWS = 200_000
SKEW = timedelta(minutes=5)  # synchronised clocks differ by less
LATE = timedelta(hours=1)  # the endpoint flushes within a minute; an hour behind its neighbours is late
OPENED_BEFORE = timedelta(hours=6)  # a file opened earlier than this before the window holds none of its rows
OPENED_AFTER = timedelta(days=2)  # rows that arrive later than this after the window are not read
EXACT_ROWS = 50_000_000  # rows whose duplicates are found exactly (8 bytes each, so at most 400 MB)
_OPENED = re.compile(r"(\d{8}T\d{6})")  # time at which the file was opened, in its name


@dataclass(frozen=True)
class Window:
    """A half-open period [start, end) and the present; all three carry a time zone.

    Raises:
        ConfigError: A time has no zone, or the start is not before the end.
    """

    start: datetime
    end: datetime
    now: datetime

    def __post_init__(self) -> None:
        if any(time.tzinfo is None for time in (self.start, self.end, self.now)):
            raise ConfigError("the times of a window need a time zone; append Z or +00:00")
        if not self.start < self.end:
            raise ConfigError(f"window {self.start:%F %T} to {self.end:%F %T}: the start must come before the end")

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start).total_seconds() / 3600


@dataclass
class Intake:
    """Counts of what was read.

    Args:
        files: Number of files read.
        older: Whether the log existed before the window: the name of a file has an earlier time, or no time.
        unreadable: Unreadable files, each with the reason.
        rows: Rows of the window, bad ones included.
        kept: Rows that count in the statistics.
        duplicates: Rows that repeat an earlier (quote, item); they are dropped.
        late: Rows more than ``LATE`` older than an earlier row of the same file; they are kept.
        future: Rows dated more than ``SKEW`` after ``now``; they are dropped.
        broken: Rows that break a rule of the contract, by "column: rule"; they are dropped.
        examples: One value for each broken rule.
        first: Time of the earliest kept row.
        last: Time of the latest kept row.
    """

    files: int = 0
    older: bool = False
    unreadable: list[str] = field(default_factory=list)
    rows: int = 0
    kept: int = 0
    duplicates: int = 0
    late: int = 0
    future: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    first: datetime | None = None
    last: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """The counts as JSON values."""
        return {
            "files": self.files,
            "unreadable": self.unreadable,
            "rows": self.rows,
            "kept": self.kept,
            "duplicates": self.duplicates,
            "late": self.late,
            "future": self.future,
            "broken": dict(self.broken),
            "examples": self.examples,
            "first": self.first.isoformat() if self.first else None,
            "last": self.last.isoformat() if self.last else None,
        }


class LogReader:
    """Reads one window of a log of ``table`` rows.

    Args:
        url: Folder or file, any fsspec URL.
        table: Contract of the rows, schema.QUOTES or schema.OUTCOMES.
        window: The period to read.
        storage_options: Options of the file system.
    """

    def __init__(
        self, url: str, table: schema.Table, window: Window, storage_options: dict[str, Any] | None = None
    ) -> None:
        self.intake = Intake()
        self._table = table
        self._window = window
        self._fs, self._root = fsspec.core.url_to_fs(url, **(storage_options or {}))
        self._keys = _KeySet()

    def frame(self) -> pd.DataFrame:
        """All good rows of the window in one frame; an empty frame with the columns if there are none."""
        frames = list(self.batches())
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(self._table.names))

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of good rows of the window, each of at most ``BATCH_ROWS`` rows."""
        for path in self._paths():
            try:
                yield from self._file(path)
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                self.intake.unreadable.append(f"{self._short(path)}: {_reason(error)}")

    def _paths(self) -> list[str]:
        if not self._fs.exists(self._root):
            raise ConfigError(f"{self._root}: no {self._table.name} log here; check the address")
        if self._fs.isfile(self._root):
            self.intake.older = True
            return [self._root]
        hidden = re.compile(r"(^|/)[._][^/]*")
        found = sorted(path for path in self._fs.find(self._root) if path.endswith(".parquet"))
        return [path for path in found if not hidden.search(self._short(path)) and self._opened_in_reach(path)]

    def _short(self, path: str) -> str:
        return path.removeprefix(self._root).lstrip("/") or path

    def _opened_in_reach(self, path: str) -> bool:
        match = _OPENED.search(path.rsplit("/", 1)[-1])
        if match is None:
            self.intake.older = True
            return True
        opened = datetime.strptime(match.group(1), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        self.intake.older |= opened < self._window.start
        return self._window.start - OPENED_BEFORE <= opened <= self._window.end + OPENED_AFTER

    def _file(self, path: str) -> Iterator[pd.DataFrame]:
        with self._fs.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
            missing = [name for name in self._table.required_names if name not in file.schema_arrow.names]
            if missing:
                raise KeyError(f"column {', '.join(missing)} is missing")
            groups = [g for g in range(file.num_row_groups) if self._overlaps(file, g)]
            newest = 0
            self.intake.files += 1
            columns = [name for name in self._table.names if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=groups, columns=columns):
                frame = self._rows(batch)
                if len(frame):
                    newest = self._note(frame, newest)
                    yield frame

    def _statistics(self, file: pq.ParquetFile, group: int) -> tuple[datetime, datetime] | None:
        index = file.schema_arrow.names.index(schema.TS)
        found = [file.metadata.row_group(group).column(k) for k in range(file.metadata.num_columns)]
        column = next((c for c in found if c.path_in_schema == file.schema_arrow.names[index]), None)
        if column is None or column.statistics is None or not column.statistics.has_min_max:
            return None
        low, high = column.statistics.min, column.statistics.max
        return (_aware(low), _aware(high)) if isinstance(low, datetime) else None

    def _overlaps(self, file: pq.ParquetFile, group: int) -> bool:
        span = self._statistics(file, group)
        future = self._window.now + SKEW
        # read a group in the future too: its rows are counted and dropped
        return span is None or (span[1] >= self._window.start and span[0] < self._window.end) or span[1] > future

    def _rows(self, batch: pa.RecordBatch) -> pd.DataFrame:
        times = batch.column(batch.schema.names.index(schema.TS)).cast(pa.timestamp("us", tz="UTC"))
        future = pc.fill_null(pc.greater(times, pa.scalar(self._window.now + SKEW, times.type)), False)
        self.intake.future += pc.sum(future).as_py() or 0
        inside = pc.and_(
            pc.greater_equal(times, pa.scalar(self._window.start, times.type)),
            pc.less(times, pa.scalar(self._window.end, times.type)),
        )
        # keep a row without a time here, so that it is counted as broken
        frame = batch.filter(pc.and_(pc.fill_null(inside, True), pc.invert(future))).to_pandas(ignore_metadata=True)
        self.intake.rows += len(frame)
        good = self._good(frame)
        frame = frame[good] if not good.all() else frame
        new = self._keys.add_new(frame, self._table.key)
        self.intake.duplicates += int((~new).sum())
        frame = frame[new] if not new.all() else frame
        rows: pd.DataFrame = frame.reset_index(drop=True)
        return rows

    def _good(self, frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
        good = np.ones(len(frame), dtype=bool)
        for rule, bad, value in violations(frame, self._table):
            self.intake.broken[rule] += int(bad.sum())
            self.intake.examples.setdefault(rule, value)
            good &= ~bad
        return good

    def _note(self, frame: pd.DataFrame, newest: int) -> int:
        """Count the rows and the late ones; return the newest time of the file so far, in microseconds."""
        times = frame[schema.TS]
        first, last = times.min().to_pydatetime(), times.max().to_pydatetime()
        self.intake.kept += len(frame)
        self.intake.first = min(self.intake.first or first, first)
        self.intake.last = max(self.intake.last or last, last)
        instants = times.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
        seen = np.maximum(np.maximum.accumulate(instants), newest)
        if self._table is schema.QUOTES:  # a shop may report outcomes in any order
            self.intake.late += int((instants < seen - LATE // timedelta(microseconds=1)).sum())
        return int(seen[-1])


def violations(frame: pd.DataFrame, table: schema.Table) -> Iterator[tuple[str, npt.NDArray[np.bool_], str]]:
    """Yield (rule, mask of bad rows, one bad value) for each broken rule of the contract."""
    for column in table.columns:
        if column.name not in frame.columns:
            continue
        values = frame[column.name]
        absent = values.isna().to_numpy()
        if not column.nullable and absent.any():
            yield f"{column.name}: must not be absent", absent, "absent"
        if column.kind in ("money", "number", "integer", "share"):
            yield from _out_of_range(values, column, absent)


def _out_of_range(
    values: pd.Series[Any], column: schema.Column, absent: npt.NDArray[np.bool_]
) -> Iterator[tuple[str, npt.NDArray[np.bool_], str]]:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    with np.errstate(invalid="ignore"):
        rules = (
            ("must be finite", ~np.isfinite(numbers) & ~absent),
            (f"must be >= {column.minimum}", numbers < column.minimum if column.minimum is not None else None),
            (f"must be > {column.above}", numbers <= column.above if column.above is not None else None),
            (f"must be <= {column.maximum}", numbers > column.maximum if column.maximum is not None else None),
        )
    for rule, bad in rules:
        if bad is not None and bad.any():
            yield f"{column.name}: {rule}", bad, str(numbers[int(np.argmax(bad))])


class _KeySet:
    """A set of 64-bit hashes of keys, in sorted runs of doubling size; two different keys collide once in 10^19."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def add_new(self, frame: pd.DataFrame, key: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Add the keys of a frame; return for each row whether its key is new."""
        if frame.empty:
            return np.ones(0, dtype=bool)
        hashes = pd.util.hash_pandas_object(frame[list(key)], index=False).to_numpy().astype(np.uint64)
        distinct, first = np.unique(hashes, return_index=True)
        new = np.zeros(len(hashes), dtype=bool)
        new[first] = ~self._contains(distinct)
        if sum(map(len, self._runs)) < EXACT_ROWS:
            self._add(np.sort(hashes[new]))
        return new

    def _contains(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        present = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            position = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            present |= run[position] == hashes
        return present

    def _add(self, run: npt.NDArray[np.uint64]) -> None:
        if not len(run):
            return
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]), kind="stable")
        self._runs.append(run)


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _reason(error: Exception) -> str:
    text = str(error).strip("'\"").splitlines()
    return text[0][:200] if text else type(error).__name__
