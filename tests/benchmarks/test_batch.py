"""All entries run one by one in processes of their own; what fails or hangs is named and stops no other."""

import pytest

from benchmarks import batch
from benchmarks.__main__ import main
from benchmarks.batch import Run, run_apart
from benchmarks.registry import Entry, Kind

ENTRIES = (
    Entry("broken", Kind.BENCHMARK, "x", "", 1),
    Entry("fast", Kind.BENCHMARK, "x", "", 1, quick="quick"),
    Entry("study", Kind.STUDY, "x", "", 1, data=("shop",)),
)


@pytest.fixture
def calls(monkeypatch):
    made = []

    def run_one(given, name, limit):
        made.append((given, limit))
        return Run(name, {"broken": 1, "study": None}.get(name, 0), 3.0)

    monkeypatch.setattr(batch, "ENTRIES", ENTRIES)
    monkeypatch.setattr(batch, "names", lambda: ("broken", "fast", "study"))
    monkeypatch.setattr(batch, "run_apart", run_one)
    return made


def test_each_runs_apart_with_the_options_it_has_and_what_failed_or_hung_is_named(calls, capsys, tmp_path):
    assert main(["all", "--out", str(tmp_path), "--data", "D", "--quick", "--limit", "2"]) == 1
    assert [given for given, _ in calls] == [
        ["broken", "--out", str(tmp_path)],
        ["fast", "--out", str(tmp_path), "--quick"],
        ["study", "--out", str(tmp_path), "--data", "D"],
    ]
    assert {limit for _, limit in calls} == {120.0}
    shown = capsys.readouterr().err
    assert "broken: exit code 1 after 3 s" in shown
    assert "study: stopped after 3 s, its time limit; --limit" in shown
    assert "3 runs, 0 minutes" in shown


def test_names_are_left_out_where_asked(calls):
    assert main(["all", "--skip", "broken", "--skip", "study"]) == 0
    assert [given for given, _ in calls] == [["fast"]]


def test_a_run_that_hangs_is_stopped():
    ended = run_apart(["--help"], "help", 60.0)
    assert ended.code == 0
    assert not ended.problem
    ended = run_apart(["solver"], "solver", 0.2)
    assert ended.code is None
    assert ended.seconds < 20
