"""Settings: read from the environment and a file, refused by name, and documented where people look."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairtag.base.errors import ConfigError
from monitoring.__main__ import main
from monitoring.runbook import check_names
from monitoring.settings import DRIFT, PERFORMANCE, Settings, Tolerance, read_settings, settings_table

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.mark.parametrize(("warn", "urgent"), [(-0.1, 1), (0.2, 0.1)])
def test_a_tolerance_that_is_urgent_before_it_warns_is_refused(warn, urgent):
    with pytest.raises(ValueError, match="warn <= urgent"):
        Tolerance(warn, urgent)


def test_the_file_goes_before_the_environment_and_one_tolerance_leaves_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRTAG_MONITORING_URGENT_DAYS", "500")
    monkeypatch.setenv("FAIRTAG_MONITORING_MIN_PAGES", "7")
    (tmp_path / "settings.yaml").write_text("min_pages: 9\ndrift: {price_level: [0.02, 0.04]}\n")
    settings = read_settings(tmp_path / "settings.yaml")
    assert (settings.urgent_days, settings.min_pages) == (500.0, 9)
    assert settings.tolerance("price_level") == Tolerance(0.02, 0.04)
    assert settings.tolerance("margin") == Tolerance(*DRIFT["margin"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("page_days: 3", r'page_days is not a setting; it is urgent_days now: write {"urgent_days": 3}'),
        ("min_pages: 0", "min_pages"),
        ("drift: {weather: [0.1, 0.2]}", "there is no check weather"),
        ("performance: {revenue: [0.3, 0.2]}", "revenue: a tolerance needs"),
        ("[1, 2]", "mapping"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_settings(tmp_path / "settings.yaml")


def test_the_documentation_holds_the_table_of_the_settings(capsys):
    assert main(["settings"]) == 0
    assert capsys.readouterr().out.strip() == settings_table()
    assert settings_table() in OPERATIONS.read_text(), "copy the output of `python -m monitoring settings`"
    assert all(field.description for field in Settings.model_fields.values())


def test_every_tolerance_is_of_a_check_that_exists():
    assert {*DRIFT, *PERFORMANCE} <= set(check_names())
