"""``fairtag doctor --cluster live`` on a cluster whose storage initializer is and is not locked down."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.live_cluster import RESTRICTED

ROOT = Path(__file__).parents[2]
CONTAINER = "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/default"


@pytest.fixture
def doctor(cluster):
    """Runs the command in a process of its own, since the client library reads KUBECONFIG when it is imported."""

    def run():
        line = [sys.executable, "-c", "import sys; from pipelines.cli import main; sys.exit(main())"]
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": "80"}
        line += ["doctor", "--cluster", "live"]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


@pytest.fixture
def untouched(cluster):
    """KServe's storage container as its release brings it."""
    cluster.kubectl("patch", "clusterstoragecontainer", "default", "--type=json", "-p", _REMOVE)
    yield
    ours = ROOT / "k8s/platform/clusterstoragecontainer.yaml"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=fairtag-install", "-f", ours)


PLACE = '"path": "/spec/container/securityContext"'
_REMOVE = f'[{{"op": "add", {PLACE}, "value": {{}}}}, {{"op": "remove", {PLACE}}}]'


def test_the_doctor_prints_the_patch_and_the_patch_cures(cluster, untouched, doctor):
    code, shown = doctor()
    assert code == 1
    assert "allowPrivilegeEscalation" in shown
    (command,) = (line for line in shown.splitlines() if line.startswith("kubectl "))
    cluster.kubectl(*shlex.split(command)[1:])
    code, shown = doctor()
    assert (code, "kubectl patch" in shown) == (0, False)


def test_half_a_patch_is_not_enough(cluster, untouched, doctor):
    half = '{"spec": {"container": {"securityContext": {"runAsNonRoot": true, "capabilities": {"drop": ["NET_RAW"]}}}}}'
    cluster.kubectl("patch", "clusterstoragecontainer", "default", "--type=merge", "-p", half)
    code, shown = doctor()
    assert code == 1
    assert "runAsNonRoot," not in shown.partition("kubectl")[0]
    assert "capabilities" in shown


def test_the_installation_sets_what_the_doctor_looks_for():
    ours = yaml.safe_load((ROOT / "k8s/platform/clusterstoragecontainer.yaml").read_text(encoding="utf-8"))
    assert ours["spec"]["container"] == {"securityContext": RESTRICTED}
