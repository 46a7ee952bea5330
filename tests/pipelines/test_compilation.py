"""What is sent to Kubeflow installs nothing, caches nothing that acts outside, and carries the platform's choices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components.images import SPARK_IMAGE
from fairtag.base.errors import ConfigError
from pipelines.compilation import (
    SECRET_KEYS,
    SPARK_STEPS,
    STEP_ROLES,
    compile_pipeline,
)
from pipelines.settings import SECRET, Platform, image_map, label_map, toleration_list

SCHEMAS = Path(__file__).parents[3] / "shared" / "schemas" / "pipelines.kubeflow.org"
STEPS = {
    "ingest",
    "validate",
    "publish",
    "training-set",
    "materialise",
    "train",
    "fit",
    "evaluate",
    "register",
    "deploy",
}


def _compiled(path: Path, target: Platform | None = None) -> dict[str, Any]:
    return _documents(path, target)[0]


def _documents(path: Path, target: Platform | None = None) -> list[dict[str, Any]]:
    """The pipeline's specification and the platform's."""
    return list(yaml.load_all(compile_pipeline(path / "pipeline.yaml", target).read_text(), yaml.CSafeLoader))


def _steps_on_kubernetes(platform: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Each step's settings on Kubernetes, read by the message type that Kubeflow's own server reads them with."""
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as pb

    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for settings in executors.values():
        json_format.ParseDict(settings, pb.KubernetesExecutorConfig())
    return {name.removeprefix("exec-"): settings for name, settings in executors.items()}


def test_every_step_is_there_and_none_installs_anything(tmp_path: Path) -> None:
    document = _compiled(tmp_path)
    assert set(document["root"]["dag"]["tasks"]) == STEPS
    text = (tmp_path / "pipeline.yaml").read_text()
    assert "pip install" not in text
    assert "pip3 install" not in text


def test_the_steps_that_act_outside_the_run_are_never_cached(tmp_path: Path) -> None:
    tasks = _compiled(tmp_path)["root"]["dag"]["tasks"]
    uncached = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert uncached == {"publish", "materialise", "deploy"}


def test_the_data_fingerprint_reaches_the_first_step_so_that_caching_hangs_on_it(tmp_path: Path) -> None:
    document = _compiled(tmp_path)
    ingest = document["root"]["dag"]["tasks"]["ingest"]["inputs"]["parameters"]
    assert ingest["data_fingerprint"] == {"componentInputParameter": "data_fingerprint"}


def test_register_and_deploy_get_the_model_folder_and_the_decision_that_evaluate_made_of_it(tmp_path: Path) -> None:
    tasks = _compiled(tmp_path)["root"]["dag"]["tasks"]
    for step in ("register", "deploy"):
        artifacts = {name: given["taskOutputArtifact"] for name, given in tasks[step]["inputs"]["artifacts"].items()}
        assert artifacts == {
            "model_folder": {"outputArtifactKey": "model_folder", "producerTask": "fit"},
            "decision": {"outputArtifactKey": "decision", "producerTask": "evaluate"},
        }


def test_descriptions_reach_the_form_that_kubeflow_shows(tmp_path: Path) -> None:
    inputs = _compiled(tmp_path)["root"]["inputDefinitions"]["parameters"]
    assert all(given.get("description") for given in inputs.values())


def test_a_platform_chooses_images_and_accelerators(tmp_path: Path) -> None:
    target = Platform(images={"train": "example.org/train-python@sha256:0"}, gpus=2, gpu_type="example.org/gpu")
    executors = _compiled(tmp_path, target)["deploymentSpec"]["executors"]
    containers = {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}
    assert {containers[name]["image"] for name in ("train", "fit", "evaluate", "register", "deploy")} == {
        "example.org/train-python@sha256:0"
    }
    assert {containers[name]["image"] for name in ("training-set", "validate")} == {"fairtag/data-python:0.1.0"}
    accelerators = {name: each["resources"].get("accelerator") for name, each in containers.items()}
    assert {name for name, found in accelerators.items() if found} == {"train"}
    wanted = {"resourceType": "example.org/gpu", "resourceCount": "2"}
    assert accelerators["train"] | wanted == accelerators["train"]


def test_a_choice_for_one_compilation_does_not_reach_the_next(tmp_path: Path) -> None:
    plain = _documents(tmp_path)
    _documents(tmp_path, Platform(images={"data": "example.org/data-python:1", "train": "example.org/t:1"}, gpus=1))
    assert _documents(tmp_path) == plain


def test_every_step_is_held_to_processor_memory_and_time(tmp_path: Path) -> None:
    pipeline, platform = _documents(tmp_path, Platform(cpu=2, memory=6))
    for executor in pipeline["deploymentSpec"]["executors"].values():
        resources = executor["container"]["resources"]
        assert (resources["resourceCpuRequest"], resources["resourceCpuLimit"]) == ("500m", "2")
        assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("3072Mi", "6Gi")
    steps = _steps_on_kubernetes(platform)
    assert {name: int(each["activeDeadlineSeconds"]) > 0 for name, each in steps.items()} == dict.fromkeys(STEPS, True)


def sizes(path: Path, platform: Platform, preset: str) -> set[tuple[str, ...]]:
    """What the steps ask for and are held to: processors, then memory."""
    written = compile_pipeline(path / "pipeline.yaml", platform, preset=preset).read_text()
    executors = next(yaml.load_all(written, yaml.CSafeLoader))["deploymentSpec"]["executors"]
    found = [each["container"]["resources"] for each in executors.values()]
    names = ("resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit")
    return {tuple(each[name] for name in names) for each in found}


def test_the_demo_asks_for_less_so_that_a_laptop_runs_several_steps_at_once(tmp_path: Path) -> None:
    assert sizes(tmp_path, Platform(), "demo") == {("250m", "2", "1024Mi", "4Gi")}
    assert sizes(tmp_path, Platform(), "standard") == {("1000m", "4", "4096Mi", "8Gi")}
    asked = Platform(cpu=6, memory_request=0.5)
    assert sizes(tmp_path, asked, "demo") == {("1500m", "6", "512Mi", "4Gi")}, "what is asked for wins over the preset"


def test_a_step_cannot_ask_for_more_than_it_is_held_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--cpu-request 3 is refused; .* \(--cpu 2\)"):
        sizes(tmp_path, Platform(cpu_request=3.0), "demo")
    with pytest.raises(ConfigError, match=r"--memory-request 9 is refused"):
        sizes(tmp_path, Platform(memory_request=9.0), "standard")


def test_a_step_sees_the_secret_of_its_role_and_no_other(tmp_path: Path) -> None:
    steps = _steps_on_kubernetes(_documents(tmp_path)[1])
    seen = {
        name: {secret["secretName"]: {pair["envVar"] for pair in secret["keyToEnv"]} for secret in each["secretAsEnv"]}
        for name, each in steps.items()
        if "secretAsEnv" in each
    }
    assert seen == {
        name: {f"{SECRET}-{role}": set(SECRET_KEYS[role]) for role in roles} for name, roles in STEP_ROLES.items()
    }
    assert {name for name, secrets in seen.items() if f"{SECRET}-publish" in secrets} == {"publish"}
    without = _steps_on_kubernetes(_documents(tmp_path, Platform(secret=""))[1])
    assert not any("secretAsEnv" in each for each in without.values())


def test_the_training_step_alone_goes_to_the_nodes_with_accelerators(tmp_path: Path) -> None:
    tolerations = toleration_list(["nvidia.com/gpu:NoSchedule", "pool=gpu:NoExecute"])
    steps = _steps_on_kubernetes(
        _documents(tmp_path, Platform(node_selector={"pool": "gpu"}, tolerations=tolerations))[1]
    )
    assert {name for name, each in steps.items() if "nodeSelector" in each or "tolerations" in each} == {"train"}
    assert steps["train"]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert steps["train"]["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoExecute"},
    ]


def test_the_steps_on_tables_alone_go_to_spark_in_the_image_that_holds_it(tmp_path: Path) -> None:
    executors = _compiled(tmp_path, Platform(spark="spark://spark:7077"))["deploymentSpec"]["executors"]
    containers = {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}
    told = {name: each["env"] for name, each in containers.items() if "env" in each}
    assert told == {name: [{"name": "FAIRTAG_SPARK", "value": "spark://spark:7077"}] for name in SPARK_STEPS}
    assert {name for name, each in containers.items() if each["image"] == SPARK_IMAGE} == set(SPARK_STEPS)
    ours = _compiled(tmp_path, Platform(spark="local[4]", images={"data": "example.org/d-python:1"}))
    assert ours["deploymentSpec"]["executors"]["exec-validate"]["container"]["image"] == "example.org/d-python:1"


def test_the_kubernetes_objects_keep_to_their_schemas(tmp_path: Path) -> None:
    written = compile_pipeline(tmp_path / "objects.yaml", namespace="prices")
    pipeline, version = yaml.load_all(written.read_text(), yaml.CSafeLoader)
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"]["namespace"] == version["metadata"]["namespace"] == "prices"
    assert set(version["spec"]["pipelineSpec"]["root"]["dag"]["tasks"]) == STEPS
    assert _steps_on_kubernetes(version["spec"]["platformSpec"])["deploy"]["secretAsEnv"]
    if not SCHEMAS.is_dir():
        pytest.skip("the schemas of Kubeflow Pipelines are not beside the repository")
    for document in (pipeline, version):
        kind = document["kind"].lower()
        jsonschema.validate(document, json.loads((SCHEMAS / f"{kind}_v2beta1.json").read_text()))


@pytest.mark.parametrize("text", ["serve=x", "train=", "train"])
def test_an_image_for_no_role_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="role=image"):
        image_map([text])


@pytest.mark.parametrize("text", ["gpu", "gpu:Sometimes", ":NoSchedule", "pool=:NoSchedule"])
def test_a_taint_that_nobody_could_have_set_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="key=value:effect"):
        toleration_list([text])


def test_a_label_without_a_value_and_a_negative_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="label=value"):
        label_map(["pool"])
    with pytest.raises(ConfigError, match="gpus: -1 is refused; it must be greater than or equal to 0"):
        Platform(gpus=-1)
    with pytest.raises(ConfigError, match="memory: 0 is refused; it must be greater than or equal to 1"):
        Platform(memory=0)
