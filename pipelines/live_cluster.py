"""Checks whether the cluster that kubectl talks to can run Fairtag: ``fairtag doctor --cluster live``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.doctor import Check

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

# What Pod Security `restricted` asks of a container, and what k8s/platform/clusterstoragecontainer.yaml sets.
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
TIMEOUT = 15.0  # seconds for one call of the API


def checks(api: ApiClient | None = None) -> list[Check]:
    """All checks of a cluster.

    Args:
        api: A client of its API; by default that of the pod or of the user's configuration.

    Raises:
        ConfigError: No cluster is configured.
        UnavailableError: The cluster did not answer, or does not allow a question.
    """
    with api or _default_api() as opened:
        version = _get(opened, "/version") or {}
        groups = {group["name"] for group in (_get(opened, "/apis") or {})["groups"]}
        container = _get(opened, "/apis/serving.kserve.io/v1alpha1/clusterstoragecontainers/default")
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


def _get(api: ApiClient, path: str) -> dict[str, Any] | None:
    """An answer of the API; None if there is no such thing."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    options = {"auth_settings": ["BearerToken"], "response_type": "object", "_return_http_data_only": True}
    try:
        found: dict[str, Any] = api.call_api(path, "GET", _request_timeout=TIMEOUT, **options)
    except ApiException as error:
        if error.status == 404:
            return None
        reason = json.loads(error.body or "{}").get("message") or error.reason
        raise UnavailableError(f"{path}: the cluster answered {error.status}: {reason}") from error
    except (HTTPError, OSError) as error:
        raise UnavailableError(
            f"{path}: the cluster did not answer ({type(error).__name__}); is KUBECONFIG right?"
        ) from error
    return found


def _default_api() -> ApiClient:
    from kubernetes import client, config

    try:
        config.load_config()  # of the pod, or of the user
    except config.ConfigException as error:
        raise ConfigError(f"no cluster is configured: {error}; set KUBECONFIG") from error
    return client.ApiClient()
