"""A process beside the server that finds and prices pages, and the messages between the two.

A page is a function of its task, of the model and of the market as the server last read it. So a worker holds the model
and a copy of the market, and whatever it fails to answer is priced by the server itself.

Messages are length-prefixed pickles over a socket pair, from a process to its own child and back. Nothing that comes
from outside is ever unpickled.
"""

from __future__ import annotations

import pickle  # between a process and its own child
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fairtag.base import schema
from fairtag.page.day_corridor import DayCorridor
from fairtag.page.priced_page import PricedPage
from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from fairtag.search.retrieval import SearchResult
from serving.page.core import Core, Floats, Rows, Vector, tune_garbage_collection, warm_up
from serving.page.page_task import PageTask, find_and_price
from serving.stores.feature_reads import MarketUpdate

Load = Callable[[], Core]

_LENGTH = struct.Struct("!I")
_READ = 1 << 16


@dataclass(frozen=True)
class Question:
    """A task, and the number that its reply carries."""

    number: int
    task: PageTask


@dataclass(frozen=True)
class Reply:
    """A page of some catalogue rows, priced inside the model's own corridors."""

    number: int
    rows: Rows
    page: PricedPage
    corridor: DayCorridor
    found: SearchResult | None = None


@dataclass(frozen=True)
class Failure:
    """The reply to a question that failed."""

    number: int


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


class MarketCopy:
    """The market as the server last read it. It is never too old: the server judges that.

    Args:
        catalogue: The model's own values.
    """

    def __init__(self, catalogue: MarketContext) -> None:
        self._columns = {name: np.array(getattr(catalogue, name), dtype=np.float64) for name in MARKET_COLUMNS}

    @property
    def stock(self) -> Floats:
        """(N,) units of every catalogue row, NaN where unknown."""
        return self._columns[schema.STOCK]

    @property
    def list_price(self) -> Floats:
        """(N,) list price of every catalogue row, money."""
        return self._columns[schema.LIST_PRICE]

    def rows(self, rows: Rows) -> tuple[MarketContext, None]:
        """The market of some rows."""
        return MarketContext(**{name: column[rows] for name, column in self._columns.items()}), None

    def too_old(self, rows: Rows) -> Rows:
        """None of them."""
        return rows[:0]

    def update(self, news: MarketUpdate) -> None:
        """Take over what the server has read."""
        for name, values in news.columns.items():
            known = ~np.isnan(values)
            self._columns[name][news.rows[known]] = values[known]


def reply_to(question: Question, core: Core, market: MarketCopy) -> Reply | Failure:
    """The page of a question. Where anything goes wrong the server prices it again and meets the error itself."""

    def encode(query: str) -> Vector:
        (embedding,) = core.encode([query])
        return np.asarray(embedding, dtype=np.float32)

    try:
        task = question.task
        corridor_of = partial(core.corridor, epoch=task.epoch, policy=task.policy)
        result = find_and_price(core, task, market, corridor_of, encode, lambda _stage: nullcontext())
    except Exception:
        return Failure(question.number)
    assert result.page is not None, "a worker looks nothing up"
    assert result.corridor is not None, "a model has corridors"
    return Reply(question.number, result.rows, result.page, result.corridor, result.found)


def serve(link: socket.socket, load: Load) -> None:
    """Answer questions until the server hangs up: the whole life of a worker process.

    Args:
        link: To the server.
        load: Loads the model; something that a new process can import.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: it is the server that stops workers
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            core = load()
            warm_up(core)
        except Exception as error:
            link.sendall(encoded(Hello(None, f"{type(error).__name__}: {error}")))
            return
        market, decoder = MarketCopy(core.market), Decoder()
        tune_garbage_collection()
        link.sendall(encoded(Hello(core.version)))
        while data := link.recv(_READ):
            for message in decoder.feed(data):
                if isinstance(message, Question):
                    link.sendall(encoded(reply_to(message, core, market)))
                else:
                    market.update(message)
