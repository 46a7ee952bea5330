"""Which benchmarks and studies there are, and how one is run by name.

A benchmark is a module here with ``run() -> Result``; a study is a module of ``benchmarks.studies`` with
``run(data: Path | None) -> Result``. Names are written with hyphens. A module may define ``quick`` with the arguments
of ``run``: the same rows from a fraction of the work.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

from benchmarks.result import Result
from fairtag.base.errors import ConfigError

HERE = Path(__file__).parent
STUDIES = HERE / "studies"


def benchmark_names() -> tuple[str, ...]:
    """Names of the speed comparisons."""
    return _names(HERE)


def study_names() -> tuple[str, ...]:
    """Names of the studies on data."""
    return _names(STUDIES)


def run_named(name: str, data: Path | None = None, *, quick: bool = False) -> Result:
    """Run the benchmark or study of that name.

    Args:
        name: One of :func:`benchmark_names` or :func:`study_names`.
        data: Folder of real data, for the studies that read any.
        quick: Take the module's quick preset where it has one.

    Raises:
        ConfigError: There is no such name.
    """
    path = name.replace("-", "_")
    if name in benchmark_names():
        module, arguments = importlib.import_module(f"benchmarks.{path}"), tuple[Any, ...]()
    elif name in study_names():
        module, arguments = importlib.import_module(f"benchmarks.studies.{path}"), (data,)
    else:
        known = ", ".join((*benchmark_names(), *study_names()))
        raise ConfigError(f"{name}: no such benchmark or study; there are {known}, and all")
    run = getattr(module, "quick", module.run) if quick else module.run
    result: Result = run(*arguments)
    return result


def _names(folder: Path) -> tuple[str, ...]:
    """Modules of a folder that define ``run``; their source is read, so that listing names imports nothing heavy."""
    return tuple(sorted(file.stem.replace("_", "-") for file in folder.glob("*.py") if _runs(file)))


def _runs(file: Path) -> bool:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in body)
