"""The examples in docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]


def _modules_with_examples() -> list[str]:
    """Dotted names; found by text, so that collecting the tests imports none of the modules."""
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    with_examples = [file.relative_to(ROOT) for file in files if ">>> " in file.read_text(encoding="utf-8")]
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in with_examples]


MODULES = _modules_with_examples()


def test_there_are_examples() -> None:
    assert MODULES


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_print_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an example that writes a file writes it here
    outcome = doctest.testmod(
        importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert outcome.attempted, f"{name}: doctest finds no example, although '>>> ' stands in the file"
    assert not outcome.failed, f"{name}: {outcome.failed} of {outcome.attempted} examples differ; see the output above"
