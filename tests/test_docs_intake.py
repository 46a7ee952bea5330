"""docs/intake-checks.md names tests that exist, for every kind of fault."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "intake-checks.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)
SECTIONS = ("Money", "Times", "Ids", "Text", "Files", "Exports, settings, check", "The ladder", "Runs")


def test_every_row_names_a_test():
    rows = re.findall(r"^\| (?!kind|---)(.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(NAMED) > 60
    assert all(len(re.split(r"(?<!\\) \| ", row)) == 4 for row in rows)
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == list(SECTIONS)


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_every_named_test_exists(file):
    source = (ROOT / file).read_text(encoding="utf-8")
    missing = [name for other, name in NAMED if other == file and f"def {name}(" not in source]
    assert missing == []
