"""The control plane and the nodes' stand-in do what the other tests rely on."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def deployment(namespace, name="shop", text=""):
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": "shop:1",
                "args": [text],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    labels = {"app": name}
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def status(cluster, namespace, name="shop"):
    return cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}").get("status", {})


def test_pods_of_a_deployment_become_ready_and_are_deleted_at_once(cluster, namespace, until):
    cluster.apply([deployment(namespace)])
    until(lambda: status(cluster, namespace).get("availableReplicas") == 2, "two pods are available")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    name = cluster.list(pods)[0]["metadata"]["name"]
    cluster.call("DELETE", f"{pods}/{name}")
    until(lambda: name not in [each["metadata"]["name"] for each in cluster.list(pods)], "the pod is gone", timeout=5)
    until(lambda: status(cluster, namespace).get("availableReplicas") == 2, "another pod took its place")


def test_a_service_lists_the_addresses_of_ready_pods_only(cluster, namespace, until):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": namespace}}
    service["spec"] = {"ports": [{"port": 80}], "selector": {"app": "shop"}}
    cluster.kubelet.delay("later", seconds=2)
    cluster.apply([service, deployment(namespace, text="later")])
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"

    def ready():
        return [each["conditions"]["ready"] for found in cluster.list(path) for each in found["endpoints"] or []]

    until(lambda: ready() == [False, False], "both addresses are there and not ready")
    until(lambda: ready() == [True, True], "both are ready")


def test_a_pod_may_be_late_or_fail(cluster, namespace, until):
    cluster.kubelet.delay("late", seconds=2)
    cluster.kubelet.fail("broken", message="no such bucket")
    cluster.apply([deployment(namespace, "late", "late"), deployment(namespace, "broken", "broken")])
    pods = f"/api/v1/namespaces/{namespace}/pods"

    def states():
        found = [each for pod in cluster.list(pods) for each in pod["status"].get("containerStatuses", [])]
        return [json.dumps(each.get("lastState", {})) for each in found]

    until(lambda: sum("no such bucket" in each for each in states()) == 2, "both pods have failed")
    assert status(cluster, namespace, "late").get("availableReplicas", 0) == 0
    until(lambda: status(cluster, namespace, "late").get("availableReplicas") == 2, "the late pods are there")
    assert status(cluster, namespace, "broken").get("availableReplicas", 0) == 0


def job(namespace, text):
    template = deployment(namespace, text=text)["spec"]["template"]
    template["spec"]["restartPolicy"] = "Never"
    meta = {"name": "once", "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}


def test_a_pod_that_has_ended_does_not_start_again(cluster, namespace, until):
    cluster.apply([job(namespace, "once")])
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs/once"
    until(lambda: cluster.get(path).get("status", {}).get("succeeded") == 1, "the job has succeeded")
    cluster.kubelet.fail("once", message="too late")
    cluster.apply([deployment(namespace, "after")])
    until(lambda: status(cluster, namespace, "after").get("availableReplicas") == 2, "other pods are looked at")
    assert cluster.kubelet.errors == []


def test_a_pod_of_a_namespace_that_goes_is_left_alone(cluster, until):
    name = "going"
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    held = deployment(name)["spec"]["template"]
    held["metadata"] |= {"name": "held", "namespace": name, "finalizers": ["fairtag.example/held"]}
    held["spec"]["schedulingGates"] = [{"name": "fairtag.example/held"}]
    cluster.apply([{"apiVersion": "v1", "kind": "Pod", **held}])
    pod = f"/api/v1/namespaces/{name}/pods/held"
    seen = cluster.get(pod)
    cluster.call("DELETE", f"/api/v1/namespaces/{name}")
    until(lambda: cluster.get(f"/api/v1/namespaces/{name}")["status"]["phase"] == "Terminating", "the namespace goes")
    cluster.kubelet._look(seen)  # as it was seen before the namespace began to go
    cluster.call("PATCH", pod, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
    until(lambda: not cluster.get(f"/api/v1/namespaces/{name}"), "the namespace is gone")


def test_a_pod_that_breaks_the_restricted_standard_is_refused(cluster, namespace, until):
    open_ = deployment(namespace)
    del open_["spec"]["template"]["spec"]["securityContext"]
    cluster.apply([open_])
    reason = "violates PodSecurity"
    until(lambda: reason in json.dumps(status(cluster, namespace)), "the pods are refused")


def test_events_of_a_collection_are_recorded(cluster, namespace, until):
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": namespace}}
    service["spec"] = {"ports": [{"port": 80}]}
    with cluster.watching(f"/api/v1/namespaces/{namespace}/services") as seen:
        cluster.apply([service])
        cluster.call("DELETE", f"/api/v1/namespaces/{namespace}/services/a")
        until(lambda: [kind for kind, _ in seen][-1:] == ["DELETED"], "the deletion was seen", timeout=10)
    assert seen[0][0] == "ADDED"


def test_what_runs_here_is_what_the_installation_pins(cluster):
    pins = yaml.safe_load((ROOT / "k8s/components/versions/kustomization.yaml").read_text())["configMapGenerator"][0]
    pinned = dict(each.split("=") for each in pins["literals"])
    modules = (ROOT / "tests/cluster/kserve/go.mod").read_text()
    assert f"github.com/kserve/kserve {pinned['kserve']}\n" in modules
    assert f"sigs.k8s.io/gateway-api {pinned['gateway-api']}" in modules
    assert f"github.com/kedacore/keda/v2 v{pinned['keda']}" in modules
    version = cluster.call("GET", "/version")["gitVersion"]
    assert version.rpartition(".")[0] == pinned["kubernetes"].rpartition(".")[0]
