"""Runs the endpoint in a process of its own for as long as it is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from fairtag.base.errors import UnavailableError
from pipelines.processes import attached
from serving.protocol.client import RestClient

MODEL = "fairtag"
# On a busy laptop one slow disk read must not turn a page into list prices; a shop sets its own deadline.
LOCAL = {"FAIRTAG_FEATURE_DEADLINE_MS": "1000"}
READY_SECONDS = 90.0  # a cold start on a busy machine; a warm one takes five
STOP_SECONDS = 30.0
WATCH_SECONDS = 5  # how often it looks for a newly accepted model, which it loads without a restart


def command(
    model_folder: Path, features: Path, run_dir: Path, *, http_port: int, grpc_port: int, host: str
) -> list[str]:
    """The command line of an endpoint."""
    options = {
        "--model-folder": model_folder,
        "--feature-repo": features,
        "--run-dir": run_dir,
        "--model-name": MODEL,
        "--host": host,
        "--http-port": http_port,
        "--grpc-port": grpc_port,
        "--watch-seconds": WATCH_SECONDS,
    }
    return [sys.executable, "-m", "serving", *(str(part) for option in options.items() for part in option)]


@contextmanager
def serve(model_folder: Path, features: Path, run_dir: Path) -> Iterator[str]:
    """Serve a model folder on a free port of this machine until the end of the block.

    Yields:
        The address, once the model is ready.

    Raises:
        UnavailableError: The endpoint did not become ready; the message holds its last line.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{(port := free_port())}"
    line = command(model_folder, features, run_dir, http_port=port, grpc_port=-1, host="127.0.0.1")
    log = run_dir / "endpoint.log"
    with log.open("wb") as stream:
        # Nothing else sends requests here: draining would only make the caller wait.
        settings = {**LOCAL, **os.environ}
        line += ["--drain-seconds", "0"]
        with attached(line, stdout=stream, stderr=subprocess.STDOUT, env=settings) as process:
            try:
                _wait_ready(process, address, log)
                yield address
            finally:
                _stop(process)


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Say how to reach an endpoint where the block finds that nobody answers at an address.

    Raises:
        UnavailableError: Nobody answers; the message says what starts an endpoint and how to name another.
    """
    try:
        yield
    except UnavailableError as error:
        if not isinstance(error.__cause__, httpx.ConnectError):
            raise
        raise UnavailableError(
            f"nobody answers at {url} ({error}); start an endpoint with `fairtag serve RUN` in another terminal, "
            "or name the address of one that runs with --url"
        ) from error


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    with RestClient(address, MODEL) as client:
        while time.monotonic() < deadline and process.poll() is None:
            if client.ready():
                return
            time.sleep(0.2)
    lines = log.read_text(errors="replace").strip().splitlines()
    state = "ended" if process.poll() is not None else f"was not ready in {READY_SECONDS:.0f} s"
    raise UnavailableError(f"the endpoint {state}: {lines[-1][:300] if lines else 'no output'}; all of it is in {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):  # then its whole group is killed
        process.wait(STOP_SECONDS)


def replace_process(line: Sequence[str]) -> None:
    """Replace this process by the command, so that signals and the exit code are its own."""
    os.execv(line[0], list(line))  # noqa: S606 - our own module
