"""What the quote log says about the last days: at which prices each item was offered, and how full the log is.

A file of the log is counted once, by item, hour and price: a busy day has few of these, however many pages it has.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import fsspec
import pandas as pd
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.base.errors import UnavailableError

OPENED = re.compile(r"(\d{8}T\d{6})")  # time at which a file was opened, in its name
READ = [schema.TS, schema.ITEM_ID, schema.PRICE_MINOR, schema.PERSONALISED]
HOUR = "hour"
KEYS = [schema.ITEM_ID, HOUR, schema.PRICE_MINOR]
FRESH_SECONDS = 2.0  # the folder is not listed more often
MOST_HOURS = 31 * 24


@dataclass
class LogState:
    """How the quote log is.

    Args:
        files: Files of the period.
        rows: Quoted items in it.
        last: Time of the newest row; None where there is none.
        unreadable: Files that could not be read.
    """

    files: int = 0
    rows: int = 0
    last: datetime | None = None
    unreadable: list[str] = field(default_factory=list)


class QuoteReader:
    """Reads a quote log file by file; a file that was read is not read again, as it never changes.

    Args:
        url: fsspec URL of the log.
        now: The present.
    """

    def __init__(self, url: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._url, self._now = url, now
        self._lock = threading.Lock()
        self._files: set[str] = set()
        self._bad: set[str] = set()
        self._counts = _empty()
        self._last: datetime | None = None
        self._listed = datetime.min.replace(tzinfo=UTC)
        self._hours = 0.0
        self._ranges: tuple[tuple[int, datetime], pd.DataFrame] | None = None

    def counts(self, hours: float) -> pd.DataFrame:
        """Quotes of the last hours by item, hour and price: columns :data:`KEYS`, ``quotes``, and ``personal``.

        The period begins at the full hour.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._lock:
            self._refresh(hours)
            counts = self._counts
        return counts[counts[HOUR] >= self._since(hours)]

    def ranges(self, hours: float) -> pd.DataFrame:
        """By item: lowest, median and highest price (minor units), number of quotes, share of personal prices.

        The same object as long as nothing new was logged.
        """
        counts = self.counts(hours)
        state = (len(self._files), self._since(hours))
        if self._ranges is None or self._ranges[0] != state:
            self._ranges = (state, price_ranges(counts, schema.ITEM_ID))
        return self._ranges[1]

    def days(self, item: str) -> pd.DataFrame:
        """The same of one item by day (UTC), newest first, over the last month."""
        counts = self.counts(MOST_HOURS)
        counts = counts[counts[schema.ITEM_ID] == item]
        return price_ranges(counts.assign(day=counts[HOUR].dt.strftime("%Y-%m-%d")), "day").iloc[::-1]

    def state(self, hours: float) -> LogState:
        """How the log is over the last hours."""
        counts, since = self.counts(hours), self._since(hours)
        with self._lock:
            files = sum(_opened(name, self._now()) >= since for name in self._files)
            bad, last = sorted(self._bad), self._last
        return LogState(files, int(counts["quotes"].sum()), last, bad)

    def _since(self, hours: float) -> datetime:
        return (self._now() - timedelta(hours=min(hours, MOST_HOURS))).replace(minute=0, second=0, microsecond=0)

    def _refresh(self, hours: float) -> None:
        now = self._now()
        if now - self._listed < timedelta(seconds=FRESH_SECONDS) and hours <= self._hours:
            return
        hours = max(hours, self._hours)
        oldest = self._since(hours) - timedelta(hours=1)
        try:
            store, folder = fsspec.url_to_fs(self._url)
            names = [name for name in store.find(folder) if name.endswith(".parquet")] if store.exists(folder) else []
        except Exception as error:  # the libraries of object stores have kinds of their own
            raise UnavailableError(
                f"{self._url}: the quote log cannot be read ({type(error).__name__}); see that its store answers and "
                "lets this console in"
            ) from error
        parts = []
        for name in (name for name in names if _opened(name, now) >= oldest and name not in self._files | self._bad):
            try:
                with store.open(name, "rb") as stream:
                    parts.append(self._read(pq.ParquetFile(stream)))
                self._files.add(name)
            except (OSError, ValueError):  # damaged: monitoring names it, the page counts it
                self._bad.add(name)
        if parts:
            counts = pd.concat([part for part in (self._counts, *parts) if len(part)] or [_empty()], ignore_index=True)
            self._counts = _summed(counts[counts[HOUR] >= self._since(MOST_HOURS)])
        self._listed, self._hours = now, hours

    def _read(self, file: pq.ParquetFile) -> pd.DataFrame:
        """The counts of one file."""
        there = [column for column in READ if column in file.schema_arrow.names]
        frame = file.read(columns=there).to_pandas().reindex(columns=READ)
        if frame.empty:
            return _empty()
        last = frame[schema.TS].max().to_pydatetime()
        self._last = last if self._last is None else max(last, self._last)
        frame[HOUR] = frame[schema.TS].dt.floor("h")
        frame["quotes"] = 1
        frame["personal"] = (frame[schema.PERSONALISED] == True).astype("int64")  # noqa: E712 - absent is not personal
        frame[schema.ITEM_ID] = frame[schema.ITEM_ID].astype(str)
        return _summed(frame)


def price_ranges(counts: pd.DataFrame, key: str) -> pd.DataFrame:
    """Lowest, median and highest price of each value of a column, number of quotes, share of personal prices.

    Args:
        counts: As :meth:`QuoteReader.counts` returns them.
        key: The column.
    """
    sums = counts.groupby([key, schema.PRICE_MINOR])[["quotes", "personal"]].sum().reset_index()
    grouped = sums.groupby(key)
    until, total = grouped["quotes"].cumsum(), grouped["quotes"].transform("sum")
    # Of an even number of quotes the median lies between the two in the middle.
    middle = [
        sums[until >= place].groupby(key)[schema.PRICE_MINOR].first() for place in ((total + 1) // 2, total // 2 + 1)
    ]
    return pd.DataFrame(
        {
            "low": grouped[schema.PRICE_MINOR].min(),
            "middle": (middle[0] + middle[1]) / 2,
            "high": grouped[schema.PRICE_MINOR].max(),
            "quotes": grouped["quotes"].sum(),
            "personal": grouped["personal"].sum() / grouped["quotes"].sum(),
        }
    )


def _summed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.groupby(KEYS, sort=False)[["quotes", "personal"]].sum().reset_index()


def _empty() -> pd.DataFrame:
    frame = pd.DataFrame({name: pd.Series(dtype="int64") for name in (*KEYS, "quotes", "personal")})
    return frame.astype({schema.ITEM_ID: str, HOUR: "datetime64[us, UTC]"})


def _opened(name: str, now: datetime) -> datetime:
    """When a file was opened; now where its name does not say."""
    found = OPENED.search(name.rpartition("/")[2])
    return now if found is None else datetime.strptime(found.group(1), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
