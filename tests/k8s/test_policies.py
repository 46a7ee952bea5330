"""What our manifests may never do, whatever the schemas allow; each rule is seen to fail on what breaks it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

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
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"[0-9a-f]{48}|[A-Za-z0-9+/]{60}={0,2}|://[^$/\s]+:[^$@/\s]+@", text), file


def test_the_namespace_denies_all_traffic_by_default(overlay):
    (namespace,) = (each for each in overlay if each["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    policies = {each["metadata"]["name"]: each["spec"] for each in overlay if each["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_pod_is_let_out_by_a_policy_of_its_own(overlay, pods):
    names = {
        value
        for each in overlay
        if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] != "stores-outside"
        for value in _selected(each["spec"]["podSelector"])
    }
    for owner, _ in pods:
        kind, name = owner.split("/")
        label = {"CronJob": "monitoring-job", "InferenceService": "fairtag"}.get(kind, name)
        assert label in names, owner


def _selected(selector):
    yield from selector.get("matchLabels", {}).values()
    for expression in selector.get("matchExpressions", []):
        yield from expression["values"]


def test_no_role_may_do_everything_or_reach_a_secret(overlay):
    for role in (each for each in overlay if each["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert "secrets" not in rule["resources"]
            assert rule["resourceNames"]


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
