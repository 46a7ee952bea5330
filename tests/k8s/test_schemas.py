"""Every object of every overlay against its schema, and a typo in each custom kind is seen."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

from components.images import SPARK_IMAGE

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.34"
BUILT_IN = ("v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
# The vault's operator is the shop's; its schema is not among ours.
WITHOUT_SCHEMA = {"ExternalSecret"}
COMPONENTS = sorted(path.name for path in (ROOT / "k8s" / "components").iterdir() if path.name != "versions")


def is_custom(document):
    return document["apiVersion"] not in BUILT_IN


def schema_of(document, schemas):
    group, version = document["apiVersion"].split("/")
    return schemas[(group, version, document["kind"].lower())]


def is_valid(document, schemas):
    return jsonschema.Draft202012Validator(schema_of(document, schemas)).is_valid(document)


@pytest.mark.slow
def test_core_objects_fit_the_schemas_of_kubernetes(overlay):
    core = [each for each in overlay if not is_custom(each)]
    assert len(core) >= 25
    for each in core:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_a_typo_in_each_core_kind_is_caught(overlay):
    for each in {each["kind"]: each for each in overlay if not is_custom(each)}.values():
        wrong = copy.deepcopy(each)
        (wrong["spec"] if isinstance(wrong.get("spec"), dict) else wrong)["selectorr"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, KUBERNETES, strict=True)


def test_custom_objects_fit_their_schemas(overlay, schemas):
    custom = [each for each in overlay if is_custom(each) and each["kind"] not in WITHOUT_SCHEMA]
    assert {"InferenceService", "ServingRuntime"} <= {each["kind"] for each in custom}
    for each in custom:
        errors = jsonschema.Draft202012Validator(schema_of(each, schemas)).iter_errors(each)
        assert [error.message[:300] for error in errors] == [], each["kind"]


@pytest.mark.parametrize(
    ("kind", "path", "typo"),
    [
        ("InferenceService", ("spec", "predictor", "model"), "storageURI"),
        ("InferenceService", ("spec", "predictor", "securityContext"), "runAsNonroot"),
        ("ServingRuntime", ("spec",), "supportedModelFormat"),
        ("ServingRuntime", ("spec", "containers", 0, "startupProbe"), "failureTreshold"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "scrapeTimeOut"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "honourLabels"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "annotation"),
        ("Gateway", ("spec", "listeners", 0), "hostName"),
        ("InferenceService", ("spec", "predictor", "autoScaling", "metrics", 0, "external"), "metrics"),
        ("TrainJob", ("spec", "trainer"), "numNode"),
        ("TrainJob", ("spec", "runtimePatches", 0, "trainingRuntimeSpec"), "podSpecOverrides"),
    ],
)
def test_a_typo_in_each_custom_kind_is_caught(kind, path, typo, built, opted, schemas):
    place = opted["trainer"] if kind == "TrainJob" else built["production" if "autoScaling" in path else "staging"]
    right = next(each for each in place if each["kind"] == kind)
    assert is_valid(right, schemas)
    wrong = copy.deepcopy(right)
    place = wrong
    for step in path:
        place = place[step]
    place[typo] = 1
    assert not is_valid(wrong, schemas)


def test_every_custom_kind_has_a_planted_typo(built, opted):
    places = [*built.values(), *opted.values()]
    kinds = {each["kind"] for place in places for each in place if is_custom(each)}
    (mark,) = test_a_typo_in_each_custom_kind_is_caught.pytestmark
    assert kinds - WITHOUT_SCHEMA == {case[0] for case in mark.args[1]}


@pytest.fixture(scope="module")
def opted(tmp_path_factory, build_folder):
    """The objects of the kind overlay with each component in turn, as a person would add it: before the versions."""
    k8s = tmp_path_factory.mktemp("k8s") / "k8s"
    shutil.copytree(ROOT / "k8s", k8s)
    kind = (k8s / "overlays/kind/kustomization.yaml").read_text(encoding="utf-8")
    found = {}
    for component in COMPONENTS:
        folder = shutil.copytree(k8s / "overlays/kind", k8s / "overlays" / component)
        last = "  - ../../components/versions"
        added = kind.replace(last, f"  - ../../components/{component}\n{last}")
        (folder / "kustomization.yaml").write_text(added, encoding="utf-8")
        found[component] = build_folder(folder)
    return found


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_fits_an_overlay(component, opted, schemas):
    custom = [each for each in opted[component] if is_custom(each) and each["kind"] not in WITHOUT_SCHEMA]
    assert [each["kind"] for each in custom if not is_valid(each, schemas)] == []
    for each in opted[component]:
        if not is_custom(each):
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_a_gpu_for_the_endpoint_keeps_the_rest_of_its_runtime(opted):
    (runtime,) = (each for each in opted["gpu"] if each["kind"] == "ServingRuntime")
    container = runtime["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["image"]


def test_the_training_job_runs_our_pinned_image_locked_down_and_only_when_asked(opted):
    (job,) = (each for each in opted["trainer"] if each["kind"] == "TrainJob")
    assert job["spec"]["suspend"]
    assert job["spec"]["trainer"]["image"].startswith("fairtag/train-python:0.")
    (replicated,) = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = replicated["template"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
    line = job["spec"]["trainer"]["command"] + job["spec"]["trainer"]["args"]
    assert line[:3] == ["torchrun", "-m", "components.torchrun"]
    from components.torchrun import parser

    assert parser().parse_args(line[3:]).tables == Path("/mnt/training/tables")


def test_spark_runs_our_pinned_image_locked_down_between_its_own_pods_and_the_steps(opted):
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in opted["spark"]
        if each["kind"] == "Deployment" and each["metadata"]["name"].startswith("spark")
    }
    assert set(pods) == {"spark", "spark-worker"}
    for pod in pods.values():
        (container,) = pod["containers"]
        assert container["image"].startswith(f"{SPARK_IMAGE.partition(':')[0]}:0.")
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"]["memory"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert not pod["automountServiceAccountToken"]
        assert not pod["enableServiceLinks"], "SPARK_PORT of the service would be read as a setting"
    policies = {each["metadata"]["name"] for each in opted["spark"] if each["kind"] == "NetworkPolicy"}
    assert set(pods) <= policies


def test_kserve_scales_every_predictor_by_keda_itself(opted):
    """A ScaledObject of ours would name one Deployment, which is another one after a canary was promoted."""
    (service,) = (each for each in opted["keda"] if each["kind"] == "InferenceService")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "keda"
    assert {"scaleMetric", "scaleTarget"} & set(service["spec"]["predictor"]) == set()
    assert not [each for each in opted["keda"] if each["kind"] == "ScaledObject"]


def test_keda_gets_one_pod_for_each_eight_requests_in_flight(opted):
    """KServe gives `value` to KEDA as the threshold, without a type: KEDA then takes it as an average over the pods."""
    (service,) = (each for each in opted["keda"] if each["kind"] == "InferenceService")
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    target, query = metric["external"]["target"], metric["external"]["metric"]["query"]
    assert target == {"type": "Value", "value": "8"}, "KServe reads `value` whatever the type is, and fails without it"
    assert query.startswith("sum("), "an average that is divided by the pods needs the sum over them"
    assert 'namespace="fairtag"' in query, "another installation's requests are none of ours"


def test_the_console_with_an_identity_provider_has_no_tokens_and_reaches_it_outside(opted):
    (console,) = (
        each for each in opted["console-oidc"] if each["metadata"]["name"] == "console" and each["kind"] == "Deployment"
    )
    (container,) = console["spec"]["template"]["spec"]["containers"]
    names = [each["name"] for each in container["env"]]
    assert "FAIRTAG_CONSOLE_OIDC_CLIENT_SECRET_FILE" in names
    assert "FAIRTAG_CONSOLE_USERS_FILE" not in names
    assert "FAIRTAG_CONSOLE_URL" in names, "the rest is the console's own"
    rules = [each["spec"] for each in opted["console-oidc"] if each["kind"] == "NetworkPolicy"]
    (outside,) = [rule for each in rules for rule in each.get("egress", []) if "0.0.0.0/0" in str(rule)]
    assert outside["ports"] == [{"protocol": "TCP", "port": 443}]


def test_with_the_policy_in_postgresql_endpoint_and_monitors_read_both_stores_from_their_secrets(opted):
    (runtime,) = (each for each in opted["policy-postgres"] if each["kind"] == "ServingRuntime")
    given = [each for each in runtime["spec"]["containers"][0]["env"] if each["name"] == "FAIRTAG_POLICY_STORE"]
    reference = {"secretKeyRef": {"name": "endpoint-stores", "key": "policy-stores"}}
    assert given == [{"name": "FAIRTAG_POLICY_STORE", "valueFrom": reference}]
    secrets = {}
    for each in opted["policy-postgres"]:
        if each["kind"] == "CronJob" and each["metadata"]["name"].startswith("monitor-"):
            (container,) = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
            for given in container["env"]:
                if given["name"] == "FAIRTAG_POLICY_STORE":
                    assert "value" not in given
                    secrets[each["metadata"]["name"]] = given["valueFrom"]["secretKeyRef"]["name"]
    assert secrets == {"monitor-quality": "monitors", "monitor-performance": "monitors", "monitor-fairness": "fairness"}
