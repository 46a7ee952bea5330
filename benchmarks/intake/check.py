"""Time and peak memory of ``fairtag check`` for every reader of data sets, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.result import Result, Row
from fairtag.base.tables import Tables, write_tables
from fairtag.data.feed_map import PACKAGED
from fairtag.simulator.simulation import ShopSize, simulate_shop

STUDIES = ("complete-journey", "home-depot", "online-retail", "dominicks")
SIZE = ShopSize(items=3_000, users=5_000, impressions=200_000)  # as the demo's shop
MEGABYTE = 1 << 10  # of the kilobytes in which Linux counts memory


def run(data: Path, exports: Path | None = None) -> Result:
    """Check the simulated shop as CSV and as parquet, every study's data set, and exports of shop systems.

    Args:
        data: Folder of the real data sets.
        exports: Folder with one folder of exports for each shop system, by the name of its reader.
    """
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shop = simulate_shop(SIZE).tables
        write_tables(shop, folder / "parquet")
        _write_csv(shop, folder / "csv")
        for name in ("csv", "parquet"):
            rows += _measured(name, folder / name)
    for name in STUDIES:
        rows += _measured(name, data)
    for name in PACKAGED:
        if exports is not None and (exports / name).is_dir():
            rows += _measured(name, exports / name)
    notes = (
        "Each check is a process of its own, its start and imports included. Processor seconds are what other work on "
        "the machine does not change; the seconds of the clock are those of a machine with other work on it.",
        "A data set without items is refused, and that is the answer in these seconds.",
    )
    return Result(tuple(rows), notes)


def _measured(name: str, folder: Path) -> list[Row]:
    line = [sys.executable, "-m", "pipelines.cli", "check", str(folder), "--dataset", name, "--json"]
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        process = subprocess.Popen(line, stdout=said)  # noqa: S603 - our own command
        _, _, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = 0  # it was waited for
        said.seek(0)
        report: dict[str, Any] = json.load(said)
    key = name.replace("-", "_")
    return [
        Row(f"{key}_rows", sum(report["rows"].values()), unit="rows"),
        Row(f"{key}_cpu_seconds", used.ru_utime + used.ru_stime, unit="s of processor"),
        Row(f"{key}_seconds", seconds, unit="s"),
        Row(f"{key}_memory_mb", used.ru_maxrss / MEGABYTE, unit="MB"),
    ]


def _write_csv(shop: Tables, folder: Path) -> None:
    folder.mkdir()
    for name, frame in shop.frames().items():
        lists = {
            str(column): frame[column].map(lambda cell: json.dumps(list(cell)))
            for column in frame
            if len(frame) and hasattr(frame[column].iloc[0], "__len__") and not isinstance(frame[column].iloc[0], str)
        }
        frame.assign(**lists).to_csv(folder / f"{name}.csv", index=False)
