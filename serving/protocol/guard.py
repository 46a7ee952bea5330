"""Guards the HTTP application: body sizes, deadlines, admission, and routes that stay closed.

KServe accepts bodies of any size and lets anybody unload the model. The guard does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from fairtag.base.errors import RequestError
from serving.metrics import Metrics
from serving.protocol.admission import Admission
from serving.settings import Limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSED = "/v2/repository"


class Guard:
    """An ASGI application around another.

    Args:
        application: What is guarded.
        limits: Size of a body and the time it may take.
        admission: Keys, rates and concurrency.
        metrics: Where refusals are counted.
        draining: Whether the server is about to stop: then every answer closes its connection.
    """

    def __init__(
        self,
        application: Application,
        limits: Limits,
        admission: Admission,
        metrics: Metrics,
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._application = application
        self._limits = limits
        self._admission = admission
        self._metrics = metrics
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope: check a request, refuse a websocket, and pass anything else on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
            return
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        if self._draining():
            send = _closing(send)
        try:
            await self._guarded(scope, receive, send)
        except RequestError as refusal:
            self._metrics.refusals.labels("rest", str(refusal.status)).inc()
            await _answer(send, refusal)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(CLOSED):
            raise RequestError(
                "path", scope["path"], "models are loaded by the operator, not over the network", status=403
            )
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):  # probes and metrics are never queued or turned away
            await self._application(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        client = scope.get("client") or ("", 0)
        with self._admission.admit(client[0], headers.get(b"authorization")):
            self._metrics.in_flight.set(self._admission.in_flight)
            body = await self._body(headers.get(b"content-length"), receive)
            await self._application(scope, _replay(body, receive), send)

    async def _body(self, declared: str | None, receive: Receive) -> bytes:
        """The whole body, read before the application sees the request."""
        most = self._limits.body_bytes
        if declared is not None and declared.isdecimal() and int(declared) > most:
            raise _too_large(most)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await _read(receive, most)
        except TimeoutError:
            seconds = self._limits.body_seconds
            raise RequestError("body", "late", f"it must arrive within {seconds:g} s", status=408) from None


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError("body", "incomplete", "the client closed the connection", status=400)
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_large(most: int) -> RequestError:
    return RequestError("body", "too large", f"it may have {most} bytes", status=413)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replayed() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


def _closing(send: Send) -> Send:
    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await send(message)

    return closing


def error_body(error: RequestError) -> dict[str, Any]:
    """The JSON of a refusal: the sentence and its parts."""
    return {"error": str(error), "field": error.field, "rule": error.rule}


def extra_headers(status: int) -> Iterable[tuple[bytes, bytes]]:
    """The additional headers of a status."""
    if status in (429, 503):
        yield b"retry-after", b"1"
    if status == 401:
        yield b"www-authenticate", b"Bearer"
    if status in (408, 413):  # the rest of the body was not read
        yield b"connection", b"close"


async def _answer(send: Send, refusal: RequestError) -> None:
    body = orjson.dumps(error_body(refusal))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += extra_headers(refusal.status)
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
