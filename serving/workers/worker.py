"""A process beside the server that finds and prices pages, and what the two say to each other.

A page is a function of what is asked, of the model and of the market as the server last read it. So a helper holds the
model and a copy of the market, and whatever it fails to answer is asked of another or of the server itself.

Messages are length-prefixed pickles over a socket pair: the server's own words to a process that it started itself.
Nothing that comes from outside is ever unpickled.
"""

from __future__ import annotations

import contextlib
import gc
import pickle  # between a process and its own child
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fairtag.base import schema
from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.page.core import Core, Rows
from serving.page.corridors import Ends, corridor_of, own_ends
from serving.page.page_state import Found, Known, priced
from serving.stores.features import Market
from serving.warm import warm

if TYPE_CHECKING:
    from fairtag.page.pricing import PricedPage

Load = Callable[[], Core]
NOTHING: Rows = np.zeros(0, dtype=np.int64)

_LENGTH = struct.Struct("!I")
_READ = 1 << 16


@dataclass(frozen=True)
class Ask:
    """A page wanted.

    Args:
        number: Of the question; its answer carries it.
        rows: Catalogue rows to price, None to find them first.
        page_size: Rows to find.
        query: Words to find them by.
        known: What is known of the customer and of the query.
        epoch: Price epoch.
    """

    number: int
    rows: Rows | None
    page_size: int
    query: str
    known: Known
    epoch: int


@dataclass(frozen=True)
class Answer:
    """A page; none where asking failed.

    Args:
        number: Of the question.
        rows: Catalogue rows.
        page: Priced inside the model's own corridors.
        ends: The ends of those, as they were taken, minor units.
    """

    number: int
    rows: Rows = field(default_factory=lambda: NOTHING)
    page: PricedPage | None = None
    ends: Sequence[Ends] = ()


@dataclass(frozen=True)
class Ready:
    """The first words of a helper: the version of its model, or why it has none."""

    version: str | None
    error: str = ""


def framed(message: object) -> bytes:
    """A message as it travels."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """Cuts a stream of bytes into the messages that :func:`framed` made."""

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


class Helper:
    """Answers questions with a model.

    Args:
        core: The model.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._columns = {name: np.array(getattr(core.market, name), dtype=np.float64) for name in MARKET_COLUMNS}

    def update(self, news: Market) -> None:
        """Take over what the server has read."""
        for name, values in news.columns.items():
            known = ~np.isnan(values)
            self._columns[name][news.rows[known]] = values[known]

    def answer(self, ask: Ask) -> Answer:
        """The page; without one where anything went wrong: the server asks again and sees the error itself."""
        try:
            rows = self._found(ask) if ask.rows is None else ask.rows
            market = MarketContext(**{name: column[rows] for name, column in self._columns.items()})
            ends = own_ends(self._core, rows)
            found = Found(rows, [], market, None, NOTHING, corridor_of(ends, self._core.minor_per_unit))
            return Answer(ask.number, rows, priced(self._core, ask.known, found, ask.epoch)[0], ends)
        except Exception:
            return Answer(ask.number)

    def _found(self, ask: Ask) -> Rows:
        assert ask.known.embedding is not None, "a search has a query"
        stock = self._columns[schema.STOCK]
        return self._core.retrieve(ask.known.embedding, ask.query, ask.known.user, ask.page_size, stock)


def serve(link: socket.socket, load: Load) -> None:
    """Answer questions until the server hangs up: the whole life of a helper.

    Args:
        link: To the server.
        load: Loads the model; something that a new process can import.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all: it is the server that stops helpers
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            core = load()
            warm(core)
        except Exception as error:
            link.sendall(framed(Ready(None, f"{type(error).__name__}: {error}")))
            return
        helper, frames = Helper(core), Frames()
        gc.collect()
        gc.freeze()
        link.sendall(framed(Ready(core.version)))
        while data := link.recv(_READ):
            for message in frames.feed(data):
                if isinstance(message, Ask):
                    link.sendall(framed(helper.answer(message)))
                else:
                    helper.update(message)
