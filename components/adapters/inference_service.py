"""Changes an InferenceService by server-side apply: its model, a canary beside it, the way forward and the way back.

One field manager owns the storage URI of the stable predictor and the list of canaries, and nothing else. The name of
the stable predictor, and with it its Service, never changes: a promotion moves the stable pods to the canary's model
folder by a rolling update, and the canary goes when they serve it.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from components.adapters.kubernetes_api import KubernetesApi, NotThere
from components.adapters.service_state import RECORD, LiveModels, Object, State, canary_uri
from components.adapters.workloads import Progress, Traffic, Workloads
from fairtag.base.errors import ConfigError

GROUP, VERSION, KIND = "serving.kserve.io", "v1beta1", "InferenceService"
NOTES = "fairtag.io/"  # prefix of the annotations in which an earlier version kept the lineage
MOST_LABEL = 63  # characters of a label's value; KServe makes one of "isvc." and the name of a Deployment


class InferenceService:
    """An InferenceService that an overlay has installed.

    Args:
        namespace: Its namespace.
        name: Its name.
        api: A ``kubernetes.client.ApiClient``; by default that of the pod or of the user's configuration.
        restarts: Restarts of one container from which on its model is thought to fail for good.
        patience: How long a call is tried again where the cluster cannot answer, seconds.
    """

    def __init__(
        self, namespace: str, name: str = "fairtag", *, api: Any = None, restarts: int = 3, patience: float = 20.0
    ) -> None:
        self.namespace = namespace
        self.name = name
        self._api = KubernetesApi(api, patience=patience)
        self._workloads = Workloads(self._api, namespace, name, restarts=restarts)
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/inferenceservices/{name}"
        self._record = f"/api/v1/namespaces/{namespace}/configmaps/{name}-live"

    def read(self) -> State:
        """The service and its record as they are.

        Raises:
            ConfigError: It is not installed.
            UnavailableError: The cluster refused, or did not answer.
        """
        service = self._service()
        try:
            data = self._api.get(self._record).get("data") or {}
        except NotThere:
            data = {}
        models = LiveModels.from_json(data[RECORD], self._record) if RECORD in data else LiveModels()
        state = State(service, str(data.get("storageUri", "")), models)
        return state if state.live else replace(state, live=state.stable)  # a model that was put there by hand

    def deploy(self, storage_uri: str, lineage: Mapping[str, str], *, dry_run: bool = False) -> State:
        """Serve another model with all traffic; a canary is removed.

        Args:
            storage_uri: Address of the model folder.
            lineage: Facts about it.
            dry_run: Have the cluster check the change without making it.

        Returns:
            The state after the change.
        """
        before = self.read()
        models = self._forward(before, storage_uri).noting(storage_uri, lineage)
        return self._apply(before, storage_uri, [], models, dry_run=dry_run)

    def canary(self, storage_uri: str, percent: int, lineage: Mapping[str, str], *, dry_run: bool = False) -> State:
        """Run another model beside the stable one, without traffic at first: :meth:`share` gives it its share.

        It has as many pods as its share will need, so that they are there before the traffic is. KServe takes all else
        from the stable predictor.

        Args:
            storage_uri: Address of the model folder.
            percent: The share that it will get.
            lineage: Facts about it.
            dry_run: Have the cluster check the change without making it.

        Raises:
            ConfigError: The share is not between 1 and 99, or there is no stable model, or it is that one.
        """
        if not 1 <= percent <= 99:
            raise ConfigError(f"--to {percent} is refused; a canary takes 1 to 99 percent of the traffic")
        before = self.read()
        if not before.stable:
            raise ConfigError(f"{self._where} has no model yet; the first one goes live by the pipeline's deploy step")
        if storage_uri == before.stable:
            raise ConfigError(f"{self._where}: {storage_uri} is the stable model already; a canary is another model")
        same = [entry for entry in before.canaries if canary_uri(entry) == storage_uri]
        share = same[0]["trafficPercent"] if same else 0  # one that has a share keeps it
        entry = {"trafficPercent": share, "predictor": self._canary_predictor(before, storage_uri, percent)}
        models = before.models.noting(storage_uri, lineage)
        return self._apply(before, before.stable, [entry], models, dry_run=dry_run)

    def share(self, percent: int) -> State:
        """Give the canary its share of the traffic."""
        before = self.read()
        entries = [{**entry, "trafficPercent": percent} for entry in before.canaries]
        return self._apply(before, before.stable, entries, before.models)

    def promote(self, *, dry_run: bool = False) -> State:
        """Move the stable pods to the canary's model; the canary stays until :meth:`retire` takes it away.

        Raises:
            ConfigError: There is no canary.
        """
        before = self.read()
        if not before.canaries:
            raise ConfigError(f"{self._where}: there is no canary to promote; `fairtag canary --to 10` makes one")
        models = self._forward(before, before.newest)
        return self._apply(before, before.newest, before.canaries, models, dry_run=dry_run)

    def retire(self) -> State:
        """Take the canary away."""
        before = self.read()
        return self._apply(before, before.stable, [], before.models)

    def rollback(self, *, dry_run: bool = False) -> State:
        """Take the canary away; without one, or in the midst of its promotion, go back to the stable model before.

        Raises:
            ConfigError: There is neither.
        """
        before = self.read()
        target: str | None = before.stable
        if before.newest == before.stable:  # no canary, or one that is the stable model by now
            target = before.models.before(before.stable)
        if target is None:
            raise ConfigError(f"{self._where}: no earlier model is recorded, so there is nothing to go back to")
        return self._apply(before, target, [], before.models, dry_run=dry_run)

    def restore(self, state: State) -> State:
        """Bring back a state that was read before: its model, its canary with its share, and its record."""
        now = replace(state, service=self._service(), live=state.live)
        return self._apply(now, state.stable, state.canaries, state.models)

    def clear(self, state: State, *, timeout: float, every: float = 2.0) -> None:
        """Delete the pods of a first model that failed (:meth:`Workloads.clear`)."""
        self._workloads.clear(state, timeout=timeout, every=every)

    def record_live(self, state: State) -> None:
        """Name the stable model, which serves now, as the live one, with which the monitors compare the quotes."""
        self._write_record(state.models, state.stable, state.deployments.values())

    def lineage(self) -> list[dict[str, str]]:
        """Where each model comes from: the stable one, the canary if there is one, and the way back.

        Returns:
            ``role``, ``traffic`` (percent), ``storage-uri``, and the facts that its deployment recorded. A canary to
            which no gateway sends pages has no traffic, whatever its share says.
        """
        found = self.read()
        shares = [(canary_uri(entry), entry["trafficPercent"]) for entry in found.canaries]
        if shares and self.traffic(found) in ("none", "not yet"):
            shares = [(uri, 0) for uri, _ in shares]
        roles = [("stable", found.stable, 100 - sum(share for _, share in shares))]
        roles += [("canary", uri, share) for uri, share in shares]
        previous = found.models.before(found.stable)
        roles += [("previous", previous, 0)] if previous else []
        return [
            {"role": role, "traffic": str(share), "storage-uri": uri, **found.models.lineage.get(uri, {})}
            for role, uri, share in roles
        ]

    def wait_ready(self, change: State, progress: Progress, *, timeout: float, every: float = 2.0) -> None:
        """Wait until a change serves: see :meth:`Workloads.wait_ready`."""
        self._workloads.wait_ready(change, self._service, progress, timeout=timeout, every=every)

    def serves(self, state: State) -> bool:
        """Whether each pod of the stable model serves it."""
        return self._workloads.stable_serves(state)

    def traffic(self, state: State) -> Traffic:
        """Whether a route of a gateway sends a share of the pages to the canary: see :meth:`Workloads.traffic`."""
        return self._workloads.traffic(state)

    def ready_pod(self, deployment: str, storage_uri: str) -> str | None:
        """Name of the newest pod of a Deployment that takes requests with a model folder."""
        return self._workloads.ready_pod(deployment, storage_uri)

    @property
    def _where(self) -> str:
        return f"InferenceService {self.namespace}/{self.name}"

    def _service(self) -> Object:
        try:
            return self._api.get(self._path)
        except NotThere as error:
            raise ConfigError(f"{self._where} is not installed; apply an overlay of k8s/ first ({error})") from error

    def _canary_predictor(self, before: State, storage_uri: str, percent: int) -> Object:
        stable = before.service["spec"]["predictor"]
        room = MOST_LABEL - len(f"isvc.{self.name}--predictor")
        version = re.sub(r"[^a-z0-9]+", "-", storage_uri.rstrip("/").rpartition("/")[2].lower()).strip("-")
        return {
            "name": f"canary-{version}"[:room].rstrip("-"),
            # A share of 0 alone would mean no pods. Without this class KServe makes an autoscaler for the canary that
            # it never removes and, where KEDA scales, that the API refuses.
            "minReplicas": max(1, math.ceil((stable.get("minReplicas") or 1) * percent / 100)),
            "annotations": {f"{GROUP}/autoscalerClass": "none"},
            "model": {
                "name": "kserve-container",  # a canary, unlike the stable predictor, must say this and its format
                "modelFormat": copy.deepcopy(stable["model"]["modelFormat"]),
                "storageUri": storage_uri,
            },
        }

    def _forward(self, before: State, storage_uri: str) -> LiveModels:
        """The record when the stable model gives way to another; a model that does not serve is no way back."""
        if before.stable in ("", storage_uri) or not self.serves(before):
            return before.models
        return before.models.leaving(before.stable, to=storage_uri)

    def _apply(
        self, before: State, storage_uri: str, canaries: list[Object], models: LiveModels, *, dry_run: bool = False
    ) -> State:
        """Make a change; the record goes first, so that the way back is known however far the change gets."""
        named = [*before.deployments.values(), storage_uri, *map(canary_uri, canaries)]
        self._write_record(models, before.live, named, dry_run=dry_run)
        name = before.service["spec"]["predictor"].get("name")
        model = {"storageUri": storage_uri} if storage_uri else {}  # an installation names none before the first deploy
        predictor = {"model": model} | ({"name": name} if name else {})
        # An overlay may have made the canary: without the list its entry would stay; an empty list removes it.
        listed = {"canary": canaries} if canaries or before.canaries else {}
        # Notes of an earlier version go when the pods restart anyway: taking them away restarts the pods.
        notes = before.service["metadata"].get("annotations") or {} if storage_uri == before.stable else {}
        body: Object = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {
                "name": self.name,
                "annotations": {note: text for note, text in notes.items() if note.startswith(NOTES)},
            },
            "spec": {"predictor": predictor, **listed},
        }
        service = self._api.apply(self._path, body, dry_run=dry_run)
        return State(service, before.live, models)

    def _write_record(self, models: LiveModels, live: str, named: Iterable[str], *, dry_run: bool = False) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{self.name}-live"},
            "data": {RECORD: models.as_json(list(named)), **({"storageUri": live} if live else {})},
        }
        self._api.apply(self._record, body, dry_run=dry_run)
