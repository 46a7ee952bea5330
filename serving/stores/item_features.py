"""Items' market features at request time: a cache of the whole catalogue that is refreshed in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reader import FeatureReader, Ignored, checked_market

Rows = NDArray[np.int64]

STALE = "item_features_stale"


@dataclass(frozen=True)
class MarketUpdate:
    """The store's values for some rows: columns of ``MARKET_COLUMNS`` aligned with them, NaN where it has none."""

    rows: Rows
    columns: Mapping[str, NDArray[np.float64]]


class ItemFeatureCache:
    """The market's columns for the whole catalogue, refreshed row by row from the store.

    Where there is no store, or the store has no value, the catalogue's own value is used.

    Args:
        reader: The store; without one the catalogue's values are used and never stale.
        item_ids: Item of each row.
        catalogue: The model folder's values.
        settings: Refresh and staleness.
        breaker: Shared with the reads of users.
        observe: Receives the outcome of each read.
        ignored: Told why a value was ignored.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        reader: FeatureReader | None,
        item_ids: Sequence[str],
        catalogue: MarketContext,
        settings: FeatureSettings,
        breaker: CircuitBreaker,
        observe: Callable[[str], None] = lambda _outcome: None,
        ignored: Ignored = lambda _why: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader = reader
        self._ignored = ignored
        self._catalogue = catalogue
        self._ids = item_ids
        self._settings = settings
        self._breaker = breaker
        self._observe = observe
        self._clock = clock
        self._lock = threading.Lock()
        self._columns = {name: np.array(getattr(catalogue, name), dtype=np.float64) for name in MARKET_COLUMNS}
        self._read_at = np.full(len(item_ids), -np.inf)
        self._wanted_at = np.full(len(item_ids), -np.inf)
        self.tell: Callable[[MarketUpdate], None] = lambda _news: None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def stock(self) -> NDArray[np.float64]:
        """Units of every row as last read, NaN where unknown; the background reads change it in place."""
        return self._columns[schema.STOCK]

    @property
    def list_price(self) -> NDArray[np.float64]:
        """List price of every row as last read, money."""
        return self._columns[schema.LIST_PRICE]

    def rows(self, rows: Rows) -> tuple[MarketContext, float | None]:
        """The market of some rows, and the age of the oldest in seconds; None without a store."""
        with self._lock:
            market = MarketContext(**{name: column[rows] for name, column in self._columns.items()})
            if self._reader is None:
                return market, None
            now = self._clock()
            self._wanted_at[rows] = now
            return market, float(now - self._read_at[rows].min()) if len(rows) else 0.0

    def too_old(self, rows: Rows) -> Rows:
        """Those of the rows that are too old to price on."""
        if self._reader is None:
            return rows[:0]
        return rows[self._clock() - self._read_at[rows] > self._settings.stale_seconds]

    def may_ask(self) -> bool:
        """Whether the store may be asked now; while the breaker is open, one call in each period may."""
        return self._breaker.allow()

    def read(self, rows: Rows) -> None:
        """Read rows from the store now.

        Raises:
            Exception: The store did not answer.
        """
        if self._reader is None or not len(rows):
            return
        started = self._clock()
        try:
            found = self._reader.items([self._ids[row] for row in rows])
        except Exception:
            self._breaker.failure()
            self._observe("failed")
            raise
        self._breaker.success()
        self._observe("read")
        columns = checked_market(found, self._catalogue.rows(rows), self._settings.price_factor, self._ignored)
        with self._lock:
            for name, values in columns.items():
                known = ~np.isnan(values)
                self._columns[name][rows[known]] = values[known]
            self._read_at[rows] = started
        self.tell(MarketUpdate(rows, columns))

    def known(self) -> MarketUpdate | None:
        """Everything read so far; None if nothing has been read."""
        with self._lock:
            rows = np.flatnonzero(np.isfinite(self._read_at))
            return (
                MarketUpdate(rows, {name: column[rows] for name, column in self._columns.items()})
                if len(rows)
                else None
            )

    def start(self) -> None:
        """Read as much as the warm-up allows, then keep reading in the background."""
        if self._reader is None:
            return
        deadline = self._clock() + self._settings.warm_seconds
        while self._clock() < deadline and len(rows := self._due()):
            try:
                self.read(rows)
            except Exception:  # the store is not up yet: pages are degraded, and the background keeps trying
                break
        self._thread = threading.Thread(target=self._run, name="item-features", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, without waiting for a read that hangs."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping.wait(pause):
            rows = self._due()
            if not len(rows) or not self.may_ask():
                pause = min(1.0, self._settings.refresh_seconds / 4)
                continue
            started = self._clock()
            try:
                self.read(rows)
            except Exception:  # counted by read; the breaker decides when to try again
                pause = 0.2
                continue
            pause = 9 * (self._clock() - started)  # use at most a tenth of a core; the rest is for requests

    def _due(self) -> Rows:
        """The rows to read next: those due, the most recently requested first."""
        due = np.flatnonzero(self._clock() - self._read_at >= self._settings.refresh_seconds)
        if len(due) > self._settings.chunk:
            newest = np.argpartition(-self._wanted_at[due], self._settings.chunk)[: self._settings.chunk]
            due = due[newest]
        return due.astype(np.int64)
