"""Each overlay by the documented command: installed, installed again, upgraded, before and after a deploy.

Nothing is refused, no live model is moved, and every pod that any object leads to is admitted under ``restricted``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from components.adapters.inference_service import InferenceService
from components.adapters.kserve import put_live

ROOT = Path(__file__).parents[2]
OVERLAYS = sorted(folder.name for folder in (ROOT / "k8s" / "overlays").iterdir())
LISTED = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "k8s/overlays").glob("*/kustomization.yaml"))
# those that no overlay brings already
COMPONENTS = sorted(
    each.name for each in (ROOT / "k8s/components").iterdir() if f"components/{each.name}" not in LISTED
)
NAMESPACE = "fairtag"
SERVICE = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices/fairtag"
LIVE = f"/api/v1/namespaces/{NAMESPACE}/configmaps/fairtag-live"
FIRST, SECOND = "s3://fairtag/models/0001", "s3://fairtag/models/0002"
LINEAGE = {"model-version": "0001"}
AGENT = "agent"  # KServe takes a service without a model for a server of many, and adds what fetches them


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Our files as a shop has them: its stores' addresses in the place of placeholders, every image by digest."""
    root = tmp_path_factory.mktemp("filled")
    shutil.copytree(ROOT / "k8s", root / "k8s")
    _name_images(root, "a")
    for file in (root / "k8s/overlays").rglob("*.yaml"):
        file.write_text(re.sub(r"ADDRESSES-OF-YOUR-[A-Z-]*", "10.20.30.0/28", file.read_text()))
    return root


def _name_images(root, letter):
    """Names our images, and those of others that have no digest yet, by one of a letter: as pushing and pinning do."""
    digest = f"sha256:{letter * 64}"
    release = root / "k8s/components/release/kustomization.yaml"
    entries = [{"name": f"fairtag/{role}-python", "digest": digest} for role in ("data", "train", "serve", "monitor")]
    release.write_text(yaml.safe_dump({**yaml.safe_load(release.read_text()), "images": entries}))
    versions = root / "k8s/components/versions/kustomization.yaml"
    given = yaml.safe_load(versions.read_text())
    for each in given["images"]:
        if not each["name"].startswith("fairtag/"):
            each.setdefault("digest", digest)
    versions.write_text(yaml.safe_dump(given))


@pytest.fixture(scope="module")
def install(cluster, filled):
    """Runs the documented command; returns what it printed."""

    def run(overlay, root=filled):
        environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        line = [root / "k8s" / "install.sh", overlay]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    return run


@pytest.fixture(scope="module", params=OVERLAYS)
def installed(request, cluster, install):
    """An overlay on a cluster that never had one; the tests of this module use it in order."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    cluster.apply([{**account, "metadata": {"name": "pipeline-runner", "namespace": "kubeflow"}}])
    cluster.remove_namespace(NAMESPACE)
    _forget_step_secrets(cluster)
    install(request.param)
    _bring_secrets(cluster)
    yield SimpleNamespace(overlay=request.param)
    cluster.remove_namespace(NAMESPACE)
    _forget_step_secrets(cluster)


def _bring_secrets(cluster):
    """What a vault's operator does for an overlay that takes its secrets from it; KServe admits no pod without them."""
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    subprocess.run([ROOT / "k8s" / "secrets.sh"], env=environment, capture_output=True, check=True)


def _forget_step_secrets(cluster):
    """The secrets that the script made in the steps' namespace, which outlives ours."""
    cluster.kubectl("--namespace", "kubeflow", "delete", "secret", "--all")


@pytest.fixture
def deploy(cluster):
    """Deploys as the pipeline's step does, with its service account and no more rights."""

    def run(uri, facts=LINEAGE):
        with cluster.api("kubeflow/pipeline-runner") as api:
            put_live(InferenceService(NAMESPACE, api=api), uri, facts, timeout=120)

    return run


def model(cluster):
    return cluster.get(SERVICE)["spec"]["predictor"]["model"].get("storageUri")


def recorded(cluster):
    return cluster.get(LIVE).get("data", {}).get("storageUri")


def generation(cluster):
    return cluster.get(SERVICE)["metadata"]["generation"]


def endpoint_pods(cluster):
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=serving.kserve.io/inferenceservice=fairtag"
    return [pod for pod in cluster.list(path) if "deletionTimestamp" not in pod["metadata"]]


def initializers(cluster):
    return [each for pod in endpoint_pods(cluster) for each in pod["spec"].get("initContainers", [])]


def containers(cluster):
    return {each["name"] for pod in endpoint_pods(cluster) for each in pod["spec"]["containers"]}


def test_a_first_installation_names_no_model(cluster, installed, until):
    assert (model(cluster), recorded(cluster)) == (None, None)
    until(lambda: endpoint_pods(cluster), "KServe makes the endpoint's pods")
    assert initializers(cluster) == []
    assert containers(cluster) == {AGENT, "kserve-container"}, "docs/cluster.md says which images a first wait needs"


def test_installing_again_before_a_deploy_changes_nothing(cluster, installed, install):
    before = generation(cluster)
    install(installed.overlay)
    assert (model(cluster), generation(cluster)) == (None, before)


def test_every_pod_is_admitted_under_restricted(cluster, installed, deploy, until):
    deploy(FIRST)
    assert containers(cluster) == {"kserve-container"}
    until(lambda: FIRST in json.dumps(initializers(cluster)), "a pod fetches the first model")
    for each in cluster.list(f"/apis/batch/v1/namespaces/{NAMESPACE}/cronjobs"):
        name = each["metadata"]["name"]
        cluster.kubectl("--namespace", NAMESPACE, "create", "job", f"once-{name}", f"--from=cronjob/{name}")
    until(
        lambda: _missing_pods(cluster) == [],
        lambda: f"every pod is there: {_missing_pods(cluster)}, {refusals(cluster)}",
        timeout=90,
    )
    enforced = cluster.get(f"/api/v1/namespaces/{NAMESPACE}")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    assert refusals(cluster) == []
    (context,) = {json.dumps(each["securityContext"], sort_keys=True) for each in initializers(cluster)}
    assert '"runAsNonRoot": true' in context


def _missing_pods(cluster):
    """Deployments, stateful sets and jobs whose pods are not all ready, or done."""
    kinds = (
        ("apps/v1", "deployments", "replicas", "readyReplicas"),
        ("apps/v1", "statefulsets", "replicas", "readyReplicas"),
        ("batch/v1", "jobs", "completions", "succeeded"),
    )
    return [
        each["metadata"]["name"]
        for group, kind, wanted, there in kinds
        for each in cluster.list(f"/apis/{group}/namespaces/{NAMESPACE}/{kind}")
        if each["status"].get(there, 0) != each["spec"][wanted]
    ]


def refusals(cluster):
    """What the API server said when it refused a pod, other than before a vault's operator brought the secrets."""
    events = cluster.list(f"/api/v1/namespaces/{NAMESPACE}/events")
    refused = [each["message"] for each in events if each["reason"] == "FailedCreate"]
    return [each for each in refused if not re.search(r'secrets "[a-z-]+" not found', each)]


def test_installing_again_after_a_deploy_moves_no_model(cluster, installed, install, deploy, until):
    deploy(FIRST)
    before = generation(cluster)
    for _ in range(2):
        install(installed.overlay)
    assert (model(cluster), recorded(cluster), generation(cluster)) == (FIRST, FIRST, before)
    deploy(SECOND, {"model-version": "0002"})
    install(installed.overlay)
    assert (model(cluster), recorded(cluster)) == (SECOND, SECOND)


def test_an_upgrade_changes_images_and_sizes_and_neither_model_nor_canary(
    cluster, installed, install, filled, deploy, tmp_path, until
):
    deploy(SECOND)
    _canary(cluster, FIRST)
    shutil.copytree(filled / "k8s", tmp_path / "k8s")
    versions = tmp_path / "k8s/components/versions/kustomization.yaml"
    versions.write_text(re.sub(r"newTag: .+", 'newTag: "0.999"', versions.read_text()))
    _name_images(tmp_path, "b")
    runtime = tmp_path / "k8s/base/serving/servingruntime.yaml"
    runtime.write_text(
        runtime.read_text().replace(
            "name: FAIRTAG_RUN_DIR, value: /var/run/fairtag", "name: FAIRTAG_RUN_DIR, value: /tmp"
        )
    )
    install(installed.overlay, tmp_path)
    assert (model(cluster), recorded(cluster)) == (SECOND, SECOND)
    (entry,) = cluster.get(SERVICE)["spec"]["canary"]
    assert (entry["trafficPercent"], entry["predictor"]["model"]["storageUri"]) == (10, FIRST)

    def images():
        return {each["image"] for pod in endpoint_pods(cluster) for each in pod["spec"]["containers"]}

    newer = ":0.999" if installed.overlay == "kind" else f"@sha256:{'b' * 64}"
    until(lambda: images() == {f"fairtag/serve-python{newer}"}, "all pods of the endpoint have the new image")
    assert {each["env"] is not None for each in initializers(cluster)}
    install(installed.overlay)  # and back again


def _canary(cluster, uri):
    """A canary as the rollout command makes it: by its field manager."""
    entry = {"trafficPercent": 10, "predictor": {"name": "canary-0001", "model": {"name": "kserve-container"}}}
    entry["predictor"]["model"].update(modelFormat={"name": "fairtag"}, runtime="fairtag", storageUri=uri)
    predictor = {"model": {"storageUri": model(cluster)}}
    body = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "fairtag"}}
    body["spec"] = {"predictor": predictor, "canary": [entry]}
    cluster.call("PATCH", f"{SERVICE}?fieldManager=fairtag&force=true", body, "application/apply-patch+yaml")


def test_an_autoscaler_is_there_only_where_something_measures(cluster, installed):
    cluster.call("PATCH", SERVICE, {"spec": {"canary": None}}, "application/merge-patch+json")  # of an earlier test
    hpas = f"/apis/autoscaling/v2/namespaces/{NAMESPACE}/horizontalpodautoscalers"
    scalers = [each for each in cluster.list(hpas) if "canary" not in each["metadata"]["name"]]
    scaled = cluster.list(f"/apis/keda.sh/v1alpha1/namespaces/{NAMESPACE}/scaledobjects")
    expected = {"kind": (0, 0), "staging": (1, 0), "production": (0, 1)}[installed.overlay]
    assert (len(scalers), len(scaled)) == expected


@pytest.mark.parametrize("options", [[], ["--force-conflicts"], ["--field-manager=somebody", "--force-conflicts"]])
def test_not_even_a_forced_apply_by_anybody_moves_the_model(cluster, installed, filled, deploy, options):
    deploy(SECOND)
    built = cluster.kubectl("kustomize", filled / "k8s/overlays" / installed.overlay)
    manager = [] if len(options) > 1 else ["--field-manager=fairtag-install"]
    cluster.kubectl("apply", "--server-side", *manager, *options, "-f", "-", stdin=built)
    assert (model(cluster), recorded(cluster)) == (SECOND, SECOND)


def test_removing_an_overlay_leaves_what_others_installed(installed):
    objects = subprocess.run(
        ["kubectl", "kustomize", ROOT / "k8s/overlays" / installed.overlay], capture_output=True, text=True, check=True
    )
    kinds = {each["kind"] for each in yaml.safe_load_all(objects.stdout.replace("kind: =", ""))}
    assert not kinds & {"ClusterStorageContainer", "ClusterServingRuntime", "CustomResourceDefinition"}


@pytest.fixture
def unpatched(cluster):
    """KServe's storage container as its release brings it."""
    change = '[{"op": "remove", "path": "/spec/container/securityContext"}]'
    cluster.kubectl("patch", "clusterstoragecontainer", "default", "--type=json", "-p", change)
    yield
    ours = ROOT / "k8s/platform/clusterstoragecontainer.yaml"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=fairtag-install", "-f", ours)


def test_without_the_patch_of_the_storage_container_no_pod_is_admitted(cluster, endpoint, until, request):
    ours = ROOT / "k8s/platform/clusterstoragecontainer.yaml"
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=fairtag-install", "-f", ours)
    request.getfixturevalue("unpatched")
    with cluster.api() as api:
        InferenceService(endpoint.namespace, api=api).deploy(FIRST, LINEAGE)

    def reasons():
        events = cluster.list(f"/api/v1/namespaces/{endpoint.namespace}/events")
        return [each["message"] for each in events if each["reason"] == "FailedCreate"]

    (reason, *_) = until(reasons, "the pods are refused")
    assert "storage-initializer" in reason
    assert 'violates PodSecurity "restricted' in reason


@pytest.fixture
def with_component(cluster, install, tmp_path):
    """Installs the overlay kind with a component in its list, as a person would add it: before the versions."""

    def run(component):
        shutil.copytree(ROOT / "k8s", tmp_path / "k8s")
        file = tmp_path / "k8s/overlays/kind/kustomization.yaml"
        last = "  - ../../components/versions"
        file.write_text(file.read_text().replace(last, f"  - ../../components/{component}\n{last}"))
        return install("kind", tmp_path)

    cluster.remove_namespace(NAMESPACE)
    _forget_step_secrets(cluster)
    yield run
    cluster.remove_namespace(NAMESPACE)
    _forget_step_secrets(cluster)


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_is_taken_and_its_pods_are_admitted(cluster, component, with_component, until, tmp_path):
    with_component(component)
    _bring_secrets(cluster)
    until(
        lambda: _missing_pods(cluster) == [],
        lambda: f"every pod is there: {_missing_pods(cluster)}, {refusals(cluster)}",
        timeout=90,
    )
    assert refusals(cluster) == []
    for job in cluster.list(
        f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
    ):  # its operator makes the pods; the API server checks one as it would make it
        _check_pod(cluster, job)


def _check_pod(cluster, job):
    ((replicated,),) = (
        patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"] for patch in job["spec"]["runtimePatches"]
    )
    template = replicated["template"]["spec"]["template"]
    template["spec"]["containers"][0]["image"] = job["spec"]["trainer"]["image"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "encoder"}
    cluster.call("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
