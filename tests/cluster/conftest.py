"""Fixtures of the tests against a real API server with KServe's real controller and webhooks: ``make test-cluster``.

``cluster`` runs for the whole session; ``namespace`` is a fresh one under Pod Security ``restricted``; ``endpoint`` has
the InferenceService of ``k8s/base/serving`` installed there; ``cluster.kubelet`` decides what becomes of pods.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.loading import load

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = "FAIRTAG_CLUSTER_BIN"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
_numbers = itertools.count(1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are marked ``cluster``, before the marks are looked at."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The running control plane, with its stand-in for the nodes as ``cluster.kubelet``."""
    programs = os.environ.get(BIN)
    if not programs:
        pytest.skip(f"{BIN} names no control plane: `make test-cluster` builds one and runs these tests")
    plane = load("cluster/control_plane.py").ControlPlane(Path(programs), tmp_path_factory.mktemp("cluster"))
    try:
        plane.start()
        plane.kubelet = load("cluster/kubelet.py").Kubelet(plane.api())
        plane.kubelet.start()
        plane.apply([_namespace("kubeflow")])
        yield plane
        plane.kubelet.stop()
        assert plane.kubelet.errors == []
    finally:
        plane.stop()


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Waits for a condition: ``until(lambda: ..., "what is waited for", timeout=60)`` returns its first true result."""
    wait: Callable[..., Any] = sys.modules.get("cluster_control_plane", load("cluster/control_plane.py")).until
    return wait


@pytest.fixture(autouse=True)
def _every_pod_runs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Rules of one test do not reach the next."""
    yield
    if "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").kubelet.reset()


def _namespace(name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}}


@pytest.fixture
def namespace(cluster: Any) -> Iterator[str]:
    """A namespace of this test alone, with the installation's secrets."""
    name = f"shop-{next(_numbers)}"
    cluster.apply([_namespace(name, RESTRICTED)])
    make_secrets(cluster, name)
    yield name
    cluster.call("DELETE", f"/api/v1/namespaces/{name}")


def make_secrets(cluster: Any, namespace: str) -> None:
    """The secrets of an installation, by the script that makes them."""
    steps = f"{namespace}-steps"  # stands for kubeflow, where the names of two installations would meet
    cluster.apply([_namespace(steps)])
    environment = {
        **os.environ,
        "KUBECONFIG": str(cluster.kubeconfig),
        "NAMESPACE": namespace,
        "STEPS_NAMESPACE": steps,
    }
    done = subprocess.run([ROOT / "k8s" / "secrets.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def upgrade_secrets(cluster: Any, namespace: str) -> Callable[[], None]:
    """Runs the script that makes secrets once more, as an upgrade does."""
    return lambda: make_secrets(cluster, namespace)


@pytest.fixture
def endpoint(cluster: Any, namespace: str, tmp_path: Path) -> SimpleNamespace:
    """The endpoint and the deploy step's role as the overlays bring them, in a namespace of its own.

    Returns:
        ``namespace``, ``path`` (of the InferenceService), and ``read()``, which reads it.
    """
    bases = [os.path.relpath(ROOT / "k8s" / "base" / name, tmp_path) for name in ("serving", "pipelines")]
    bases.append(os.path.relpath(ROOT / "k8s" / "components" / "versions", tmp_path))
    text = f"namespace: {namespace}\nresources: {bases[:2]}\ncomponents: {bases[2:]}\n"
    (tmp_path / "kustomization.yaml").write_text(text, encoding="utf-8")
    built = cluster.kubectl("kustomize", tmp_path)
    cluster.kubectl("apply", "--server-side", "--field-manager", "fairtag-install", "-f", "-", stdin=built)
    path = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/fairtag"
    return SimpleNamespace(namespace=namespace, path=path, read=lambda: cluster.get(path))
