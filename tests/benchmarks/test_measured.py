"""The measured tables are made from results: every figure is found in one, and a missing one is refused."""

import json

import pytest
from typer.testing import CliRunner

from benchmarks import measured
from benchmarks.claims import GROUPS, HEADLINES, Claim, Group
from benchmarks.measured import BEGIN, END, PAGE, README, RESULTS, app, headline_table, page, replace_table
from benchmarks.registry import names
from fairtag.base.errors import DataError, MissingDataError

TWO = (
    Claim("speed", "{count:.0f} pages", "solver", "{fast:.2f} ms", "Adam {slow:.0f} ms"),
    Claim("share", "shop", "solver", "{share[]:.1%} or {kept_1.05:.0f}", "1"),
)
EVERY = (*HEADLINES, *(claim for group in GROUPS for claim in group.claims))


@pytest.fixture
def results(tmp_path):
    rows = [
        {"metric": "fast", "value": 0.1234},
        {"metric": "slow", "value": 12.0},
        {"metric": "count", "value": 7.0},
        {"metric": "share", "value": 0.5, "low": 0.25, "high": 0.75},
        {"metric": "kept_1.05", "value": 3.0},
    ]
    (tmp_path / "solver.json").write_text(json.dumps({"command": "python -m benchmarks solver", "rows": rows}))
    return tmp_path


def test_figures_come_from_the_rows_with_their_interval(results):
    lines = headline_table(results, TWO).splitlines()
    assert lines[2] == "| speed (7 pages) | 0.12 ms | Adam 12 ms |"
    assert lines[3] == "| share (shop) | 50.0 % [25.0 %, 75.0 %] or 3 | 1 |"


def test_the_page_has_a_table_with_commands_under_the_reading_of_each_group(results):
    text = page(results, (Group("Solver", "Read it so.", TWO),))
    assert text.startswith("# Benchmarks\n")
    assert "## Solver\n\nRead it so.\n\n| measured | on | figure | compared with | command |\n" in text
    assert "| speed | 7 pages | 0.12 ms | Adam 12 ms | `python -m benchmarks solver` |\n" in text


def test_a_missing_result_or_row_is_refused_with_what_to_do(results):
    with pytest.raises(MissingDataError, match="python -m benchmarks demand"):
        headline_table(results, (Claim("x", "y", "demand", "{z}", ""),))
    for texts in (("{gone}", "1", "1"), ("y", "{gone}", "1"), ("y", "1", "{gone}")):
        data, figure, against = texts
        with pytest.raises(MissingDataError, match=r"no row gone; it holds fast"):
            headline_table(results, (Claim("x", data, "solver", figure, against),))


def test_only_what_lies_between_the_markers_changes():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replace_table(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_table(replace_table(text, "new"), "new") == replace_table(text, "new")
    for broken in ("no marker", f"{END}\n{BEGIN}", f"{text}{text}"):
        with pytest.raises(DataError, match="needs exactly one line"):
            replace_table(broken, "new")


def test_every_claim_names_a_result_that_can_be_made_and_every_result_is_claimed():
    assert {claim.result for claim in EVERY} <= set(names())
    assert {claim.result for claim in EVERY} == {file.stem for file in RESULTS.glob("*.json")}


def test_the_headlines_are_ten_claims_of_the_page():
    assert len(HEADLINES) == 10
    assert set(HEADLINES) <= {claim for group in GROUPS for claim in group.claims}


def test_every_line_can_be_read_by_itself():
    for claim in EVERY:
        assert not claim.what[0].islower(), claim.what
        assert "the same" not in f"{claim.what} {claim.figure}", claim.what
        assert "|" not in "".join((claim.what, claim.data, claim.figure, claim.against)), claim.what
        assert claim.data, claim.what
        assert claim.against, claim.what


def test_the_documents_hold_the_tables_of_the_committed_results():
    text = README.read_text(encoding="utf-8")
    assert replace_table(text, headline_table()) == text
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_document_that_is_out_of_date_is_named_by_check_and_mended_without_it(monkeypatch, tmp_path):
    readme, benchmarks = tmp_path / "README.md", tmp_path / "benchmarks.md"
    readme.write_text(f"{BEGIN}\n{headline_table()}\n{END}\n", encoding="utf-8")
    monkeypatch.setattr(measured, "ROOT", tmp_path)
    monkeypatch.setattr(measured, "README", readme)
    monkeypatch.setattr(measured, "PAGE", benchmarks)
    found = CliRunner().invoke(app, ["--check"])
    assert found.exit_code == 1
    assert found.output.startswith("benchmarks.md: differs")
    assert not benchmarks.exists()
    assert CliRunner().invoke(app, []).exit_code == 0
    assert CliRunner().invoke(app, ["--check"]).exit_code == 0
