"""Who may what, asked of a real API server and of KServe's real webhooks."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
INITIALIZER = ROOT / "k8s" / "platform" / "clusterstoragecontainer.yaml"  # as k8s/install.sh does


def pods(cluster, namespace):
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=serving.kserve.io/inferenceservice=fairtag"
    return [pod for pod in cluster.list(path) if "deletionTimestamp" not in pod["metadata"]]


def initializers(cluster, namespace):
    return [each for pod in pods(cluster, namespace) for each in pod["spec"].get("initContainers", [])]


def referenced(container):
    """Names of the secrets that a container is given."""
    of_variables = [each.get("valueFrom", {}).get("secretKeyRef") for each in container.get("env", [])]
    return {each["name"] for each in of_variables if each}


def test_the_storage_initializer_reads_models_with_its_own_identity(cluster, endpoint, until):
    namespace = endpoint.namespace
    cluster.kubectl("apply", "--server-side", "--field-manager=fairtag-install", "-f", INITIALIZER)
    until(lambda: pods(cluster, namespace), "KServe makes the endpoint's pods before there is a model")
    assert initializers(cluster, namespace) == [], "nothing is fetched, so that nothing fails"
    patch = {"spec": {"predictor": {"model": {"storageUri": "s3://fairtag/models/0001"}}}}
    cluster.call("PATCH", endpoint.path, patch, "application/merge-patch+json")
    until(lambda: initializers(cluster, namespace), "a pod fetches the model")
    for initializer in initializers(cluster, namespace):
        assert referenced(initializer) == {"model-reader"}
        plain = {each["name"]: each.get("value") for each in initializer["env"]}
        assert plain["S3_ENDPOINT"] == f"object-store.{namespace}.svc:8333"
    for pod in pods(cluster, namespace):
        (served,) = (each for each in pod["spec"]["containers"] if each["name"] == "kserve-container")
        assert referenced(served) <= {"endpoint-stores", "policy-keys", "trusted-keys"}, (
            "no pod of the endpoint holds another role's key"
        )


def test_the_api_server_takes_no_placeholder_for_an_address(cluster, namespace):
    files = sorted((ROOT / "k8s" / "overlays" / "production").glob("networkpolicy-*.yaml"))
    assert len(files) == 3
    for file in files:
        line = ["kubectl", "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "apply", "-f", file]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "ADDRESSES-OF-YOUR-" in done.stderr
        policy = yaml.safe_load(file.read_text())
        policy["spec"]["egress"][0]["to"][0]["ipBlock"]["cidr"] = "10.20.30.0/28"
        policy["metadata"]["namespace"] = namespace
        cluster.apply([policy])


def test_the_secrets_of_each_role_are_made_once(cluster, namespace):
    found = {each["metadata"]["name"]: each for each in cluster.list(f"/api/v1/namespaces/{namespace}/secrets")}
    assert set(found) == {
        *(
            "endpoint",
            "endpoint-stores",
            "trusted-keys",
            "model-reader",
            "monitors",
            "fairness",
            "custody",
            "policy-writer",
            "policy-keys",
            "policy-sign",
            "console-policy",
            "console-sign",
        ),
        *("ledger", "mlflow", "redis", "postgres", "object-store"),
    }
    keys = {
        name: base64.b64decode(each["data"]["AWS_ACCESS_KEY_ID"]).decode()
        for name, each in found.items()
        if "AWS_ACCESS_KEY_ID" in each["data"]
    }
    stores = {"endpoint-stores", "model-reader", "monitors", "fairness", "custody", "policy-writer", "console-policy"}
    assert set(keys) == stores
    assert len(set(keys.values())) == len(keys), "no two roles share an identity"
    assert found["model-reader"]["metadata"]["annotations"]["serving.kserve.io/s3-usehttps"] == "0"


def test_an_upgrade_adds_the_keys_that_an_earlier_version_did_not_know(cluster, namespace, upgrade_secrets):
    path = f"/api/v1/namespaces/{namespace}/secrets"
    lost = {"postgres": "policy-fairness-password", "fairness": "policy-stores"}
    for name, key in lost.items():
        cluster.call("PATCH", f"{path}/{name}", {"data": {key: None}}, "application/merge-patch+json")
    before = {each["metadata"]["name"]: each["data"] for each in cluster.list(path)}
    upgrade_secrets()
    after = {each["metadata"]["name"]: each["data"] for each in cluster.list(path)}
    changed = {name: {key for key in after[name] if after[name][key] != before[name].get(key)} for name in after}
    assert {name: keys for name, keys in changed.items() if keys} == {name: {key} for name, key in lost.items()}
    password = base64.b64decode(after["postgres"][lost["postgres"]])
    assert password in base64.b64decode(after["fairness"][lost["fairness"]])
