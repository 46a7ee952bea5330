"""The service against an API that applies, refuses and reports over HTTP as a cluster does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from kubernetes import client

from components.adapters.inference_service import InferenceService
from components.adapters.workloads import ModelFailed, Superseded
from fairtag.base.errors import ConfigError, UnavailableError

SCHEMA = Path(__file__).parents[4] / "shared" / "schemas" / "serving.kserve.io" / "inferenceservice_v1beta1.json"
FIRST, SECOND, THIRD = (f"s3://fairtag/models/{name}" for name in ("first", "second", "third"))
FACTS = {"model-version": "second", "decision-hash": "d" * 8}


@pytest.fixture
def service(fake_cluster: Any) -> Iterator[InferenceService]:
    with client.ApiClient(client.Configuration(host=fake_cluster.url)) as api:
        yield InferenceService("shop", api=api, patience=0.2)


def _wait(service: InferenceService, change: Any, **options: Any) -> list[str]:
    seen: list[str] = []
    service.wait_ready(change, seen.append, **{"timeout": 5.0, "every": 0.01, **options})
    return seen


def test_a_deployment_changes_the_model_and_nothing_else_of_the_overlay(
    service: InferenceService, fake_cluster: Any
) -> None:
    change = service.deploy(SECOND, FACTS)
    assert fake_cluster.changes == [{"predictor": {"model": {"storageUri": SECOND}}}]
    assert fake_cluster.queries[-1] == {"fieldManager": ["fairtag"], "force": ["true"]}
    assert fake_cluster.record["data"]["storageUri"] == FIRST, "it does not serve yet"
    _wait(service, change)
    service.record_live(change)
    assert fake_cluster.record["data"]["storageUri"] == SECOND


def test_lineage_touches_no_annotation_because_each_would_restart_the_pods(
    service: InferenceService, fake_cluster: Any
) -> None:
    service.deploy(SECOND, FACTS)
    service.canary(THIRD, 10, {"model-version": "third"})
    assert not fake_cluster.service["metadata"]["annotations"]
    fake_cluster.service["metadata"]["annotations"] = {"fairtag.io/run": "of an earlier version", "other": "x"}
    service.rollback()
    assert fake_cluster.service["metadata"]["annotations"]["fairtag.io/run"], "taking it away restarts the pods too"
    service.rollback()
    assert "fairtag.io/run" not in fake_cluster.service["metadata"]["annotations"]


def test_the_way_back_leads_through_the_models_that_served(service: InferenceService, fake_cluster: Any) -> None:
    service.deploy(SECOND, FACTS)
    service.deploy(SECOND, FACTS)
    service.deploy(THIRD, {})
    for expected in (SECOND, FIRST):
        service.rollback()
        assert fake_cluster.stable == expected
    with pytest.raises(ConfigError, match="nothing to go back to"):
        service.rollback()
    service.deploy(THIRD, {})
    service.rollback()
    assert fake_cluster.stable == FIRST, "what was rolled back is no way back"


def test_a_model_that_never_served_is_no_way_back(service: InferenceService, fake_cluster: Any) -> None:
    service.deploy(SECOND, FACTS)
    fake_cluster.never_ready = {SECOND}
    service.deploy(THIRD, {})
    service.rollback()
    assert fake_cluster.stable == FIRST


def test_a_first_deployment_finds_a_service_without_a_model(service: InferenceService, fake_cluster: Any) -> None:
    del fake_cluster.service["spec"]["predictor"]["model"]["storageUri"]
    with pytest.raises(ConfigError, match="has no model yet"):
        service.canary(SECOND, 10, {})
    before = service.read()
    service.deploy(FIRST, FACTS)
    assert "storageUri" not in fake_cluster.record["data"]
    with pytest.raises(ConfigError, match="nothing to go back to"):
        service.rollback()
    service.restore(before)
    assert fake_cluster.changes[-1] == {"predictor": {"model": {}}}
    assert "storageUri" not in fake_cluster.record["data"], "monitors would look for a model that never served"


def test_a_canary_is_a_name_a_model_and_its_pods_and_starts_dark(service: InferenceService, fake_cluster: Any) -> None:
    fake_cluster.service["spec"]["predictor"]["minReplicas"] = 6
    service.canary("s3://fairtag/models/V1.2_b/", 40, FACTS)
    (entry,) = fake_cluster.canaries
    assert entry == {
        "trafficPercent": 0,
        "predictor": {
            "name": "canary-v1-2-b",
            "minReplicas": 3,
            "annotations": {"serving.kserve.io/autoscalerClass": "none"},
            "model": {
                "name": "kserve-container",
                "modelFormat": {"name": "fairtag"},
                "storageUri": "s3://fairtag/models/V1.2_b/",
            },
        },
    }
    service.share(40)
    assert fake_cluster.canaries[0]["trafficPercent"] == 40
    service.canary("s3://fairtag/models/V1.2_b/", 80, FACTS)
    assert fake_cluster.canaries[0]["trafficPercent"] == 40, "one that has a share keeps it until it has more pods"
    for percent in (0, 100):
        with pytest.raises(ConfigError, match="1 to 99"):
            service.canary(SECOND, percent, {})
    with pytest.raises(ConfigError, match="is the stable model already"):
        service.canary(FIRST, 10, {})


def test_names_fit_the_labels_of_kubernetes(service: InferenceService, fake_cluster: Any) -> None:
    service.canary(f"s3://fairtag/models/{'long-' * 20}", 10, {})
    (name,) = (each for each in fake_cluster.serving() if "canary" in each)
    assert len(f"isvc.{name}") <= 63
    assert "--" not in name


def test_a_promotion_never_renames_the_stable_predictor_and_the_canary_goes_last(
    service: InferenceService, fake_cluster: Any
) -> None:
    service.canary(SECOND, 10, FACTS)
    service.promote()
    assert fake_cluster.stable == SECOND
    assert fake_cluster.canaries
    service.retire()
    assert not fake_cluster.canaries
    assert "name" not in fake_cluster.service["spec"]["predictor"]
    service.rollback()
    assert fake_cluster.stable == FIRST
    with pytest.raises(ConfigError, match="no canary to promote"):
        service.promote()


def test_a_promotion_that_stopped_halfway_goes_on_or_back(service: InferenceService, fake_cluster: Any) -> None:
    service.canary(SECOND, 10, FACTS)
    service.promote()
    service.promote()
    assert fake_cluster.stable == SECOND
    service.rollback()
    assert (fake_cluster.stable, fake_cluster.canaries) == (FIRST, [])


def test_rollback_takes_a_canary_away_and_leaves_the_stable_model(service: InferenceService, fake_cluster: Any) -> None:
    service.canary(SECOND, 10, FACTS)
    service.rollback()
    assert (fake_cluster.stable, fake_cluster.canaries) == (FIRST, [])


def test_restoring_brings_model_canary_share_and_record_back(service: InferenceService, fake_cluster: Any) -> None:
    service.canary(SECOND, 30, FACTS)
    service.share(30)
    before, spec, record = service.read(), copy.deepcopy(fake_cluster.service["spec"]), fake_cluster.record
    service.deploy(THIRD, {})
    service.restore(before)
    assert fake_cluster.service["spec"] == spec
    assert json.loads(fake_cluster.record["data"]["lineage.json"])["earlier"] == []
    assert fake_cluster.record["data"]["storageUri"] == record["data"]["storageUri"]


def test_a_change_that_is_refused_leaves_a_record_that_is_still_true(
    service: InferenceService, fake_cluster: Any
) -> None:
    service.deploy(SECOND, FACTS)
    fake_cluster.service["spec"]["predictor"]["model"]["storageUri"] = FIRST  # cut off between record and service
    assert service.lineage()[0]["storage-uri"] == FIRST
    with pytest.raises(ConfigError, match="nothing to go back to"):
        service.rollback()


def test_a_dry_run_changes_nothing(service: InferenceService, fake_cluster: Any) -> None:
    before = copy.deepcopy(fake_cluster.service)
    assert service.deploy(SECOND, FACTS, dry_run=True).stable == SECOND
    assert (fake_cluster.service, fake_cluster.record) == (before, {})
    assert all(query["dryRun"] == ["All"] for query in fake_cluster.queries)


def test_waiting_outlives_a_server_that_cannot_answer_and_no_status_of_kserve_misleads_it(
    service: InferenceService, fake_cluster: Any
) -> None:
    change = service.deploy(SECOND, FACTS)
    fake_cluster.busy = 12
    seen = _wait(service, change)
    assert "503 Service Unavailable: the server is starting" in seen[0]
    assert "2 of 2 pods serve s3://fairtag/models/second" in seen[-1]


def test_what_is_missing_and_what_pods_died_of_is_told(service: InferenceService, fake_cluster: Any) -> None:
    change = service.deploy(SECOND, FACTS)
    fake_cluster.never_ready = {SECOND}
    with pytest.raises(UnavailableError, match=r"second is not ready in 0 s: .*2 of 2 pods are new, 0 available"):
        _wait(service, change, timeout=0.0)
    fake_cluster.dying = {SECOND: "NoSuchKey: models/second"}
    with pytest.raises(ModelFailed, match=r"storage-initializer: exit code 1, Error: NoSuchKey: models/second"):
        _wait(service, change)


def test_a_canary_is_ready_when_its_own_pods_are(service: InferenceService, fake_cluster: Any) -> None:
    change = service.canary(SECOND, 10, FACTS)
    fake_cluster.never_ready = {SECOND}
    with pytest.raises(UnavailableError, match="fairtag-canary-second-predictor: 1 of 1 pods are new, 0 available"):
        _wait(service, change, timeout=0.0)


def test_waiting_ends_where_somebody_else_takes_the_service_over(service: InferenceService, fake_cluster: Any) -> None:
    change = service.deploy(SECOND, FACTS)
    service.deploy(THIRD, {})
    with pytest.raises(Superseded, match="now names s3://fairtag/models/third, not s3://fairtag/models/second"):
        _wait(service, change)


def test_the_live_models_tell_where_they_come_from(service: InferenceService, fake_cluster: Any) -> None:
    service.deploy(SECOND, FACTS)
    service.canary(THIRD, 10, {"model-version": "third"})
    service.share(10)
    fake_cluster.routes = []
    stable, canary, previous = service.lineage()
    assert stable == {"role": "stable", "traffic": "100", "storage-uri": SECOND, **FACTS}
    assert canary == {"role": "canary", "traffic": "0", "storage-uri": THIRD, "model-version": "third"}
    assert previous == {"role": "previous", "traffic": "0", "storage-uri": FIRST}
    backends = [{"name": "fairtag-predictor", "weight": 90}, {"name": "fairtag-canary-third-predictor", "weight": 10}]
    fake_cluster.routes = [{"spec": {"rules": [{"backendRefs": backends}]}}]
    assert [row["traffic"] for row in service.lineage()] == ["90", "10", "0"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other", "lineage": {}, "earlier": []}'])
def test_a_record_that_cannot_be_read_says_what_to_do(service: InferenceService, fake_cluster: Any, text: str) -> None:
    fake_cluster.record = {"data": {"lineage.json": text}}
    with pytest.raises(ConfigError, match=r"lineage\.json"):
        service.read()


RBAC = 'inferenceservices "fairtag" is forbidden: User "jo" cannot get resource "inferenceservices" in API group "x"'
HOOK = 'admission webhook "validator" denied the request: canary must not set maxReplicas'


@pytest.mark.parametrize(
    ("status", "said", "kind", "message", "hint"),
    [
        (404, "not found", ConfigError, "is not installed; apply an overlay .*not found", False),
        (403, RBAC, UnavailableError, '403 Forbidden: .*User "jo" cannot get', True),
        (403, HOOK, UnavailableError, "403 Forbidden: admission webhook .* must not set maxReplicas", False),
        (422, "storageUri: Invalid value", UnavailableError, "422 .*: storageUri: Invalid value", False),
        (401, "Unauthorized", UnavailableError, "401 Unauthorized: .*log in again", False),
        (500, "etcd is gone", UnavailableError, "500 .*: etcd is gone", False),
    ],
)
def test_a_refusal_is_told_in_the_clusters_own_words(
    service: InferenceService,
    fake_cluster: Any,
    status: int,
    said: str,
    kind: type[Exception],
    message: str,
    hint: bool,
) -> None:
    fake_cluster.refusals = [(status, said)] * 9
    with pytest.raises(kind, match=message) as caught:
        service.read()
    assert ("not allowed to do this" in str(caught.value)) == hint


def test_a_change_is_tried_again_where_the_cluster_cannot_answer_for_a_moment(
    service: InferenceService, fake_cluster: Any
) -> None:
    before = service.read()
    fake_cluster.refusals = [(503, "starting")]
    service.restore(before)
    fake_cluster.refusals = [(409, "changed")]
    service.record_live(before)
    fake_cluster.refusals = [(409, "changed")] * 9
    with pytest.raises(UnavailableError, match="changed at the same time"):
        service.record_live(before)


def test_a_cluster_that_is_not_there_is_an_error_of_ours() -> None:
    configuration = client.Configuration(host="http://127.0.0.1:1")
    configuration.retries = 0
    with client.ApiClient(configuration) as api, pytest.raises(UnavailableError, match="did not answer"):
        InferenceService("shop", api=api).read()


def test_what_is_in_force_after_each_change_keeps_to_the_schema(service: InferenceService, fake_cluster: Any) -> None:
    if not SCHEMA.is_file():
        pytest.skip("the schema of InferenceService is not beside the repository")
    # jsonschema.validate would first hold this large schema against the schema of schemas: 8 s at each call
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    service.canary(SECOND, 10, FACTS)
    schema.validate(fake_cluster.service)
    service.promote()
    schema.validate(fake_cluster.service)
    fake_cluster.service["spec"]["canary"] = [{"trafficPercentage": 10}]
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(fake_cluster.service)


def test_a_canary_that_an_overlay_made_is_taken_away_and_not_just_left_unsaid(
    service: InferenceService, fake_cluster: Any
) -> None:
    fake_cluster.owned = ()  # by another field manager: what an apply leaves out stays in force
    service.canary(SECOND, 10, FACTS)
    service.promote()
    service.retire()
    assert fake_cluster.service["spec"]["canary"] == []


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
