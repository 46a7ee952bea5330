"""The runbook table and docs/operations.md: a section for each check, with everything a person on call needs."""

from __future__ import annotations

import re
from pathlib import Path

from monitoring.runbook import check_names, runbook_entry

RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"


PARTS = ("Meaning", "Likely cause", "First action", "Fix", "Roll back", "Wake")


def sections():
    """Heading -> text of each section of the alerts."""
    alerts = re.split(r"^## The alerts$", RUNBOOK.read_text(), flags=re.MULTILINE)[1]
    alerts = re.split(r"^## ", alerts, flags=re.MULTILINE)[0]
    return dict(re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", alerts, flags=re.MULTILINE | re.DOTALL))


def test_every_section_has_its_six_parts_in_order_and_a_command():
    found = sections()
    assert len(found) >= len({runbook_entry(check).section for check in check_names()}) + 3  # and the endpoint's own
    for heading, text in found.items():
        places = [text.find(f"**{part}.**") for part in PARTS]
        assert min(places) >= 0, f"{heading} lacks {PARTS[places.index(-1)]}"
        assert places == sorted(places), heading
        assert "```sh" in text, f"{heading} has no command"


def test_every_check_is_known_with_or_without_its_attribute_and_is_named_in_its_section():
    assert runbook_entry("price_gap:income x age").section == "price-gap"
    found = sections()
    for check in check_names():
        entry = runbook_entry(check)
        assert entry.title
        assert f"`{check}`" in found[entry.section], f"{entry.section} does not name {check}"


def test_a_heading_speaks_of_the_direction():
    known = runbook_entry("price_level")
    headings = [known.heading(change) for change in (0.1, -0.1, None)]
    assert headings == [f"The same items cost {word} than in training" for word in ("more", "less", "more or less")]
    assert not any("|" in runbook_entry(check).heading() for check in check_names())
