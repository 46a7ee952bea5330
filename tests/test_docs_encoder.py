"""docs/encoder.md tells the truth: its settings are the code's, its commands parse, its modules are there."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from benchmarks import registry
from fairtag.encoder.config import PRESETS, EncoderConfig, preset

DOC = (Path(__file__).parents[1] / "docs" / "encoder.md").read_text(encoding="utf-8")
SETTING = re.compile(r"^        (\w+): (.*?)(?=^        \w+: |\Z)", re.MULTILINE | re.DOTALL)
FACTS = re.compile(r'\{"[^}]*\}')


def table():
    """The table of settings, from the docstring and the defaults of the class that reads them."""
    texts = EncoderConfig.__doc__.split("Args:\n")[1]
    said = {name: " ".join(text.replace("``", "`").split()) for name, text in SETTING.findall(texts)}
    rows = [
        f"| `{field.name}` | `{json.dumps(field.default)}` | {said[field.name]} |"
        for field in dataclasses.fields(EncoderConfig)
    ]
    return "\n".join(["| setting | default | what it is |", "| --- | --- | --- |", *rows])


def test_the_settings_are_those_of_the_code():
    assert table() in DOC, f"docs/encoder.md: the table of settings must be\n{table()}"


@pytest.mark.parametrize("settings", sorted(set(FACTS.findall(DOC))))
def test_settings_that_it_shows_are_taken(settings):
    for name in PRESETS:
        preset(name, **json.loads(settings))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:python -m benchmarks|fairtag study) ([a-z][a-z-]*)", DOC))))
def test_studies_and_benchmarks_that_it_names_are_there(name):
    assert name in registry.names()
