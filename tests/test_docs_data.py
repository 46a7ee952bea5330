"""docs/data.md tells the truth: its tables are the contract's, its data sets are those that can be loaded."""

import re
from pathlib import Path

import pytest

from fairtag.base import schema
from fairtag.data import NAMES

DOC = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")


def section(table):
    found = re.search(rf"^### {table.name}( \(optional.*?\))?\n(.*?)(?=^##|\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found, f"docs/data.md has no section {table.name}"
    return found[1], found[2]


def rules(column):
    bounds = ((column.above, ">"), (column.minimum, ">="), (column.maximum, "<="))
    flags = [(not column.required, "column may be absent"), (column.nullable, "may be empty")]
    return [text for holds, text in flags if holds] + [f"{sign} {b:g}" for b, sign in bounds if b is not None]


@pytest.mark.parametrize("table", [*schema.TABLES, schema.OUTCOMES], ids=lambda table: table.name)
def test_every_column_stands_there_with_its_rules_and_no_other_does(table):
    optional, text = section(table)
    assert bool(optional) is not table.required
    rows = {
        cells[0].strip("`"): cells
        for cells in (re.split(r" *\| *", row)[1:-1] for row in re.findall(r"^\| `.*$", text, re.M))
    }
    assert list(rows) == list(table.names)
    for column in table.columns:
        assert rows[column.name][3] == ", ".join(rules(column)), column.name
        assert column.unit in rows[column.name][2], column.name
    assert all(f"`{name}`" in text.split("\n\n")[0] + text.split("\n\n")[1] for name in table.key)


@pytest.mark.parametrize("name", NAMES)
def test_every_data_set_is_described(name):
    assert f"| `{name}` |" in DOC
