"""Steps in containers: what they may do and see, and images that are refused before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException, ImageNotFound

from components.images import IMAGES
from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.containers import docker_runner
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
