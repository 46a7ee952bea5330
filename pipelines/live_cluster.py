"""Checks whether the cluster that kubectl talks to can run Fairtag: ``fairtag doctor --cluster live``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.adapters.kubernetes_api import KubernetesApi, NotThere
from pipelines.doctor import Check

# What Pod Security `restricted` asks of a container, and what k8s/platform/clusterstoragecontainer.yaml sets.
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
PATIENCE = 5.0  # seconds: whoever asks is waiting


def checks() -> list[Check]:
    """All checks of the cluster of the pod, or of the user's configuration.

    Raises:
        ConfigError: No cluster is configured.
        UnavailableError: The cluster did not answer, or does not allow a question.
    """
    api = KubernetesApi(patience=PATIENCE)
    version = api.get("/version")
    groups = {group["name"] for group in api.get("/apis")["groups"]}
    try:
        container = api.get("/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/default")
    except NotThere:
        container = None
    return [
        Check("Kubernetes", True, version.get("gitVersion", "answers"), True),
        _kserve(container),
        _initializer(container or {}),
        _metrics(groups),
    ]


def _kserve(container: Mapping[str, Any] | None) -> Check:
    found = "no ClusterStorageContainer `default`" if container is None else "its storage container is there"
    return Check("KServe", container is not None, found, True, "install KServe: docs/cluster.md")


def _initializer(container: Mapping[str, Any]) -> Check:
    has = container.get("spec", {}).get("container", {}).get("securityContext") or {}
    lacks = [name for name, value in RESTRICTED.items() if not _meets(name, has.get(name), value)]
    return Check(
        "KServe's storage initializer is allowed under Pod Security `restricted`",
        not lacks,
        f"securityContext without {', '.join(lacks)}" if lacks else "locked down",
        True,
        "no pod of the endpoint is admitted: run the command below, or k8s/install.sh",
        command=f"kubectl patch clusterstoragecontainer default --type merge -p '{_patch()}'" if lacks else "",
    )


def _meets(name: str, has: Any, needed: Any) -> bool:
    if name == "capabilities":
        return set(needed["drop"]) <= set((has or {}).get("drop", [])) and not (has or {}).get("add")
    if name == "seccompProfile":
        return (has or {}).get("type") in ("RuntimeDefault", "Localhost")
    return bool(has == needed)


def _patch() -> str:
    return json.dumps({"spec": {"container": {"securityContext": RESTRICTED}}}, separators=(",", ":"))


def _metrics(groups: set[str]) -> Check:
    there = sorted(groups & {"metrics.k8s.io", "external.metrics.k8s.io"})
    fix = "no autoscaler can scale: install metrics-server, or use components/keda or components/fixed-size"
    return Check("metrics for the autoscaler", bool(there), ", ".join(there) or "none", False, fix)
