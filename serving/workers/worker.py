"""A process beside the server that finds and prices pages, and the messages between the two.

A page is a function of its task, of the model and of the market as the server last read it. So a worker holds the model
and a copy of the market, and whatever it fails to answer is priced by the server itself.

Messages are length-prefixed pickles over a socket pair, from a process to its own child and back. Nothing that comes
from outside is ever unpickled.
"""

from __future__ import annotations

import contextlib
import gc
import pickle  # between a process and its own child
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fairtag.base import schema
from fairtag.page.priced_page import PricedPage
from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.page.core import Core, Rows, warm_up
from serving.page.page_task import PageTask
from serving.stores.corridor_store import OwnEnds, corridor_of, own_ends
from serving.stores.feature_reads import MarketUpdate

Load = Callable[[], Core]
NO_ROWS: Rows = np.zeros(0, dtype=np.int64)

_LENGTH = struct.Struct("!I")
_READ = 1 << 16


@dataclass(frozen=True)
class Question:
    """A task, and the number that its reply carries."""

    number: int
    task: PageTask


@dataclass(frozen=True)
class Reply:
    """A page; none where the task failed.

    Args:
        number: Of the question.
        rows: Catalogue rows.
        page: Priced inside the model's own corridors.
        ends: The ends of those corridors, minor units.
    """

    number: int
    rows: Rows = field(default_factory=lambda: NO_ROWS)
    page: PricedPage | None = None
    ends: Sequence[OwnEnds] = ()


@dataclass(frozen=True)
class Hello:
    """A worker's first message: the version of its model, or why it has none."""

    version: str | None
    error: str = ""


def encoded(message: object) -> bytes:
    """A message as it travels."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a stream of bytes into the messages that :func:`encoded` made."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that are whole with these bytes."""
        self._bytes += data
        while len(self._bytes) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._bytes)[0]
            if len(self._bytes) < end:
                return
            with memoryview(self._bytes) as whole:
                message = pickle.loads(whole[_LENGTH.size : end])  # noqa: S301 - see the module's text
            del self._bytes[:end]
            yield message


class Worker:
    """Answers questions with a model and a copy of the market.

    Args:
        core: The model.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._columns = {name: np.array(getattr(core.market, name), dtype=np.float64) for name in MARKET_COLUMNS}

    def update(self, news: MarketUpdate) -> None:
        """Take over what the server has read."""
        for name, values in news.columns.items():
            known = ~np.isnan(values)
            self._columns[name][news.rows[known]] = values[known]

    def reply(self, question: Question) -> Reply:
        """The page; none where anything went wrong: the server prices it again and meets the error itself."""
        core, task = self._core, question.task
        try:
            if task.query is not None and task.embedding is None:
                task = replace(task, embedding=core.encode([task.query])[0])
            rows = task.candidates(core, self._columns[schema.STOCK])
            market = MarketContext(**{name: column[rows] for name, column in self._columns.items()})
            ends = own_ends(core, rows)
            page = core.price(task.inputs(core, rows, market, corridor_of(ends, core.minor_per_unit)))
        except Exception:
            return Reply(question.number)
        return Reply(question.number, rows, page, ends)


def serve(link: socket.socket, load: Load) -> None:
    """Answer questions until the server hangs up: the whole life of a worker process.

    Args:
        link: To the server.
        load: Loads the model; something that a new process can import.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: it is the server that stops workers
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            core = load()
            warm_up(core)
        except Exception as error:
            link.sendall(encoded(Hello(None, f"{type(error).__name__}: {error}")))
            return
        worker, decoder = Worker(core), Decoder()
        gc.collect()
        gc.freeze()
        link.sendall(encoded(Hello(core.version)))
        while data := link.recv(_READ):
            for message in decoder.feed(data):
                if isinstance(message, Question):
                    link.sendall(encoded(worker.reply(message)))
                else:
                    worker.update(message)
