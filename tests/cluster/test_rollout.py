"""Canary, promotion, rollback and deploy on a real API server with KServe's controller, without a gap for callers."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from components.adapters.inference_service import InferenceService
from components.adapters.kserve import put_live
from components.adapters.kubernetes_api import KubernetesApi, Refused
from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.rollout import Rollout, Trial

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = (f"s3://fairtag/models/000{number}" for number in (1, 2, 3))
STABLE, CANARY = "fairtag-predictor", "fairtag-canary-0002-predictor"


class Endpoint:
    """Answers for the pods, which do not run here: as the model that its address names."""

    broken = ""  # Deployment whose pods answer nothing

    def answer(self, asked):
        if asked.path.endswith(":verify"):
            return 200, {}
        deployment, version = asked.path.strip("/").split("/")[:2]
        if deployment == self.broken:
            return 500, {"error": "out of order"}
        page = {"model_version": version, "quote": "q", "degraded": None}
        return 200, {"predictions": [{**page, "items": [{"item_id": "i", "price_minor": 1}]}]}


@pytest.fixture
def service(cluster, endpoint):
    """A service whose stable pods serve the first model, put there as the deploy step does."""
    container = ROOT / "k8s" / "platform" / "clusterstoragecontainer.yaml"  # without it no pod is admitted
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=fairtag-install", "-f", container)
    with cluster.api() as api:
        service = InferenceService(endpoint.namespace, api=api)
        put_live(service, FIRST, {"model-version": "0001"}, timeout=90)
        yield service


@pytest.fixture
def rollout(service, listen):
    answering = listen(Endpoint())

    @contextmanager
    def address(deployment, uri):
        yield f"{answering.url}/{deployment}/{uri.rpartition('/')[2]}"

    console = Console(record=True, width=300)
    made = Rollout(service, console, timeout=90, trial=Trial("", pages=2), address=address, every=0.3)
    made.endpoint = answering
    made.said = lambda: console.export_text(clear=False)
    return made


def pods_of(cluster, namespace, deployment=STABLE):
    """The pods of a Deployment that are not going."""
    found = cluster.list(f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3Disvc.{deployment}")
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def pods(cluster, namespace, deployment):
    """Names of the pods of a Deployment that are not going, with the model that each fetches."""
    found = pods_of(cluster, namespace, deployment)
    return {each["metadata"]["name"]: each["spec"]["initContainers"][0]["args"][0] for each in found}


@pytest.fixture
def watch(cluster, service):
    """Watches the stable Service and Deployment; the test asks afterwards whether either ever went or had no pod."""
    with ExitStack() as open_:
        kinds = {"services": "/api/v1", "deployments": "/apis/apps/v1"}
        seen = {
            kind: open_.enter_context(cluster.watching(f"{group}/namespaces/{service.namespace}/{kind}"))
            for kind, group in kinds.items()
        }

        def gaps():
            gone = [
                kind for kind, events in seen.items() for what, each in events if what == "DELETED" and _is_stable(each)
            ]
            thin = [
                each["status"].get("availableReplicas", 0)
                for _, each in seen["deployments"]
                if _is_stable(each) and each["status"].get("availableReplicas", 0) < 1
            ]
            return gone + thin

        yield SimpleNamespace(gaps=gaps, seen=seen)


def _is_stable(found):
    return found["metadata"]["name"] == STABLE


def live(cluster, service):
    return cluster.get(f"/api/v1/namespaces/{service.namespace}/configmaps/fairtag-live")["data"].get("storageUri")


def test_a_canary_starts_dark_restarts_nothing_and_says_that_nothing_splits(cluster, service, rollout, watch):
    before = pods(cluster, service.namespace, STABLE)
    rollout.canary(SECOND, 10, {"model-version": "0002"})
    assert pods(cluster, service.namespace, STABLE).items() <= before.items()
    assert list(pods(cluster, service.namespace, CANARY).values()) == [SECOND]
    path = f"/apis/autoscaling/v2/namespaces/{service.namespace}/horizontalpodautoscalers"
    assert [each["metadata"]["name"] for each in cluster.list(path)] == [STABLE], "none that nobody removes"
    stable, canary = service.lineage()
    assert (stable["model-version"], stable["traffic"]) == ("0001", "100")
    assert (canary["model-version"], canary["traffic"]) == ("0002", "0")
    assert "No gateway splits the traffic" in rollout.said()
    canary_pods = pods(cluster, service.namespace, CANARY)
    rollout.canary(SECOND, 50, {"model-version": "0002"})
    assert pods(cluster, service.namespace, CANARY).keys() >= canary_pods.keys(), "another share restarts nothing"
    service.wait_ready(service.rollback(), lambda _: None, timeout=60)
    assert pods(cluster, service.namespace, CANARY) == {}
    assert pods(cluster, service.namespace, STABLE).keys() & before.keys()
    assert watch.gaps() == []


def test_a_route_that_names_the_canary_is_seen(cluster, service, rollout):
    backends = [{"name": STABLE, "port": 80, "weight": 90}, {"name": CANARY, "port": 80, "weight": 10}]
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    route |= {
        "metadata": {"name": "shop", "namespace": service.namespace},
        "spec": {"rules": [{"backendRefs": backends}]},
    }
    cluster.apply([route])
    rollout.canary(SECOND, 10, {})
    assert "the gateway sends the canary 10 % of the pages" in rollout.said()
    assert [each["traffic"] for each in service.lineage()] == ["90", "10"]


def test_a_promotion_and_its_rollback_leave_no_gap(cluster, service, rollout, watch):
    rollout.canary(SECOND, 10, {"model-version": "0002"})
    cluster.kubelet.delay(SECOND, seconds=2)
    cluster.kubelet.delay(FIRST, seconds=2)
    rollout.promote()
    assert set(pods(cluster, service.namespace, STABLE).values()) == {SECOND}
    assert pods(cluster, service.namespace, CANARY) == {}
    assert live(cluster, service) == SECOND
    assert [each["role"] for each in service.lineage()] == ["stable", "previous"]
    rollout.rollback()
    assert set(pods(cluster, service.namespace, STABLE).values()) == {FIRST}
    assert live(cluster, service) == FIRST
    assert service.lineage()[0]["model-version"] == "0001"
    assert watch.gaps() == []


def test_a_promotion_that_fails_brings_everything_back(cluster, service, rollout, watch, monkeypatch):
    rollout.canary(SECOND, 10, {"model-version": "0002"})
    spec, canary = service.read().service["spec"], pods(cluster, service.namespace, CANARY)
    monkeypatch.setattr(rollout, "_require_page", lambda state: None)  # of the model before, which is in order
    rollout.endpoint.broken = STABLE
    with pytest.raises(UnavailableError, match="out of order; rolled back: s3://fairtag/models/0001 is back"):
        rollout.promote()
    assert service.read().service["spec"] == spec
    assert set(pods(cluster, service.namespace, STABLE).values()) == {FIRST}
    assert pods(cluster, service.namespace, CANARY) == canary, "the canary was not restarted"
    assert live(cluster, service) == FIRST
    assert watch.gaps() == []


def test_a_canary_whose_pods_die_goes_and_says_of_what(cluster, service, rollout, watch):
    before = pods(cluster, service.namespace, STABLE)
    cluster.kubelet.fail(SECOND, message="NoSuchKey: models/0002", container="storage-initializer")
    with pytest.raises(UnavailableError, match=r"storage-initializer: exit code 1, Error: NoSuchKey: models/0002"):
        rollout.canary(SECOND, 10, {})
    assert service.read().canaries == []
    assert pods(cluster, service.namespace, STABLE).keys() & before.keys()
    assert watch.gaps() == []


def test_the_second_and_third_deploy_go_live_and_one_that_fails_goes_back(cluster, service, endpoint, watch):
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    cluster.apply([{**account, "metadata": {"name": "pipeline-runner", "namespace": "kubeflow"}}])
    with cluster.api("kubeflow/pipeline-runner") as api:  # with the deploy step's own rights
        step = InferenceService(endpoint.namespace, api=api)
        for uri in (SECOND, THIRD):
            put_live(step, uri, {"run": uri}, timeout=90)
            assert set(pods(cluster, service.namespace, STABLE).values()) == {uri}
            assert live(cluster, service) == uri
        before = pods(cluster, service.namespace, STABLE)
        cluster.kubelet.fail("models/0004", message="digest differs", container="kserve-container")
        with pytest.raises(UnavailableError, match="digest differs; rolled back: s3://fairtag/models/0003 is back"):
            put_live(step, "s3://fairtag/models/0004", {}, timeout=90)
    assert pods(cluster, service.namespace, STABLE) == before
    assert live(cluster, service) == THIRD
    assert watch.gaps() == []


def test_a_first_deploy_that_fails_leaves_a_service_that_waits_for_its_first_model(cluster, endpoint, until):
    container = ROOT / "k8s" / "platform" / "clusterstoragecontainer.yaml"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=fairtag-install", "-f", container)
    until(lambda: pods_of(cluster, endpoint.namespace), "pods wait for a model")
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "pipeline-runner", "namespace": "kubeflow"},
            }
        ]
    )
    cluster.kubelet.delay("FAIRTAG_WAIT_SECONDS", seconds=3600)  # who waits for a model is never ready
    cluster.kubelet.delay(SECOND, seconds=0)
    cluster.kubelet.fail(FIRST, message="NoSuchKey: models/0001", container="storage-initializer")
    with cluster.api("kubeflow/pipeline-runner") as api:  # with the deploy step's own rights
        step = InferenceService(endpoint.namespace, api=api)
        with pytest.raises(UnavailableError, match=r"NoSuchKey.*rolled back: the service waits for its first model"):
            put_live(step, FIRST, {"model-version": "0001"}, timeout=90)
        assert step.read().stable == ""
        assert live(cluster, endpoint) is None

        def waiting():
            left = pods_of(cluster, endpoint.namespace)
            return left and not any(each["spec"].get("initContainers") for each in left)

        until(waiting, "no pod of the failed model is left, and others wait")
        put_live(step, SECOND, {"model-version": "0002"}, timeout=90)
        assert (step.read().stable, live(cluster, endpoint)) == (SECOND, SECOND)
        assert step.read().models.before(SECOND) is None, "what never served is no way back"
        with pytest.raises(ConfigError, match="no earlier model is recorded"):
            step.rollback()


def test_refusals_are_told_in_the_api_servers_words(cluster, service, endpoint):
    (entry,) = service.canary(SECOND, 10, {}, dry_run=True).canaries
    entry["predictor"]["maxReplicas"] = 3
    body = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "fairtag"}}
    body["spec"] = {"predictor": {"model": {"storageUri": FIRST}}, "canary": [entry]}
    with cluster.api() as api, pytest.raises(Refused, match="must not set maxReplicas") as caught:
        KubernetesApi(api).apply(endpoint.path, body)
    assert "not allowed" not in str(caught.value)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody", "namespace": "kubeflow"}}
    cluster.apply([account])
    with cluster.api("kubeflow/nobody") as api, pytest.raises(Refused, match="cannot get resource") as caught:
        InferenceService(endpoint.namespace, api=api).read()
    assert "403 Forbidden" in str(caught.value)
    assert "not allowed to do this" in str(caught.value)
