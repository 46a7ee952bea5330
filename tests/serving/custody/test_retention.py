"""What is too old goes from the quote log, and nothing else: also where a job is killed in the middle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.monitoring.quote_stream import QuoteStream
from fairtag.base import schema
from fairtag.page.quote_rows import SCHEMA
from serving.custody import retention
from serving.custody.retention import apply_retention
from serving.settings import RetentionSettings

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
KEPT = RetentionSettings(query_days=30, quote_days=400)


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Quotes with queries, of one day."""
    frame = QuoteStream(items=120, users=20).draw(pd.Timestamp("2026-11-29", tz="UTC"), 1.0, 20)[0]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = [
        table[name].cast(SCHEMA.field(name).type) if name in table.column_names else None for name in SCHEMA.names
    ]
    made = [
        pa.nulls(table.num_rows, SCHEMA.field(n).type) if c is None else c
        for n, c in zip(SCHEMA.names, columns, strict=True)
    ]
    return pa.table(dict(zip(SCHEMA.names, made, strict=True)), SCHEMA)


@pytest.fixture
def log(tmp_path: Path, rows: pa.Table) -> Callable[..., Path]:
    """Writes a file of the log whose quotes are some days old; the file."""

    def write(days: float, name: str = "a") -> Path:
        time = NOW - timedelta(days=days)
        times = pa.array([time] * rows.num_rows, SCHEMA.field(schema.TS).type)
        table = rows.set_column(SCHEMA.names.index(schema.TS), SCHEMA.field(schema.TS), times)
        file = tmp_path / f"{time:%Y}" / f"{time:%m-%d}" / f"quotes-{time:%Y%m%dT%H%M%S}-{name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, file)
        return file

    return write


def queries(file: Path) -> list[str]:
    return [text for text in pq.read_table(file)[schema.QUERY].to_pylist() if text is not None]


def test_first_what_customers_typed_goes_and_later_the_quotes(
    log: Callable[..., Path], tmp_path: Path, rows: pa.Table
) -> None:
    fresh, middle, old = log(29), log(31), log(401)
    assert queries(fresh)
    report = apply_retention(str(tmp_path), KEPT, NOW, dry_run=True)
    assert (report.queries > 0, report.quotes) == (True, rows.num_rows)
    assert old.is_file(), "a dry run removes nothing"
    assert queries(middle) == queries(fresh)
    assert apply_retention(str(tmp_path), KEPT, NOW) == report
    assert not old.exists()
    assert queries(middle) == []
    assert queries(fresh)
    was, is_now = rows.drop([schema.QUERY, schema.TS]), pq.read_table(middle).drop([schema.QUERY, schema.TS])
    assert is_now.equals(was), "the rest of the quote stays"
    assert pq.read_schema(middle).equals(SCHEMA)


def test_a_second_look_reads_and_changes_nothing(
    log: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle = log(31)
    apply_retention(str(tmp_path), KEPT, NOW)
    before = middle.stat().st_mtime_ns
    monkeypatch.setattr(retention.ParquetFiles, "read", lambda *_: pytest.fail("the footer says that it is clean"))
    report = apply_retention(str(tmp_path), KEPT, NOW)
    assert (report.files, report.queries, report.quotes, report.unreadable) == (1, 0, 0, [])
    assert middle.stat().st_mtime_ns == before


def test_a_job_that_is_killed_spoils_nothing_and_the_next_one_goes_on(
    log: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [log(31, name) for name in "abc"]
    before = [pq.read_table(file) for file in files]
    real, written = pq.write_table, []

    def dies(table: pa.Table, stream: Any, **options: Any) -> None:
        if len(written) == 1:
            stream.write(b"half a file")
            stream.flush()
            raise KeyboardInterrupt
        written.append(table)
        real(table, stream, **options)

    monkeypatch.setattr("serving.stores.parquet_files.pq.write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        apply_retention(str(tmp_path), KEPT, NOW)
    monkeypatch.undo()
    whole = [pq.read_table(file) for file in files]
    assert sum(table.equals(old) for table, old in zip(whole, before, strict=True)) == 2, (
        "one is done, two are as before"
    )
    apply_retention(str(tmp_path), KEPT, NOW)
    assert [queries(file) for file in files] == [[], [], []]


def test_a_half_written_file_of_a_dead_process_goes_and_one_in_the_making_stays(
    log: Callable[..., Path], tmp_path: Path
) -> None:
    import os

    folder = log(31).parent
    dead, living = folder / ".quotes-x.parquet.17.tmp", folder / ".quotes-y.parquet.18.tmp"
    for file, age in ((dead, 7_200), (living, 60)):
        file.write_bytes(b"half")
        os.utime(file, (NOW.timestamp() - age,) * 2)
    apply_retention(str(tmp_path), KEPT, NOW)
    assert (dead.exists(), living.exists()) == (False, True)


def test_zero_days_keep_for_ever_and_a_broken_file_is_said_and_left(log: Callable[..., Path], tmp_path: Path) -> None:
    old = log(500)
    apply_retention(str(tmp_path), RetentionSettings(query_days=0, quote_days=0), NOW)
    assert queries(old)
    broken = log(499)
    broken.write_bytes(b"no parquet")
    report = apply_retention(str(tmp_path), KEPT, NOW)
    assert len(report.unreadable) == 1
    assert broken.name in str(report)
    assert (old.exists(), broken.exists()) == (False, True)


def test_a_running_endpoint_looks_through_its_own_log(
    serve: Callable[..., Any], log: Callable[..., Path], tmp_path: Path, until: Callable[..., None], monkeypatch: Any
) -> None:
    days = (datetime.now(UTC) - NOW).total_seconds() / 86_400
    middle, old = log(31 - days), log(401 - days)
    monkeypatch.setattr("serving.server.FIRST_RETENTION_SECONDS", 0.01)
    with serve(quote_log=str(tmp_path), retention=RetentionSettings(check_hours=1)) as running:
        until(lambda: not old.exists() and queries(middle) == [])
        (family,) = running.assembly.metrics.retained.collect()
    assert {each.labels["what"] for each in family.samples if each.value > 0} == {"queries", "quotes"}


def test_an_endpoint_leaves_it_to_a_job_where_it_is_told_to(
    serve: Callable[..., Any], log: Callable[..., Path], tmp_path: Path, monkeypatch: Any
) -> None:
    old = log(4_000)
    monkeypatch.setattr("serving.server.FIRST_RETENTION_SECONDS", 0.0)
    with serve(quote_log=str(tmp_path), retention=RetentionSettings(check_hours=0)) as running:
        running.page()
    assert old.exists()
