"""Decides who prices the next page: this process or one of its workers. To be used from one event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

W = TypeVar("W")

QUEUED = 4  # pages given to a worker at a time: while it prices one, the next are there already


class Scheduler(Generic[W]):
    """Gives pages out in the order they come.

    A page alone is priced in this process, where it is done soonest. Of several, the next goes to the worker with the
    least to do, and waits where all have enough: this process has connections to serve, and a thread that priced
    beside them would slow both.
    """

    def __init__(self) -> None:
        self._given: dict[W, int] = {}  # worker -> pages given to it and not done
        self._here = False  # whether this process is pricing a page
        self._waiting: deque[asyncio.Future[W | None]] = deque()

    @property
    def workers(self) -> tuple[W, ...]:
        """Those that take part."""
        return tuple(self._given)

    def join(self, worker: W) -> None:
        """Let a worker take part."""
        self._given[worker] = 0
        self._hand_out()

    def leave(self, worker: W) -> None:
        """Give a worker no more pages; those it has are for their callers to price elsewhere."""
        self._given.pop(worker, None)
        self._hand_out()  # where it was the last, this process prices again

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[W | None]:
        """A worker to price a page by, or None for this process; held until the block ends."""
        who = await self._next()
        try:
            yield who
        finally:
            self._release(who)

    async def _next(self) -> W | None:
        free = None if self._waiting else self._take()
        if free is not None:
            return free[0]
        waiting: asyncio.Future[W | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():  # given a turn and cancelled at once
                self._release(waiting.result())
            raise

    def _take(self) -> tuple[W | None] | None:
        """Who is free, counted as busy from now on; None where nobody is."""
        if not self._here and not any(self._given.values()):
            self._here = True
            return (None,)
        worker = min(self._given, key=self._given.__getitem__, default=None)
        if worker is None or self._given[worker] >= QUEUED:
            return None
        self._given[worker] += 1
        return (worker,)

    def _release(self, who: W | None) -> None:
        if who is None:
            self._here = False
        elif who in self._given:
            self._given[who] -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give turns to those who wait, as far as somebody is free."""
        while self._waiting:
            if self._waiting[0].done():  # its caller has left
                self._waiting.popleft()
            elif (free := self._take()) is None:
                return
            else:
                self._waiting.popleft().set_result(free[0])
