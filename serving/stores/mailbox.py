"""Hands things from an event loop to a thread without waking it for each.

Waking a thread costs its waker a system call and then a wait for the interpreter, which the thread takes: behind a busy
server that was a tenth of the event loop's time. A reader that is at work looks in by itself; only one asleep is woken.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.02  # between two looks of a reader at work


class Mailbox(Generic[T]):
    """A bounded queue with one reader.

    Args:
        capacity: Things that may wait.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._wake = threading.Event()
        self._asleep = self._at_work = self._closed = False

    def __len__(self) -> int:
        """Things that wait."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """Hand something over without waiting; False when the box is full."""
        if len(self._items) >= self._capacity:
            return False
        self._items.append(item)
        if self._asleep:
            self._wake.set()
        return True

    def take(self, most: int, seconds: float | None) -> list[T]:
        """What waits, the oldest first; where nothing does, what comes within some time.

        Args:
            most: Things taken at a time.
            seconds: Longest wait for the first; None waits for ever.
        """
        if self._at_work and len(self._items) < most and not self._closed:
            self._wake.wait(PAUSE_SECONDS)
            self._wake.clear()  # a sign that came when it had just woken would end each pause at once
        if not self._items and not self._closed:
            self._asleep = True
            if not self._items:  # nothing came before the sign was up
                self._wake.wait(seconds)
            self._asleep = False
            self._wake.clear()
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self._at_work = bool(taken)
        return taken

    def close(self) -> None:
        """Let the reader wait no more."""
        self._closed = True
        self._wake.set()
