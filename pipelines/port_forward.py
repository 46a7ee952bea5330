"""An address of a Service of the cluster: its own inside the cluster, a forwarded port of one of its pods outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from components.adapters.inference_service import InferenceService
from fairtag.base.errors import ConfigError, UnavailableError

PORT = 8080  # of the endpoint's container; KServe's Services offer it as port 80
STOP_SECONDS = 10.0

Address = Callable[[str, str], AbstractContextManager[str]]  # (Deployment and Service, model folder) -> address


def addresses(service: InferenceService) -> Address:
    """What finds an address of a Deployment's pods that serve a model folder."""
    return partial(_address, service)


@contextmanager
def _address(service: InferenceService, deployment: str, storage_uri: str) -> Iterator[str]:
    if "KUBERNETES_SERVICE_HOST" in os.environ:  # set in every pod
        yield f"http://{deployment}.{service.namespace}.svc"
        return
    pod = service.ready_pod(deployment, storage_uri)
    if pod is None:
        raise UnavailableError(f"no pod of {deployment} takes requests with {storage_uri}")
    with forwarded(service.namespace, pod) as address:
        yield address


@contextmanager
def forwarded(namespace: str, pod: str) -> Iterator[str]:
    """A port of this machine that ``kubectl port-forward`` leads to a pod, until the end of the block.

    Raises:
        ConfigError: There is no kubectl.
        UnavailableError: It could not reach the pod; the message holds its words.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise ConfigError(
            "outside the cluster, pods are reached by kubectl, and there is none: install it, or --no-smoke"
        )
    line = [program, "port-forward", "--namespace", namespace, f"pod/{pod}", f":{PORT}"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(line, **options) as process:  # noqa: S603 - kubectl, found on the path
        try:
            yield f"http://127.0.0.1:{_port(process)}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _port(process: subprocess.Popen[str]) -> int:
    said = []
    for text in process.stdout or ():
        if found := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", text):
            return int(found[1])
        said.append(text.strip())
    raise UnavailableError(f"kubectl port-forward ended: {' '.join(said) or 'it said nothing'}")
