"""What is sent to Kubeflow installs nothing, caches nothing that acts outside, and carries the platform's choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.compilation import Target, compile_pipeline, image_map
from pricing.errors import ConfigError

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas" / "pipelines.kubeflow.org"
STEPS = {"ingest", "validate", "training-set", "materialise", "train", "fit", "evaluate", "register", "deploy"}


def _compiled(path: Path, target: Target | None = None) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(compile_pipeline(path / "pipeline.yaml", target).read_text())
    return loaded


def test_every_step_is_there_and_none_installs_anything(tmp_path: Path) -> None:
    document = _compiled(tmp_path)
    assert set(document["root"]["dag"]["tasks"]) == STEPS
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "pip install" not in text
    assert "pip3 install" not in text


def test_the_steps_that_act_outside_the_run_are_never_cached(tmp_path: Path) -> None:
    tasks = _compiled(tmp_path)["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert uncached == {"materialise", "deploy"}


def test_the_data_fingerprint_reaches_the_first_step_so_that_caching_hangs_on_it(tmp_path: Path) -> None:
    document = _compiled(tmp_path)
    ingest = document["root"]["dag"]["tasks"]["ingest"]["inputs"]["parameters"]
    assert ingest["data_fingerprint"] == {"componentInputParameter": "data_fingerprint"}


def test_register_and_deploy_get_the_bundle_and_the_decision_that_evaluate_made_of_it(tmp_path: Path) -> None:
    tasks = _compiled(tmp_path)["root"]["dag"]["tasks"]
    for step in ("register", "deploy"):
        artifacts = {name: given["taskOutputArtifact"] for name, given in tasks[step]["inputs"]["artifacts"].items()}
        assert artifacts == {
            "bundle": {"outputArtifactKey": "bundle", "producerTask": "fit"},
            "decision": {"outputArtifactKey": "decision", "producerTask": "evaluate"},
        }


def test_descriptions_reach_the_form_that_kubeflow_shows(tmp_path: Path) -> None:
    inputs = _compiled(tmp_path)["root"]["inputDefinitions"]["parameters"]
    assert all(given.get("description") for given in inputs.values())


def test_a_platform_chooses_images_and_accelerators(tmp_path: Path) -> None:
    target = Target(images={"train": "example.org/train-python@sha256:0"}, gpus=2, gpu_type="example.org/gpu")
    executors = _compiled(tmp_path, target)["deploymentSpec"]["executors"]
    containers = {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}
    assert {containers[name]["image"] for name in ("train", "fit", "evaluate", "register", "deploy")} == {
        "example.org/train-python@sha256:0"
    }
    assert {containers[name]["image"] for name in ("ingest", "validate")} == {"fairtag/data-python:0.1.0"}
    wanted = {"resourceType": "example.org/gpu", "resourceCount": "2"}
    assert {name for name in containers if "resources" in containers[name]} == {"train"}
    assert containers["train"]["resources"]["accelerator"] == wanted


def test_the_kubernetes_objects_keep_to_their_schemas(tmp_path: Path) -> None:
    written = compile_pipeline(tmp_path / "objects.yaml", namespace="prices")
    pipeline, version = yaml.safe_load_all(written.read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"]["namespace"] == version["metadata"]["namespace"] == "prices"
    assert set(version["spec"]["pipelineSpec"]["root"]["dag"]["tasks"]) == STEPS
    if not SCHEMAS.is_dir():
        pytest.skip("the schemas of Kubeflow Pipelines are not beside the repository")
    for document in (pipeline, version):
        kind = document["kind"].lower()
        jsonschema.validate(document, json.loads((SCHEMAS / f"{kind}_v2beta1.json").read_text()))


@pytest.mark.parametrize("text", ["serve=x", "train=", "train"])
def test_an_image_for_no_role_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="role=image"):
        image_map([text])
