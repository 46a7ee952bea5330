"""Every overlay, built once by kustomize itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(folder.name for folder in (ROOT / "k8s" / "overlays").iterdir())
CONTAINERS = ("initContainers", "containers")


class ObjectLoader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: ``=`` is a text (YAML 1.1 has a type of its own for it)."""


ObjectLoader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def build(folder: Path) -> list[dict[str, Any]]:
    """The objects of a kustomization."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    else:
        pytest.skip("neither kustomize nor kubectl is installed: the overlays cannot be built")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [each for each in yaml.load_all(done.stdout, ObjectLoader) if each]


@pytest.fixture(scope="session")
def built():
    return {name: build(ROOT / "k8s" / "overlays" / name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def overlay(request, built):
    """The objects of one overlay."""
    return built[request.param]


@pytest.fixture(scope="session")
def schemas():
    """JSON schemas of custom resources by (group, version, kind); skips where they are not beside the repository."""
    folder = Path(os.environ.get("FAIRTAG_SCHEMAS", ROOT.parent / "shared" / "schemas"))
    if not folder.is_dir():
        pytest.skip("the schemas of custom resources are not beside the repository (FAIRTAG_SCHEMAS)")
    found = {}
    for file in folder.glob("*/*.json"):
        kind, _, version = file.stem.rpartition("_")
        found[(file.parent.name, version, kind)] = json.loads(file.read_text(encoding="utf-8"))
    return found


def pod_specs(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pod specifications inside an object, an InferenceService's and a ServingRuntime's among them."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]["spec"]]
    if document["kind"] in ("Deployment", "StatefulSet", "Job"):
        return [spec["template"]["spec"]]
    if document["kind"] == "InferenceService":
        return [spec["predictor"]]
    return []


@pytest.fixture
def pods(overlay):
    """(name, pod specification) of each pod that an overlay makes."""
    return [(f"{each['kind']}/{each['metadata']['name']}", spec) for each in overlay for spec in pod_specs(each)]


@pytest.fixture
def containers(overlay, pods):
    """(name, container, whether it ends by itself) of each container that an overlay runs."""
    runtimes = [
        (f"ServingRuntime/{each['metadata']['name']}", each["spec"])
        for each in overlay
        if each["kind"] == "ServingRuntime"
    ]
    return [
        (f"{owner}/{container['name']}", container, group == "initContainers" or owner.startswith(("Job", "CronJob")))
        for owner, spec in [*pods, *runtimes]
        for group in CONTAINERS
        for container in spec.get(group, [])
    ]


@pytest.fixture(scope="session")
def build_folder():
    """Builds any kustomization."""
    return build
