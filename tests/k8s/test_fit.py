"""The manifests and the code agree: options, environment, ports, images, metrics and the runbook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry

from components.images import IMAGES, SPARK_IMAGE
from fairtag.base.types import Status
from fairtag.model.manifest import DECISION
from monitoring.__main__ import inputs_of
from monitoring.__main__ import parser as monitoring_parser
from monitoring.job_report import Check, JobReport
from monitoring.report.prometheus import registry
from monitoring.runner import JOBS
from monitoring.trigger.trigger_policy import read_policy
from serving.__main__ import parser as serving_parser
from serving.__main__ import settings_of
from serving.metrics import Metrics

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def named(overlay, kind, name):
    return next(each for each in overlay if each["kind"] == kind and each["metadata"]["name"] == name)


def endpoint(overlay):
    return named(overlay, "ServingRuntime", "fairtag")["spec"]["containers"][0]


def job_container(cronjob):
    return cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]


def test_the_endpoint_understands_its_options_and_its_environment(overlay, monkeypatch):
    container = endpoint(overlay)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", "redis://secret"))
    settings = settings_of(serving_parser().parse_args(container["args"]))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert (settings.http_port, settings.grpc_port) == (ports["http"], ports["grpc"])
    cores = container["resources"]["limits"]["cpu"]
    assert settings.workers == int(cores) - 1, "a core of the limit without a process, or a process without a core"
    read = {
        "FAIRTAG_WORKERS": settings.workers,
        "FAIRTAG_WAIT_SECONDS": f"{settings.wait_seconds:g}",
        "FAIRTAG_DECISION": settings.decision,
        "FAIRTAG_RUN_DIR": settings.run_dir,
        "FAIRTAG_QUOTE_LOG": settings.quote_log,
        "FAIRTAG_QUOTE_KEYS_FILE": settings.quote_keys_file,
        "FAIRTAG_USER_KEY_FILE": settings.user_key_file,
        "FAIRTAG_API_KEYS_FILE": settings.api_keys_file,
        "FAIRTAG_TRUSTED_KEYS": settings.trusted_keys,
        "FAIRTAG_POLICY_STORE": settings.policy_store,
        "FAIRTAG_POLICY_KEYS": settings.policy_keys,
        "FAIRTAG_FEATURE_REPO": settings.features.repo,
        "FAIRTAG_PRICE_LOCKS_URL": settings.price_locks_url,
        "FAIRTAG_RETENTION_CHECK_HOURS": f"{settings.retention.check_hours:g}",
        **({"FAIRTAG_TRUSTED_PROXIES": ",".join(settings.trusted_proxies)} if settings.trusted_proxies else {}),
    }
    given = {variable["name"]: variable.get("value", "redis://secret") for variable in container["env"]}
    feast = {"FAIRTAG_FEAST_REGISTRY", "FAIRTAG_REDIS"}
    ours = {name: value for name, value in given.items() if name not in feast and not name.startswith("AWS_")}
    assert {name: str(value) for name, value in read.items()} == ours
    repository = (ROOT / "feature_repo" / "feature_store.cluster.yaml").read_text(encoding="utf-8")
    assert all(f"${{{name}}}" in repository for name in feast)


def test_the_endpoint_is_asked_about_its_own_model(overlay):
    container = endpoint(overlay)
    assert "--model-name=fairtag" in container["args"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/models/fairtag/ready", "port": 8080}


def test_the_endpoint_may_take_as_long_to_stop_as_it_needs(overlay):
    settings = settings_of(serving_parser().parse_args(["--model-folder=x"]))
    grace = named(overlay, "InferenceService", "fairtag")["spec"]["predictor"]["terminationGracePeriodSeconds"]
    assert grace > settings.drain_seconds + settings.grace_seconds


def test_the_service_runs_in_standard_mode(overlay):
    service = named(overlay, "InferenceService", "fairtag")
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert "canaryTrafficPercent" not in json.dumps(service), "ignored in silence in Standard mode"
    assert "data" not in named(overlay, "ConfigMap", "fairtag-live")
    for each in overlay:
        if each["kind"] == "CronJob":
            pod = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            source = {"name": "fairtag-live", "key": "storageUri", "optional": True}
            for init in pod.get("initContainers", []):
                (variable,) = (env for env in init["env"] if env["name"] == "STORAGE_URI")
                assert variable["valueFrom"] == {"configMapKeyRef": source}, "a pod that waits for a key never starts"


def test_no_overlay_says_which_model_is_live(overlay):
    """Or applying it again would be refused, or would move the model: tests/cluster applies them."""
    predictor = named(overlay, "InferenceService", "fairtag")["spec"]["predictor"]
    assert "storageUri" not in predictor["model"]
    assert "name" not in predictor
    assert "canary" not in named(overlay, "InferenceService", "fairtag")["spec"]


def test_no_overlay_names_a_model_so_that_applying_it_again_moves_none(overlay):
    service = named(overlay, "InferenceService", "fairtag")
    assert "storageUri" not in service["spec"]["predictor"]["model"]
    assert "data" not in named(overlay, "ConfigMap", "fairtag-live")


def test_an_endpoint_without_a_model_is_neither_restarted_nor_given_traffic(overlay):
    container = endpoint(overlay)
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert float(environment["FAIRTAG_WAIT_SECONDS"]) > 0
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/v2/health/live"
    assert container["readinessProbe"]["httpGet"]["path"] != "/v2/health/live"


def test_the_endpoint_reads_the_decision_beside_the_model(overlay):
    container = endpoint(overlay)
    (folder,) = (each.partition("=")[2] for each in container["args"] if each.startswith("--model-folder="))
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["FAIRTAG_DECISION"] == f"{folder}/{DECISION}"


QUANTITY = {"Gi": 1.0, "Mi": 1 / 1024, "m": 1 / 1000, "": 1.0}  # memory in GiB, processors


def asked(containers):
    """Processors and GiB that containers ask for."""
    requests = [each["resources"]["requests"] for each in containers]
    split = {
        name: [re.fullmatch(r"([\d.]+)(Gi|Mi|m|)", str(each[name])) for each in requests] for name in ("cpu", "memory")
    }
    return [sum(float(found[1]) * QUANTITY[found[2]] for found in split[name]) for name in ("cpu", "memory")]


@pytest.mark.parametrize(
    ("name", "most"), [("kind", False), ("staging", False), ("production", False), ("production", True)]
)
def test_the_guide_adds_up_what_the_manifests_ask_for(built, name, most):
    objects = built[name]
    workloads = [each for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
    assert all(each["spec"].get("replicas", 1) == 1 for each in workloads)
    running = [each["spec"]["template"]["spec"]["containers"] for each in workloads]
    pods = named(objects, "InferenceService", "fairtag")["spec"]["predictor"]["maxReplicas" if most else "minReplicas"]
    total = [asked(containers) for containers in (*running, *[[endpoint(objects)]] * pods)]
    jobs = [asked([job_container(each)]) for each in objects if each["kind"] == "CronJob"]
    processors, memory = (
        round(sum(part) + max(job), 2)
        for part, job in zip(zip(*total, strict=True), zip(*jobs, strict=True), strict=True)
    )
    row = rf"\| {name}{', most pods' if most else ''} \| {pods}[,;]?[^|]*\| {processors:.2f} \| {memory:.1f} GiB \|"
    assert re.search(row, (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")), (processors, memory)


def test_every_job_of_the_monitors_is_scheduled_with_options_it_understands(overlay):
    named = ((each, each["metadata"]["name"]) for each in overlay if each["kind"] == "CronJob")
    jobs = [job_container(each) for each, name in named if not name.startswith("custody-")]
    asked = {job["args"][0]: monitoring_parser().parse_args(job["args"]) for job in jobs}
    assert set(asked) == {*JOBS, "trigger"}
    for name in JOBS:
        assert inputs_of(asked[name], NOW).state is not None
    assert asked["performance"].outcomes
    assert asked["fairness"].audit
    assert asked["fairness"].secret
    assert asked["stock"].tables


def test_jobs_read_only_what_was_fetched_or_mounted(overlay):
    for cronjob in (each for each in overlay if each["kind"] == "CronJob"):
        pod = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        fetched = {pair.rpartition("=")[2] for init in pod.get("initContainers", []) for pair in init["args"]}
        mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
        options = dict(each[2:].partition("=")[::2] for each in pod["containers"][0]["args"][1:])
        for value in (each for each in options.values() if each.startswith("/")):
            assert value in fetched or any(value.startswith(f"{m}/") for m in mounts if m != "/mnt"), value


def test_the_fairness_job_alone_sees_groups_and_of_the_others_the_erasure_alone_the_secret_of_pseudonyms(overlay):
    for cronjob in (each for each in overlay if each["kind"] == "CronJob"):
        text, name = json.dumps(cronjob), cronjob["metadata"]["name"]
        assert ("audit" in text) == (name == "monitor-fairness"), name
        assert ("user_key" in text) == (name in ("monitor-fairness", "custody-erase")), name


def test_the_trigger_policy_can_be_read_and_its_parameters_exist(overlay, tmp_path):
    from pipelines.training import NAME, training

    file = tmp_path / "policy.yaml"
    file.write_text(named(overlay, "ConfigMap", "trigger-policy")["data"]["policy.yaml"], encoding="utf-8")
    target = read_policy(file).target
    known = set(training.component_spec.inputs)
    assert target.pipeline == NAME
    assert set(target.parameters) <= known
    parameters = named(overlay, "ConfigMap", "pipeline-parameters")["data"]
    assert target.parameters == {**parameters, "data_fingerprint": "{run_name}"}  # new tables, not those in the cache


def test_our_images_are_those_the_pipeline_names():
    pins = yaml.safe_load((ROOT / "k8s/components/versions/kustomization.yaml").read_text(encoding="utf-8"))["images"]
    pinned = {f"{each['name']}:{each['newTag']}" for each in pins if "newTag" in each}
    assert {*IMAGES.values(), SPARK_IMAGE} <= pinned


def pod_specs(found):
    """The specification of each pod that an object's templates lead to."""
    if isinstance(found, dict):
        if "containers" in found and "volumes" in found:
            yield found
        for each in found.values():
            yield from pod_specs(each)
    elif isinstance(found, list):
        for each in found:
            yield from pod_specs(each)


def test_a_volume_that_has_its_owner_is_not_opened_to_the_group_at_each_start(overlay):
    """On a real node, PostgreSQL's folder got group rights when its pod came back, and it refused to start."""
    claimed = [
        (each["metadata"]["name"], pod["securityContext"])
        for each in overlay
        for pod in pod_specs(each)
        if each["spec"].get("volumeClaimTemplates")
        or any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    ]
    assert len(claimed) >= 8
    assert [name for name, context in claimed if context.get("fsGroupChangePolicy") != "OnRootMismatch"] == []


def test_the_build_of_the_images_sees_each_package_of_the_wheel():
    """A package that was renamed is missing from an image without a word: the wheel is made of what is there."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    seen = {line[1:] for line in lines if line.startswith("!")}
    assert {*packages["wheel"]["packages"], "requirements", "pyproject.toml"} <= seen
    assert [name for name in seen if not (ROOT / name).exists()] == []


@pytest.fixture(scope="module")
def exported():
    """Every metric name that the endpoint and the jobs export, as Prometheus sees it."""
    served = CollectorRegistry()
    endpoint_metrics = Metrics(served)
    source = (ROOT / "serving" / "assembly.py").read_text(encoding="utf-8")
    for prefix, method in re.findall(r'metrics\.watch\("(\w+)", self\.(\w+)\)', source):
        body = re.split(r"\n    def ", source.split(f"def {method}(")[1])[0]
        figures = [(name, kind, 0.0) for name, kind in re.findall(r'\("(\w+)", "(counter|gauge)", ', body)]
        endpoint_metrics.watch(prefix, partial(list, figures))
    check = Check("price_level", Status.PASS, "fine", change=0.1, low=0.0, high=0.2)
    report = JobReport("drift", NOW.isoformat(), NOW.isoformat(), (check,))
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {
        family.name + suffix
        for metrics in (served, registry([report], NOW))
        for family in metrics.collect()
        for suffix in suffixes[family.type]
    }


def queries(built):
    board = json.loads((ROOT / "k8s/base/monitoring/fairtag.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        yield from ((f"panel {panel['title']}", target["expr"]) for target in panel["targets"])
    for each in built["production"]:
        if each["kind"] == "PrometheusRule":
            yield from ((rule["alert"], rule["expr"]) for group in each["spec"]["groups"] for rule in group["rules"])
        if each["kind"] == "InferenceService":
            scaled = each["spec"]["predictor"]["autoScaling"]["metrics"]
            yield from (("scaler", metric["external"]["metric"]["query"]) for metric in scaled)


def test_every_query_asks_for_metrics_that_are_exported(built, exported):
    asked = [(where, name) for where, query in queries(built) for name in re.findall(r"\bfairtag_\w+", query)]
    assert len({name for _, name in asked}) > 20
    assert [(where, name) for where, name in asked if name not in exported] == []


def test_every_alert_leads_to_an_entry_of_the_runbook(built):
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    entries = set(re.findall(r"^### (\S+)$", text, re.MULTILINE))
    rules = [
        rule
        for each in built["production"]
        if each["kind"] == "PrometheusRule"
        for group in each["spec"]["groups"]
        for rule in group["rules"]
    ]
    assert len(rules) > 20
    for rule in rules:
        page, _, entry = rule["annotations"]["runbook_url"].partition("#")
        assert page.endswith("docs/operations.md")
        assert entry in entries, rule["alert"]


@pytest.mark.slow
def test_the_rules_of_the_checks_are_those_the_monitors_write(tmp_path):
    written = tmp_path / "rules.yaml"
    environment = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    subprocess.run([ROOT / "k8s" / "rules.sh", written], check=True, env=environment, capture_output=True)
    kept = ROOT / "k8s/components/prometheus/prometheusrule-checks.yaml"
    assert kept.read_text(encoding="utf-8") == written.read_text(encoding="utf-8"), "run k8s/rules.sh"


def test_the_object_store_has_volumes_for_every_bucket(built):
    """SeaweedFS opens seven volumes at a time for a bucket, and one that gets none can store nothing."""
    script = named(built["kind"], "Job", "object-store-bucket")["spec"]["template"]["spec"]["containers"][0]["args"][0]
    buckets = re.search(r"for bucket in (.*); do", script)[1].split()
    store = named(built["kind"], "StatefulSet", "object-store")["spec"]["template"]["spec"]["containers"][0]
    volumes = next(int(each.partition("=")[2]) for each in store["args"] if each.startswith("-volume.max="))
    assert volumes >= 7 * (len(buckets) + 1)  # and what belongs to no bucket
