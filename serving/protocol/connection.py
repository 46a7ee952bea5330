"""One HTTP/1.1 connection: how long it may take to ask, and how its answer leaves."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # a connection that has not sent a whole request head by then is closed


class Joined:
    """A transport that sends an answer's head with its body: uvicorn writes each by itself, in a packet of its own.

    The head waits for what is written in the same turn of the event loop, and for no longer.

    Args:
        transport: The connection; what is not named here is its own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold back for a moment."""
        if self._held is None:
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            held, self._held = self._held, None
            self._transport.write(held + data)

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a transport does."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


class ImpatientProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1, closing connections that never finish a request's head."""

    _reaper: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start waiting for the first head."""
        super().connection_made(cast(asyncio.Transport, Joined(transport)))
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on while what has come is not a whole head."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._reaper is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing left to wait for."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._reaper = self.loop.call_later(HEADER_SECONDS, self._reap)

    def _stop_waiting(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def _reap(self) -> None:
        self._reaper = None
        if not self.transport.is_closing():
            self.transport.close()
