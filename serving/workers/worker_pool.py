"""The helpers of an endpoint: starts them, asks them for pages, and replaces those that end.

An interpreter runs one thread at a time, so that a second core prices pages only in a process of its own
(:mod:`serving.workers.worker`); who prices which page is :mod:`serving.workers.scheduler`'s to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import multiprocessing
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from serving.stores.features import Market
from serving.workers.scheduler import Turns
from serving.workers.worker import Answer, Ask, Frames, Load, Ready, framed, serve

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # a helper silent for longer hangs, and is ended
START_SECONDS = 300.0
REAP_SECONDS = 10.0  # for a killed process to be gone
REST_SECONDS = (1.0, 60.0)  # before one that ended is replaced: at first, and at most where none joins
ANSWERED, LOST, ENDED = "answered", "lost", "ended"  # what is observed: of a page, of a page, of a helper


class HelperLost(Exception):
    """A helper gave no page; it must be priced elsewhere."""


class Link(asyncio.Protocol):
    """One helper as the event loop sees it.

    Args:
        process: The helper's process.
    """

    def __init__(self, process: Any) -> None:
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self._process = process
        self._frames = Frames()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The helper may be spoken to."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        """Hand answers to those who wait for them."""
        for message in self._frames.feed(data):
            waiting = self.ready if isinstance(message, Ready) else self._asked.get(message.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's signature
        """Nothing will be answered any more."""
        self.gone.set()
        _lose(self.ready)
        for waiting in self._asked.values():
            _lose(waiting)

    def tell(self, message: object) -> None:
        """Send a message that needs no answer."""
        if self._transport is not None and not self.gone.is_set():
            self._transport.write(framed(message))

    async def ask(self, ask: Ask) -> Answer:
        """The answer to a question.

        Raises:
            HelperLost: It ended, hangs, or could not price the page.
        """
        if self.gone.is_set():
            raise HelperLost
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked[ask.number] = waiting
        self.tell(ask)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await waiting
        except TimeoutError:
            logger.warning("a helper hangs and is ended")
            self.close()
            raise HelperLost from None
        finally:
            del self._asked[ask.number]
        if answer.page is None:
            raise HelperLost
        return answer

    def close(self) -> None:
        """End the helper at once."""
        if self._transport is not None:
            self._transport.abort()
        self._process.kill()


class Helpers:
    """Keeps a number of helpers of one model at work.

    Args:
        count: How many; 0 leaves every page to this process.
        load: Loads the model in each.
        version: Of the model they must have.
        market: What has been read of the market so far; None when nothing has been.
        observe: Told what becomes of pages and helpers.
    """

    def __init__(
        self,
        count: int,
        load: Load,
        version: str,
        market: Callable[[], Market | None] = lambda: None,
        observe: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self.turns: Turns[Link] = Turns()
        self._count, self._load, self._version = count, load, version
        self._market, self._observe = market, observe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()

    @property
    def alive(self) -> int:
        """Helpers that answer."""
        return len(self.turns.helpers)

    def start(self) -> None:
        """Start them on the running event loop. They join when they are ready, and one that ends is replaced."""
        self._loop = asyncio.get_running_loop()
        self._keepers = [self._loop.create_task(self._keep()) for _ in range(self._count)]

    async def close(self) -> None:
        """End them; what they were asked is lost to them, and priced here."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def update(self, news: Market) -> None:
        """Tell all of them what was read of the market; from any thread."""
        if self._count and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody prices any more
                self._loop.call_soon_threadsafe(self._tell, news)

    async def ask(self, helper: Link, **page: Any) -> Answer:
        """Ask a helper for a page; the arguments are those of :class:`~serving.workers.worker.Ask` but its number.

        Raises:
            HelperLost: It gave none.
        """
        try:
            answer = await helper.ask(Ask(next(self._numbers), **page))
        except HelperLost:
            self._observe(LOST)
            raise
        self._observe(ANSWERED)
        return answer

    def _tell(self, news: Market) -> None:
        for link in self.turns.helpers:
            link.tell(news)

    async def _keep(self) -> None:
        """One helper after another."""
        rest, most = REST_SECONDS
        while True:
            try:
                async with self._helper() as link:
                    rest = REST_SECONDS[0]
                    await link.gone.wait()
                logger.warning("a helper ended; another takes its place")
                self._observe(ENDED)
            except (HelperLost, TimeoutError, OSError) as error:
                logger.warning("a helper did not start, the next try is in %.0f s: %s", rest, error)
            await asyncio.sleep(rest)
            rest = min(2 * rest, most)

    @contextlib.asynccontextmanager
    async def _helper(self) -> AsyncIterator[Link]:
        """A helper that takes part until the block ends."""
        process, ours = await asyncio.to_thread(_started, self._load)
        _, link = await asyncio.get_running_loop().create_connection(lambda: Link(process), sock=ours)
        try:
            async with asyncio.timeout(START_SECONDS):
                ready = await link.ready
            if ready.version != self._version:
                raise HelperLost(ready.error or f"its model is {ready.version}, not {self._version}")
            if (market := self._market()) is not None:  # at once: what is read from now on is told
                link.tell(market)
            self.turns.join(link)
            yield link
        finally:
            self.turns.leave(link)
            link.close()
            await asyncio.to_thread(process.join, REAP_SECONDS)


def _started(load: Load) -> tuple[Any, socket.socket]:
    """A new helper's process, and our end of the pair of sockets."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    ours, theirs = socket.socketpair()
    with theirs:
        process = context.Process(target=serve, args=(theirs, load), name="fairtag-helper", daemon=True)
        process.start()
    return process, ours


def _lose(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(HelperLost("it ended"))
        waiting.exception()  # a caller may have left: its error is not one that nobody saw
