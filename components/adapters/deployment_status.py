"""Whether the pods of a Deployment serve a model folder: judged from the Deployment and its pods themselves.

KServe's own status does not tell: its ``observedGeneration`` is that of a Deployment, and the failure that it keeps may
be one that a pod has long recovered from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

STORAGE_INITIALIZER = "storage-initializer"  # the init container that KServe injects; it fetches the model folder
SOURCE = "internal.serving.kserve.io/storage-initializer-sourceuri"  # the same address, on the pods' template
STARTING = frozenset({"ContainerCreating", "PodInitializing"})  # reasons to wait that say nothing
SHOWN = 300  # characters of a container's last words

Object = Mapping[str, Any]


@dataclass(frozen=True)
class DeploymentStatus:
    """How far a Deployment is.

    Args:
        ready: Whether every pod that it should have serves the model folder, and no other pod is left.
        text: What is missing, in words.
        failure: What the newest pods keep dying of; empty while there is hope.
    """

    ready: bool
    text: str
    failure: str = ""


def deployment_status(
    deployment: Object, pods: Sequence[Object], storage_uri: str, *, restarts: int
) -> DeploymentStatus:
    """How far a Deployment is with a model folder, by the rule of ``kubectl rollout status``, held to the model folder.

    Args:
        deployment: The Deployment.
        pods: Its pods.
        storage_uri: The model folder that its pods should serve.
        restarts: Restarts of one container from which on it is thought to fail for good.
    """
    name, spec, status = deployment["metadata"]["name"], deployment["spec"], deployment.get("status") or {}
    if spec["template"]["metadata"].get("annotations", {}).get(SOURCE, storage_uri) != storage_uri:
        return DeploymentStatus(False, f"{name}: KServe has not given it {storage_uri} yet")
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return DeploymentStatus(False, f"{name}: its change has not been seen yet")
    alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    new = [pod for pod in alive if model_uri(pod) == storage_uri]
    wanted, total = spec.get("replicas", 1), status.get("replicas", 0)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if wanted and updated >= wanted and total <= updated <= available and len(new) == len(alive) >= wanted:
        return DeploymentStatus(True, f"{name}: {available} of {wanted} pods serve {storage_uri}")
    text = f"{name}: {updated} of {wanted} pods are new, {available} available, {max(0, total - updated)} old ones left"
    troubles = [*_refusals(status), *(trouble for pod in new for trouble in _troubles(pod))]
    failure = next((words for pod in new for words, died in _deaths(pod) if died >= restarts), "")
    return DeploymentStatus(False, "; ".join([text, *dict.fromkeys(troubles)]), failure)


def model_uri(pod: Object) -> str:
    """The address of the model folder that a pod fetches; empty where it fetches none."""
    for container in pod["spec"].get("initContainers") or ():
        if container["name"] == STORAGE_INITIALIZER:
            return str((container.get("args") or [""])[0])
    return str((pod["metadata"].get("annotations") or {}).get(SOURCE, ""))


def is_ready(pod: Object) -> bool:
    """Whether a pod takes requests."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _refusals(status: Object) -> Iterator[str]:
    """What keeps pods from being made, such as Pod Security or a quota, and whether the Deployment gave up."""
    for each in status.get("conditions") or ():
        failed = each["type"] == "ReplicaFailure" and each["status"] == "True"
        stuck = each["type"] == "Progressing" and each["status"] == "False"
        if failed or stuck:
            yield f"{each.get('reason', each['type'])}: {each.get('message', '')}"


def _troubles(pod: Object) -> Iterator[str]:
    """Why a pod does not serve yet, where that is more than that it is starting."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            yield f"{name}: {each.get('reason', '')}: {each.get('message', '')}"
    for container in (*_statuses(status, "initContainerStatuses"), *_statuses(status, "containerStatuses")):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in STARTING and not container.get("lastState", {}).get("terminated"):
            yield f"{name}/{container['name']}: {waiting.get('reason', '')}: {waiting.get('message', '')}"
    yield from (words for words, _ in _deaths(pod))


def _deaths(pod: Object) -> Iterator[tuple[str, int]]:
    """What each container that does not run well died of, and how often it was started again.

    An init container may end: it is done. One that failed at first and is done since did not die.
    """
    status = pod.get("status") or {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in _statuses(status, kind):
            end = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated")
            if not end or container.get("ready") or (kind == "initContainerStatuses" and not end.get("exitCode")):
                continue
            words = " ".join(str(end.get("message") or "").split())[-SHOWN:]
            reason = f"exit code {end.get('exitCode')}, {end.get('reason', 'no reason')}"
            name = f"{pod['metadata']['name']}/{container['name']}"
            yield f"{name}: {reason}{': ' if words else ''}{words}", container.get("restartCount", 0)


def _statuses(status: Object, kind: str) -> Sequence[Object]:
    return status.get(kind) or ()
