"""Features at request time: a user's within a deadline, items' from a cache that is refreshed in the background.

Whatever happens to the store, the caller gets an answer in time: the features, or why there are none. What the store
says is input: a value that is no number, or an amount far from the catalogue's, is ignored and counted, and the
catalogue's stands in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]

SLOW = "user_features_slow"
DOWN = "user_features_down"
STALE = "item_features_stale"
UNREADABLE, OUT_OF_BOUNDS = "unreadable", "out_of_bounds"  # why a value is ignored
LEAST_SHARE: Final = (schema.LIST_PRICE, schema.UNIT_COST)  # amounts that may not fall far below the catalogue's
MONEY: Final = (*LEAST_SHARE, schema.MAP_PRICE, schema.MSRP, schema.COMPETITOR_PRICE, schema.SALVAGE_VALUE)
Ignored = Callable[[str], None]


@dataclass(frozen=True)
class UserFeatures:
    """A user's features.

    Args:
        behaviour: Value by name of ``schema.USER_PRICING_FEATURES``; an unknown one is absent.
        history_items: Items viewed or bought.
        history_age_days: Days since each of them.
    """

    behaviour: Mapping[str, float]
    history_items: Sequence[str] = ()
    history_age_days: Sequence[float] = ()


class FeatureReader(Protocol):
    """A feature store, read by blocking calls from several threads. Any exception means that it did not answer."""

    def user(self, user_id: str) -> UserFeatures | None:
        """The features of a user; None if the store does not know the user."""
        ...

    def items(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Any] | NDArray[np.float64]]:
        """The columns of ``MARKET_COLUMNS`` that the store has, aligned with the ids; None or NaN where it has none.

        Whether what it holds are numbers is checked by those who ask.
        """
        ...

    def filled_at(self) -> float | None:
        """Unix time at which users were last materialised; None if the store does not say."""
        ...


@dataclass
class MemoryReader:
    """Features held in memory, for tests."""

    users: dict[str, UserFeatures] = field(default_factory=dict)
    market: dict[str, dict[str, float]] = field(default_factory=dict)
    filled: float | None = None

    def user(self, user_id: str) -> UserFeatures | None:
        """The features of a user; None if unknown."""
        return self.users.get(user_id)

    def items(self, item_ids: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Every market column, aligned with the ids."""
        rows = [self.market.get(item_id, {}) for item_id in item_ids]
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in MARKET_COLUMNS}

    def filled_at(self) -> float | None:
        """The time that it was given."""
        return self.filled


@dataclass(frozen=True)
class MarketUpdate:
    """The store's values for some rows: columns of ``MARKET_COLUMNS`` aligned with them, NaN where it has none."""

    rows: Rows
    columns: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class UserRead:
    """A user's features. Without them the user is unknown, or ``cause`` says why they could not be read."""

    features: UserFeatures | None = None
    cause: str | None = None


class UserFeatureClient:
    """Reads a user's features within a deadline.

    Args:
        reader: The store; without one every user is unknown.
        settings: Deadline and number of readers.
        breaker: Shared with the reads of items.
        observe: Told the outcome of each read.
        ignored: Told why a value was ignored.
    """

    def __init__(
        self,
        reader: FeatureReader | None,
        settings: FeatureSettings,
        breaker: CircuitBreaker,
        observe: Callable[[str], None] = lambda _outcome: None,
        ignored: Ignored = lambda _why: None,
    ) -> None:
        self._reader = reader
        self._ignored = ignored
        self._deadline = settings.deadline_ms / 1000
        self._most = settings.readers
        self._breaker = breaker
        self._observe = observe
        self._pool = ThreadPoolExecutor(settings.readers, thread_name_prefix="user-features")
        self._hanging = 0  # readers whose caller has given up; only the event loop changes it

    async def read(self, user_id: str | None) -> UserRead:
        """The user's features, or why there are none, within the deadline."""
        if user_id is None or self._reader is None:
            return UserRead()
        if self._hanging >= self._most:  # all readers hang: queueing behind them would miss the deadline
            return self._absent(SLOW)
        if not self._breaker.allow():
            return self._absent(DOWN)
        submitted = self._pool.submit(self._reader.user, user_id)
        try:
            features = await asyncio.wait_for(asyncio.wrap_future(submitted), self._deadline)
        except TimeoutError:
            self._breaker.failure()
            self._count_hanging(submitted)
            return self._absent(SLOW)
        except Exception:  # the store's own error, from whatever client library
            self._breaker.failure()
            return self._absent(DOWN)
        self._breaker.success()
        self._observe("unknown" if features is None else "read")
        return UserRead(None if features is None else checked_user(features, self._ignored))

    def close(self) -> None:
        """Release the readers without waiting for one that hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count_hanging(self, submitted: Future[UserFeatures | None]) -> None:
        """Count a reader as hanging until it returns; one that was still queued has been cancelled."""
        if submitted.cancelled():
            return
        self._hanging += 1
        loop = asyncio.get_running_loop()

        def finished(_done: Future[UserFeatures | None]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(self._returned)

        submitted.add_done_callback(finished)

    def _returned(self) -> None:
        self._hanging -= 1

    def _absent(self, cause: str) -> UserRead:
        self._observe(cause)
        return UserRead(cause=cause)


class StoreAge:
    """How old the users' features are: the time since the store was last filled.

    A customer who has not been here for a month has old behaviour and up-to-date features, so that the age is that of
    the materialisation and never of a customer's own row. The time is read in the background; where it cannot be read,
    the last known one stays, and the age grows.

    Args:
        reader: The store; without one there is no age.
        every: Seconds between two reads.
        clock: Unix time.
    """

    def __init__(self, reader: FeatureReader | None, every: float, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader
        self._every = every
        self._clock = clock
        self._filled_at: float | None = None
        self._stopping = threading.Event()

    def seconds(self) -> float | None:
        """Seconds since the store was last filled; None where it is not known."""
        return None if self._filled_at is None else max(0.0, self._clock() - self._filled_at)

    def read(self) -> None:
        """Ask the store once."""
        if self._reader is None:
            return
        try:
            found = self._reader.filled_at()
        except Exception as error:  # the store's own error, from whatever client library
            logger.warning("the feature store does not say when it was filled (%s)", type(error).__name__)
            return
        self._filled_at = found if found is not None else self._filled_at

    def start(self) -> None:
        """Keep asking in the background."""
        if self._reader is not None:
            threading.Thread(target=self._run, name="feature-store-age", daemon=True).start()

    def stop(self) -> None:
        """Stop asking, without waiting for an answer."""
        self._stopping.set()

    def _run(self) -> None:
        self.read()
        while not self._stopping.wait(self._every):
            self.read()


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


def checked_user(features: UserFeatures, ignored: Ignored) -> UserFeatures:
    """A user's features without what is no number; the price model clips those far from what it was trained on."""
    behaviour = {
        name: number for name, value in features.behaviour.items() if not math.isnan(number := _number(value, ignored))
    }
    pairs = [
        (str(item), number)
        for item, age in zip(features.history_items, features.history_age_days, strict=False)
        if (number := _number(age, ignored)) >= 0
    ]
    return UserFeatures(
        behaviour,
        tuple(item for item, _ in pairs),
        tuple(age for _, age in pairs),
    )


def checked_market(
    columns: Mapping[str, Sequence[Any] | NDArray[np.float64]],
    catalogue: MarketContext,
    factor: float,
    ignored: Ignored,
) -> dict[str, NDArray[np.float64]]:
    """Market columns as numbers, NaN where there is none or it cannot be meant.

    Args:
        columns: What the store holds for some rows.
        catalogue: The model folder's values for them.
        factor: How far an amount may be from the catalogue's list price, or from its own value there.
        ignored: Told why a value is NaN.
    """
    checked = {}
    for name, values in columns.items():
        numbers = np.array([_number(value, ignored) for value in values], dtype=np.float64)
        wrong = numbers < 0 if name != schema.SALVAGE_VALUE else np.zeros(numbers.shape, dtype=bool)
        if name in MONEY:
            wrong |= numbers > factor * catalogue.list_price
        if name in LEAST_SHARE:
            wrong |= numbers * factor < getattr(catalogue, name)
        for _ in range(int(wrong.sum())):
            ignored(OUT_OF_BOUNDS)
        checked[name] = np.where(wrong, np.nan, numbers)
    return checked


def _number(value: Any, ignored: Ignored) -> float:
    """A finite number; NaN where there is no value, and, told to ``ignored``, where there is no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    try:
        number = float(value) if not isinstance(value, str | bytes | bool) else math.inf
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if not math.isfinite(number):
        ignored(UNREADABLE)
        return math.nan
    return number
