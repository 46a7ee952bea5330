"""The endpoint at saturation for a while: does it fail, does its memory grow? ``FAIRTAG_SOAK_SECONDS`` says how long.

Half of the pages are asked for by known customers, whose prices are locked; every query is new. Memory is resident
memory, sampled between loads of half a minute. The first third fills the caches, which are bounded, and is not judged.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.result import Result, Row
from benchmarks.serving_arms import WORKERS, Arm, endpoint
from benchmarks.serving_load import LoadSpec, run_load
from benchmarks.serving_model import enlarged, small_shop
from benchmarks.serving_peers import PAGE

SECONDS = 60.0
ITEMS = 20_000
CUSTOMERS = 200
IN_FLIGHT = 32
STEP = 15.0  # seconds of one load


def run() -> Result:
    """Load an endpoint until the time is over."""
    seconds = float(os.environ.get("FAIRTAG_SOAK_SECONDS", SECONDS))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = Path(os.environ.get("FAIRTAG_BENCH_WORK", scratch))
        model_folder = enlarged(small_shop(kept / "shop"), kept / f"model folder-{ITEMS}", ITEMS)
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
        f"{ITEMS:,} items, {WORKERS} worker, {IN_FLIGHT} requests in flight, the load generator on the same cores",
        "memory is that of all processes",
    )
    return Result("serving-soak", "python -m benchmarks serving-soak", rows, notes)


def _soak(arm: Arm, seconds: float) -> tuple[list[float], int, int, float]:
    """Memory in MB after each step, pages answered, requests failed, the worst 99th percentile."""
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
