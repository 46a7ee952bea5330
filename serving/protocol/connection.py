"""HTTP/1.1 connections: a deadline for the request's head, and one packet for a whole answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # a connection that has not sent a complete request head by then is closed


class HeadBufferingTransport:
    """A transport that sends an answer's head together with its body.

    Uvicorn writes the two separately, in a packet each. Here the head waits for what is written in the same turn of the
    event loop, and no longer.

    Args:
        transport: The connection; everything not defined here is passed on to it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold back for one turn of the event loop."""
        if self._held is None:
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            held, self._held = self._held, None
            self._transport.write(held + data)

    def close(self) -> None:
        """Send what is held back, then close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """All other attributes are the transport's."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


class HeadDeadlineProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1, which here closes connections that do not complete a request's head in time."""

    _reaper: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the deadline of the first head."""
        super().connection_made(cast(asyncio.Transport, HeadBufferingTransport(transport)))
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Stop the deadline once a head is complete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._reaper is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the deadline."""
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
