"""Start and stop the servers that the serving benchmarks load: the endpoint, and others around the same model."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from benchmarks.peers.server import PAGE, PATHS, PEERS, body_of
from fairtag.base.errors import UnavailableError

OURS, OURS_TWO = "fairtag", "fairtag_two_workers"
WORKERS = max(0, (os.cpu_count() or 1) - 1)  # worker processes, as the endpoint's documentation recommends


@dataclass(frozen=True)
class Arm:
    """A running server."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    start_seconds: float
    grpc: str = ""

    @property
    def address(self) -> str:
        """Scheme, host and port."""
        return self.url[: self.url.index("/", len("http://"))]

    def body(self, query: str) -> str:
        """The JSON request for the page of a query."""
        if self.name in (OURS, OURS_TWO):
            return json.dumps({"instances": [{"query": query, "jurisdiction": "DE", "page_size": PAGE}]})
        return body_of(self.name, query)

    def memory_mb(self) -> float:
        """Memory of all its processes in MB; pages that several of them map count once."""
        return float(sum(each.memory_full_info().pss for each in self._processes())) / 2**20

    def suspend(self) -> None:
        """Suspend all its processes, so that they take no time from the server that is loaded."""
        for each in self._processes():
            each.suspend()

    def resume(self) -> None:
        """Let them run again."""
        for each in self._processes():
            each.resume()

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]


def check_peers(python: str, model_folder: Path) -> None:
    """Load a model folder in the environment of the other servers, before minutes go into larger ones.

    Raises:
        UnavailableError: It lacks a package, or cannot read the folder.
    """
    load = f"import {', '.join(PEERS)}; from benchmarks.peers.server import Shop; Shop(Path(sys.argv[1])).core"
    tried = subprocess.run(  # noqa: S603  # the interpreter that was asked for
        [python, "-c", f"import sys; from pathlib import Path; {load}", str(model_folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        reason = tried.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise UnavailableError(
            f"--peers {python}: it cannot load a model folder ({reason[0]}); install benchmarks/peers/requirements.txt"
        )


@contextmanager
def suspend_all(arms: Sequence[Arm]) -> Iterator[None]:
    """Suspend all servers until the end of the block; resume the one that is loaded for that time."""
    for arm in arms:
        arm.suspend()
    try:
        yield
    finally:
        for arm in arms:
            arm.resume()


@contextmanager
def endpoint(
    model_folder: Path, folder: Path, *, grpc: bool = False, workers: int = WORKERS, name: str = OURS
) -> Iterator[Arm]:
    """The endpoint with its own run folder and worker processes, until the end of the block."""
    port, grpc_port = free_port(), free_port() if grpc else -1
    options = {
        "--model-folder": model_folder,
        "--run-dir": folder / f"run-{name}",
        "--host": "127.0.0.1",
        "--http-port": port,
    }
    options |= {"--grpc-port": grpc_port, "--workers": workers, "--drain-seconds": 0, "--log-level": "WARNING"}
    line = [sys.executable, "-m", "serving", *(str(part) for option in options.items() for part in option)]
    with _started(name, line, port, "/v1/models/fairtag:predict", folder) as arm:
        while f"\nfairtag_workers_alive {float(workers)}\n" not in httpx.get(f"{arm.address}/metrics").text:
            time.sleep(0.1)  # they join a server that already answers
        yield replace(arm, grpc=f"127.0.0.1:{grpc_port}")


@contextmanager
def start_peer(name: str, python: str, model_folder: Path, folder: Path) -> Iterator[Arm]:
    """Another server under the Python of its environment, until the end of the block."""
    port = free_port()
    line = [python, "-m", "benchmarks.peers.server", name, str(port), str(model_folder)]
    with _started(name, line, port, PATHS[name], folder) as arm:
        yield arm


@contextmanager
def _started(name: str, line: Sequence[str], port: int, path: str, folder: Path) -> Iterator[Arm]:
    """Start a server, wait until it answers with a page, and terminate it at the end."""
    started = time.perf_counter()
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own modules
            line, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    arm = Arm(name, f"http://127.0.0.1:{port}{path}", process, 0.0)
    try:
        while not _answers(arm):
            if process.poll() is not None or time.perf_counter() - started > 120:
                log_end = (folder / f"{name}.log").read_text()[-2_000:]
                raise UnavailableError(f"{name} stopped, or did not answer within 120 s; its log ends with: {log_end}")
            time.sleep(0.05)
        yield Arm(name, arm.url, process, time.perf_counter() - started)
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a server, and kill the workers it leaves behind: some start them in sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        server = psutil.Process(process.pid)
        workers = server.children(recursive=True)
        server.terminate()
        _, alive = psutil.wait_procs([server, *workers], timeout=15)
        for each in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def _answers(arm: Arm) -> bool:
    try:
        answer = httpx.post(
            arm.url, content=arm.body("first"), headers={"content-type": "application/json"}, timeout=60
        )
    except httpx.TransportError:
        return False
    return answer.status_code == httpx.codes.OK


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
