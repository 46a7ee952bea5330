"""What our manifests may never do, whatever the schemas allow; each rule is seen to fail on what breaks it."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
import yaml

from serving.protocol.admission import Proxies

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"(:(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})$")
SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|access[-_]?key|private[-_]?key", re.IGNORECASE)


def has_probes(container):
    return {"readinessProbe", "livenessProbe"} <= set(container)


def has_limits(container):
    resources = container.get("resources", {})
    return all({"cpu", "memory"} <= set(resources.get(kind, {})) for kind in ("requests", "limits"))


def is_locked(container):
    context = container.get("securityContext", {})
    return (
        context.get("allowPrivilegeEscalation") is False
        and context.get("readOnlyRootFilesystem") is True
        and context.get("runAsNonRoot") is True
        and context.get("capabilities", {}).get("drop") == ["ALL"]
        and "add" not in context.get("capabilities", {})
        and not context.get("privileged", False)
    )


def is_restricted(pod):
    context = pod.get("securityContext", {})
    return (
        context.get("runAsNonRoot") is True
        and context.get("runAsUser", 0) > 0
        and context.get("seccompProfile", {}).get("type") == "RuntimeDefault"
        and pod.get("automountServiceAccountToken") is False
        and not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
        and not any("hostPath" in volume for volume in pod.get("volumes", []))
    )


def test_every_image_is_pinned(containers):
    assert containers
    assert [name for name, container, _ in containers if not PINNED.search(container["image"])] == []


def test_every_container_is_locked_down(containers):
    assert [name for name, container, _ in containers if not is_locked(container)] == []


def test_every_container_asks_for_and_is_held_to_processor_and_memory(containers):
    assert [name for name, container, _ in containers if not has_limits(container)] == []


def test_everything_that_runs_on_is_probed(containers):
    lasting = [(name, container) for name, container, ends in containers if not ends]
    assert len(lasting) >= 4
    assert [name for name, container in lasting if not has_probes(container)] == []


def test_every_pod_meets_the_restricted_standard(pods):
    assert [name for name, pod in pods if not is_restricted(pod)] == []


def test_the_rules_see_what_breaks_them():
    assert not PINNED.search("redis")
    assert not PINNED.search("redis:latest")
    assert not PINNED.search("host:5000/redis")
    assert PINNED.search("host:5000/redis:7.4")
    assert not is_locked({"securityContext": {"runAsNonRoot": True}})
    assert not has_limits({"resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 1}}})
    assert not has_probes({"readinessProbe": {}})
    assert not is_restricted({"securityContext": {"runAsNonRoot": True, "runAsUser": 0}})


def test_no_secret_is_written_down(overlay, containers):
    assert [each["metadata"]["name"] for each in overlay if each["kind"] == "Secret"] == []
    written = [
        (name, variable["name"])
        for name, container, _ in containers
        for variable in container.get("env", [])
        if "value" in variable and SECRET_NAME.search(variable["name"]) and not variable["name"].endswith("_FILE")
    ]
    assert written == []


def test_no_file_of_ours_holds_what_looks_like_a_key():
    for file in (ROOT / "k8s").rglob("*.*"):
        text = re.sub(r"sha256:[0-9a-f]{64}\b", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"[0-9a-f]{48}|[A-Za-z0-9+/]{60}={0,2}|://[^$/\s]+:[^$@/\s]+@", text), file


def test_the_namespace_denies_all_traffic_by_default(overlay):
    (namespace,) = (each for each in overlay if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    policies = {each["metadata"]["name"]: each["spec"] for each in overlay if each["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


PORTS = {5000, 5432, 6379, 8080, 8081, 8333, 8888, 9091, 9333, 443, 53}
OUTSIDERS = {  # namespace and labels of pods that are not ours
    "step": ({"kubernetes.io/metadata.name": "kubeflow"}, {"pipelines.kubeflow.org/v2_component": "true"}),
    "ml-pipeline": ({"kubernetes.io/metadata.name": "kubeflow"}, {"app": "ml-pipeline"}),
    "minio": ({"kubernetes.io/metadata.name": "kubeflow"}, {"app": "minio"}),
    "prometheus": ({"kubernetes.io/metadata.name": "monitoring"}, {}),
    "caller": ({"kubernetes.io/metadata.name": "shop", "fairtag.io/calls-endpoint": "true"}, {}),
    "stranger": ({"kubernetes.io/metadata.name": "shop2"}, {}),
    "dns": ({"kubernetes.io/metadata.name": "kube-system"}, {"k8s-app": "kube-dns"}),
}
OURS = {"kubernetes.io/metadata.name": "fairtag"}
INSIDE = {  # source, target, port: what the stores inside the cluster add
    ("endpoint", "redis", 6379),
    ("endpoint", "postgres", 5432),
    ("endpoint", "object-store", 8333),
    ("mlflow", "postgres", 5432),
    ("custody-job", "redis", 6379),
    ("custody-job", "postgres", 5432),
    ("custody-job", "object-store", 8333),
    ("monitoring-job", "object-store", 8333),
    ("step", "redis", 6379),
    ("step", "postgres", 5432),
    ("step", "object-store", 8333),
    *{("object-store-bucket", "object-store", port) for port in PORTS - {53}},
}
ALWAYS = {
    ("monitoring-job", "pushgateway", 9091),
    ("monitoring-trigger", "ml-pipeline", 8888),
    ("step", "mlflow", 5000),
    ("caller", "endpoint", 8080),
    ("caller", "endpoint", 8081),
    ("prometheus", "endpoint", 8080),
    ("prometheus", "endpoint", 8081),
    ("prometheus", "pushgateway", 9091),
}


def pod_labels(overlay):
    """Labels of each kind of pod of ours, by the value of app.kubernetes.io/name."""
    found = {}
    for each in overlay:
        spec = each.get("spec", {})
        if each["kind"] == "InferenceService":
            labels = {**spec["predictor"]["labels"], "serving.kserve.io/inferenceservice": each["metadata"]["name"]}
        elif each["kind"] == "CronJob":
            labels = spec["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        elif each["kind"] in ("Deployment", "StatefulSet", "Job"):
            labels = spec["template"]["metadata"]["labels"]
        else:
            continue
        found[labels["app.kubernetes.io/name"]] = labels
    return found


def selects(selector, labels):
    rules = {"In": lambda value, values: value in values, "NotIn": lambda value, values: value not in values}
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        rules[each["operator"]](labels.get(each["key"]), each["values"])
        for each in selector.get("matchExpressions", [])
    )


def lets(policies, pod, direction, other, port):
    """Whether the policies of a pod of ours let it speak with another pod; one without a policy may do all."""
    kind = {"ingress": "Ingress", "egress": "Egress"}[direction]
    own = [each for each in policies if selects(each["podSelector"], pod) and kind in each["policyTypes"]]
    peer = {"ingress": "from", "egress": "to"}[direction]
    return not own or any(
        (not rule.get("ports") or port in {each["port"] for each in rule["ports"]})
        and (not rule.get(peer) or any(is_peer(each, *other) for each in rule[peer]))
        for policy in own
        for rule in policy.get(direction, [])
    )


def is_peer(peer, namespace, labels):
    if "ipBlock" in peer:
        return False  # an address outside the cluster
    if "namespaceSelector" not in peer and namespace != OURS:
        return False
    return selects(peer.get("namespaceSelector", {}), namespace) and selects(peer.get("podSelector", {}), labels)


def test_pods_speak_with_whom_their_work_needs_and_with_nobody_else(overlay):
    policies = [each["spec"] for each in overlay if each["kind"] == "NetworkPolicy"]
    ours = {name: (OURS, labels) for name, labels in pod_labels(overlay).items()}
    everybody = {**ours, **OUTSIDERS}
    found = {
        (source, target, port)
        for source, (source_space, source_labels) in everybody.items()
        for target, (target_space, target_labels) in everybody.items()
        for port in PORTS - {53}
        if source != target
        and (source in ours or target in ours)
        and (source not in ours or lets(policies, source_labels, "egress", (target_space, target_labels), port))
        and (target not in ours or lets(policies, target_labels, "ingress", (source_space, source_labels), port))
    }
    inside = "redis" in ours
    assert found == ALWAYS | (INSIDE if inside else set())
    for name, (_, labels) in ours.items():
        assert lets(policies, labels, "egress", OUTSIDERS["dns"], 53), f"{name} finds no name"


def test_every_policy_is_about_a_pod_that_there_is(overlay):
    labels = pod_labels(overlay).values()
    idle = [
        each["metadata"]["name"]
        for each in overlay
        if each["kind"] == "NetworkPolicy" and not any(selects(each["spec"]["podSelector"], pod) for pod in labels)
    ]
    assert idle == []


def outside_addresses(overlay):
    return {
        peer["ipBlock"]["cidr"]
        for each in overlay
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"].get("egress", [])
        for peer in rule.get("to", [])
        if "ipBlock" in peer
    }


def test_addresses_outside_are_named_and_the_placeholders_are_none(overlay):
    """The API server takes no placeholder for an address, so that nobody applies production with them."""
    for block in outside_addresses(overlay) - {"169.254.20.10/32"}:  # the node's own DNS cache
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 network"):
            ipaddress.ip_network(block)
        assert block.startswith("ADDRESSES-OF-YOUR-")


def test_no_role_may_do_everything_or_reach_a_secret(overlay):
    for role in (each for each in overlay if each["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            listed = rule["verbs"] == ["list"] and rule["resources"] in (["pods"], ["deployments"])
            cleared = (rule["verbs"], rule["resources"]) == (["list", "delete"], ["replicasets"])
            assert rule.get("resourceNames") or listed or cleared  # neither can be narrowed to a name


def test_everything_lies_in_our_namespace(overlay):
    for each in overlay:
        assert each["kind"] == "Namespace" or each["metadata"]["namespace"] == "fairtag", each["metadata"]


def test_a_file_holds_one_object_and_is_named_by_its_kind():
    for file in (ROOT / "k8s").rglob("*.yaml"):
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8").replace("kind: =", "")))
        assert len(documents) == 1, file
        if isinstance(documents[0], list):  # a patch of single fields
            assert file.stem.startswith("patch-"), file
            continue
        if file.stem in ("names", "trainjob-images"):  # kustomize's own configuration, which has no kind
            continue
        kind = documents[0]["kind"].lower()
        expected = "kustomization" if kind == "component" else kind
        assert expected in file.stem or file.stem.startswith("patch-"), file


def test_an_endpoint_behind_a_gateway_believes_its_proxies_and_no_other(built):
    """Without it, all customers would share the limits of one address: the gateway's."""
    from serving.settings import ServingSettings

    for name, objects in built.items():
        (runtime,) = (each for each in objects if each["kind"] == "ServingRuntime")
        given = {each["name"]: each.get("value") for each in runtime["spec"]["containers"][0]["env"]}
        has_gateway = any(each["kind"] == "Gateway" for each in objects)
        assert ("FAIRTAG_TRUSTED_PROXIES" in given) == has_gateway, name
        if has_gateway:
            trusted = ServingSettings(model_folder=".", trusted_proxies=given["FAIRTAG_TRUSTED_PROXIES"])
            proxies = Proxies(trusted.trusted_proxies)
            assert proxies.client("10.244.1.7", "203.0.113.9") == "203.0.113.9"
            assert proxies.client("203.0.113.1", "203.0.113.9") == "203.0.113.1"
