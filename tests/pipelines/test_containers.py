"""Steps in containers: what they may do and see, and images that are refused before anything runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound

from components.images import IMAGES
from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.containers import LABEL, docker_runner, remove_containers
from pipelines.run_folder import code_version

PLAIN = {"data": "", "redis": "", "registry": "/run/registry"}  # as RunSettings.arguments names them


class FakeDocker:
    """A daemon whose images say which code they hold."""

    def __init__(self, says: str | Exception) -> None:
        self.says = says
        self.runs: list[tuple[str, dict[str, Any]]] = []
        self.closed = False
        self.containers = self

    def run(self, image: str, _command: list[str], **options: Any) -> bytes:
        self.runs.append((image, options))
        if isinstance(self.says, Exception):
            raise self.says
        return f"{self.says}\n".encode()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    fake = FakeDocker(code_version())
    monkeypatch.setattr(docker, "from_env", lambda: fake)
    return fake


def test_a_step_may_write_the_folder_of_its_run_and_reach_nobody(daemon: FakeDocker, tmp_path: Path) -> None:
    options = docker_runner(PLAIN, tmp_path).container_run_args
    assert options["read_only"]
    assert options["cap_drop"] == ["ALL"]
    assert options["security_opt"] == ["no-new-privileges"]
    assert options["network_mode"] == "none"
    assert options["labels"] == {LABEL: str(tmp_path)}
    assert [(mount["Target"], mount["ReadOnly"]) for mount in options["mounts"]] == [(str(tmp_path), False)]
    assert [image for image, _ in daemon.runs] == list(IMAGES.values())
    assert all(given["read_only"] and given["network_mode"] == "none" for _, given in daemon.runs)
    assert daemon.closed


def test_the_data_can_only_be_read(daemon: FakeDocker, tmp_path: Path) -> None:
    mounts = docker_runner({**PLAIN, "data": "/shop"}, tmp_path).container_run_args["mounts"]
    assert (mounts[1]["Target"], mounts[1]["ReadOnly"]) == ("/shop", True)


@pytest.mark.parametrize("given", [{"redis": "h:6379"}, {"registry": "http://h:5000"}, {"feature_registry": "sql"}])
def test_a_store_outside_opens_the_network(daemon: FakeDocker, tmp_path: Path, given: dict[str, str]) -> None:
    assert docker_runner({**PLAIN, **given}, tmp_path).container_run_args["network_mode"] == "host"


@pytest.mark.parametrize(
    ("says", "kind", "message"),
    [
        ("0.1.0+000000000000", ConfigError, r"holds code 0\.1\.0\+000000000000, here it is .*make images"),
        (ImageNotFound("no"), ConfigError, "is missing; `make images` builds it"),
        (APIError("no"), UnavailableError, "does not start"),
    ],
)
def test_an_image_that_is_not_ours_of_now_is_refused(
    daemon: FakeDocker, tmp_path: Path, says: Any, kind: type[Exception], message: str
) -> None:
    daemon.says = says
    with pytest.raises(kind, match=message):
        docker_runner(PLAIN, tmp_path)
    assert daemon.closed


def test_a_daemon_that_does_not_answer_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise DockerException("no socket")

    monkeypatch.setattr(docker, "from_env", refuse)
    with pytest.raises(UnavailableError, match=r"no Docker daemon answers \(no socket\)"):
        docker_runner(PLAIN, tmp_path)


class FakeDaemon:
    """A Docker daemon that knows containers by their labels, and forgets those that are removed."""

    url: str

    def __init__(self) -> None:
        self.held: dict[str, dict[str, str]] = {}

    def answer(self, asked: Any) -> tuple[int, Any]:
        place = asked.path.rpartition("containers/")[2]
        if asked.path.endswith("/version"):
            return 200, {"ApiVersion": "1.43"}
        if asked.method == "DELETE":
            return (204, {}) if self.held.pop(place, None) else (404, {"message": "no such container"})
        (label,) = json.loads(asked.query["filters"][0])["label"]
        name, _, value = label.partition("=")
        found = [(each, labels) for each, labels in self.held.items() if labels.get(name) == value]
        return 200, [{"Id": each, "Names": [f"/{each}"], "Labels": labels} for each, labels in found]


RUN = """
import sys, time
from pathlib import Path
from pipelines.containers import ending_with_the_run
with ending_with_the_run(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def docker_daemon(listen: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> FakeDaemon:
    daemon: FakeDaemon = listen(FakeDaemon())
    monkeypatch.setenv("DOCKER_HOST", daemon.url.replace("http", "tcp"))
    return daemon


def test_what_an_earlier_run_left_is_removed_and_nothing_of_another_folder(docker_daemon: FakeDaemon) -> None:
    docker_daemon.held = {"old": {LABEL: "/runs/mine"}, "other": {LABEL: "/runs/other"}, "foreign": {}}
    assert remove_containers(Path("/runs/mine")) == 1
    assert set(docker_daemon.held) == {"other", "foreign"}


@pytest.mark.parametrize("end", [signal.SIGKILL, None], ids=["kill -9", "its own end"])
def test_a_container_ends_with_the_run_however_it_ends(
    docker_daemon: FakeDaemon, tmp_path: Path, end: signal.Signals | None
) -> None:
    seconds = "600" if end else "1"
    run = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), seconds], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "up\n"
    docker_daemon.held = {"step": {LABEL: str(tmp_path)}, "other": {LABEL: "/runs/other"}}
    if end:
        os.kill(run.pid, end)
    run.wait(60)
    run.stdout.close()
    limit = time.monotonic() + 60
    while "step" in docker_daemon.held:
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert set(docker_daemon.held) == {"other"}
