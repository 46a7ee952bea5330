"""Every entry can be called by its name through both doors, and says what it can be asked."""

import json
import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from benchmarks import __main__ as door
from benchmarks.command import WIDTH, app, entry_command, overview, run
from benchmarks.registry import ENTRIES, Entry, Kind, find, names
from benchmarks.result import Result, Row
from fairtag.base.errors import MissingDataError
from pipelines.cli import main as fairtag

DOORS = {"python -m benchmarks": door.main, "fairtag study": lambda arguments: fairtag(["study", *arguments])}


@pytest.fixture
def small(monkeypatch):
    """Entries answer at once with the options that they were given."""
    calls = []

    def answer(self, data=None, *, quick=False, **options):
        if self.data:
            self.check(data)
        calls.append((self.name, data, quick, options))
        return Result((Row("rows", 3.0, 1.0, 5.0, unit="n"),), ("note [1]",), self.name, self.command(options))

    monkeypatch.setattr(Entry, "run", answer)
    return calls


@pytest.fixture(params=DOORS)
def call(request):
    return DOORS[request.param]


@pytest.mark.parametrize("arguments", [[], ["--list"], ["--help"]])
def test_what_there_is_is_listed_in_80_columns(call, arguments, capsys):
    assert call(arguments) == 0
    shown = capsys.readouterr().out
    for entry in ENTRIES:
        assert re.search(rf"^  {entry.name} +{entry.minutes}  ", shown, re.MULTILINE), entry.name
        for need in (*entry.data, *(need.what for need in entry.needs)):
            assert need in re.sub(r"\s+", " ", shown), need
    assert max(map(len, shown.splitlines())) <= WIDTH


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_entry_is_called_by_its_name_with_the_options_it_has(call, entry, small, tmp_path):
    for folder in entry.data:
        (tmp_path / folder).mkdir()
    values = {int: "7", float: "7"}
    given = [part for option in entry.options for part in (f"--{option.name.replace('_', '-')}", "bf16"
             if option.name == "precision" else values.get(option.type, "here"))]  # fmt: skip
    given += ["--data", str(tmp_path)] if entry.data else []
    given += ["--quick"] if entry.quick else []
    assert call([entry.name, *given]) == 0
    (name, data, quick, options) = small[0]
    assert (name, data, quick) == (entry.name, tmp_path if entry.data else None, bool(entry.quick))
    assert set(options) == {option.name for option in entry.options}
    assert all(str(value) in ("7", "7.0", "bf16", "here") for value in options.values())


def test_help_of_an_entry_shows_its_options_alone(capsys):
    assert door.main(["home-depot", "--help"]) == 0
    shown = capsys.readouterr().out
    assert {"--folds", "--steps", "--precision", "--terms", "--data"} <= set(re.findall(r"--[a-z-]+", shown))
    assert "--quick" not in shown
    assert "--data" not in CliRunner().invoke(app, ["solver", "--help"]).output


def test_the_figures_are_shown_in_80_columns_and_written_where_asked(call, small, capsys, tmp_path):
    assert call(["solver", "--json", str(tmp_path / "a.json"), "--out", str(tmp_path / "all")]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"rows .* 3 .* 1 to 5 .* n ", shown)
    assert "note [1]" in shown
    for file in (tmp_path / "a.json", tmp_path / "all" / "solver.json"):
        result = json.loads(file.read_text())
        assert result["rows"] == [{"metric": "rows", "value": 3.0, "low": 1.0, "high": 5.0, "unit": "n"}]
        assert (result["name"], result["command"]) == ("solver", "python -m benchmarks solver")


def test_missing_data_is_one_line_with_the_remedy(call, small, capsys):
    assert call(["dominicks"]) != 0
    assert re.fullmatch(
        r"error: dominicks reads the real data in dominicks_oj; .*--data DIR.*\n", capsys.readouterr().err
    )


def test_the_folder_of_real_data_may_be_named_by_the_environment(call, small, monkeypatch, tmp_path):
    (tmp_path / "dominicks_oj").mkdir()
    monkeypatch.setenv("FAIRTAG_DATA", str(tmp_path))
    assert call(["dominicks"]) == 0
    assert small[0][1] == tmp_path


@pytest.mark.parametrize("arguments", [["nope"], ["solver", "--folds", "3"], ["all", "--skip", "nope"], ["--nope"]])
def test_a_wrong_call_exits_with_two_and_says_what_is_wrong(call, arguments, capsys):
    assert call(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_an_unknown_name_is_answered_with_the_known_ones(call, capsys):
    assert call(["nope"]) == 2
    shown = capsys.readouterr().err
    assert "'nope' is no study or benchmark" in shown
    assert all(name in shown for name in names())


def test_a_deliberate_refusal_fails(monkeypatch, capsys):
    def refuse(self, *_, **__):
        raise MissingDataError(f"{self.name}: no data")

    monkeypatch.setattr(Entry, "run", refuse)
    assert door.main(["solver"]) == 1
    assert capsys.readouterr().err == "error: solver: no data\n"


def test_progress_is_logged_once_whatever_runs(small, caplog):
    for _ in range(2):
        run(find("solver"))
    import logging

    assert len(logging.getLogger("benchmarks").handlers) == 1


def test_both_doors_open_on_the_same_group():
    from pipelines.cli import app as fairtag_app

    study = get_command(fairtag_app).commands["study"]
    assert study.list_commands(None) == get_command(app).list_commands(None) == [*names(), "all"]


def test_an_entry_without_options_has_only_those_that_all_share():
    bare = entry_command(Entry("bare", Kind.STUDY, "bare", "Nothing.", 1))
    assert {parameter.name for parameter in bare.params} - {"help"} == {"json", "out"}
    assert "bare" not in overview("x")
