"""The trigger's ledger: it only grows, shows what was altered, and survives a crash."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fairtag.base.errors import DataError
from monitoring.trigger.ledger import Entry, Ledger

NOW = datetime(2026, 2, 10, 12, tzinfo=UTC)


def test_the_ledger_shows_when_it_was_altered(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for k in range(3):
        ledger.append(Entry(NOW.isoformat(), "skipped", f"r{k}", "why"))
    lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
    for altered in (
        [lines[0], lines[1].replace("why", "because"), lines[2]],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0], "{", lines[2]],
    ):
        (tmp_path / "ledger.jsonl").write_text("\n".join(altered) + "\n")
        with pytest.raises(DataError, match="altered"):
            ledger.entries()


def test_a_line_that_a_crash_cut_off_is_dropped_and_the_ledger_goes_on(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(Entry(NOW.isoformat(), "due", "r0", "why"))
    with (tmp_path / "ledger.jsonl").open("a") as stream:
        stream.write('{"at": "2026')
    assert len(ledger.entries()) == 1
    ledger.append(Entry(NOW.isoformat(), "started", "r0", "why"))
    assert [entry.event for entry in ledger.entries()] == ["due", "started"]
