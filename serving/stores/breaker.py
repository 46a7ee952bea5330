"""A circuit breaker: it stops asking a store that does not answer, and tries again by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class CircuitBreaker:
    """Opens after a number of failures in a row; once it has been open for a while, it lets one trial through.

    Safe to use from several threads.

    Args:
        failures: Failures in a row that open it.
        seconds: How long it stays open before a trial.
        clock: Monotonic seconds.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = failures
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._opened: float | None = None

    @property
    def open(self) -> bool:
        """Whether calls are refused, except for a trial from time to time."""
        return self._opened is not None

    def allow(self) -> bool:
        """Whether a call may be made now; while the breaker is open, one call in each period is the trial."""
        with self._lock:
            if self._opened is None:
                return True
            if self._clock() - self._opened < self._seconds:
                return False
            self._opened = self._clock()  # the next trial is a period away unless this one closes the breaker
            return True

    def success(self) -> None:
        """A call was answered."""
        with self._lock:
            self._failures = 0
            self._opened = None

    def failure(self) -> None:
        """A call failed or came too late."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit and self._opened is None:
                self._opened = self._clock()
