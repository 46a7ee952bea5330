"""A user's features at request time, within a deadline: the features, or why there are none; and how old they are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reader import FeatureReader, Ignored, UserFeatures, checked_user

logger = logging.getLogger(__name__)

SLOW = "user_features_slow"
DOWN = "user_features_down"


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
