"""The service against an API that applies, refuses and reports over HTTP as a cluster does."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kubernetes import client

from components.adapters.inference_service import InferenceService
from fairtag.base.errors import ConfigError, UnavailableError

SCHEMA = Path(__file__).parents[4] / "shared" / "schemas" / "serving.kserve.io" / "inferenceservice_v1beta1.json"
FIRST, SECOND = "s3://fairtag/models/first", "s3://fairtag/models/second"
LINEAGE = {"fairtag.io/model-version": "second", "fairtag.io/decision-hash": "d" * 8}
OWNED = ("canary",)  # of spec: absent from an apply means taken away


class FakeCluster:
    """One InferenceService, what was applied to it, and the states its controller reports in turn."""

    url: str

    def __init__(self) -> None:
        model = {"name": "kserve-container", "modelFormat": {"name": "fairtag"}, "storageUri": FIRST}
        self.service: dict[str, Any] = {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "fairtag", "namespace": "shop", "generation": 1},
            "spec": {"predictor": {"minReplicas": 2, "model": model}},
        }
        self.live: dict[str, Any] = {}
        self.statuses: list[dict[str, Any]] = [_ready()]
        self.refusals: list[int] = []
        self.queries: list[dict[str, list[str]]] = []
        self.owned: tuple[str, ...] = OWNED

    def answer(self, asked: Any) -> tuple[int, dict[str, Any]]:
        """Reads and server-side applies, as the API server answers them."""
        if asked.method == "PATCH":
            assert asked.headers["content-type"] == "application/apply-patch+yaml"
            self.queries.append(asked.query)
        if self.refusals:
            return self.refusals.pop(0), {"message": "no"}
        if asked.method == "PATCH":
            return 200, self._applied(asked.path, asked.body, keep="dryRun" not in asked.query)
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        seen = {"observedGeneration": self.service["metadata"]["generation"]}
        return 200, {**self.service, "status": {**seen, **status}}

    def _applied(self, path: str, body: dict[str, Any], *, keep: bool) -> dict[str, Any]:
        if "configmaps" in path:
            self.live = body if keep else self.live
            return body
        after = copy.deepcopy(self.service)
        after["metadata"]["annotations"] = body["metadata"]["annotations"]
        _merge(after["spec"], body["spec"])
        for field in self.owned:
            if field not in body["spec"]:
                after["spec"].pop(field, None)
        if keep:
            after["metadata"]["generation"] += 1
            self.service = after
        return after


def _ready(status: str = "True", **more: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": status}
    other = {"type": "PredictorReady", "status": status, "reason": "Waiting", "message": "pods are starting"}
    return {"conditions": [condition, other], **more}


def _merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    for name, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


@pytest.fixture
def cluster(listen: Callable[[FakeCluster], FakeCluster]) -> FakeCluster:
    return listen(FakeCluster())


@pytest.fixture
def service(cluster: FakeCluster) -> Iterator[InferenceService]:
    with client.ApiClient(client.Configuration(host=cluster.url)) as api:
        yield InferenceService("shop", api=api)


def _wait(service: InferenceService, **options: Any) -> list[str]:
    seen: list[str] = []
    service.wait_ready(seen.append, **{"timeout": 5.0, "every": 0.01, **options})
    return seen


def test_a_deployment_changes_the_model_and_nothing_else_of_the_overlay(
    service: InferenceService, cluster: FakeCluster
) -> None:
    service.deploy(SECOND, LINEAGE)
    predictor = cluster.service["spec"]["predictor"]
    assert predictor["model"] == {"name": "kserve-container", "modelFormat": {"name": "fairtag"}, "storageUri": SECOND}
    assert predictor["minReplicas"] == 2
    annotations = cluster.service["metadata"]["annotations"]
    assert annotations == {**LINEAGE, "fairtag.io/previous-storage-uri": FIRST}
    assert cluster.live["data"] == {"storageUri": SECOND}
    assert cluster.queries[0] == {"fieldManager": ["fairtag"], "force": ["true"]}


def test_deploying_the_same_model_again_keeps_the_way_back(service: InferenceService, cluster: FakeCluster) -> None:
    service.deploy(SECOND, LINEAGE)
    service.deploy(SECOND, LINEAGE)
    assert cluster.service["metadata"]["annotations"]["fairtag.io/previous-storage-uri"] == FIRST
    service.rollback()
    assert cluster.service["spec"]["predictor"]["model"]["storageUri"] == FIRST
    assert cluster.live["data"] == {"storageUri": FIRST}
    with pytest.raises(ConfigError, match="nothing to go back to"):
        service.rollback()


def test_a_canary_is_the_stable_predictor_with_another_model_and_a_name(
    service: InferenceService, cluster: FakeCluster
) -> None:
    service.canary(SECOND, 10, LINEAGE)
    stable, entry = cluster.service["spec"]["predictor"], cluster.service["spec"]["canary"][0]
    assert stable["model"]["storageUri"] == FIRST
    assert entry["trafficPercent"] == 10
    assert entry["predictor"]["name"] == "canary-second"
    assert entry["predictor"]["model"] == {**stable["model"], "storageUri": SECOND}
    assert entry["predictor"]["minReplicas"] == stable["minReplicas"]
    assert cluster.live["data"] == {"storageUri": FIRST}
    with pytest.raises(ConfigError, match="1 to 99"):
        service.canary(SECOND, 100, {})


def test_promotion_hands_over_the_canarys_pods_and_its_lineage(service: InferenceService, cluster: FakeCluster) -> None:
    service.canary(SECOND, 10, LINEAGE)
    service.promote()
    spec, annotations = cluster.service["spec"], cluster.service["metadata"]["annotations"]
    assert not spec["canary"]
    assert (spec["predictor"]["name"], spec["predictor"]["model"]["storageUri"]) == ("canary-second", SECOND)
    assert annotations == {**LINEAGE, "fairtag.io/previous-storage-uri": FIRST}
    with pytest.raises(ConfigError, match="no canary to promote"):
        service.promote()


def test_rollback_takes_a_canary_away_and_leaves_the_stable_model(
    service: InferenceService, cluster: FakeCluster
) -> None:
    service.canary(SECOND, 10, LINEAGE)
    service.rollback()
    assert not cluster.service["spec"]["canary"]
    assert cluster.service["spec"]["predictor"]["model"]["storageUri"] == FIRST
    assert not any("canary" in name for name in cluster.service["metadata"]["annotations"])


def test_a_dry_run_changes_nothing(service: InferenceService, cluster: FakeCluster) -> None:
    before = copy.deepcopy(cluster.service)
    after = service.deploy(SECOND, LINEAGE, dry_run=True)
    assert after["spec"]["predictor"]["model"]["storageUri"] == SECOND
    assert cluster.service == before
    assert cluster.live == {}
    assert all(query["dryRun"] == ["All"] for query in cluster.queries)


def test_waiting_tells_what_it_waits_for_and_ends_when_the_newest_change_serves(
    service: InferenceService, cluster: FakeCluster
) -> None:
    cluster.statuses = [_ready(observedGeneration=0), _ready("False"), _ready()]
    assert _wait(service) == [
        "the controller has not seen the change yet",
        "PredictorReady Waiting pods are starting",
        "ready",
    ]


def test_a_pod_that_never_becomes_ready_and_a_model_that_cannot_be_loaded_say_so(
    service: InferenceService, cluster: FakeCluster
) -> None:
    cluster.statuses = [_ready("False")]
    with pytest.raises(UnavailableError, match=r"not ready in 0 s: PredictorReady Waiting pods are starting"):
        _wait(service, timeout=0.0)
    cluster.statuses = [_ready("False", modelStatus={"lastFailureInfo": {"message": "digest differs"}})]
    with pytest.raises(UnavailableError, match="cannot be loaded: digest differs"):
        _wait(service)


def test_a_conflict_is_tried_again_and_a_lasting_one_is_an_error(
    service: InferenceService, cluster: FakeCluster
) -> None:
    body = {"metadata": {"annotations": {"a": "b"}}, "spec": {}}
    cluster.refusals = [409, 409]
    service._patch(service._path, body, dry_run=False)
    assert cluster.service["metadata"]["annotations"] == {"a": "b"}
    cluster.refusals = [409] * 9
    with pytest.raises(UnavailableError, match="at the same time"):
        service._patch(service._path, body, dry_run=False)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (404, ConfigError, "not installed"),
        (403, UnavailableError, "is not allowed to do this"),
        (500, UnavailableError, "500"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(
    service: InferenceService, cluster: FakeCluster, status: int, kind: type[Exception], message: str
) -> None:
    cluster.refusals = [status]
    with pytest.raises(kind, match=message):
        service.read()


def test_a_cluster_that_is_not_there_is_an_error_of_ours() -> None:
    configuration = client.Configuration(host="http://127.0.0.1:1")
    configuration.retries = 0
    with client.ApiClient(configuration) as api, pytest.raises(UnavailableError, match="did not answer"):
        InferenceService("shop", api=api).read()


def test_what_is_in_force_after_each_change_keeps_to_the_schema(
    service: InferenceService, cluster: FakeCluster
) -> None:
    if not SCHEMA.is_file():
        pytest.skip("the schema of InferenceService is not beside the repository")
    # jsonschema.validate would first hold this large schema against the schema of schemas: 8 s at each call
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    service.canary(SECOND, 10, LINEAGE)
    schema.validate(cluster.service)
    service.promote()
    schema.validate(cluster.service)
    cluster.service["spec"]["canary"] = [{"trafficPercentage": 10}]
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(cluster.service)


def test_the_way_back_restores_the_lineage_of_the_model_before(service: InferenceService, cluster: FakeCluster) -> None:
    first = {"fairtag.io/model-version": "first", "fairtag.io/decision-hash": "a" * 8}
    service.deploy(FIRST, first)
    service.deploy(SECOND, LINEAGE)
    service.rollback()
    assert cluster.service["metadata"]["annotations"] == first
    assert cluster.service["spec"]["predictor"]["model"]["storageUri"] == FIRST


def test_a_canary_that_an_overlay_made_is_taken_away_and_not_just_left_unsaid(
    service: InferenceService, cluster: FakeCluster
) -> None:
    cluster.owned = ()  # by another field manager: what an apply leaves out stays in force
    service.canary(SECOND, 10, LINEAGE)
    service.promote()
    assert cluster.service["spec"]["canary"] == []


def test_the_live_models_tell_where_they_come_from(service: InferenceService) -> None:
    service.deploy(FIRST, {"fairtag.io/model-version": "first", "fairtag.io/run": "run-1"})
    service.canary(SECOND, 10, LINEAGE)
    stable, canary = service.lineage()
    assert stable == {"role": "stable", "traffic": "90", "storage-uri": FIRST, "model-version": "first", "run": "run-1"}
    noted = {name.removeprefix("fairtag.io/"): value for name, value in LINEAGE.items()}
    assert canary == {"role": "canary", "traffic": "10", "storage-uri": SECOND, **noted}


def test_a_model_folder_is_uploaded_once_with_its_manifest_last(tmp_path: Path) -> None:
    from components.adapters.kserve import service_of, upload_pricing_model
    from fairtag.model.decision import GateResult, decision_of, make_decision
    from fairtag.model.manifest import read_manifest, verify_files, write_manifest

    model_folder = tmp_path / "model_folder"
    (model_folder / "encoder").mkdir(parents=True)
    (model_folder / "encoder" / "weights").write_text("weights")
    manifest = write_manifest(model_folder, {})
    models = (tmp_path / "store").as_uri()
    gate = GateResult("relevance", 0.9, "at least 0.8", "pass")
    challenger = {"version": manifest["version"], "model_digest": manifest["digest"]}
    made = {"challenger": challenger, "champion": None, "data_fingerprint": "f", "metrics": {}}
    decision = make_decision(**made, gates=[gate])
    uri = upload_pricing_model(model_folder, manifest, models, decision)
    stored = tmp_path / "store" / manifest["version"]
    assert uri == f"{models}/{manifest['version']}"
    verify_files(stored, read_manifest(stored))
    assert decision_of(stored) == decision
    written = (stored / "manifest.json").stat().st_mtime_ns
    again = make_decision(**made, gates=[gate, GateResult("profit_uplift", None, "gain > 0", "could not tell")])
    assert upload_pricing_model(model_folder, manifest, models, again) == uri
    assert decision_of(stored) == again  # the newer outcome counts
    assert (stored / "manifest.json").stat().st_mtime_ns == written
    assert service_of("kserve://shop/fairtag?models=s3://b/models") == ("shop", "fairtag", "s3://b/models")
    with pytest.raises(ConfigError, match="kserve://NAMESPACE/NAME"):
        service_of("kserve://shop/fairtag")
