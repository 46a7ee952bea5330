import json

import pytest
from typer.testing import CliRunner

from benchmarks import registry
from benchmarks.__main__ import app
from benchmarks.result import Result, Row
from pricing.errors import ConfigError, MissingDataError


@pytest.fixture
def small(monkeypatch):
    """Two names that cost nothing, one of which cannot run."""

    def run_named(name, data=None):
        if name == "broken":
            raise MissingDataError(f"{name}: no data in {data}")
        return Result(name, f"python -m benchmarks {name}", (Row("rows", 3.0, unit="n"),))

    monkeypatch.setattr("benchmarks.__main__.benchmark_names", lambda: ("broken", "quick"))
    monkeypatch.setattr("benchmarks.__main__.study_names", lambda: ("study",))
    monkeypatch.setattr("benchmarks.__main__.run_named", run_named)
    return CliRunner()


def test_names_are_the_modules_that_can_be_run():
    assert {"demand", "solver"} <= set(registry.benchmark_names())
    assert "synthetic" in registry.study_names()
    assert not {"result", "registry", "--main--"} & set(registry.benchmark_names())


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"nope.*demand.*synthetic"):
        registry.run_named("nope")


def test_a_study_gets_the_data_folder_and_a_benchmark_nothing(monkeypatch, tmp_path):
    import sys
    from types import SimpleNamespace

    seen = []
    benchmark = SimpleNamespace(run=lambda: seen.append(None))
    study = SimpleNamespace(run=seen.append)
    monkeypatch.setitem(sys.modules, "benchmarks.demand", benchmark)
    monkeypatch.setitem(sys.modules, "benchmarks.studies.synthetic", study)
    registry.run_named("demand", tmp_path)
    registry.run_named("synthetic", tmp_path)
    assert seen == [None, tmp_path]


def test_no_name_lists_all(small):
    found = small.invoke(app, [])
    assert found.exit_code == 0
    assert "quick" in found.output
    assert "study" in found.output


def test_one_name_is_shown_and_saved(small, tmp_path):
    found = small.invoke(app, ["quick", "--json", str(tmp_path / "quick.json")])
    assert found.exit_code == 0
    assert "rows" in found.output
    assert json.loads((tmp_path / "quick.json").read_text())["rows"] == [{"metric": "rows", "unit": "n", "value": 3.0}]


def test_all_runs_what_can_be_run_and_fails_for_the_rest(small, tmp_path):
    found = small.invoke(app, ["all", "--out", str(tmp_path)])
    assert found.exit_code == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["quick.json", "study.json"]
    assert "broken: no data" in found.output


@pytest.mark.parametrize("arguments", [["nope"], ["all", "--json", "x.json"]])
def test_a_wrong_call_exits_with_two(small, arguments):
    assert small.invoke(app, arguments).exit_code == 2
