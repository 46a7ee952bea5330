"""Settings in one place: one model is the command line, the file, the pipeline's parameters and the documentation."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairtag.base.errors import ConfigError
from pipelines.configuration import PAGE, page
from pipelines.options import flat, read
from pipelines.settings import RunSettings, parameter_text, pipeline_settings

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_documentation_is_that_of_the_settings() -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(), "run `python -m pipelines.configuration --write`"


def test_every_setting_is_described_and_has_a_name_of_its_own() -> None:
    settings = list(flat(RunSettings))
    assert len({each.name for each in settings}) == len(settings)
    assert all(each.field.description for each in settings)


def test_the_pipeline_declares_each_parameter_with_its_type_default_and_description() -> None:
    from pipelines.training import training

    declared = inspect.signature(training.pipeline_func).parameters
    inputs = training.component_spec.inputs
    assert list(declared) == list(inputs) == [each.name for each in pipeline_settings()]
    for each in pipeline_settings():
        default = parameter_text(each.default("submit"))
        assert (declared[each.name].default, declared[each.name].annotation) == (default, type(default))
        assert inputs[each.name].description == each.field.description


def test_every_parameter_of_the_pipeline_reaches_a_step(tmp_path: Path) -> None:
    from pipelines.compilation import compile_pipeline

    document = next(yaml.safe_load_all(compile_pipeline(tmp_path / "p.yaml").read_text()))
    tasks = document["root"]["dag"]["tasks"].values()
    given = [each for task in tasks for each in task["inputs"].get("parameters", {}).values()]
    used = {each.get("componentInputParameter") for each in given}
    assert {each.name for each in pipeline_settings()} <= used


def _file(folder: Path, document: Any) -> Path:
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_a_file_holds_any_setting_and_an_option_wins_over_it(tmp_path: Path) -> None:
    file = _file(
        tmp_path,
        {
            "seed": 3,
            "data": {"dataset": "csv", "items": 7},
            "encoder": {"settings": {"tuning": {"method": "lora"}}},
            "evaluation": {"pages": 9, "launch": {"ess": 400}},
        },
    )
    settings = read(RunSettings, {"items": 8, "max_steps": 2, "evaluation": '{"launch": {"ess": 500}}'}, "run", file)
    assert (settings.seed, settings.data.dataset, settings.data.items) == (3, "csv", 8)
    assert settings.encoder.changes == {"tuning": {"method": "lora"}, "schedule": {"max_steps": 2}}
    assert settings.evaluation == {"pages": 9, "launch": {"ess": 500}}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"stores": {"target": "/m"}}, r"stores\.target is a setting of `fairtag submit` alone"),
        ({"platform": {"gpus": 1}}, r"platform\.gpus is a setting of `fairtag submit` alone"),
        ({"data": {"itmes": 1}}, r"data\.itmes is not a setting; .* did you mean items\?"),
        ({"data": {"items": 0}}, r"data\.items: 0 is refused; it must be greater"),
        ({"evaluation": {"calibration": [1.2, 0.9]}}, r"evaluation: calibration \(1\.2, 0\.9\) and .* are refused"),
        (["seed"], "it must be an object of settings"),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_place(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(RunSettings, {}, "run", _file(tmp_path, document))


def test_a_run_s_own_settings_are_refused_on_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"local\.runner is a setting of `fairtag run` alone"):
        read(RunSettings, {}, "submit", _file(tmp_path, {"local": {"runner": "docker"}}))


def test_only_what_differs_from_the_pipeline_s_defaults_is_sent() -> None:
    assert read(RunSettings, {}, "submit").changed_parameters() == {}
    sent = read(RunSettings, {"preset": "gpu", "seed": 2, "evaluation": '{"pages": 9}'}, "submit").changed_parameters()
    assert sent == {"preset": "gpu", "seed": 2, "evaluation": '{"pages":9}'}


def test_a_run_on_this_machine_keeps_its_stores_in_its_folder_unless_one_is_named(tmp_path: Path) -> None:
    given = {"out": tmp_path, "max_steps": 0}
    arguments = read(RunSettings, given, "run").arguments("data", "code")
    assert set(arguments) == {each.name for each in pipeline_settings()}
    assert (arguments["registry"], arguments["target"]) == (str(tmp_path / "registry"), str(tmp_path))
    assert (arguments["data_fingerprint"], arguments["code_version"]) == ("data", "code")
    assert json.loads(arguments["encoder"]) == {"schedule": {"max_steps": 0}}
    named = read(RunSettings, {**given, "redis": "h:1", "registry": "http://h"}, "run").arguments("data", "code")
    assert (named["feature_environment"], named["redis"], named["registry"]) == ("redis", "h:1", "http://h")


def test_two_runs_are_the_same_when_data_code_and_settings_are() -> None:
    def key(data: str = "d", code: str = "c", **given: Any) -> str:
        return read(RunSettings, given, "run").key(data, code)

    assert key() == key(out=Path("elsewhere"), runner="docker")
    others = [key("other"), key("d", "other"), key(seed=1), key(items=9), key(max_steps=1), key(preset="gpu")]
    others += [key(evaluation='{"pages": 9}'), key(policy='{"exploration": 0.1}'), key(demand='{"rounds": 2}')]
    assert len({key(), *others}) == len(others) + 1


def test_the_address_of_a_folder_on_an_object_store_reaches_the_pipeline_as_it_is() -> None:
    settings = read(RunSettings, {"dataset": "csv", "data": "s3://bucket/my-shop"}, "submit")
    assert settings.parameters()["data"] == "s3://bucket/my-shop"
    assert settings.data.path is None
    here = read(RunSettings, {"dataset": "csv", "data": "my-shop"}, "run")
    assert here.arguments("", "")["data"] == str(Path("my-shop").absolute())
