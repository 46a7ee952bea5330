"""docs/console.md: its settings are those of the code, and every page of the menu stands there."""

from __future__ import annotations

from pathlib import Path

from console.pages import PAGES
from console.settings import ConsoleSettings, settings_table

DOC = (Path(__file__).resolve().parents[2] / "docs" / "console.md").read_text(encoding="utf-8")


def test_the_settings_are_those_of_the_code():
    shown = DOC.split("<!-- settings: begin -->\n")[1].split("<!-- settings: end -->")[0]
    assert shown.strip() == settings_table().strip()
    assert all(f"FAIRTAG_CONSOLE_{name.upper()}" in shown for name in ConsoleSettings.model_fields)


def test_every_page_of_the_menu_stands_there():
    assert [page.title for page in PAGES if f"| {page.title} |" not in DOC] == []
