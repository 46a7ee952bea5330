"""A result is written without empty fields and shown with its interval and its notes."""

import json

import pytest
from rich.console import Console

from benchmarks.result import Result, Row, share_row


def test_the_file_holds_only_the_fields_a_row_has(tmp_path):
    rows = (Row("a", 1.0), Row("b", 2.0, 1.5, 2.5, "s", "at most 3"))
    file = Result(rows, ("note",), "name", "command").save(tmp_path / "r.json")
    assert json.loads(file.read_text()) == {
        "name": "name",
        "command": "command",
        "rows": [
            {"metric": "a", "value": 1.0},
            {"metric": "b", "value": 2.0, "low": 1.5, "high": 2.5, "unit": "s", "reference": "at most 3"},
        ],
        "notes": ["note"],
    }


def test_a_long_name_wraps_instead_of_widening_the_table():
    console = Console(width=80, record=True)
    Result((Row("a_very_long_name_" * 5, 1.0, 0.5, 1.5, "share", "bound"),), (), "n", "c").show(console)
    assert max(map(len, console.export_text().splitlines())) <= 80


def test_a_share_has_its_wilson_interval():
    row = share_row("x", 0, 200)
    assert (row.value, row.low) == (0.0, 0.0)
    assert row.high == pytest.approx(0.01885, abs=1e-5)
    assert share_row("x", 1, 2).low == pytest.approx(0.0945, abs=1e-3)
