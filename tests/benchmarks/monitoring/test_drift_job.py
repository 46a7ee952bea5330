"""The benchmark's day of quotes is what it says: all rows, over the whole day, each quote with an id of its own."""

import pandas as pd

from benchmarks.monitoring import drift_job
from benchmarks.monitoring.quote_stream import QuoteStream
from fairtag.base import schema


def test_a_day_is_written_in_files_with_distinct_quotes_over_the_day(monkeypatch, tmp_path):
    monkeypatch.setattr(drift_job, "FILE_PAGES", 50)
    drift_job.write_day(QuoteStream(items=60, users=400), tmp_path / "quotes", 1_200)
    parts = [pd.read_parquet(file) for file in sorted((tmp_path / "quotes").glob("*.parquet"))]
    assert [len(part) for part in parts] == [400, 400, 400]
    day = pd.concat(parts)
    assert day[schema.QUOTE_ID].nunique() == 150
    hours = (day[schema.TS] - drift_job.START).dt.total_seconds() / 3600
    assert 0 <= hours.min() < 8
    assert 16 < hours.max() < 24
