"""A cluster's API over HTTP with one InferenceService, as KServe keeps it: Deployments, pods, routes and refusals.

Pods of a model folder are ready at once, except those that a test names in ``never_ready`` or ``dying``.
"""

from __future__ import annotations

import copy
from typing import Any

FIRST, SECOND = "s3://fairtag/models/first", "s3://fairtag/models/second"
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"


class FakeCluster:
    """One namespace with one service."""

    url: str

    def __init__(self) -> None:
        model = {"name": "kserve-container", "modelFormat": {"name": "fairtag"}, "storageUri": FIRST}
        self.service: dict[str, Any] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "fairtag", "namespace": "shop", "generation": 7},
            "spec": {"predictor": {"minReplicas": 2, "maxReplicas": 6, "model": model}},
        }
        self.record: dict[str, Any] = {}
        self.never_ready: set[str] = set()
        self.dying: dict[str, str] = {}
        self.routes: list[dict[str, Any]] | None = None
        self.refusals: list[tuple[int, str]] = []
        self.queries: list[dict[str, list[str]]] = []
        self.owned: tuple[str, ...] = ("canary",)  # of spec: absent from an apply means taken away
        self.changes: list[dict[str, Any]] = []
        self.busy = 0  # reads that the server cannot answer

    @property
    def stable(self) -> str:
        return str(self.service["spec"]["predictor"]["model"].get("storageUri", ""))

    @property
    def canaries(self) -> list[dict[str, Any]]:
        return list(self.service["spec"].get("canary") or [])

    def serving(self) -> dict[str, str]:
        """The model folder of each Deployment."""
        canaries = {f"fairtag-{e['predictor']['name']}-predictor": _uri(e["predictor"]) for e in self.canaries}
        return {"fairtag-predictor": self.stable, **canaries}

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """Reads and server-side applies, as the API server answers them."""
        if asked.method == "PATCH":
            assert asked.headers["content-type"] == "application/apply-patch+yaml"
            self.queries.append(asked.query)
        if self.refusals:
            status, message = self.refusals.pop(0)
            return status, {"kind": "Status", "message": message}
        if asked.method == "PATCH":
            return self._apply(asked.path, asked.body, keep="dryRun" not in asked.query)
        if self.busy:
            self.busy -= 1
            return 503, {"kind": "Status", "message": "the server is starting"}
        return self._read(asked.path, asked.query.get("labelSelector", [""])[0])

    def _read(self, path: str, labels: str) -> tuple[int, dict[str, Any]]:
        if path.endswith("/deployments"):
            return 200, {"items": [self._deployment(name, uri) for name, uri in self.serving().items()]}
        if path.endswith("/pods"):
            name = labels.removeprefix("app=isvc.")
            uri = self.serving().get(name)
            return 200, {"items": [] if uri is None else [self._pod(name, uri, n) for n in range(self._wanted(name))]}
        if path.endswith("/httproutes"):
            return (404, {"message": "no such kind"}) if self.routes is None else (200, {"items": self.routes})
        if "configmaps" in path:
            return (200, self.record) if self.record else (404, {"message": "not found"})
        statuses = [
            {"name": e["predictor"]["name"], "ready": self._serves(_uri(e["predictor"]))} for e in self.canaries
        ]
        # What a real one reports and nobody may trust: a generation of a Deployment, and a failure long past.
        status = {
            "observedGeneration": 1,
            "canaryStatuses": statuses,
            "modelStatus": {"lastFailureInfo": {"message": "old"}},
        }
        return 200, {**self.service, "status": status}

    def _apply(self, path: str, body: dict[str, Any], *, keep: bool) -> tuple[int, dict[str, Any]]:
        if "configmaps" in path:
            self.record = body if keep else self.record
            return 200, body
        for entry in body["spec"].get("canary") or []:
            for field in ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"):
                if field in entry["predictor"]:
                    return 403, {"message": f'admission webhook "v" denied the request: canary must not set {field}'}
        after = copy.deepcopy(self.service)
        after["metadata"]["annotations"] = body["metadata"]["annotations"]
        _merge(after["spec"], body["spec"])
        for field in self.owned:
            if field not in body["spec"]:
                after["spec"].pop(field, None)
        if keep:
            after["metadata"]["generation"] += 1
            self.service = after
            self.changes.append(body["spec"])
        return 200, after

    def _wanted(self, name: str) -> int:
        entries = {f"fairtag-{e['predictor']['name']}-predictor": e["predictor"] for e in self.canaries}
        return int(entries.get(name, self.service["spec"]["predictor"]).get("minReplicas", 1))

    def _serves(self, uri: str) -> bool:
        return uri not in self.never_ready and uri not in self.dying

    def _deployment(self, name: str, uri: str) -> dict[str, Any]:
        wanted = self._wanted(name)
        ready = wanted if self._serves(uri) else 0
        template = {"metadata": {"annotations": {SOURCE: uri}}}
        counts = {"replicas": wanted, "updatedReplicas": wanted, "availableReplicas": ready, "observedGeneration": 3}
        return {
            "metadata": {"name": name, "generation": 3},
            "spec": {"replicas": wanted, "template": template},
            "status": counts,
        }

    def _pod(self, name: str, uri: str, number: int) -> dict[str, Any]:
        ready = self._serves(uri)
        container: dict[str, Any] = {"name": "storage-initializer", "ready": ready, "state": {}}
        if uri in self.dying:
            ended = {"exitCode": 1, "reason": "Error", "message": self.dying[uri]}
            container |= {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            container["lastState"] = {"terminated": ended}
        return {
            "metadata": {"name": f"{name}-{number}"},
            "spec": {"initContainers": [{"name": "storage-initializer", "args": [uri, "/mnt/models"]}]},
            "status": {
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "initContainerStatuses": [container],
            },
        }


def _uri(predictor: dict[str, Any]) -> str:
    return str(predictor["model"]["storageUri"])


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
