"""One pass of the drift job over a quote log, and Evidently's reports on its sample, in a process that measures itself.

``python -m benchmarks.monitoring.drift_pass LOG PROFILE START REPORT`` prints one JSON object.
:mod:`benchmarks.monitoring.drift_job` runs it, so that the memory of the writer is not counted.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.profile.builder import Profile, stratified_sample
from monitoring.detect.scan import scan
from monitoring.detect.window import LogReader, Window
from monitoring.report import evidently_report
from monitoring.settings import Settings


def measure(log: str, profile: Profile, start: pd.Timestamp, report: Path) -> dict[str, Any]:
    """Seconds, memory and sizes of a day's pass and of Evidently's reports on its sample.

    Args:
        log: Folder of the quote log.
        profile: Training profile of the model.
        start: Start of the day.
        report: File for Evidently's HTML report.
    """
    begin = start.to_pydatetime()
    end = begin + timedelta(days=1)
    before, begun = _peak_kib(), time.perf_counter()
    reader = LogReader(log, schema.QUOTES, Window(begin, end, end))
    found = scan(reader.batches(), profile)
    seconds, peak = time.perf_counter() - begun, _peak_kib()
    settings = Settings()
    sample = stratified_sample(found.sample.frame(), schema.CATEGORY, settings.sample_rows, settings.seed)
    begun = time.perf_counter()
    evidently_report.save_html(evidently_report.drift_report(sample, profile.sample), report)
    text = evidently_report.text_report(sample, profile.sample, settings.text_rows)
    return {
        "rows": reader.intake.kept,
        "seconds": seconds,
        "before_kib": before,
        "peak_kib": peak,
        "sketch_bytes": found.sketches.size,
        "evidently_seconds": time.perf_counter() - begun,
        "sample": len(sample),
        "text": text is not None,
    }


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    log, profile, start, report = sys.argv[1:]
    print(json.dumps(measure(log, Profile.load(Path(profile)), pd.Timestamp(start), Path(report))))
