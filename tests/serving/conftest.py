"""A server of the hand-made model, in this process or in one of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from support.loading import load

from fairtag.base.tables import Tables
from serving.metrics import Metrics
from serving.protocol.client import RestClient
from serving.settings import FeatureSettings, Limits, ServingSettings
from serving.stores.feature_reads import FeatureReader

if TYPE_CHECKING:
    from fairtag.simulator.simulation import SimulatedShop

HERE = Path(__file__).parent
SECRET = bytes(range(32)).hex()
PATIENCE_MS = 60_000  # a deadline that no busy machine misses
SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}
QUOTE_KEYS = f'{{"active": "k1", "keys": {{"k1": "{SECRET}"}}}}'


HANDMADE, RAW_HTTP = load("serving/handmade.py"), load("serving/raw_http.py")


@pytest.fixture(scope="session")
def handmade() -> ModuleType:
    """The module of the hand-made model."""
    return HANDMADE


@pytest.fixture(scope="session")
def raw() -> ModuleType:
    """Raw connections: requests that no client library would send."""
    return RAW_HTTP


@pytest.fixture
def refused() -> Callable[..., dict[tuple[str, str], float]]:
    """Reads what a server has counted as refused: by protocol and status."""

    def read(running: Running) -> dict[tuple[str, str], float]:
        (family,) = running.assembly.metrics.refusals.collect()
        counted = [sample for sample in family.samples if sample.name.endswith("_total")]
        return {(sample.labels["protocol"], sample.labels["status"]): sample.value for sample in counted}

    return read


@dataclass
class Running:
    """A server of this process."""

    http: str
    grpc: str
    assembly: Any
    server: Any
    loop: asyncio.AbstractEventLoop
    core: Any
    run_dir: Path

    def page(self, **request: Any) -> dict[str, Any]:
        """The page of a request over plain HTTP; a bargain hunter's search where none is given."""
        with RestClient(self.http) as client:
            return client.pages([request or SEARCH])[0]

    def connections(self) -> list[Any]:
        """The HTTP connections that are open."""
        return list(self.server.connections)


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits for what another thread or process does; a minute without it fails the test."""

    def wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)

    return wait


@pytest.fixture
def patient() -> Callable[..., FeatureSettings]:
    """Settings of a store that no busy machine is too slow for."""
    return lambda **changes: FeatureSettings(**{"repo": "unused", "deadline_ms": PATIENCE_MS, **changes})


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., ServingSettings]:
    def make(**changes: Any) -> ServingSettings:
        known: dict[str, Any] = {
            "model_folder": tmp_path / "model_folder",
            "run_dir": tmp_path / "run",
            "host": "127.0.0.1",
            "http_port": 0,
            "grpc_port": 0,
            "user_key": SECRET,
            "quote_keys": QUOTE_KEYS,
            "drain_seconds": 0.0,
            "quote_log_seconds": 60.0,
            "limits": Limits(),
            "features": FeatureSettings(repo=tmp_path, deadline_ms=PATIENCE_MS),
        }
        return ServingSettings(**{**known, **changes})

    return make


@contextmanager
def _running(assembly: Any, core: Any, run_dir: Path) -> Iterator[Running]:
    """The server of an assembly, in a thread of this process."""
    from serving.server import PricingServer

    started: list[Any] = []
    up = threading.Event()

    async def main() -> None:
        server = PricingServer(assembly)
        serving = asyncio.create_task(server.serve())
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        started.extend((server, asyncio.get_running_loop()))
        up.set()
        await serving

    failures: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failures.append(error)
            up.set()

    thread = threading.Thread(target=body, name="serving")
    thread.start()
    assert up.wait(60)
    if failures:
        raise failures[0]
    server, loop = started
    addresses = (f"http://127.0.0.1:{server.http_port}", f"127.0.0.1:{server.grpc_port}")
    try:
        yield Running(*addresses, assembly, server, loop, core, run_dir)
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(server.request_stop)
        thread.join(60)
        assert not thread.is_alive(), "the server did not stop"
    if failures:
        raise failures[0]


@pytest.fixture
def serve(settings: Callable[..., ServingSettings]) -> Callable[..., Any]:
    """A context manager that runs a server of the hand-made model in a thread of this process."""

    @contextmanager
    def run(
        *, core: Any = None, reader: FeatureReader | None = None, exporter: Any = None, **changes: Any
    ) -> Iterator[Running]:
        from serving.assembly import Assembly

        core = core or HANDMADE.HandMadeCore()
        reader = reader or HANDMADE.MemoryReader(users={"hunter": HANDMADE.HUNTER})
        made = settings(**changes)
        assembly = Assembly(
            made,
            Metrics(CollectorRegistry()),
            load_core=lambda _settings: core,
            open_reader=lambda _repo: reader,
            exporter=exporter,
        )
        with _running(assembly, core, made.run_dir) as running:
            yield running

    return run


def _materialised(folder: Path, tables: Tables, redis: str | None = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and ibis' own deprecations
        from components.adapters.feast import apply, materialise, write_repository

        write_repository(folder, "local" if redis is None else "redis", redis=redis)
        materialise(apply(folder, tables), datetime.now(UTC))
    return folder


@pytest.fixture(scope="session")
def materialised() -> Callable[..., Path]:
    """Writes a shop's features into a folder's online store, as the materialise step does: SQLite, or a Redis."""
    return _materialised


@dataclass(frozen=True)
class Shop:
    """A trained model folder and the feature store of its shop."""

    model_folder: Path
    features: Path
    tables: Tables


@pytest.fixture(scope="session")
def shop(market: SimulatedShop, model_folder: Path, made_once: Callable[..., Path]) -> Shop:
    """A small simulated shop: a tiny encoder, fits on its impressions, features in Feast on SQLite."""
    features = made_once("features", lambda folder: _materialised(folder / "features", market.tables))
    return Shop(model_folder, features / "features", market.tables)


class MoodyReader:
    """A feature store that a test may make hang."""

    def __init__(self, reader: FeatureReader) -> None:
        self._reader = reader
        self.door = threading.Event()
        self.door.set()

    def user(self, user_id: str) -> Any:
        assert self.door.wait(60)
        return self._reader.user(user_id)

    def items(self, item_ids: Any) -> Any:
        return self._reader.items(item_ids)

    def filled_at(self) -> Any:
        return self._reader.filled_at()


@pytest.fixture(scope="session")
def serve_shop(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A context manager that serves the trained model folder from its feature store: nothing is made by hand."""

    @contextmanager
    def run(**changes: Any) -> Iterator[tuple[Running, MoodyReader]]:
        from serving.assembly import Assembly, open_feast

        run_dir = tmp_path_factory.mktemp("run")
        made = ServingSettings(
            model_folder=shop.model_folder,
            run_dir=run_dir,
            host="127.0.0.1",
            http_port=0,
            grpc_port=0,
            user_key=SECRET,
            quote_keys=QUOTE_KEYS,
            drain_seconds=0.0,
            features=FeatureSettings(repo=shop.features, deadline_ms=1_500, breaker_failures=50),
            **changes,
        )
        readers: list[MoodyReader] = []

        def open_moody(repo: Path) -> MoodyReader:
            readers.append(MoodyReader(open_feast(repo)))
            return readers[0]

        assembly = Assembly(made, Metrics(CollectorRegistry()), open_reader=open_moody)
        with _running(assembly, assembly.endpoint.served.core, run_dir) as running:
            yield running, readers[0]

    return run


@dataclass
class Process:
    """A server in a process of its own."""

    http: str
    process: subprocess.Popen[bytes]
    run_dir: Path
    log: Path

    def stop(self, timeout: float = 60.0) -> int:
        """Terminate and wait; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts servers of the hand-made model as processes, and sees to it that none outlives the test."""
    started: list[Process] = []

    def start(*options: str, ready: bool = True, **environment: str) -> Process:
        port = _free_port()
        run_dir = tmp_path / "run"
        log = tmp_path / f"server-{len(started)}.log"
        line = [sys.executable, str(HERE / "handmade.py"), "--model-folder", str(tmp_path), "--run-dir", str(run_dir)]
        line += ["--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", "-1", *options]
        known = {"FAIRTAG_USER_KEY": SECRET, "FAIRTAG_QUOTE_KEYS": QUOTE_KEYS, "OMP_NUM_THREADS": "1"}
        with log.open("wb") as stream:
            process = subprocess.Popen(line, env={**os.environ, **known, **environment}, stdout=stream, stderr=stream)
        server = Process(f"http://127.0.0.1:{port}", process, run_dir, log)
        started.append(server)
        deadline = time.monotonic() + 180  # Feast alone takes 10 s of CPU to import, on a machine that may be busy
        while ready:
            try:
                if httpx.get(f"{server.http}/v2/models/fairtag/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
