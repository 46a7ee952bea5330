"""Changes an InferenceService by server-side apply: its model, a canary beside it, and the way back.

One field manager owns the storage URI and the name of the stable predictor, the list of canaries and the lineage
annotations, and nothing else. Every change applies all of them at once, so that no half of it is ever in force.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from fairtag.base.errors import ConfigError, UnavailableError

GROUP, VERSION, KIND = "serving.kserve.io", "v1beta1", "InferenceService"
MANAGER = "fairtag"
PREFIX = "fairtag.io/"
BEFORE = f"{PREFIX}previous-"  # URI and lineage of the previous model, for the way back
PREVIOUS = f"{BEFORE}storage-uri"
CANARY_LINEAGE = f"{PREFIX}canary-"
LIVE = "fairtag-live"  # the ConfigMap from which the monitors read the live model
TIMEOUT = 30.0  # seconds for one call of the API

Progress = Callable[[str], None]


class Conflict(UnavailableError):
    """The object was changed at the same time."""


class InferenceService:
    """An InferenceService that an overlay has installed.

    Args:
        namespace: Its namespace.
        name: Its name.
        api: A ``kubernetes.client.ApiClient``; by default that of the pod or of the user's configuration.
    """

    def __init__(self, namespace: str, name: str = "fairtag", *, api: Any = None) -> None:
        self._namespace = namespace
        self._name = name
        self._api = api or _default_api()
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/inferenceservices/{name}"

    def read(self) -> dict[str, Any]:
        """The object as it is.

        Raises:
            ConfigError: It is not installed.
            UnavailableError: The cluster did not answer.
        """
        return self._call("GET", self._path)

    def deploy(self, storage_uri: str, lineage: Mapping[str, str], *, dry_run: bool = False) -> dict[str, Any]:
        """Serve another model with all traffic; a canary is removed.

        Args:
            storage_uri: Address of the model folder.
            lineage: Facts that become annotations.
            dry_run: Have the cluster check the change without making it.

        Returns:
            The object after the change.
        """
        before = self.read()
        again = _stable(before) == storage_uri  # the way back leads to another model, not to this one
        way_back = _with(before, BEFORE) if again else _way_back(before)
        return self._apply(before, storage_uri, _name(before), {**way_back, **lineage}, [], dry_run=dry_run)

    def canary(
        self, storage_uri: str, percent: int, lineage: Mapping[str, str], *, dry_run: bool = False
    ) -> dict[str, Any]:
        """Send a share of the traffic to another model beside the stable one.

        Raises:
            ConfigError: The share is not between 1 and 99.
        """
        if not 1 <= percent <= 99:
            raise ConfigError(f"--to {percent} is refused; a canary takes 1 to 99 percent of the traffic")
        before = self.read()
        predictor = copy.deepcopy(before["spec"]["predictor"])
        predictor["name"] = f"canary-{storage_uri.rstrip('/').rpartition('/')[2]}"[:50]
        predictor["model"]["storageUri"] = storage_uri
        predictor["model"].setdefault("name", "kserve-container")  # what a canary, unlike the stable one, must say
        facts = {
            **_without(before, CANARY_LINEAGE),
            **{CANARY_LINEAGE + k.removeprefix(PREFIX): v for k, v in lineage.items()},
        }
        entry = [{"trafficPercent": percent, "predictor": predictor}]
        return self._apply(before, _stable(before), _name(before), facts, entry, dry_run=dry_run)

    def promote(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Give all traffic to the canary, whose pods become the stable ones.

        Raises:
            ConfigError: There is no canary.
        """
        before = self.read()
        entries = before["spec"].get("canary") or []
        if not entries:
            raise ConfigError(f"{self._where}: there is no canary to promote; `fairtag canary --to 10` makes one")
        predictor = entries[0]["predictor"]
        facts = {
            PREFIX + name.removeprefix(CANARY_LINEAGE): value for name, value in _with(before, CANARY_LINEAGE).items()
        }
        uri = predictor["model"]["storageUri"]
        return self._apply(before, uri, predictor["name"], {**_way_back(before), **facts}, [], dry_run=dry_run)

    def rollback(self, *, dry_run: bool = False) -> dict[str, Any]:
        """Remove the canary; without a canary, go back to the previous model.

        Raises:
            ConfigError: There is neither.
        """
        before = self.read()
        if before["spec"].get("canary"):
            kept = _without(before, CANARY_LINEAGE)
            return self._apply(before, _stable(before), _name(before), kept, [], dry_run=dry_run)
        facts = {PREFIX + name.removeprefix(BEFORE): value for name, value in _with(before, BEFORE).items()}
        previous = facts.pop(f"{PREFIX}storage-uri", None)
        if not previous:
            raise ConfigError(f"{self._where}: no earlier model is recorded, so there is nothing to go back to")
        return self._apply(before, previous, _name(before), facts, [], dry_run=dry_run)

    def lineage(self) -> list[dict[str, str]]:
        """Where each serving model comes from: the stable one, then the canary if there is one.

        Returns:
            ``role``, ``traffic`` (percent), ``storage-uri``, and the facts that its deployment recorded.
        """
        found = self.read()
        canaries = found["spec"].get("canary") or []
        share = sum(entry["trafficPercent"] for entry in canaries)
        noted = {name: value for name, value in _without(found, CANARY_LINEAGE).items() if not name.startswith(BEFORE)}
        rows = [{"role": "stable", "traffic": str(100 - share), "storage-uri": _stable(found), **_bare(noted, PREFIX)}]
        for entry in canaries:
            uri = entry["predictor"]["model"]["storageUri"]
            facts = _bare(_with(found, CANARY_LINEAGE), CANARY_LINEAGE)
            rows.append({"role": "canary", "traffic": str(entry["trafficPercent"]), "storage-uri": uri, **facts})
        return rows

    def wait_ready(self, progress: Progress, *, timeout: float, every: float = 2.0) -> None:
        """Wait until the newest change serves.

        Raises:
            UnavailableError: The model cannot be loaded, or was not ready in time; the message says why.
        """
        deadline = time.monotonic() + timeout
        while True:
            found = self.read()
            state = _state(found)
            progress(state)
            if state == "ready":
                return
            failure = (found.get("status") or {}).get("modelStatus", {}).get("lastFailureInfo")
            if failure and _current(found):
                raise UnavailableError(f"{self._where}: the model cannot be loaded: {failure.get('message', failure)}")
            if time.monotonic() > deadline:
                raise UnavailableError(f"{self._where}: not ready in {timeout:.0f} s: {state}")
            time.sleep(every)

    @property
    def _where(self) -> str:
        return f"InferenceService {self._namespace}/{self._name}"

    def _apply(
        self,
        before: Mapping[str, Any],
        storage_uri: str,
        name: str | None,
        annotations: Mapping[str, str],
        canary: list[dict[str, Any]],
        *,
        dry_run: bool,
    ) -> dict[str, Any]:
        predictor: dict[str, Any] = {"model": {"storageUri": storage_uri}}
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {"name": self._name, "annotations": dict(annotations)},
            "spec": {"predictor": {**predictor, **({"name": name} if name else {})}},
        }
        # An overlay may have made the canary: without the list its entry would stay; an empty list removes it.
        if canary or before["spec"].get("canary"):
            body["spec"]["canary"] = canary  # type: ignore[index]  # a dict by construction
        after = self._patch(self._path, body, dry_run=dry_run)
        live = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": LIVE},
            "data": {"storageUri": storage_uri},
        }
        self._patch(f"/api/v1/namespaces/{self._namespace}/configmaps/{LIVE}", live, dry_run=dry_run)
        return after

    @retry(
        retry=retry_if_exception_type(Conflict),
        stop=stop_after_attempt(4),
        wait=wait_exponential(multiplier=0.1, max=2),
        reraise=True,
    )
    def _patch(self, path: str, body: Mapping[str, Any], *, dry_run: bool) -> dict[str, Any]:
        # The overlay that installed the object set the first model; "force" makes the field ours from now on.
        query = [("fieldManager", MANAGER), ("force", "true"), *([("dryRun", "All")] if dry_run else [])]
        return self._call("PATCH", path, body, query)

    def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, query: list[tuple[str, str]] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/apply-patch+yaml"  # JSON is YAML
        with _answering(self._where):
            found = self._api.call_api(
                path,
                method,
                query_params=query or [],
                header_params=headers,
                body=body,
                response_type="object",
                auth_settings=["BearerToken"],
                _return_http_data_only=True,
                _request_timeout=TIMEOUT,
            )
        return cast("dict[str, Any]", found)


@contextmanager
def _answering(where: str) -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status == 404:
            raise ConfigError(f"{where} is not installed; apply an overlay of k8s/ first") from error
        if error.status == 409:
            raise Conflict(f"{where}: it was changed at the same time; try again") from error
        hint = "; the service account is not allowed to do this" if error.status in (401, 403) else ""
        raise UnavailableError(f"{where}: the cluster answered {error.status} {error.reason}{hint}") from error
    except (HTTPError, OSError) as error:
        raise UnavailableError(f"{where}: the cluster did not answer ({type(error).__name__})") from error


def _default_api() -> Any:
    from kubernetes import client, config

    try:
        config.load_config()  # of the pod, or of the user
    except config.ConfigException as error:
        raise ConfigError(f"no cluster is configured: {error}; set KUBECONFIG") from error
    return client.ApiClient()


def _stable(found: Mapping[str, Any]) -> str:
    return str(found["spec"]["predictor"].get("model", {}).get("storageUri", ""))


def _name(found: Mapping[str, Any]) -> str | None:
    name = found["spec"]["predictor"].get("name")
    return None if name is None else str(name)


def _annotations(found: Mapping[str, Any]) -> dict[str, str]:
    return dict(found["metadata"].get("annotations") or {})


def _with(found: Mapping[str, Any], prefix: str) -> dict[str, str]:
    return {name: value for name, value in _annotations(found).items() if name.startswith(prefix)}


def _without(found: Mapping[str, Any], prefix: str) -> dict[str, str]:
    return {name: value for name, value in _with(found, PREFIX).items() if not name.startswith(prefix)}


def _bare(facts: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in facts.items()}


def _way_back(found: Mapping[str, Any]) -> dict[str, str]:
    """What a rollback needs: URI and lineage of the stable model, without those of its predecessor."""
    noted = _without(found, CANARY_LINEAGE)
    facts = {BEFORE + name.removeprefix(PREFIX): value for name, value in noted.items() if not name.startswith(BEFORE)}
    return {**facts, PREVIOUS: _stable(found)}


def _current(found: Mapping[str, Any]) -> bool:
    seen = (found.get("status") or {}).get("observedGeneration", 0)
    return bool(seen >= found["metadata"].get("generation", 0))


def _state(found: Mapping[str, Any]) -> str:
    """``ready``, or what it waits for, in the words of its conditions."""
    if not _current(found):
        return "the controller has not seen the change yet"
    conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions", [])}
    if conditions.get("Ready", {}).get("status") == "True":
        return "ready"
    open_ = [f"{name} {c.get('reason', '')} {c.get('message', '')}".strip() for name, c in conditions.items()
             if c["status"] != "True" and name != "Ready"]  # fmt: skip
    return "; ".join(open_) or "no condition is reported yet"
