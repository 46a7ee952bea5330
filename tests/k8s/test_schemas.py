"""Every object of every overlay against its schema, and a typo in each custom kind is seen."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.33"
BUILT_IN = ("v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1")
# The vault's operator is the shop's; its schema is not among ours.
WITHOUT_SCHEMA = {"ExternalSecret"}


def is_custom(document):
    return document["apiVersion"] not in BUILT_IN


def schema_of(document, schemas):
    group, version = document["apiVersion"].split("/")
    return schemas[(group, version, document["kind"].lower())]


def is_valid(document, schemas):
    return jsonschema.Draft202012Validator(schema_of(document, schemas)).is_valid(document)


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
        ("InferenceService", ("spec", "canary", 0), "trafficPercentage"),
        ("ServingRuntime", ("spec",), "supportedModelFormat"),
        ("ServingRuntime", ("spec", "containers", 0, "startupProbe"), "failureTreshold"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "scrapeTimeOut"),
        ("ServiceMonitor", ("spec", "endpoints", 0), "honourLabels"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0), "annotation"),
        ("Gateway", ("spec", "listeners", 0), "hostName"),
        ("ScaledObject", ("spec",), "maxReplicasCount"),
    ],
)
def test_a_typo_in_each_custom_kind_is_caught(kind, path, typo, built, schemas):
    overlay = "production" if kind == "ScaledObject" else "staging"
    right = next(each for each in built[overlay] if each["kind"] == kind)
    assert is_valid(right, schemas)
    wrong = copy.deepcopy(right)
    place = wrong
    for step in path:
        place = place[step]
    place[typo] = 1
    assert not is_valid(wrong, schemas)


def test_every_custom_kind_has_a_planted_typo(built):
    kinds = {each["kind"] for overlay in built.values() for each in overlay if is_custom(each)}
    (mark,) = test_a_typo_in_each_custom_kind_is_caught.pytestmark
    assert kinds - WITHOUT_SCHEMA == {case[0] for case in mark.args[1]}


def test_every_component_fits_an_overlay(tmp_path, schemas, build_folder):
    for component in sorted(path for path in (ROOT / "k8s" / "components").iterdir() if path.name != "versions"):
        folder = tmp_path / component.name
        folder.mkdir()
        places = {"resources": ROOT / "k8s/overlays/kind", "components": component}
        lines = [f"{key}: [{os.path.relpath(place, folder)}]" for key, place in places.items()]
        (folder / "kustomization.yaml").write_text("\n".join(lines), encoding="utf-8")
        custom = [each for each in build_folder(folder) if is_custom(each) and each["kind"] not in WITHOUT_SCHEMA]
        assert [each["kind"] for each in custom if not is_valid(each, schemas)] == [], component.name
        if component.name == "gpu":
            (runtime,) = (each for each in custom if each["kind"] == "ServingRuntime")
            assert runtime["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
            assert runtime["spec"]["containers"][0]["image"]
