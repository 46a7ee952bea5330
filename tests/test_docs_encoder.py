"""docs/encoder.md tells the truth: its settings are the code's, its commands parse, its modules are there."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import registry
from fairtag.base.settings import leaves, rule_of
from fairtag.encoder.config import PRESETS, EncoderConfig, preset

DOC = (Path(__file__).parents[1] / "docs" / "encoder.md").read_text(encoding="utf-8")
SETTINGS = re.compile(r"'(\{\".*?\})'|`(\{\"[^`]*\})`")


def table():
    """The table of settings, from the models that read them."""
    rows = [
        f"| `{path}` | `{json.dumps(field.default)}` | {rule_of(field)} | {' '.join(field.description.split())} |"
        for path, field in leaves(EncoderConfig)
    ]
    return "\n".join(["| setting | default | may be | what it does |", "| --- | --- | --- | --- |", *rows])


def test_the_settings_are_those_of_the_code():
    assert table() in DOC, f"docs/encoder.md: the table of settings must be\n{table()}"


SHOWN = sorted({quoted or code for quoted, code in SETTINGS.findall(DOC)})


def test_it_shows_settings():
    assert len(SHOWN) > 5


@pytest.mark.parametrize("settings", SHOWN)
def test_settings_that_it_shows_are_taken(settings):
    for name in PRESETS:
        preset(name, settings)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:python -m benchmarks|fairtag study) ([a-z][a-z-]*)", DOC))))
def test_studies_and_benchmarks_that_it_names_are_there(name):
    assert name in registry.names()
