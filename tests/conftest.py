"""For all tests: their order, what is made once for all processes, and the plugins with the fixtures they share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

pytest_plugins = ["support.shop", "support.stand_ins", "support.databases", "support.object_store", "support.roads"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Modules with slow tests go first where several processes share the work: what starts last should be short."""
    if config.getoption("dist", "no") != "no":
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder that all processes of a run share: ``made_once("shop", make)`` calls ``make(folder)`` once.

    The first test process that asks makes it, the others wait for it. Nobody writes into the folder afterwards: a test
    that changes something copies it first.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each worker has a folder of its own below the run's

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, made = root / "made_once" / name, root / "made_once" / f"{name}.made"
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that died while it made it
                folder.mkdir()
                make(folder)
                made.touch()
        return folder

    return once
