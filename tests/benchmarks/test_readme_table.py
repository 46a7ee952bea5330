"""The README's table is made from results: every figure is found in one, and a missing one is refused."""

import json

import pytest

from benchmarks.readme import BEGIN, END, LINES, README, RESULTS, Line, placed, table
from benchmarks.registry import benchmark_names, study_names
from fairtag.base.errors import DataError, MissingDataError

TWO = (Line("speed", "solver", "{fast:.2f} ms"), Line("share", "solver", "{share[]:.1%} or {kept_1.05:.0f}"))


@pytest.fixture
def results(tmp_path):
    rows = [
        {"metric": "fast", "value": 0.1234},
        {"metric": "share", "value": 0.5, "low": 0.25, "high": 0.75},
        {"metric": "kept_1.05", "value": 3.0},
    ]
    (tmp_path / "solver.json").write_text(json.dumps({"command": "python -m benchmarks solver", "rows": rows}))
    return tmp_path


def test_figures_come_from_the_rows_with_their_interval_and_the_command(results):
    lines = table(results, TWO).splitlines()
    assert lines[2] == "| speed | 0.12 ms | `python -m benchmarks solver` |"
    assert lines[3] == "| share | 50.0% [25.0%, 75.0%] or 3 | `python -m benchmarks solver` |"


def test_a_missing_result_or_row_is_refused_with_what_to_do(results):
    with pytest.raises(MissingDataError, match="python -m benchmarks demand"):
        table(results, (Line("x", "demand", "{y}"),))
    with pytest.raises(MissingDataError, match=r"no row slow; it holds fast"):
        table(results, (Line("x", "solver", "{slow}"),))


def test_only_what_lies_between_the_markers_changes():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert placed(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert placed(placed(text, "new"), "new") == placed(text, "new")
    for broken in ("no marker", f"{END}\n{BEGIN}", f"{text}{text}"):
        with pytest.raises(DataError, match="needs one line"):
            placed(broken, "new")


def test_every_line_names_a_result_that_can_be_made():
    assert {line.result for line in LINES} <= {*benchmark_names(), *study_names()}


def test_every_committed_result_holds_the_rows_of_its_lines():
    assert {line.result for line in LINES} <= {file.stem for file in RESULTS.glob("*.json")}
    assert table(RESULTS, LINES)


def test_the_readme_holds_the_table_of_the_committed_results():
    text = README.read_text(encoding="utf-8")
    assert placed(text, table()) == text
