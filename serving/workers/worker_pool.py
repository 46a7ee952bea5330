"""The workers of an endpoint: starts them, gives them pages, and replaces those that end.

An interpreter runs one thread at a time, so a second core prices pages only in a process of its own
(:mod:`serving.workers.worker`). :mod:`serving.workers.scheduler` decides who prices which page.
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

from serving.page.page_task import PageTask
from serving.stores.feature_reads import MarketUpdate
from serving.workers.scheduler import Scheduler
from serving.workers.worker import Decoder, Failure, Hello, Load, Question, Reply, encoded, serve

logger = logging.getLogger(__name__)

REPLY_SECONDS = 10.0  # a worker silent for longer hangs, and is ended
START_SECONDS = 300.0
REAP_SECONDS = 10.0  # for a killed process to be gone
REST_SECONDS = (1.0, 60.0)  # before one that ended is replaced: at first, and at most where none starts
ANSWERED, LOST, ENDED = "answered", "lost", "ended"  # what is observed: of a page, of a page, of a worker


class WorkerLost(Exception):
    """A worker gave no page; it must be priced elsewhere."""


class Link(asyncio.Protocol):
    """One worker as the event loop sees it.

    Args:
        process: The worker's process.
    """

    def __init__(self, process: Any) -> None:
        self.hello: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self._process = process
        self._decoder = Decoder()
        self._waiting: dict[int, asyncio.Future[Reply | Failure]] = {}
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker can be written to."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        """Hand replies to those who wait for them."""
        for message in self._decoder.feed(data):
            waiting = self.hello if isinstance(message, Hello) else self._waiting.get(message.number)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the base's signature
        """No reply will come any more."""
        self.gone.set()
        _lose(self.hello)
        for waiting in self._waiting.values():
            _lose(waiting)

    def tell(self, message: object) -> None:
        """Send a message that needs no reply."""
        if self._transport is not None and not self.gone.is_set():
            self._transport.write(encoded(message))

    async def ask(self, question: Question) -> Reply:
        """The reply to a question.

        Raises:
            WorkerLost: It ended, hangs, or could not price the page.
        """
        if self.gone.is_set():
            raise WorkerLost
        waiting: asyncio.Future[Reply | Failure] = asyncio.get_running_loop().create_future()
        self._waiting[question.number] = waiting
        self.tell(question)
        try:
            async with asyncio.timeout(REPLY_SECONDS):
                reply = await waiting
        except TimeoutError:
            logger.warning("a worker has not replied for %.0f s and is ended", REPLY_SECONDS)
            self.close()
            raise WorkerLost from None
        finally:
            del self._waiting[question.number]
        if isinstance(reply, Failure):
            raise WorkerLost
        return reply

    def close(self) -> None:
        """End the worker at once."""
        if self._transport is not None:
            self._transport.abort()
        self._process.kill()


class WorkerPool:
    """Keeps a number of workers of one model running.

    Args:
        count: How many; 0 leaves every page to this process.
        load: Loads the model in each.
        version: Version of the model that they must have.
        market: What has been read of the market so far; None when nothing has been.
        observe: Told what becomes of pages and workers.
    """

    def __init__(
        self,
        count: int,
        load: Load,
        version: str,
        market: Callable[[], MarketUpdate | None] = lambda: None,
        observe: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self.scheduler: Scheduler[Link] = Scheduler()
        self._count, self._load, self._version = count, load, version
        self._market, self._observe = market, observe
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keepers: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()

    @property
    def alive(self) -> int:
        """Workers that answer."""
        return len(self.scheduler.workers)

    def start(self) -> None:
        """Start them on the running event loop. Each takes part once it is ready, and one that ends is replaced."""
        self._loop = asyncio.get_running_loop()
        self._keepers = [self._loop.create_task(self._keep()) for _ in range(self._count)]

    async def close(self) -> None:
        """End them; the pages they were given are priced by this process."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def update(self, news: MarketUpdate) -> None:
        """Tell all of them what was read of the market; from any thread."""
        if self._count and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody prices any more
                self._loop.call_soon_threadsafe(self._tell, news)

    def turn(self) -> contextlib.AbstractAsyncContextManager[Link | None]:
        """The worker that prices the next page, or None for this process; held until the block ends."""
        if not self.alive:  # the threads of this process queue by themselves
            return contextlib.nullcontext()
        return self.scheduler.turn()

    async def ask(self, worker: Link, task: PageTask) -> Reply:
        """A worker's page of a task.

        Raises:
            WorkerLost: It gave none.
        """
        try:
            reply = await worker.ask(Question(next(self._numbers), task))
        except WorkerLost:
            self._observe(LOST)
            raise
        self._observe(ANSWERED)
        return reply

    def _tell(self, news: MarketUpdate) -> None:
        for link in self.scheduler.workers:
            link.tell(news)

    async def _keep(self) -> None:
        """One worker after another."""
        rest, most = REST_SECONDS
        while True:
            try:
                async with self._worker() as link:
                    rest = REST_SECONDS[0]
                    await link.gone.wait()
                logger.warning("a worker ended; another takes its place")
                self._observe(ENDED)
            except (WorkerLost, TimeoutError, OSError) as error:
                logger.warning("a worker did not start, the next try is in %.0f s: %s", rest, error)
            await asyncio.sleep(rest)
            rest = min(2 * rest, most)

    @contextlib.asynccontextmanager
    async def _worker(self) -> AsyncIterator[Link]:
        """A worker that takes part until the block ends."""
        process, ours = await asyncio.to_thread(_start, self._load)
        _, link = await asyncio.get_running_loop().create_connection(lambda: Link(process), sock=ours)
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await link.hello
            if hello.version != self._version:
                raise WorkerLost(hello.error or f"its model is {hello.version}, not {self._version}")
            if (market := self._market()) is not None:  # at once: what is read from now on is told
                link.tell(market)
            self.scheduler.join(link)
            yield link
        finally:
            self.scheduler.leave(link)
            link.close()
            await asyncio.to_thread(process.join, REAP_SECONDS)


def _start(load: Load) -> tuple[Any, socket.socket]:
    """A new worker's process, and our end of the pair of sockets."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    ours, theirs = socket.socketpair()
    with theirs:
        process = context.Process(target=serve, args=(theirs, load), name="fairtag-worker", daemon=True)
        process.start()
    return process, ours


def _lose(waiting: asyncio.Future[Any]) -> None:
    if not waiting.done():
        waiting.set_exception(WorkerLost("it ended"))
        waiting.exception()  # a caller may have left: its error is not one that nobody saw
