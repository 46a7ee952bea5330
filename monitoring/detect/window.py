"""Reads a window of a log, batch by batch, and counts everything that is wrong with it.

A log is parquet files under an fsspec URL, as the endpoint writes them. A file that cannot be read is named and
counted; a row that breaks the contract, repeats an earlier one, lies in the future or came late is counted by its rule.
Nothing is lost silently, and memory is one batch plus eight bytes a row for the duplicates.
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
SKEW = timedelta(minutes=5)  # clocks of well-kept machines differ by less
LATE = timedelta(hours=1)  # the endpoint flushes within a minute; an hour behind its neighbours is late
OPENED_BEFORE = timedelta(hours=6)  # a file opened so long before the window cannot hold a row of it
OPENED_AFTER = timedelta(days=2)  # rows that arrive later than this after the window are not waited for
EXACT_ROWS = 50_000_000  # rows whose duplicates are found exactly (8 bytes each, so at most 400 MB)
_OPENED = re.compile(r"(\d{8}T\d{6})")  # the time a file was opened, in its name


@dataclass(frozen=True)
class Window:
    """Half-open stretch of time [start, end), both aware; ``now`` bounds what may already have happened."""

    start: datetime
    end: datetime
    now: datetime

    def __post_init__(self) -> None:
        """Refuse naive times and windows that end before they start."""
        if any(time.tzinfo is None for time in (self.start, self.end, self.now)):
            raise ConfigError("a window needs aware times; append Z or +00:00")
        if not self.start < self.end:
            raise ConfigError(f"window {self.start:%F %T} to {self.end:%F %T}: the start must come before the end")

    @property
    def hours(self) -> float:
        """Length in hours."""
        return (self.end - self.start).total_seconds() / 3600


@dataclass
class Intake:
    """What was found while reading.

    Args:
        files: Files that were read.
        older: Whether the log was there before the window: a file is older than it by its name, or has no time in it.
        unreadable: Files that were not, each with the reason.
        rows: Rows of the window that were read, bad ones included.
        kept: Rows that the statistics see.
        duplicates: Rows that repeat an earlier (quote, item).
        late: Rows that stand behind a row of the same file that is more than ``LATE`` newer; they are kept.
        future: Rows more than ``SKEW`` after ``now``; they are not kept.
        broken: Rows that break a rule of the contract, by "column: rule"; they are not kept.
        examples: One value for each broken rule.
        first: Earliest kept time.
        last: Latest kept time.
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
        window: The stretch of time.
        storage_options: Options of the file system.
    """

    def __init__(
        self, url: str, table: schema.Table, window: Window, storage_options: dict[str, Any] | None = None
    ) -> None:
        self.intake = Intake()
        self._table = table
        self._window = window
        self._fs, self._root = fsspec.core.url_to_fs(url, **(storage_options or {}))
        self._seen = _Seen()

    def frame(self) -> pd.DataFrame:
        """All rows of the window at once; an empty frame with the columns when there are none."""
        frames = list(self.batches())
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(self._table.names))

    def batches(self) -> Iterator[pd.DataFrame]:
        """Frames of good rows of the window, at most ``BATCH_ROWS`` each."""
        for path in self._paths():
            try:
                yield from self._file(path)
            except (OSError, pa.ArrowException, KeyError, ValueError) as error:
                self.intake.unreadable.append(f"{self._short(path)}: {_reason(error)}")

    def _paths(self) -> list[str]:
        if not self._fs.exists(self._root):
            raise ConfigError(f"{self._root}: there is no {self._table.name} log at this address")
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
        # a group in the future is read as well: its rows are counted, not kept
        return span is None or (span[1] >= self._window.start and span[0] < self._window.end) or span[1] > future

    def _rows(self, batch: pa.RecordBatch) -> pd.DataFrame:
        times = batch.column(batch.schema.names.index(schema.TS)).cast(pa.timestamp("us", tz="UTC"))
        future = pc.fill_null(pc.greater(times, pa.scalar(self._window.now + SKEW, times.type)), False)
        self.intake.future += pc.sum(future).as_py() or 0
        inside = pc.and_(
            pc.greater_equal(times, pa.scalar(self._window.start, times.type)),
            pc.less(times, pa.scalar(self._window.end, times.type)),
        )
        # a row without a time belongs nowhere: it is kept here to be counted as broken
        frame = batch.filter(pc.and_(pc.fill_null(inside, True), pc.invert(future))).to_pandas(ignore_metadata=True)
        self.intake.rows += len(frame)
        good = self._good(frame)
        frame = frame[good] if not good.all() else frame
        new = self._seen.new(frame, self._table.key)
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
        """Count the rows and those that came late; returns the newest time of the file so far, in microseconds."""
        times = frame[schema.TS]
        first, last = times.min().to_pydatetime(), times.max().to_pydatetime()
        self.intake.kept += len(frame)
        self.intake.first = min(self.intake.first or first, first)
        self.intake.last = max(self.intake.last or last, last)
        instants = times.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
        seen = np.maximum(np.maximum.accumulate(instants), newest)
        if self._table is schema.QUOTES:  # what a shop reports comes in any order
            self.intake.late += int((instants < seen - LATE // timedelta(microseconds=1)).sum())
        return int(seen[-1])


def violations(frame: pd.DataFrame, table: schema.Table) -> Iterator[tuple[str, npt.NDArray[np.bool_], str]]:
    """(rule, bad rows, one bad value) for each rule of the contract's columns that is broken."""
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


class _Seen:
    """64-bit hashes of the keys seen, in sorted runs whose sizes double; two different keys collide once in 10^19."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.uint64]] = []

    def new(self, frame: pd.DataFrame, key: tuple[str, ...]) -> npt.NDArray[np.bool_]:
        """Whether each row's key was not seen before; remembers them."""
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
        known = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            position = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            known |= run[position] == hashes
        return known

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
