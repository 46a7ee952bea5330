"""Starts an endpoint, and waits for what it cannot serve without: its first model, and the feature store beside it.

While it waits, the endpoint is alive and not ready, and every answer is 503 with the reason in words. Kubernetes then
neither sends it customers nor restarts it, and a new installation is quiet until its first model is deployed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson
import uvicorn

from fairtag.base.errors import FeaturesMissing, UnavailableError
from fairtag.model.manifest import MANIFEST
from serving.assembly import Assembly
from serving.metrics import REST, Metrics, MetricsPage
from serving.protocol.guard import PROBES
from serving.protocol.http_server import QuietServer
from serving.server import PricingServer
from serving.settings import ServingSettings

logger = logging.getLogger(__name__)

MODEL, STORE = "model", "store"
LONGEST_SECONDS = 60.0  # between two tries of a start, each of which loads the model
LIVE = "/v2/health/live"
METRICS = "/metrics"


@dataclass(frozen=True)
class Wait:
    """What an endpoint waits for.

    Args:
        cause: :data:`MODEL` or :data:`STORE`, the label of the metric.
        text: The reason in words.
        over: Whether to look again now.
    """

    cause: str
    text: str
    over: Callable[[], bool]


def start(
    settings: ServingSettings, metrics: Metrics | None = None, say: Callable[[str], None] = lambda _text: None
) -> None:
    """Serve until a signal ends it, waiting first where the settings allow it.

    Args:
        settings: What to serve, and how long to wait between two looks.
        metrics: What is counted.
        say: Told when it serves.

    Raises:
        FairtagError: The endpoint cannot start, and waiting would not help or is not allowed.
    """
    metrics = metrics or Metrics()
    pause = settings.wait_seconds
    while True:
        wait = None if has_model(settings) or not settings.wait_seconds else wait_for_model(settings)
        if wait is None:
            try:
                server = PricingServer(Assembly(settings, metrics), say)
            except (FeaturesMissing, UnavailableError) as error:
                if not settings.wait_seconds:
                    raise
                wait, pause = wait_for_store(error, pause), min(2 * pause, LONGEST_SECONDS)
            else:
                server.start()
                return
        if not asyncio.run(answer_while(wait, settings, metrics)):
            return


def has_model(settings: ServingSettings) -> bool:
    """Whether there is a model folder: its manifest is written last."""
    return (settings.model_folder / MANIFEST).is_file()


def wait_for_model(settings: ServingSettings) -> Wait:
    """Until there is a model folder."""
    text = f"waiting for the first model: {settings.model_folder} holds none; the pipeline deploys one (fairtag submit)"
    return Wait(MODEL, text, lambda: has_model(settings))


def wait_for_store(error: Exception, seconds: float) -> Wait:
    """For a time, after which the start is tried again."""
    until = time.monotonic() + seconds
    return Wait(STORE, f"waiting for a store: {error}", lambda: time.monotonic() >= until)


async def answer_while(wait: Wait, settings: ServingSettings, metrics: Metrics, *, signals: bool = True) -> bool:
    """Answer 503 with the reason until the wait is over.

    Returns:
        Whether it is over; False where a signal asked to stop.
    """
    stop = asyncio.Event()
    config = uvicorn.Config(
        _application(wait.text, metrics, settings.limits.metrics_seconds),
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = QuietServer(config)
    listener = socket.create_server((settings.host, settings.http_port))
    logger.warning("%s; answering 503 on %d", wait.text, listener.getsockname()[1])
    metrics.waiting.labels(wait.cause).set(1)
    with _signals(stop) if signals else contextlib.nullcontext():
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not (stop.is_set() or wait.over()):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.wait_seconds)
        server.should_exit = True
        await serving
    metrics.waiting.labels(wait.cause).set(0)
    return not stop.is_set()


def _application(reason: str, metrics: Metrics, page_seconds: float) -> Callable[..., Awaitable[None]]:
    refusal, page = orjson.dumps({"error": reason}), MetricsPage(metrics.registry, page_seconds)

    async def application(scope: MutableMapping[str, Any], _receive: Any, send: Callable[..., Awaitable[None]]) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})  # try again later
            return
        status, kind, body = 503, b"application/json", refusal
        if scope["path"] == LIVE:
            status, body = 200, b'{"live":true}'
        elif scope["path"] == METRICS:
            status, kind, body = 200, page.media_type.encode(), page.content()
        elif scope["method"] not in ("GET", "HEAD") or not PROBES.fullmatch(scope["path"]):
            metrics.refuse(REST, status)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"retry-after", b"5")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return application


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
