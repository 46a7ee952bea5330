"""The image of the monitors has every library that a job may import, also those that are imported when needed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Imports the modules that are named, without the libraries that the image lacks.
PROGRAM = """
import importlib, sys
missing, names = (line.split() for line in sys.stdin)
class Image:
    def find_spec(self, name, path=None, target=None):
        if name in missing:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)
sys.meta_path.insert(0, Image())
for name in names:
    importlib.import_module(name)
"""


def imported(file: Path, *, later: bool) -> set[str]:
    """Modules of ours that a file imports; with ``later`` those that its functions import, and no others."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    nodes = {id(node): node for each in functions for node in ast.walk(each)} if later else {0: tree}
    walked = nodes.values() if later else ast.walk(tree)
    return {
        node.module
        for node in walked
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("fairtag.", "monitoring."))
    }


def file_of(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def test_every_module_that_a_job_imports_now_or_later_finds_its_libraries() -> None:
    ours = {module for file in (ROOT / "monitoring").rglob("*.py") for module in imported(file, later=False)}
    ours |= imported(file_of("fairtag.model.pricing_model"), later=True)  # which reads parts of a model when asked for
    assert "fairtag.search.retrieval" in ours, "how the drift job reads queries"
    pinned = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements/monitor.txt").read_text(), re.MULTILINE)
    held = {re.sub(r"[-_.]+", "-", name) for name in pinned}
    missing = {
        name
        for name, distributions in packages_distributions().items()
        if not any(re.sub(r"[-_.]+", "-", each).lower() in {*held, "fairtag"} for each in distributions)
    }
    assert "torch" in missing
    lines = f"{' '.join(sorted(missing))}\n{' '.join(sorted(ours))}\n"
    line = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(line, input=lines, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
