"""Whose turn it is to price the next page: this process's, or that of one of its helpers.

To be used from one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

W = TypeVar("W")

QUEUED = 4  # pages given to a helper at a time: while it prices one, the next are there already


class Turns(Generic[W]):
    """Gives pages out in the order of their asking.

    A page that is alone is priced in this process: that is where it is soonest done. Of several the next goes to the
    helper with the least to do, and waits where all have enough: this process has connections to see to, and a thread
    that prices beside them would hold both up.
    """

    def __init__(self) -> None:
        self._given: dict[W, int] = {}  # helper -> pages given to it and not done
        self._here = False
        self._waiting: deque[asyncio.Future[W | None]] = deque()

    @property
    def helpers(self) -> tuple[W, ...]:
        """Those that take part."""
        return tuple(self._given)

    def join(self, helper: W) -> None:
        """Let a helper take part."""
        self._given[helper] = 0
        self._call()

    def leave(self, helper: W) -> None:
        """Give a helper no more pages; what it was given is its own to return."""
        self._given.pop(helper, None)
        self._call()  # where it was the last, this process prices again

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[W | None]:
        """A helper to price a page by, or None for this process; held until the block ends."""
        who = await self._taken()
        try:
            yield who
        finally:
            self._release(who)

    async def _taken(self) -> W | None:
        free = None if self._waiting else self._take()
        if free is not None:
            return free[0]
        waiting: asyncio.Future[W | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():  # called up and given up in one breath
                self._release(waiting.result())
            raise

    def _take(self) -> tuple[W | None] | None:
        """Who is free, counted as at work from now on; None where nobody is."""
        if not self._here and not any(self._given.values()):
            self._here = True
            return (None,)
        helper = min(self._given, key=self._given.__getitem__, default=None)
        if helper is None or self._given[helper] >= QUEUED:
            return None
        self._given[helper] += 1
        return (helper,)

    def _release(self, who: W | None) -> None:
        if who is None:
            self._here = False
        elif who in self._given:
            self._given[who] -= 1
        self._call()

    def _call(self) -> None:
        """Call up those who wait, as far as somebody is free."""
        while self._waiting:
            if self._waiting[0].done():  # its caller has left
                self._waiting.popleft()
            elif (free := self._take()) is None:
                return
            else:
                self._waiting.popleft().set_result(free[0])
