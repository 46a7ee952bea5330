"""Finds a study by its name and runs it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from fairtag.base.errors import ConfigError


def study_names() -> list[str]:
    """The studies there are, as the command line spells them."""
    package = import_module("benchmarks.studies")
    return sorted(module.name.replace("_", "-") for module in iter_modules(package.__path__))


def run_study(name: str, data: Path | None) -> Any:
    """The result of a study, a :class:`benchmarks.result.Result`.

    Raises:
        ConfigError: There is no study of that name.
    """
    if name.replace("_", "-") not in (names := study_names()):
        raise ConfigError(f"study {name!r} is unknown; there are {', '.join(names)}")
    return import_module(f"benchmarks.studies.{name.replace('-', '_')}").run(data)
