"""Hands items from an event loop to a thread without waking the thread for each.

To wake a thread costs a system call, and then a wait for the interpreter, which the thread takes: a tenth of the event
loop's time in a busy server. So a reader that is working polls, and only one that sleeps is woken.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

PAUSE_SECONDS = 0.02  # between two polls of a working reader, unless it says otherwise


class Mailbox(Generic[T]):
    """A bounded queue with one reader.

    Args:
        capacity: Most items that may wait.
        pause: Seconds between two polls of a working reader.
    """

    def __init__(self, capacity: int, pause: float = PAUSE_SECONDS) -> None:
        self._capacity = capacity
        self._pause = pause
        self._items: deque[T] = deque()
        self._wake = threading.Event()
        self._asleep = self._at_work = self._closed = False

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """Hand over an item without waiting; False when the mailbox is full."""
        if len(self._items) >= self._capacity:
            return False
        self._items.append(item)
        if self._asleep:
            self._wake.set()
        return True

    def take(self, most: int, seconds: float | None) -> list[T]:
        """The items that wait, the oldest first; if none does, those that come within some time.

        Args:
            most: Most items taken at a time.
            seconds: Longest wait for the first item; None waits for ever.
        """
        if self._at_work and len(self._items) < most and not self._closed:
            self._wake.wait(self._pause)
            self._wake.clear()  # a signal that came just after waking would end every pause at once
        if not self._items and not self._closed:
            self._asleep = True
            if not self._items:  # nothing came before the flag was set
                self._wake.wait(seconds)
            self._asleep = False
            self._wake.clear()
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self._at_work = bool(taken)
        return taken

    def close(self) -> None:
        """Stop the reader from waiting."""
        self._closed = True
        self._wake.set()
