"""The Deployments, pods and routes behind an InferenceService: whether a change serves, and who gets traffic."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from components.adapters.deployment_status import DeploymentStatus, deployment_status, is_ready, model_uri
from components.adapters.kubernetes_api import KubernetesApi, NoAnswer, NotThere, Refused
from components.adapters.service_state import Object, State
from fairtag.base.errors import UnavailableError

LABEL = "serving.kserve.io/inferenceservice"  # on each Deployment and pod of a service
COMPONENT = {"component": "predictor"}

Progress = Callable[[str], None]
Traffic = Literal["split", "not yet", "none", "unknown"]


class ModelFailed(UnavailableError):
    """The pods of a model keep dying."""


class Superseded(UnavailableError):
    """Somebody else changed the service while a change was waited for; theirs counts, and nothing is undone."""


class Workloads:
    """What KServe makes of an InferenceService.

    Args:
        api: The cluster.
        namespace: Namespace of the service.
        name: Its name.
        restarts: Restarts of one container from which on its model is thought to fail for good.
    """

    def __init__(self, api: KubernetesApi, namespace: str, name: str, *, restarts: int) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._restarts = restarts

    def wait_ready(
        self, change: State, read: Callable[[], Object], progress: Progress, *, timeout: float, every: float
    ) -> None:
        """Wait until each pod that a change wants serves its model, and no other pod is left.

        Args:
            change: The state that is waited for.
            read: Reads the InferenceService.
            progress: Told what is missing, in words, whenever that changes.
            timeout: Longest wait, seconds.
            every: Pause between two looks, seconds.

        Raises:
            ModelFailed: The newest pods keep dying; the message says of what.
            Superseded: Another change took the service over.
            UnavailableError: It was not ready in time; the message says what is missing.
        """
        deadline, said = time.monotonic() + timeout, ""
        while True:
            status = self._look(change, read)
            if status.text != said:
                progress(said := status.text)
            if status.ready:
                return
            if status.failure:
                raise ModelFailed(f"{change.newest} cannot be served: {status.failure}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"{change.newest} is not ready in {timeout:.0f} s: {status.text}")
            time.sleep(every)

    def stable_serves(self, state: State) -> bool:
        """Whether each pod of the stable model serves it."""
        found = self._deployments().get(state.stable_deployment)
        return found is not None and self._status_of(found, state.stable).ready

    def clear(self, state: State, *, timeout: float, every: float) -> None:
        """Delete the pods of failed models from a service that still waits for its first.

        A Deployment removes failing pods only once others are available, and waiting pods never are: without this they
        would restart for ever, and the next try with the same model would be judged by their restarts.

        Args:
            state: The state without a model.
            timeout: Longest wait for KServe to take the model out of the Deployment, seconds.
            every: Pause between two looks, seconds.

        Raises:
            UnavailableError: KServe did not do so in time, or the cluster refused.
        """
        name, deadline = state.stable_deployment, time.monotonic() + timeout
        while (found := self._deployments().get(name)) and model_uri(found["spec"]["template"]) != state.stable:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{name}: KServe still names another model after {timeout:.0f} s")
            time.sleep(every)
        path = f"/apis/apps/v1/namespaces/{self._namespace}/replicasets"
        for each in self._api.find(path, {"app": f"isvc.{name}"}):
            if model_uri(each["spec"]["template"]) != state.stable:
                self._api.delete(f"{path}/{each['metadata']['name']}")

    def traffic(self, state: State) -> Traffic:
        """Whether a route of a gateway sends a share of the pages to the canary's Service.

        Returns:
            ``split``; ``not yet`` where a route leads to the service but not to the canary; ``none`` without a route;
            ``unknown`` where the cluster refuses to show its routes.
        """
        try:
            routes = self._api.find(f"/apis/gateway.networking.k8s.io/v1/namespaces/{self._namespace}/httproutes")
        except NotThere:  # no gateway API is installed
            return "none"
        except Refused:
            return "unknown"
        rules = [rule for route in routes for rule in route["spec"].get("rules") or ()]
        backends = [backend for rule in rules for backend in rule.get("backendRefs") or ()]
        reached = {backend["name"] for backend in backends if backend.get("weight", 1) > 0}
        if reached & {state.canary_deployment(entry) for entry in state.canaries}:
            return "split"
        return "not yet" if reached & {state.stable_deployment, self._name} else "none"

    def ready_pod(self, deployment: str, storage_uri: str) -> str | None:
        """Name of the newest pod of a Deployment that takes requests with a model folder."""
        ready = [pod for pod in self._pods(deployment) if is_ready(pod) and model_uri(pod) == storage_uri]
        ready.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return str(ready[-1]["metadata"]["name"]) if ready else None

    def _look(self, change: State, read: Callable[[], Object]) -> DeploymentStatus:
        try:
            return self._status(change, read())
        except NoAnswer as error:  # pods live on without the API server, and so does the wait
            return DeploymentStatus(False, str(error))

    def _status(self, change: State, service: Object) -> DeploymentStatus:
        """How far a change is: the first Deployment that is not ready tells, and any that fails."""
        found = replace(change, service=service)
        if found.deployments != change.deployments:
            raise Superseded(f"another change took over: {self._name} now names {found.newest}, not {change.newest}")
        there = self._deployments()
        states = [
            self._status_of(there[name], uri) if name in there else DeploymentStatus(False, f"{name} is not there yet")
            for name, uri in change.deployments.items()
        ]
        states += [DeploymentStatus(False, f"{name} is going") for name in there if name not in change.deployments]
        states += _canary_statuses(found)
        first = next((each for each in states if not each.ready), states[0])
        failure = next((each.failure for each in states if each.failure), "")
        return replace(first, text=first.text + ("" if first.ready else _complaint(service)), failure=failure)

    def _status_of(self, deployment: Object, storage_uri: str) -> DeploymentStatus:
        pods = self._pods(deployment["metadata"]["name"])
        return deployment_status(deployment, pods, storage_uri, restarts=self._restarts)

    def _deployments(self) -> dict[str, Object]:
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments"
        found = self._api.find(path, {LABEL: self._name, **COMPONENT})
        return {each["metadata"]["name"]: each for each in found if not each["metadata"].get("deletionTimestamp")}

    def _pods(self, deployment: str) -> list[Object]:
        return self._api.find(f"/api/v1/namespaces/{self._namespace}/pods", {"app": f"isvc.{deployment}"})


def _canary_statuses(found: State) -> list[DeploymentStatus]:
    """What KServe reports of each canary; its ``Ready`` is that of the stable predictor alone."""
    reported = {each["name"]: each["ready"] for each in (found.service.get("status") or {}).get("canaryStatuses") or ()}
    names = [entry["predictor"]["name"] for entry in found.canaries]
    return [
        DeploymentStatus(bool(reported.get(name)), f"KServe does not report the canary {name} as ready yet")
        for name in names
    ]


def _complaint(service: Object) -> str:
    """Why KServe could not make what was asked for, where it says so."""
    conditions = (service.get("status") or {}).get("conditions") or ()
    words = [each["message"] for each in conditions if each.get("reason") == "ReconcileFailed" and each.get("message")]
    return f"; KServe says: {'; '.join(dict.fromkeys(words))}" if words else ""
