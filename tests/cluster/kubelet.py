"""Stands in for the nodes: gives each pod an address and a state, as its test asks for.

    kubelet.delay("models/second", seconds=3)      # pods that name this model are ready 3 s after they were made
    kubelet.fail("models/broken", message="no such key", container="storage-initializer")

Pods of a Job succeed and stay so, all others run and are ready. All are on one node, since the controllers of Services
look for it; a pod that is deleted ends at once.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

EVERY = 0.15  # seconds between two looks
NODE = "node-1"


@dataclass(frozen=True)
class Rule:
    """What happens to pods whose specification holds a text."""

    text: str
    seconds: float = 0.0
    message: str = ""
    container: str = ""
    reason: str = "CrashLoopBackOff"


class Kubelet:
    """The nodes' stand-in.

    Args:
        api: The administrator's client, of its own.
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api
        self._rules: list[Rule] = []
        self._addresses = itertools.count(1)
        self._first_seen: dict[str, float] = {}
        self._told: dict[str, str] = {}  # what each pod was last told, by uid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.errors: list[str] = []

    def start(self) -> None:
        self._call("POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        self._api.close()

    def delay(self, text: str, seconds: float) -> None:
        """Pods that name the text become ready this long after they were seen."""
        self._rules.append(Rule(text, seconds=seconds))

    def fail(self, text: str, *, message: str, container: str = "", reason: str = "CrashLoopBackOff") -> None:
        """A container of pods that name the text, the first one by default, ends with an error again and again."""
        self._rules.append(Rule(text, message=message, container=container, reason=reason))

    def reset(self) -> None:
        """Forget all rules: every pod runs, at once."""
        self._rules.clear()

    def _work(self) -> None:
        while not self._stop.wait(EVERY):
            pods: list[dict[str, Any]] = []
            with self._noting_errors():
                pods = self._call("GET", "/api/v1/pods")["items"]
            for pod in pods:
                with self._noting_errors():
                    self._look(pod)

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """The thread lives on, and so do the other pods; a test may ask what was met."""
        try:
            yield
        except Exception as error:
            self.errors.append("".join(traceback.format_exception_only(error)))

    def _look(self, pod: Mapping[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        age = time.monotonic() - self._first_seen.setdefault(uid, time.monotonic())
        if "deletionTimestamp" in pod["metadata"]:
            self._end(pod)
            return
        if self._told.get(uid) == "ended":
            return
        if "nodeName" not in pod["spec"]:
            self._bind(pod)
        rule = self._rule(pod)
        if rule and rule.message:
            state = "failing"
        elif rule and age < rule.seconds:
            state = "waiting"
        else:
            state = "ended" if _is_job(pod) else "ready"
        if self._told.get(uid) != state:
            self._tell(pod, state, rule)

    def _rule(self, pod: Mapping[str, Any]) -> Rule | None:
        """The last rule that matches counts."""
        text = json.dumps(pod["spec"])
        return next((rule for rule in reversed(self._rules) if rule.text in text), None)

    def _tell(self, pod: Mapping[str, Any], state: str, rule: Rule | None) -> None:
        meta = pod["metadata"]
        address = pod.get("status", {}).get("podIP") or self._address()
        status = pod_status(pod, state, rule, address)
        if self._try("PATCH", f"{_path(pod)}/status", {"metadata": {"uid": meta["uid"]}, "status": status}):
            self._told[meta["uid"]] = state

    def _bind(self, pod: Mapping[str, Any]) -> None:
        meta = {"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]}
        target = {"apiVersion": "v1", "kind": "Node", "name": NODE}
        body = {"apiVersion": "v1", "kind": "Binding", "metadata": meta, "target": target}
        self._try("POST", f"{_path(pod)}/binding", body)

    def _end(self, pod: Mapping[str, Any]) -> None:
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": pod["metadata"]["uid"]}}
        self._try("DELETE", _path(pod), body)

    def _try(self, method: str, path: str, body: Any) -> bool:
        """A call about a pod, which may have gone or changed meanwhile; whether it was made."""
        try:
            self._call(method, path, body)
        except ApiException as error:
            going = error.status == 403 and "NamespaceTerminating" in str(error.body)  # the pod goes with it
            if error.status not in (404, 409) and not going:
                raise
            return False
        return True

    def _address(self) -> str:
        number = next(self._addresses)
        return f"10.244.{number // 250}.{number % 250 + 1}"

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        options = {"auth_settings": ["BearerToken"], "response_type": "object", "_return_http_data_only": True}
        headers = {"Accept": "application/json", "Content-Type": content}
        try:
            return self._api.call_api(path, method, header_params=headers, body=body, _request_timeout=30, **options)
        except ApiException as error:
            error.add_note(f"{method} {path}")
            raise


def pod_status(pod: Mapping[str, Any], state: str, rule: Rule | None, address: str) -> dict[str, Any]:
    """The status a kubelet would report: ``waiting``, ``failing``, ``ready`` or ``ended``."""
    init = [each["name"] for each in pod["spec"].get("initContainers", [])]
    main = [each["name"] for each in pod["spec"]["containers"]]
    failing = (rule.container if rule else "") or [*init, *main][0]
    at_init = state == "failing" and failing in init
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    images = {
        each["name"]: each["image"] for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    }

    def container(name: str) -> dict[str, Any]:
        base = {"name": name, "image": images[name], "imageID": "", "restartCount": 0, "ready": False, "started": False}
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
        if state == "failing" and name == failing:
            assert rule is not None
            ended = {"exitCode": 1, "reason": "Error", "message": rule.message, "startedAt": now, "finishedAt": now}
            waiting = {"waiting": {"reason": rule.reason, "message": f"back-off restarting failed container {name}"}}
            return {**base, "restartCount": 3, "state": waiting, "lastState": {"terminated": ended}}
        if state == "ended" or (name in init and not at_init):
            return {**base, "ready": name in init, "state": done}
        if at_init or (name in init):
            return {**base, "state": {"waiting": {"reason": "PodInitializing"}}}
        running = {"running": {"startedAt": now}}
        return {**base, "ready": state == "ready", "started": True, "state": running}

    is_ready = str(state == "ready")
    conditions = {"Initialized": str(not at_init), "ContainersReady": is_ready, "Ready": is_ready}
    phase = {"ended": "Succeeded", "failing": "Pending" if at_init else "Running"}.get(state, "Running")
    return {
        "phase": phase,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": pod.get("status", {}).get("startTime", now),
        "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": now},
            *({"type": kind, "status": status, "lastTransitionTime": now} for kind, status in conditions.items()),
        ],
        "initContainerStatuses": [container(name) for name in init],
        "containerStatuses": [container(name) for name in main],
    }


def _path(pod: Mapping[str, Any]) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _is_job(pod: Mapping[str, Any]) -> bool:
    return any(owner["kind"] == "Job" for owner in pod["metadata"].get("ownerReferences", []))
