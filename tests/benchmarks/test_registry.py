"""The registry names every study and benchmark, with the options and needs that its module really has."""

import ast
import importlib
import inspect
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks
from benchmarks import registry
from benchmarks.command import entry_command
from benchmarks.measured import RESULTS
from benchmarks.registry import ENTRIES, Entry, Kind, Need, Option, find, names
from benchmarks.result import Result, Row
from fairtag.base.errors import ConfigError, MissingDataError, UnavailableError

HERE = Path(benchmarks.__file__).parent
TINY = Entry("tiny", Kind.BENCHMARK, "tiny", "Nothing.", 1, options=(Option("steps", int, "Steps.", 4),), quick="short")


@pytest.fixture
def ran(monkeypatch):
    """The arguments with which ``benchmarks.tiny`` was run, and whether it was the quick version."""
    calls = []

    def answer(**given):
        calls.append(given)
        return Result((Row("rows", 3.0),))

    module = SimpleNamespace(run=answer, short=lambda **given: answer(quick=True, **given))
    monkeypatch.setattr(registry.importlib, "import_module", lambda _: module)
    return calls


def test_names_are_unique_and_found_however_they_are_spelled():
    assert len(set(names())) == len(ENTRIES)
    assert set(names(Kind.STUDY)) | set(names(Kind.BENCHMARK)) == set(names())
    assert find("home_depot_student") is find("home-depot-student")


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'nope' is no study or benchmark; there are .*demand"):
        find("nope")


def test_every_function_that_makes_a_result_is_an_entry_and_nothing_else_is():
    """The source is read, so that a new module cannot be forgotten and a helper cannot slip in."""
    made = set()
    for file in HERE.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
            if public and isinstance(node.returns, ast.Name) and node.returns.id == "Result":
                made.add((".".join(file.relative_to(HERE).with_suffix("").parts), node.name))
    called = {(entry.module, name) for entry in ENTRIES for name in (entry.function, entry.quick) if name}
    assert made - {("encoder.trainer_pace", "compare")} == called  # compare is what its two entries share


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_options_of_an_entry_are_the_parameters_of_its_functions(entry):
    module = importlib.import_module(f"benchmarks.{entry.module}")
    for name in filter(None, (entry.function, entry.quick)):
        parameters = dict(inspect.signature(getattr(module, name)).parameters)
        assert ("data" in parameters) is bool(entry.data), name
        parameters.pop("data", None)
        for option in entry.options:
            default = parameters.pop(option.name).default
            assert default == option.default, (name, option.name)
        assert all(other.default is not inspect.Parameter.empty for other in parameters.values()), name


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_the_command_of_every_committed_result_can_be_called(file):
    result = json.loads(file.read_text(encoding="utf-8"))
    entry = find(result["name"])
    assert file.stem == entry.name
    assert result["command"].startswith(entry.command())
    given = shlex.split(result["command"].removeprefix(entry.command().removesuffix(" --data DIR")))
    entry_command(entry).make_context(entry.name, given)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.data], ids=lambda entry: entry.name)
def test_a_study_of_real_data_says_which_folder_it_needs(entry, tmp_path):
    with pytest.raises(MissingDataError, match=rf"{entry.name} reads the real data in {entry.data[0]}.*--data DIR"):
        entry.run(None)
    with pytest.raises(MissingDataError, match=rf"holds no folder {entry.data[0]}.*--data DIR"):
        entry.run(tmp_path)


def test_a_need_that_is_not_met_is_named_with_its_remedy_and_a_quick_run_does_without(ran):
    entry = Entry("tiny", Kind.BENCHMARK, "tiny", "", 1, needs=(Need("GPU", lambda: "no GPU"),), quick="short")
    with pytest.raises(UnavailableError, match="tiny cannot run: no GPU"):
        entry.run()
    entry.run(quick=True)
    assert ran == [{"quick": True}]


def test_a_package_that_is_missing_is_named():
    assert registry._package("json").problem() == ""
    assert (
        "a_package_nobody_has is not installed; `make install`" in registry._package("a_package_nobody_has").problem()
    )


def test_options_reach_the_function_and_the_command_and_are_what_they_were_without(ran):
    assert TINY.run().command == "python -m benchmarks tiny --steps 4"
    found = TINY.run(quick=True, steps=9)
    assert (found.name, found.command) == ("tiny", "python -m benchmarks tiny --steps 9 --quick")
    assert found.rows == (Row("rows", 3.0),)
    assert ran == [{"steps": 4}, {"quick": True, "steps": 9}]


def test_a_quick_run_of_what_has_none_is_refused(ran):
    with pytest.raises(ConfigError, match="tiny has no quick version"):
        Entry("tiny", Kind.BENCHMARK, "tiny", "", 1).run(quick=True)
    assert not ran


def test_only_an_entry_that_reads_real_data_is_given_its_folder(ran, tmp_path):
    Entry("tiny", Kind.STUDY, "tiny", "", 1).run(tmp_path)
    (tmp_path / "shop").mkdir()
    Entry("tiny", Kind.STUDY, "tiny", "", 1, data=("shop",)).run(tmp_path)
    assert ran == [{}, {"data": tmp_path}]


def test_a_command_names_what_changes_a_figure_and_no_folder_of_a_machine():
    options = {"folds": 5, "steps": 4, "precision": "bf16", "terms": None, "work": Path("w")}
    command = find("home-depot").command(options)
    assert command == "fairtag study home-depot --data DIR --folds 5 --steps 4 --precision bf16"
    assert find("serving").command({"peers": Path("p"), "work": None}) == "python -m benchmarks serving --peers PEERS"
    assert find("serving-soak").command({"seconds": 600.0}) == "python -m benchmarks serving-soak --seconds 600"
