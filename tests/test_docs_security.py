"""docs/security.md tells of every finding what holds it: each test that it names exists, and no row is without one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith(("| finding", "| signed", "| ---"))
]
DEFINED = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*(?:async )?def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_finding_names_tests_that_exist(row):
    named = re.findall(r"`(test_\w+)`", row)
    assert named, "a finding without a test"
    assert sorted(set(named) - DEFINED) == []


def test_every_line_of_the_audit_stands_there():
    assert [row.split("|")[1].strip()[:2] for row in ROWS[:8]] == [f"{number}." for number in range(1, 9)]
    assert len(ROWS) >= 24
