"""The endpoint under full load for a while: do requests fail, does its memory grow?

Half of the pages are for customers with an id, whose prices are locked; every query is new. Memory is sampled between
loads of 15 seconds. The first third of the time fills the caches, which are bounded, and does not count.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.peers.server import PAGE
from benchmarks.result import Result, Row
from benchmarks.serving.catalogue import enlarge_catalogue, small_shop
from benchmarks.serving.load import LoadSpec, run_load
from benchmarks.serving.servers import WORKERS, Arm, endpoint

SECONDS = 60.0
ITEMS = 20_000
CUSTOMERS = 200
IN_FLIGHT = 32
STEP = 15.0  # seconds of one load


def run(seconds: float = SECONDS, work: Path | None = None) -> Result:
    """Load an endpoint for some seconds.

    Args:
        seconds: How long the load lasts.
        work: Folder that keeps the fitted shop and its catalogue for the next run.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = work or folder
        model_folder = enlarge_catalogue(small_shop(kept / "shop"), kept / f"model-{ITEMS}", ITEMS)
        with endpoint(model_folder, folder) as arm:
            memory, answered, failed, slowest = _soak(arm, seconds)
    third = max(1, len(memory) // 3)
    settled, last = median(memory[third : 2 * third] or memory), median(memory[-third:])
    rows = (
        Row("seconds", seconds, unit="s"),
        Row("pages", answered, unit="pages"),
        Row("failed", failed, unit="requests", reference=0.0),
        Row("slowest_p99_ms", slowest, unit="ms"),
        Row("memory_settled_mb", settled, unit="MB"),
        Row("memory_last_mb", last, unit="MB"),
        Row("memory_growth", last / settled - 1.0, reference="at most 0.05"),
    )
    notes = (
        f"{ITEMS:,} items, {WORKERS} worker process, {IN_FLIGHT} requests in flight, load generator on the same cores.",
        "Memory is that of all processes.",
    )
    return Result(rows, notes)


def _soak(arm: Arm, seconds: float) -> tuple[list[float], int, int, float]:
    """Memory in MB after each step, pages answered, requests failed, worst 99th percentile in ms."""
    memory: list[float] = []
    answered, failed, slowest = 0, 0, 0.0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        bodies = [_body(answered + failed + number) for number in range(10_000)]
        load = run_load(LoadSpec(arm.url, bodies, IN_FLIGHT, min(STEP, seconds / 6), warm_seconds=0.0))
        answered, failed = answered + load.requests - load.failed, failed + load.failed
        slowest = max(slowest, load.p99)
        memory.append(arm.memory_mb())
    return memory, answered, failed, slowest


def _body(number: int) -> str:
    page: dict[str, object] = {"query": f"oak lamp {number}", "jurisdiction": "DE", "page_size": PAGE}
    if number % 2:
        page["user_id"] = f"customer-{number % CUSTOMERS}"
    return json.dumps({"instances": [page]})
