"""One KServe model server for V1, V2 and gRPC. It drains before it stops.

On a termination signal readiness turns false while requests are still served, so that traffic can move away. Then the
ports close, requests in flight finish, and the quote log is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from kserve import ModelServer
from kserve.model import BaseKServeModel
from kserve.model_repository import ModelRepository

from fairtag.base.errors import DigestMismatch, FairtagError
from serving.assembly import Assembly
from serving.keys import api_keys, key_files
from serving.page.core import tune_garbage_collection
from serving.protocol.admission import Admission, Proxies, Shares
from serving.protocol.browser_tokens import BrowserTokens
from serving.protocol.connection import BoundedHttpProtocol
from serving.protocol.dataplane import ClosedRepository, PricingDataPlane
from serving.protocol.grpc_server import GrpcGuard, grpc_server
from serving.protocol.guard import Guard
from serving.protocol.http_server import QuietServer, application
from serving.protocol.openapi import document, methods
from serving.protocol.predictor import PricingPredictor
from serving.protocol.v1_route import PredictRoute

logger = logging.getLogger(__name__)

# A pricing thread may hold the interpreter this long while the event loop waits. The default of 5 ms is a whole page.
SWITCH_SECONDS = 0.0005
BACKLOG = 2_048  # connections the kernel holds for us
FIRST_RETENTION_SECONDS = 60.0  # after the start, which has enough to do


class PricingServer(ModelServer):  # type: ignore[misc]  # kserve ships no types
    """The model server of one endpoint.

    Args:
        assembly: The endpoint and what it is made of.
        announce: Called once with where it serves and how to ask, when it does.
    """

    def __init__(self, assembly: Assembly, announce: Callable[[str], object] = lambda _: None) -> None:
        settings = assembly.settings
        super().__init__(
            http_port=settings.http_port,
            grpc_port=settings.grpc_port,
            workers=1,  # KServe's metrics and start-up break with more; scale pods
            registered_models=ModelRepository(),
            enable_grpc=settings.grpc_port >= 0,
            enable_latency_logging=False,  # a line a request costs a third of the throughput
            grace_period=settings.grace_seconds,
        )
        self.http_port: int = settings.http_port
        self.grpc_port: int = settings.grpc_port
        self.assembly = assembly
        self.dataplane = PricingDataPlane(self.registered_models)
        self.model_repository_extension = ClosedRepository(self.registered_models)
        self.listening = asyncio.Event()
        self.connections: set[Any] = set()  # of HTTP, those that are open
        self._settings = settings
        keys = api_keys(settings)
        self._tokens = None
        if keys:
            self._tokens = BrowserTokens(
                lambda: assembly.book.keys,
                settings.allowed_origins,
                settings.browser_token_seconds,
                self._new_session,
            )
        self.admission = Admission(settings.limits, keys, self._tokens)
        assembly.metrics.in_flight.set_function(lambda: self.admission.in_flight)
        assembly.metrics.items_in_flight.set_function(lambda: self.admission.items_in_flight)
        self._announce = announce
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._altered = ""
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, models: list[BaseKServeModel] | None = None) -> None:
        """Serve until a signal ends it.

        Args:
            models: KServe models; by default the endpoint's predictor.
        """
        sys.setswitchinterval(SWITCH_SECONDS)
        tune_garbage_collection()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.serve(models, signals=True))

    async def serve(self, models: list[BaseKServeModel] | None = None, *, signals: bool = False) -> None:
        """Serve until :meth:`request_stop` or, where asked for, a signal.

        Raises:
            DigestMismatch: A file of the served model was edited; the endpoint has stopped.
        """
        settings = self._settings
        predictor = PricingPredictor(
            settings.model_name, settings.limits, self.admission, lambda: self.assembly.endpoint
        )
        for model in models or [predictor]:
            model.load()
            self.register_model(model)
        listener = socket.create_server((settings.host, settings.http_port), backlog=BACKLOG)
        self.http_port = listener.getsockname()[1]
        http = self._http()
        grpc = await self._grpc()
        self.assembly.endpoint.served.workers.start()
        self.listening.set()
        spoken = f"on {self.grpc_port}" if self.grpc_port >= 0 else "off"
        logger.info("model %s serves HTTP on %d, gRPC %s", settings.model_name, self.http_port, spoken)
        self._announce(self._announcement(spoken))
        with self._signals() if signals else contextlib.nullcontext():
            aside = (self._watch(), self._watch_keys(), self._watch_seal(), self._follow_policy(), self._retain())
            watching = [asyncio.create_task(task) for task in aside]
            serving = asyncio.create_task(http.serve(sockets=[listener]))
            await asyncio.wait({serving, asyncio.create_task(self._stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            await self._drain()
            http.should_exit = True
            await asyncio.gather(serving, grpc.stop(settings.grace_seconds) if grpc else asyncio.sleep(0))
            for task in watching:
                task.cancel()
            await self.assembly.close()
        if self._altered:
            raise DigestMismatch(
                f"{settings.model_folder}: {self._altered} was edited while the model was served, so that its prices "
                "can no longer be trusted; fetch the model folder again"
            )
        logger.info("stopped")

    def _announcement(self, grpc: str) -> str:
        """Where it serves, what, and how to ask."""
        core = self.assembly.endpoint.served.core
        here = "127.0.0.1" if self._settings.host in ("0.0.0.0", "::") else self._settings.host  # noqa: S104 - compared
        address = f"http://{here}:{self.http_port}"
        return (
            f"serving model {core.version} at {address} (gRPC {grpc}), prices in {core.currency}\n"
            f"ask with: fairtag quote QUERY --url {address}; API: {address}/openapi.json; Ctrl-C stops it"
        )

    def _new_session(self) -> str:
        """A session by the user key in use, which may have been replaced since the start."""
        return self.assembly.endpoint.pseudonyms.new_session()

    def request_stop(self) -> None:
        """Drain and stop; a second call cuts the drain short."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def guarded(self) -> Guard:
        """The HTTP application behind its guard."""
        assembly, settings = self.assembly, self._settings
        openapi = document(settings.model_name, settings.limits)
        app = application(
            self.dataplane,
            self.model_repository_extension,
            assembly.book,
            settings.limits,
            assembly.metrics,
            openapi,
            self._tokens,
        )
        return Guard(
            PredictRoute(app, self.dataplane),
            settings,
            self.admission,
            assembly.metrics,
            methods(openapi),
            lambda: self.dataplane.draining,
        )

    def _http(self) -> QuietServer:
        settings = self._settings
        protocol = partial(
            BoundedHttpProtocol,
            limits=settings.limits,
            metrics=self.assembly.metrics,
            connections=Shares(settings.limits.connections),
            proxies=Proxies(settings.trusted_proxies),
        )
        config = uvicorn.Config(
            self.guarded(),
            http=protocol,  # type: ignore[arg-type]  # uvicorn calls it, as it would a class
            ws="none",
            proxy_headers=False,  # uvicorn would believe every client on this machine; Proxies believes the configured
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=settings.grace_seconds,
        )
        server = QuietServer(config)
        self.connections = server.server_state.connections
        return server

    async def _grpc(self) -> Any | None:
        if not self.enable_grpc:
            return None
        guard = GrpcGuard(self.admission, self.assembly.metrics, self._settings)
        server = grpc_server(self.dataplane, self.model_repository_extension, guard, self._settings)
        self.grpc_port = server.add_insecure_port(f"{self._settings.host}:{self.grpc_port}")
        await server.start()
        return server

    async def _drain(self) -> None:
        """Fail readiness probes for a while, and go on serving."""
        self.dataplane.draining = True
        logger.info("draining for %.1f s", self._settings.drain_seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), self._settings.drain_seconds)

    async def _watch(self) -> None:
        """Look at the model folder from time to time, if the settings say so."""
        while self._settings.watch_seconds > 0:
            await asyncio.sleep(self._settings.watch_seconds)
            await self._reload_if_changed()

    async def _watch_keys(self) -> None:
        """Look at the key files from time to time, and read them again when one has changed."""
        before = _changes(key_files(self._settings))
        while self._settings.key_check_seconds > 0:
            await asyncio.sleep(self._settings.key_check_seconds)
            now = _changes(key_files(self._settings))
            if now != before:
                before = now
                self._reload_keys()

    def _reload_keys(self) -> None:
        """Read all keys again; those that cannot be read stay as they are."""
        self.assembly.reload_keys()
        try:
            self.admission.use_keys(api_keys(self._settings))
        except FairtagError as error:
            logger.warning("the API keys cannot be read, the old ones stay in use: %s", error)
        logger.info("keys were read again")

    async def _follow_policy(self) -> None:
        """Look for a new version of the live policy from time to time."""
        while True:
            await asyncio.sleep(self._settings.policy_seconds)
            await asyncio.to_thread(self.assembly.policy.refresh)

    async def _retain(self) -> None:
        """Remove from the quote log what is too old, from time to time, if the settings say so."""
        while (hours := self._settings.retention.check_hours) > 0:
            await asyncio.sleep(min(FIRST_RETENTION_SECONDS, 3_600 * hours))
            await asyncio.to_thread(self.assembly.retain)
            await asyncio.sleep(3_600 * hours)

    async def _watch_seal(self) -> None:
        """Stop at once where a file of the served model was edited in place: its map shows the edit to every page."""
        while not self._altered:
            await asyncio.sleep(self._settings.seal_seconds)
            self._altered = await asyncio.to_thread(self.assembly.endpoint.served.core.altered)
        logger.error("%s was edited in the folder of the served model; the endpoint stops", self._altered)
        self._hurry.set()
        self._stop.set()

    async def _reload_if_changed(self) -> None:
        from fairtag.base.errors import ModelFolderError
        from fairtag.model.manifest import read_manifest

        try:
            version = await asyncio.to_thread(lambda: str(read_manifest(self._settings.model_folder)["version"]))
        except (ModelFolderError, OSError):
            return  # it is being replaced; the next look sees it whole
        if version != self.assembly.endpoint.served.core.version:
            await self._reload()

    async def _reload(self) -> None:
        """Load the model folder again; workers of the old model end, and this process prices their pages."""
        old = self.assembly.endpoint.served.workers
        if await asyncio.to_thread(self.assembly.reload):
            self.assembly.endpoint.served.workers.start()
            await old.close()

    def _hang_up(self) -> None:
        """SIGHUP: read keys and model folder again."""
        self._reload_keys()
        task = asyncio.create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handlers = {
            signal.SIGTERM: self.request_stop,
            signal.SIGINT: self.request_stop,
            signal.SIGHUP: self._hang_up,
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)


def _changes(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    """What differs once a file has been written: its inode and the time of its change; None where it is absent."""
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns))
    return found


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
