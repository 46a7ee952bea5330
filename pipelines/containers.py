"""Runs the steps of a local run in our own images, locked down as on a cluster, with KFP's Docker runner.

A container is the daemon's child and not ours, so that it would go on after a run that was killed. Each carries the
folder of its run as a label, and a process beside the run (``python -m pipelines.containers FOLDER``) removes what
carries it as soon as the run has ended, however it ended.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from components.images import IMAGES
from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.run_folder import code_version

ASK_VERSION = ["python", "-c", "from pipelines.run_folder import code_version; print(code_version())"]
LABEL = "fairtag.run"  # of each container: the folder of its run
SCRATCH = {"/tmp": "mode=1777"}  # noqa: S108 - inside the container, where nothing else can be written


def docker_runner(arguments: Mapping[str, Any], root: Path) -> Any:
    """KFP's Docker runner for one run, after a check of the images.

    A step runs as the calling user, on a read-only root without capabilities. It sees the folder of the run, the data
    read-only, and the network only if a store's address is given.

    Args:
        arguments: Parameters of the pipeline.
        root: Folder of the run.

    Raises:
        UnavailableError: No Docker daemon answers.
        ConfigError: An image is missing, or holds other code than this machine runs.
    """
    from docker.types import Mount
    from kfp import local

    check_images()
    mounts = [Mount(str(root), str(root), type="bind")]
    if arguments["data"]:
        mounts.append(Mount(arguments["data"], arguments["data"], type="bind", read_only=True))
    return local.DockerRunner(mounts=mounts, network_mode=_network(arguments), labels={LABEL: str(root)}, **_locked())


@contextlib.contextmanager
def ending_with_the_run(root: Path) -> Iterator[None]:
    """Let no container of a run outlive the block: not at its end, and not where this process is killed in it.

    Containers that an earlier run of the folder left, on a machine that went down with it, are removed first.

    Args:
        root: Folder of the run, in which no other run works.
    """
    remove_containers(root)
    line = [sys.executable, "-m", "pipelines.containers", str(root)]
    # Its own session: a Ctrl-C at the terminal is for the run alone.
    watcher = subprocess.Popen(line, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - this very module
    try:
        yield
    finally:
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait()


def remove_containers(root: Path) -> int:
    """Stop and remove every container that carries the folder of a run; returns how many there were.

    Raises:
        UnavailableError: No Docker daemon answers.
    """
    import docker
    from docker.errors import APIError, DockerException

    try:
        with closing(docker.from_env()) as client:
            left = client.containers.list(all=True, sparse=True, filters={"label": f"{LABEL}={root}"})
            for container in left:
                with contextlib.suppress(APIError):  # it ended meanwhile, and the daemon removes it by itself
                    container.remove(force=True)
            return len(left)
    except DockerException as error:
        raise UnavailableError(f"no Docker daemon answers ({error}); start it, or leave out --runner docker") from error


def _locked() -> dict[str, Any]:
    return {
        "user": f"{os.getuid()}:{os.getgid()}",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": SCRATCH,
    }


def _network(arguments: Mapping[str, Any]) -> str:
    outside = arguments["redis"] or arguments.get("feature_registry") or "://" in arguments["registry"]
    return "host" if outside else "none"


def check_images() -> None:
    """Refuse a run in containers for which an image is missing or holds other code.

    Raises:
        UnavailableError: No Docker daemon answers.
        ConfigError: An image is missing, or holds other code than this machine runs.
    """
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        client = docker.from_env()
    except DockerException as error:
        raise UnavailableError(f"no Docker daemon answers ({error}); start it, or leave out --runner docker") from error
    with closing(client):
        wanted = code_version()
        for image in IMAGES.values():
            try:
                said = client.containers.run(image, ASK_VERSION, remove=True, network_mode="none", **_locked())
            except ImageNotFound as error:
                raise ConfigError(f"image {image} is missing; `make images` builds it") from error
            except DockerException as error:
                raise UnavailableError(f"image {image} does not start: {error}") from error
            found = said.decode().strip()
            if found != wanted:
                raise ConfigError(
                    f"image {image} holds code {found}, here it is {wanted}; build it again with `make images`"
                )


if __name__ == "__main__":
    sys.stdin.buffer.read()  # ends when the run does: it alone holds the other end
    remove_containers(Path(sys.argv[1]))
