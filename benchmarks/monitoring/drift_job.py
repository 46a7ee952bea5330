"""Time and memory of the drift job over a day of ten million quotes, and Evidently's time on its sample.

The day is written to disk as the endpoint writes it and read back by the job's own reader. A fresh process reads it, so
that its peak memory is that of the pass alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from benchmarks.monitoring.quote_stream import QuoteStream
from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.profile.builder import build_profile

ROWS = 10_000_000
MICROSECOND = pd.Timedelta(microseconds=1)  # resolution of times in the files
FILE_PAGES = 12_500  # 100,000 rows a file
START = pd.Timestamp("2026-02-09", tz="UTC")


def run(rows: int = ROWS) -> Result:
    """Write a day of ``rows`` quotes, read it once, then make Evidently's reports on its sample."""
    stream = QuoteStream(items=2_000, categories=20, users=50_000)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        training, _ = stream.draw(START - pd.Timedelta(days=28), 24 * 28, 25_000)
        build_profile(pd.DataFrame(), training).save(root / "profile")
        begun = time.perf_counter()
        write_day(stream, root / "quotes", rows)
        written = time.perf_counter() - begun
        arguments = [str(root / "quotes"), str(root / "profile"), START.isoformat(), str(root / "evidently.html")]
        child = subprocess.run(  # noqa: S603  # this interpreter and a module of this package
            [sys.executable, "-W", "ignore", "-m", "benchmarks.monitoring.drift_pass", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        figures = json.loads(child.stdout.strip().splitlines()[-1])
    peak = figures["peak_kib"] / 1024
    return Result(
        (
            Row("quotes", figures["rows"], unit="rows in a day"),
            Row("sums_and_sketches_rows_per_second", figures["rows"] / figures["seconds"], unit="rows/s"),
            Row("sums_and_sketches_seconds", figures["seconds"], unit="s"),
            Row("peak_memory", peak, unit="MiB, whole process", reference="bounded: batch + 8 bytes a row"),
            Row("memory_of_the_pass", peak - figures["before_kib"] / 1024, unit="MiB over the start"),
            Row("sketches", figures["sketch_bytes"] / 1024, unit="KiB on disk"),
            Row("evidently_sample_seconds", figures["evidently_seconds"], unit="s", reference="< 60"),
            Row("evidently_sample_rows", figures["sample"], unit="rows"),
        ),
        (
            "One process, one thread. A pass reads Parquet, checks the schema, finds all duplicates, sums every "
            "measure by customer bucket, fills the sketches and draws the sample.",
            f"Writing the day took {written:.0f} s and is not part of the figures.",
        ),
    )


def quick() -> Result:
    """The same rows from a twentieth of the quotes."""
    return run(ROWS // 20)


def write_day(stream: QuoteStream, folder: Path, rows: int) -> None:
    """Write files of 100,000 rows, spread over a day, with one file in memory at a time.

    One stretch of quotes is drawn and repeated with other times and quote ids.
    """
    folder.mkdir(parents=True)
    files = max(1, rows // (FILE_PAGES * stream.page_size))
    quotes, _ = stream.draw(START, 24 / files, FILE_PAGES)
    for k in range(files):
        moved = quotes.copy()
        moved[schema.TS] = quotes[schema.TS] + pd.Timedelta(days=1) // files * k // MICROSECOND * MICROSECOND
        moved[schema.QUOTE_ID] = f"{k}-" + quotes[schema.QUOTE_ID]
        moved.to_parquet(folder / f"quotes-{k:05d}.parquet", index=False, coerce_timestamps="us", compression="zstd")
