"""What the quote log says about today: the range of prices that each item was offered at, and how full the log is."""

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
COLUMNS = (
    schema.TS,
    schema.ITEM_ID,
    schema.PRICE_MINOR,
    schema.LIST_PRICE_MINOR,
    schema.UNIT_COST_MINOR,
    schema.PERSONALISED,
    schema.MODEL_VERSION,
    schema.DEGRADED,
    schema.QUOTE_ID,
    schema.USER_KEY,
)
FRESH_SECONDS = 2.0  # the folder is not listed more often
MOST_DAYS = 31


@dataclass
class LogState:
    """How the quote log is.

    Args:
        files: Files of the period.
        rows: Quoted items in them.
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
        self._frames: dict[str, pd.DataFrame] = {}
        self._bad: set[str] = set()
        self._listed = datetime.min.replace(tzinfo=UTC)
        self._hours = 0.0

    def rows(self, hours: float) -> pd.DataFrame:
        """The quoted items of the last hours, with :data:`COLUMNS`.

        Raises:
            UnavailableError: The store does not answer.
        """
        with self._lock:
            self._refresh(hours)
            frames = [frame for frame in self._frames.values() if len(frame)]
        if not frames:
            return pd.DataFrame(columns=list(COLUMNS))
        found = pd.concat(frames, ignore_index=True)
        return found[found[schema.TS] >= self._now() - timedelta(hours=hours)]

    def ranges(self, hours: float) -> pd.DataFrame:
        """By item: lowest, median and highest price (minor units), number of quotes, share of personal prices."""
        rows = self.rows(hours)
        grouped = rows.groupby(schema.ITEM_ID, observed=True)
        return pd.DataFrame(
            {
                "low": grouped[schema.PRICE_MINOR].min(),
                "middle": grouped[schema.PRICE_MINOR].median(),
                "high": grouped[schema.PRICE_MINOR].max(),
                "quotes": grouped.size(),
                "personal": grouped[schema.PERSONALISED].mean(),
            }
        )

    def state(self, hours: float) -> LogState:
        """How the log is over the last hours."""
        rows = self.rows(hours)
        with self._lock:
            files, bad = len(self._frames), sorted(self._bad)
        last = None if rows.empty else rows[schema.TS].max().to_pydatetime()
        return LogState(files, len(rows), last, bad)

    def _refresh(self, hours: float) -> None:
        now = self._now()
        if now - self._listed < timedelta(seconds=FRESH_SECONDS) and hours <= self._hours:
            return
        oldest = now - timedelta(hours=min(hours, MOST_DAYS * 24)) - timedelta(hours=1)
        try:
            store, folder = fsspec.url_to_fs(self._url)
            names = [name for name in store.find(folder) if name.endswith(".parquet")] if store.exists(folder) else []
        except (OSError, ValueError, ImportError) as error:
            raise UnavailableError(f"{self._url}: the quote log cannot be read ({type(error).__name__})") from error
        wanted = {name for name in names if _opened(name, now) >= oldest}
        for name in wanted - self._frames.keys() - self._bad:
            try:
                with store.open(name, "rb") as stream:
                    file = pq.ParquetFile(stream)
                    there = [column for column in COLUMNS if column in file.schema_arrow.names]
                    self._frames[name] = file.read(columns=there).to_pandas().reindex(columns=list(COLUMNS))
            except (OSError, ValueError):  # damaged: monitoring names it, the page counts it
                self._bad.add(name)
        self._listed, self._hours = now, hours


def _opened(name: str, now: datetime) -> datetime:
    """When a file was opened; now where its name does not say."""
    found = OPENED.search(name.rpartition("/")[2])
    return now if found is None else datetime.strptime(found.group(1), "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
