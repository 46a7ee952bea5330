"""HTTP/1.1 connections: what a client may send and how long it may take, before any request exists.

Uvicorn's protocol bounds neither the head of a request nor how long an answer may stay unread. Here a head has a size,
a number of headers and a deadline; trailers and chunk extensions count like a head; an answer has a deadline for being
read; a client holds its share of the connections; and the work for a client that has left is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any, cast

import httptools
import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from fairtag.base.errors import RequestError
from serving.metrics import REST, Metrics
from serving.protocol.admission import Proxies, Shares
from serving.protocol.guard import GONE, error_body, extra_headers
from serving.settings import Limits

PIECE = 4_096  # bytes parsed at a time, so that a packet of many small requests does not become as many objects
LINGER_SECONDS = 1.0  # what a refused client still sends is read, so that the refusal reaches it
UPGRADES = (b"upgrade", b"http2-settings")  # headers of an upgrade, which is ignored (RFC 9110, section 7.8)


class HeadBufferingTransport:
    """A transport that sends an answer's head together with its body.

    Uvicorn writes the two separately, in a packet each. Here the head waits for what is written in the same turn of the
    event loop, and no longer.

    Args:
        transport: The connection; everything not defined here is passed on to it.
        write_seconds: After being closed, how long it waits for the client to read the rest.
    """

    def __init__(self, transport: asyncio.Transport, write_seconds: float) -> None:
        self._transport = transport
        self._write_seconds = write_seconds
        self._held: bytes | None = None

    def write(self, data: bytes) -> None:
        """Send, or hold back for one turn of the event loop."""
        if self._held is None:
            self._held = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            held, self._held = self._held, None
            self._transport.write(held + data)

    def write_eof(self) -> None:
        """Send what is held back, then end our side."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held back, then close; what the client does not read in time is lost."""
        self._flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(self._write_seconds, self._transport.abort)

    def __getattr__(self, name: str) -> Any:
        """All other attributes are the transport's."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


class ReadControl(FlowControl):
    """Uvicorn's flow control, which here reads nothing more while what was read waits to be parsed.

    Args:
        transport: The connection.
        waiting: Whether something waits.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless there is enough to do."""
        if self.read_paused and not self._waiting():
            super().resume_reading()


class BoundedHttpProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP/1.1 within the limits of a connection.

    Args:
        limits: Size, number and time of what a client sends and reads.
        metrics: Where refusals are counted.
        connections: Divides the connections among clients.
        proxies: Whose connections carry many clients.
        options: Uvicorn's own.
    """

    def __init__(
        self, *, limits: Limits, metrics: Metrics, connections: Shares, proxies: Proxies, **options: Any
    ) -> None:
        super().__init__(**options)
        self._limits = limits
        self._metrics = metrics
        self._shares = connections
        self._proxies = proxies
        self._holder: str | None = None
        self.timeout_keep_alive = limits.idle_seconds  # type: ignore[assignment]  # a whole number for uvicorn alone
        self._unparsed = b""
        self._in_head = self._in_message = self._upgrading = False
        self._head_bytes = 0  # of the request line and the headers, trailers included
        self._loose_bytes = 0  # since the parser last made something of what it was fed
        self._fault: RequestError | None = None  # found by a callback of the parser
        self._refusal: RequestError | None = None  # nothing is read from the client any more
        self._running: tuple[RequestResponseCycle, asyncio.Task[None]] | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take a place among the connections and start the deadline of the first head."""
        buffering = HeadBufferingTransport(cast(asyncio.Transport, transport), self._limits.write_seconds)
        super().connection_made(cast(asyncio.Transport, buffering))
        self.flow = ReadControl(self.transport, lambda: bool(self._unparsed or self.pipeline))
        host = self.client[0] if self.client else ""
        holder = f"proxy:{next(_NUMBERS)}" if self._proxies.trusts(host) else host
        if self._shares.take(holder, 1):
            self._holder = holder
            self._wait()
        else:
            rule = "the server has as many connections as it may; try again in a second"
            self._refuse(RequestError("connection", f"{self._shares.used} open", rule, status=503))

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back, and cancel the work that nobody waits for."""
        if self._holder is not None:
            self._shares.give(self._holder, 1)
            self._holder = None
        self._stop_waiting()
        self._stop_write_timer()
        self.pipeline.clear()
        self._unparsed = b""
        super().connection_lost(exc)
        if self._running is not None:
            cycle, task = self._running
            cycle.disconnected = True
            if not task.done() and not cycle.response_complete:
                cycle.scope["state"][GONE] = True
                task.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what the client sent, as far as its requests can be taken up."""
        if self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._parse()

    def pause_writing(self) -> None:
        """The client reads too slowly: from now on it has a deadline."""
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(self._limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        self._stop_write_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._head_bytes = self._loose_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Part of the request line."""
        self._count_head(len(url), "path", 414)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which counts and is dropped: what came after the body must not pass for a header."""
        self._count_head(len(name) + len(value) + 4, "headers", 431)
        if self._in_head:
            super().on_header(name, value)
            if len(self.headers) > self._limits.head_fields:
                rule = f"a request may have {self._limits.head_fields} headers"
                self._stop_parsing(RequestError("headers", "too many", rule, status=431))

    def on_headers_complete(self) -> None:
        """The head is complete: the request starts, unless an upgrade is to be taken out of it first."""
        self._in_head, self._loose_bytes = False, 0
        self._upgrading = bool(self.parser.should_upgrade())
        if not self._upgrading:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._loose_bytes = 0
        if not self._upgrading:
            self._in_message = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has been handed over: take up what the client sent meanwhile."""
        super().on_response_complete()
        if self._refusal is not None:
            if not self.pipeline and not self._busy():
                self._say(self._refusal)
        elif self._unparsed:
            self.loop.call_soon(self._parse)
        else:
            self.flow.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        task: asyncio.Task[None] = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._running = cycle, task

    def _busy(self) -> bool:
        return self._running is not None and not self._running[0].response_complete

    def _parse(self) -> None:
        """Feed the parser piece by piece; what follows a request that has to wait stays unparsed."""
        if self.transport.is_closing():
            return
        while self._unparsed and not self.pipeline and self._refusal is None:
            piece, self._unparsed = self._unparsed[:PIECE], self._unparsed[PIECE:]
            self._loose_bytes += len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self._without_upgrade(piece[upgrade.args[0] :])
            except httptools.HttpParserError:
                self._refuse(self._fault or RequestError("request", "(not shown)", "it must be valid HTTP/1.1"))
                return
            if self._loose_bytes > self._limits.head_bytes:
                self._refuse(self._too_long("headers", 431))
                return
        if self._busy():
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait()

    def _count_head(self, size: int, field: str, status: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.head_bytes:
            self._stop_parsing(self._too_long(field, status))

    def _too_long(self, field: str, status: int) -> RequestError:
        rule = f"request line and headers may have {self._limits.head_bytes} bytes"
        return RequestError(field, "too long", rule, status=status)

    def _stop_parsing(self, fault: RequestError) -> None:
        """End the parser's work from within one of its callbacks; it raises an error of its own."""
        self._fault = fault
        raise fault

    def _without_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its offer to upgrade: the parser would not read the body behind it."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(RequestError("method", "CONNECT", "this is no proxy", status=405))
            return
        lines = [method + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        for name, value in self.headers:
            if name == b"connection":
                kept = [token for token in value.split(b",") if token.strip().lower() not in UPGRADES]
                lines.append(b"connection:" + b",".join(kept))
            elif name not in UPGRADES:
                lines.append(name + b":" + value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self._unparsed = b"\r\n".join(lines) + b"\r\n\r\n" + rest + self._unparsed

    def _refuse(self, refusal: RequestError) -> None:
        """Answer what is no request, after the requests before it, and read nothing more."""
        self._refusal, self._unparsed = refusal, b""
        self._stop_waiting()
        if self._in_message and not self._in_head:  # of a request that has been taken up its body is broken
            if self.pipeline:
                self.pipeline.popleft()
            elif self._busy():
                self._break_off(self.cycle, refusal)
                return
        if not self.pipeline and not self._busy():
            self._say(refusal)

    def _break_off(self, cycle: RequestResponseCycle, refusal: RequestError) -> None:
        """End a request whose body cannot be read."""
        if cycle.response_started:
            self.transport.close()
        else:
            self._say(refusal)
        cycle.scope["state"][GONE] = False  # answered, and counted, here
        cycle.disconnected = True
        cycle.message_event.set()  # whoever waits for the body is told

    def _say(self, refusal: RequestError) -> None:
        """Send a refusal as the last answer of the connection."""
        self._metrics.refuse(REST, refusal.status)
        body = orjson.dumps(error_body(refusal))
        head = [STATUS_LINE[refusal.status], b"content-type: application/json\r\n"]
        headers = [(b"content-length", str(len(body)).encode()), *extra_headers(refusal.status)]
        head += [name + b": " + value + b"\r\n" for name, value in headers if name != b"connection"]
        with contextlib.suppress(OSError, RuntimeError):  # the client may have gone
            self.transport.write(b"".join([*head, b"connection: close\r\n\r\n", body]))
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _wait(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._end_wait)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _end_wait(self) -> None:
        """No request came in time: say so where one had begun."""
        self._head_timer = None
        if self._in_head and not self.transport.is_closing():
            rule = f"a request's head must arrive within {self._limits.head_seconds:g} s"
            self._refuse(RequestError("headers", "late", rule, status=408))
        else:
            self.transport.close()


_NUMBERS = itertools.count()
