"""Guards the HTTP application: body sizes, deadlines, keys, and routes that stay closed.

KServe accepts bodies of any size and lets anybody unload the model. The guard does not. Every answer passes it, so it
counts whatever was not answered as asked.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

import orjson
from starlette.middleware.cors import CORSMiddleware

from fairtag.base.errors import RequestError
from serving.logs import where
from serving.metrics import REST, Metrics
from serving.protocol.admission import CALLER, REQUEST_TIMEOUT, Admission, Proxies, Rate, asked_seconds
from serving.protocol.browser_tokens import READS
from serving.protocol.compression import SPOKEN, decompress
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSED = "/v2/repository"
METRICS_PATH = "/metrics"
PROBES = re.compile(r"/|/v2/health/(live|ready)|/v[12]/models/[^/]+(/versions/[^/]+)?(/ready)?")  # never turned away
GONE = "client_gone"  # key of a scope's state: True where the client has left, False where it was answered already
CLIENT_LEFT = 499  # what proxies note of a client that left before its answer; nobody is sent it
REFUSED = 400  # from this status on an answer is not what was asked for
CORS_SECONDS = 600  # for which a browser may remember what it may send


class Guard:
    """An ASGI application around another.

    Args:
        application: What is guarded.
        settings: Limits of a request, trusted proxies, and origins that may call.
        admission: Keys and rates.
        metrics: Where refusals are counted.
        methods: The methods of each path.
        draining: Whether the server is about to stop: then every answer closes its connection.
    """

    def __init__(
        self,
        application: Application,
        settings: ServingSettings,
        admission: Admission,
        metrics: Metrics,
        methods: Mapping[str, str],
        draining: Callable[[], bool] = lambda: False,
    ) -> None:
        self._application = application
        self._limits = settings.limits
        self._proxies = Proxies(settings.trusted_proxies)
        self._admission = admission
        self._metrics = metrics
        self._methods = methods
        self._draining = draining
        reads = settings.limits.reads_per_second
        self._reads = Rate(reads, settings.limits.burst, time.monotonic) if reads else None
        self._inner: Application = self._guarded
        if settings.allowed_origins:
            self._inner = CORSMiddleware(
                self._guarded,
                allow_origins=settings.allowed_origins,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "content-type", REQUEST_TIMEOUT),
                expose_headers=("retry-after",),
                max_age=CORS_SECONDS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; anything else is passed on."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started = False

        async def counted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if message["status"] >= REFUSED:
                    self._metrics.refuse(REST, message["status"])
                if self._draining():
                    message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
            await send(message)

        try:
            await self._inner(scope, receive, counted)
        except asyncio.CancelledError:
            if not scope.get("state", {}).get(GONE):
                raise
            self._metrics.refuse(REST, CLIENT_LEFT)
        except Exception as error:  # the border: whatever it was, the client gets a status
            if not started:  # else the application has answered, and raises what it has noted itself
                logger.error("%s in %s", type(error).__name__, where(error))  # noqa: TRY400 - a traceback may quote a request
                await _answer(counted, 500, {"error": "internal error"})

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        method = scope["method"]
        try:
            _refuse_closed(scope["path"])
            if method == "OPTIONS":
                await self._tell_methods(scope["path"], send)
                return
            if method in ("GET", "HEAD"):
                self._allow_read(scope)
                scope = {**scope, "method": "GET"}  # HEAD is GET without the body, which the server leaves out
            else:
                receive = _replay(await self._admitted(scope, receive), receive)
            await self._application(scope, receive, send)
        except RequestError as refusal:
            await _answer(send, refusal.status, error_body(refusal), refusal.field)
        except ClientGone:
            if scope.get("state", {}).get(GONE, True):
                self._metrics.refuse(REST, CLIENT_LEFT)

    def _allow_read(self, scope: Scope) -> None:
        """Let a GET through: probes always, others at a rate, and metrics to nobody beyond a proxy.

        Raises:
            RequestError: Status 403 or 429.
        """
        if PROBES.fullmatch(scope["path"]):
            return
        headers = dict(scope["headers"])
        if scope["path"] == METRICS_PATH and b"x-forwarded-for" in headers:
            rule = "metrics are for Prometheus, which asks each process itself, not through a gateway"
            raise RequestError("path", METRICS_PATH, rule, status=403)
        address = self._address(scope, {name: value.decode("latin-1") for name, value in headers.items()})
        if self._reads is not None and not self._reads.spend(address):
            rule = f"an address may send {self._limits.reads_per_second:g} GET requests a second"
            raise RequestError("request", "too many", rule, status=429)

    async def _admitted(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that may be answered; from now on its caller is known."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        address = self._address(scope, headers)
        caller = self._admission.identify(address, headers.get(b"authorization"), headers.get(b"origin"))
        if caller.token is not None and not READS.fullmatch(scope["path"]):
            raise RequestError("path", scope["path"], "a browser token may only ask for pages", status=403)
        caller.seconds = asked_seconds(headers.get(REQUEST_TIMEOUT.encode()))
        body = await self._body(headers.get(b"content-length"), receive)
        if (encoding := headers.get(b"content-encoding")) is not None:
            body = decompress(body, encoding, self._limits.body_bytes)
        CALLER.set(caller)
        return body

    def _address(self, scope: Scope, headers: Mapping[bytes, str]) -> str:
        """The client's address; a proxy may have split ``X-Forwarded-For`` over several headers."""
        host: str = (scope.get("client") or ("", 0))[0]
        forwarded = headers.get(b"x-forwarded-for")
        if forwarded is not None:
            values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
            forwarded = b",".join(values).decode("latin-1")
        return self._proxies.client(host, forwarded)

    async def _tell_methods(self, path: str, send: Send) -> None:
        """The methods of a path.

        Raises:
            RequestError: There is no such path.
        """
        methods = self._methods.get(path)
        if methods is None:
            raise RequestError("path", path, "there is no such path; /docs lists them", status=404)
        await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", methods.encode())]})
        await send({"type": "http.response.body", "body": b""})

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


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


def _refuse_closed(path: str) -> None:
    if path.startswith(CLOSED):
        raise RequestError("path", path, "models are loaded by the operator, not over the network", status=403)


async def _read(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
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


def error_body(error: RequestError) -> dict[str, Any]:
    """The JSON of a refusal: the sentence and its parts."""
    return {"error": str(error), "field": error.field, "rule": error.rule}


def extra_headers(status: int, field: str = "") -> Iterable[tuple[bytes, bytes]]:
    """The additional headers of a status, and of the field that was refused."""
    if status in (429, 503):
        yield b"retry-after", b"1"
    if status == 401:
        yield b"www-authenticate", b"Bearer"
    if status in (408, 413):  # the rest of the body was not read
        yield b"connection", b"close"
    if field == "content-encoding":
        yield b"accept-encoding", SPOKEN.encode()


async def _answer(send: Send, status: int, content: dict[str, Any], field: str = "") -> None:
    body = orjson.dumps(content)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += extra_headers(status, field)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
