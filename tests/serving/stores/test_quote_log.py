from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.tables import coerce
from fairtag.page.quote_rows import SCHEMA, quote_table
from serving.stores.journal import Segment
from serving.stores.quote_log import FILES_WAITING, QuoteLog


def record(number: int, items: int = 3) -> dict[str, Any]:
    per_item: dict[str, Any] = {
        schema.ITEM_ID: [f"item-{i}" for i in range(items)],
        schema.CATEGORY: ["tools"] * items,
        schema.RANK: list(range(1, items + 1)),
        schema.REASONS: [["ANCHOR", "PRICE_ENDING"]] * items,
        schema.PERSONALISED: [True] * items,
    }
    for name in ("similarity", "purchase_probability", "propensity"):
        per_item[name] = [0.5] * items
    for column in schema.QUOTES.columns:
        if column.name.endswith("_minor"):
            per_item[column.name] = [1_000] * items
    page = {
        schema.QUOTE_ID: f"q{number}",
        schema.TS: 1_700_000_000_000_000 + number,
        schema.MODEL_VERSION: "m1",
        schema.TASK: "search",
        schema.USER_KEY: None,
        schema.QUERY: "größe 42",
        schema.JURISDICTION: None,
        schema.DISCLOSURE: None,
        schema.DEGRADED: None,
        schema.CURRENCY: "EUR",
        schema.EPOCH: 20_000,
        schema.FEATURE_AGE_SECONDS: None,
    }
    return {**page, **per_item}


def read(folder: Path) -> pd.DataFrame:
    files = sorted(folder.rglob("*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files]) if files else pd.DataFrame(columns=SCHEMA.names)


def test_a_row_is_what_the_contract_says() -> None:
    frame = coerce(quote_table([record(1), record(2, items=1)]).to_pandas(), schema.QUOTES)
    assert list(frame.columns) == list(schema.QUOTES.names)
    assert frame[schema.QUOTE_ID].tolist() == ["q1", "q1", "q1", "q2"]
    assert frame[schema.TS].iat[0] == pd.Timestamp(1_700_000_000_000_001, unit="us", tz="UTC")
    assert frame[schema.REASONS].iat[0] == ["ANCHOR", "PRICE_ENDING"]


def test_everything_put_is_there_after_stop(tmp_path: Path) -> None:
    log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
    log.start()
    for number in range(50):
        assert log.put(record(number))
    assert log.stop()
    assert set(read(tmp_path / "log")[schema.QUOTE_ID]) == {f"q{n}" for n in range(50)}
    assert not list((tmp_path / "journal").iterdir())


def test_a_file_closes_at_its_size(tmp_path: Path) -> None:
    log = QuoteLog(str(tmp_path), rows=6)
    log.start()
    for number in range(10):
        log.put(record(number))
    log.stop()
    assert [len(pd.read_parquet(file)) for file in tmp_path.rglob("*.parquet")] == [6] * 5


def test_a_file_closes_at_its_age(tmp_path: Path, until: Callable[..., None]) -> None:
    log = QuoteLog(str(tmp_path), seconds=0.05)
    log.start()
    log.put(record(1))
    until(lambda: log.counts.files == 1)
    log.put(record(2))
    until(lambda: log.counts.files == 2)
    log.stop()


def test_any_file_system_will_do() -> None:
    log = QuoteLog("memory://quotes-test/log")
    log.start()
    log.put(record(1))
    log.stop()
    (file,) = fsspec.filesystem("memory").find("/quotes-test/log")
    with fsspec.open(f"memory://{file}") as stream:
        assert len(pd.read_parquet(stream)) == 3


def test_a_full_queue_drops_and_counts(tmp_path: Path) -> None:
    log = QuoteLog(str(tmp_path), capacity=2)
    kept = [log.put(record(number)) for number in range(5)]  # nobody writes yet
    assert kept == [True, True, False, False, False]
    assert (log.counts.pages, log.counts.dropped_pages) == (2, 3)
    log.start()
    assert log.stop()
    assert set(read(tmp_path)[schema.QUOTE_ID]) == {"q0", "q1"}


def test_a_disk_that_is_full_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Callable[..., None]
) -> None:
    full = threading.Event()
    full.set()
    write = QuoteLog._write

    def refusing(self: QuoteLog, name: str, records: Any) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device")
        write(self, name, records)

    monkeypatch.setattr(QuoteLog, "_write", refusing)
    monkeypatch.setattr("serving.stores.quote_log.RETRY_SECONDS", 0.02)
    log = QuoteLog(str(tmp_path), seconds=0.02)
    log.start()
    with caplog.at_level(logging.WARNING):
        for number in range(20):
            log.put(record(number))
        until(lambda: log.counts.failures >= 2)
    full.clear()
    until(lambda: log.counts.rows == 60)
    assert log.stop()
    assert len(read(tmp_path)) == 60


def test_a_disk_that_stays_full_is_given_up_and_left_to_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(QuoteLog, "_write", refusing)
        log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
        log.start()
        log.put(record(1))
        assert log.stop()
    assert read(tmp_path / "log").empty
    again = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
    again.start()
    again.stop()
    assert set(read(tmp_path / "log")[schema.QUOTE_ID]) == {"q1"}
    assert again.counts.recovered_pages == 1


def test_memory_stays_bounded_while_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    def refusing(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(QuoteLog, "_write", refusing)
    log = QuoteLog(str(tmp_path), rows=9, capacity=5)
    log.start()
    for number in range(100):
        log.put(record(number))
        time.sleep(0.001)
    until(lambda: log.counts.dropped_pages > 0)
    assert log.counts.pages <= (1 + FILES_WAITING) * 9 // 3 + 9 * 2 // 3 + 5 + 1
    assert log.stop()


def test_what_a_dead_process_journalled_is_read_back_once(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "journal" / "quotes-20261122T120000-abc.jsonl")
    segment.append(record(1))
    segment.append(record(2))
    segment._file.write(b'{"quote_id": "to')  # killed in the middle of a line
    segment.leave()
    for expected in (2, 0):
        log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
        log.start()
        log.stop()
        assert log.counts.recovered_pages == expected
        assert log.counts.torn_pages == (1 if expected else 0)
        assert read(tmp_path / "log")[schema.QUOTE_ID].nunique() == 2


def test_the_journal_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "journal" / "quotes-20261122T120000-abc.jsonl")
    segment.append(record(1))
    log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
    log.start()
    log.stop()
    assert log.counts.recovered_pages == 0
    assert segment.path.exists()
    segment.remove()


def test_a_journal_that_cannot_be_kept_does_not_stop_the_log(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder should be")
    log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal")
    log.start()
    log.put(record(1))
    assert log.stop()
    assert len(read(tmp_path / "log")) == 3


def test_pages_reach_the_journal_while_a_file_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    begun, opened, write = threading.Event(), threading.Event(), QuoteLog._write

    def slow(log: QuoteLog, *arguments: Any) -> None:
        begun.set()
        assert opened.wait(60)
        write(log, *arguments)

    monkeypatch.setattr(QuoteLog, "_write", slow)
    log = QuoteLog(str(tmp_path / "log"), journal_dir=tmp_path / "journal", rows=9)
    log.start()
    for number in range(8):
        log.put(record(number))
    assert begun.wait(60)
    until(lambda: sum(file.read_bytes().count(b"\n") for file in (tmp_path / "journal").iterdir()) == 8)
    opened.set()
    assert log.stop()
    assert log.counts.rows == 24
    assert not list((tmp_path / "journal").iterdir())


def refuse(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def folders(tmp_path: Path) -> dict[str, Any]:
    return {"url": str(tmp_path / "log"), "journal_dir": tmp_path / "journal"}


def ids(tmp_path: Path) -> list[str]:
    return sorted(read(tmp_path / "log").drop_duplicates(schema.QUOTE_ID)[schema.QUOTE_ID])


def test_a_journal_that_met_a_full_disk_goes_with_its_file_and_never_replaces_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, appended = Segment.append, []

    def full(self: Segment, page: dict[str, Any]) -> None:
        appended.append(page)
        if len(appended) > 3:
            refuse()
        append(self, page)

    with monkeypatch.context() as patch:
        patch.setattr(Segment, "append", full)
        log = QuoteLog(**folders(tmp_path))
        log.start()
        for number in range(100):
            log.put(record(number))
        assert log.stop()
    assert log.counts.dropped_pages == 0, "all are in the file"
    assert log.counts.unjournalled_pages == 97
    assert not list((tmp_path / "journal").iterdir())
    again = QuoteLog(**folders(tmp_path))
    again.start()
    assert again.stop()
    assert len(ids(tmp_path)) == 100


def test_recovery_adds_the_pages_that_the_file_lacks_and_takes_none_away(tmp_path: Path) -> None:
    name = "quotes-20261122T120000-abc"
    QuoteLog(**folders(tmp_path))._write(name, [record(number) for number in range(50)])
    segment = Segment(tmp_path / "journal" / f"{name}.jsonl")
    for number in (3, 4, 50, 51, 51):
        segment.append(record(number))
    segment.leave()
    log = QuoteLog(**folders(tmp_path))
    log.start()
    assert log.stop()
    assert log.counts.recovered_pages == 2
    assert ids(tmp_path) == sorted(f"q{number}" for number in range(52))
    assert len(read(tmp_path / "log")) == 52 * 3, "no page twice"
    assert not list((tmp_path / "journal").iterdir())


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    name = "quotes-20261122T120000-abc"
    broken = tmp_path / "log" / "2026" / "11-22" / f"{name}.parquet"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half a file")
    segment = Segment(tmp_path / "journal" / f"{name}.jsonl")
    segment.append(record(1))
    segment.leave()
    log = QuoteLog(**folders(tmp_path))
    log.start()
    assert log.stop()
    assert broken.read_bytes() == b"half a file"
    (mended,) = (file for file in broken.parent.iterdir() if file != broken)
    assert pd.read_parquet(mended)[schema.QUOTE_ID].unique().tolist() == ["q1"]


def test_a_journal_stays_where_the_log_still_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = Segment(tmp_path / "journal" / "quotes-20261122T120000-abc.jsonl")
    segment.append(record(1))
    segment.leave()
    monkeypatch.setattr("serving.stores.parquet_files._write_local", refuse)
    log = QuoteLog(**folders(tmp_path))
    log.start()
    log.stop()
    assert log.counts.recovered_pages == 0
    assert segment.path.exists()


def test_what_neither_file_nor_journal_holds_at_the_stop_is_counted_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(QuoteLog, "_write", refuse)
    append, appended = Segment.append, []

    def full(self: Segment, page: dict[str, Any]) -> None:
        appended.append(page)
        if len(appended) > 20:
            refuse()
        append(self, page)

    monkeypatch.setattr(Segment, "append", full)
    log = QuoteLog(**folders(tmp_path))
    log.start()
    for number in range(200):
        log.put(record(number))
    log.stop()
    assert log.counts.dropped_pages == 180
    assert "180 quoted pages are lost" in caplog.text
    monkeypatch.undo()
    again = QuoteLog(**folders(tmp_path))
    again.start()
    assert again.stop()
    assert len(ids(tmp_path)) == 200 - 180, "the others were in the journal"


FULL_DISK = """
    import os, resource, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from test_quote_log import record
    from serving.stores.quote_log import QuoteLog

    folder, limit, kill = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "kill"
    log = QuoteLog(str(folder / "log"), journal_dir=folder / "journal", rows=60, seconds=0.05)
    log.start()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for number in range(200):
        log.put(record(number))
    time.sleep(1.0)
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)
    log.stop()
    print(log.counts.pages, log.counts.dropped_pages, log.counts.unjournalled_pages)
"""


def on_a_small_disk(tmp_path: Path, limit: int, end: str) -> subprocess.CompletedProcess[str]:
    line = [
        sys.executable,
        "-c",
        textwrap.dedent(FULL_DISK),
        str(Path(__file__).parent),
        str(tmp_path),
        str(limit),
        end,
    ]
    return subprocess.run(line, timeout=120, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("limit", [100, 4_000, 9_000])
def test_on_a_disk_that_takes_no_more_every_page_is_in_a_file_in_a_journal_or_counted(
    tmp_path: Path, limit: int
) -> None:
    """No file may grow past the limit: journals are cut short, and some files of the log cannot be written."""
    done = on_a_small_disk(tmp_path, limit, "stop")
    assert done.returncode == 0, done.stderr
    pages, dropped, _unjournalled = map(int, done.stdout.split())
    assert pages == 200
    if limit == 100:
        assert dropped == 200, "not one page fits"
    again = QuoteLog(**folders(tmp_path))
    again.start()
    assert again.stop()
    assert len(ids(tmp_path)) == 200 - dropped
    assert not list((tmp_path / "journal").iterdir())


def test_a_kill_on_a_full_disk_loses_only_pages_that_were_counted_as_unjournalled(tmp_path: Path) -> None:
    assert on_a_small_disk(tmp_path, 9_000, "kill").returncode == -9
    before = set(ids(tmp_path))
    again = QuoteLog(**folders(tmp_path))
    again.start()
    assert again.stop()
    after = set(ids(tmp_path))
    assert before <= after
    assert again.counts.recovered_pages == len(after - before)
    rows = read(tmp_path / "log")
    assert len(rows) == 3 * len(after), "no page twice"


def test_a_disk_that_is_really_full_and_then_has_room_again_keeps_what_it_can(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        filler = disk / "filler"
        filler.write_bytes(bytes(40_000))
        log = QuoteLog(str(disk / "log"), journal_dir=disk / "journal", seconds=60.0)
        log.start()
        for number in range(100):
            log.put(record(number))
        time.sleep(0.3)
        assert log.counts.unjournalled_pages > 0, "the journal met the end of the disk"
        filler.unlink()
        assert log.stop()
        assert (log.counts.dropped_pages, log.counts.rows) == (0, 300)
        again = QuoteLog(str(disk / "log"), journal_dir=disk / "journal")
        again.start()
        assert again.stop()
        assert len(read(disk / "log")) == 300
        for option in ("ro", "rw"):
            subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)
            late = QuoteLog(str(disk / "log"), journal_dir=disk / "journal")
            late.start()
            for number in range(200, 220):
                late.put(record(number))
            late.stop()
            assert late.counts.dropped_pages == (20 if option == "ro" else 0)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
