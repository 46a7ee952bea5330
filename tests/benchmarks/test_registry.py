import json

import pytest
from typer.testing import CliRunner

from benchmarks import registry
from benchmarks.__main__ import app
from benchmarks.apart import Ended, run_apart
from benchmarks.result import Result, Row
from fairtag.base.errors import ConfigError, MissingDataError


@pytest.fixture
def small(monkeypatch):
    """Two names that cost nothing, one of which cannot run."""

    def run_named(name, data=None, *, quick=False):
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


def test_a_deliberate_refusal_is_shown_and_fails(small):
    found = small.invoke(app, ["broken"])
    assert found.exit_code == 1
    assert "broken: no data" in found.output


def test_all_runs_each_apart_and_names_what_failed_or_hung(small, monkeypatch, tmp_path):
    calls = []

    def run_apart(arguments, name, limit):
        calls.append((arguments, limit))
        return Ended(name, {"broken": 1, "study": None}.get(name, 0), 3.0)

    monkeypatch.setattr("benchmarks.__main__.run_apart", run_apart)
    found = small.invoke(app, ["all", "--out", str(tmp_path), "--data", "D", "--quick", "--limit", "2"])
    assert found.exit_code == 1
    assert [call[0] for call in calls] == [
        [name, "--out", str(tmp_path), "--data", "D", "--quick"] for name in ("broken", "quick", "study")
    ]
    assert {call[1] for call in calls} == {120.0}
    assert "broken: exit code 1" in found.output
    assert "study: ended after 3 s, its limit" in found.output
    calls.clear()
    assert small.invoke(app, ["all", "--skip", "broken", "--skip", "study"]).exit_code == 0
    assert [call[0] for call in calls] == [["quick"]]


def test_a_run_that_hangs_is_ended(monkeypatch):
    ended = run_apart(["--help"], "help", 60.0)
    assert ended.code == 0
    assert not ended.problem
    ended = run_apart(["solver"], "solver", 0.2)
    assert ended.code is None
    assert ended.seconds < 20


def test_a_quick_preset_is_taken_where_there_is_one(monkeypatch):
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(
        sys.modules, "benchmarks.demand", SimpleNamespace(run=lambda: "whole", quick=lambda: "a part of it")
    )
    monkeypatch.setitem(sys.modules, "benchmarks.solver", SimpleNamespace(run=lambda: "whole"))
    assert registry.run_named("demand", quick=True) == "a part of it"
    assert registry.run_named("demand") == "whole"
    assert registry.run_named("solver", quick=True) == "whole"


@pytest.mark.parametrize("arguments", [["nope"], ["all", "--json", "x.json"], ["all", "--skip", "nope"]])
def test_a_wrong_call_exits_with_two(small, arguments):
    assert small.invoke(app, arguments).exit_code == 2
