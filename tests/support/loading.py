"""Helper modules of tests, which stand beside them: tests are no package, so that their files cannot be imported.

chromium = load("console/chromium.py")
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).parents[1]


def load(path: str) -> ModuleType:
    """The module of a file below ``tests``, executed once in a process."""
    name = "loaded_" + path.removesuffix(".py").replace("/", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, TESTS / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
