"""The quote log: every quoted item as a row of a Parquet file on any fsspec URL, written off the request path.

Pages wait in a bounded queue. One thread journals and gathers them, and hands what is due to another, which writes the
files: so a slow disk keeps no page from the journal. A file appears whole or not at all. The next start adds what a
killed process had journalled and the log lacks, page by page. Every page is in a file, in a journal, or counted as
dropped. The columns are those of :data:`fairtag.base.schema.QUOTES`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from fairtag.base import schema
from fairtag.page.quote_rows import SCHEMA, Record, quote_table
from serving.stores.journal import SUFFIX, Segment, orphans
from serving.stores.mailbox import Mailbox
from serving.stores.parquet_files import write_parquet

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0  # first wait after a failed write; doubled up to a minute
LONGEST_RETRY_SECONDS = 60.0
PAGES_AT_A_TIME = 32
FILES_WAITING = 4  # behind the one that is being written; then a file gathers twice its rows, then pages wait


@dataclass
class LogCounts:
    """What has happened to the pages handed to the log since the start.

    Args:
        pages: Taken.
        dropped_pages: Lost: the queue was full, or neither file nor journal could be written before the stop.
        files: Written.
        rows: Written.
        failures: Writes that failed, and were or will be tried again.
        recovered_pages: Of a process that died, added to the log.
        torn_pages: Lines of its journal that were cut off.
        unjournalled_pages: Not in the journal, and lost if the process is killed before their file is whole.
    """

    pages: int = 0
    dropped_pages: int = 0
    files: int = 0
    rows: int = 0
    failures: int = 0
    recovered_pages: int = 0
    torn_pages: int = 0
    unjournalled_pages: int = 0


@dataclass
class _Batch:
    """The pages of one file."""

    name: str
    opened: float
    records: list[Record] = field(default_factory=list)
    rows: int = 0
    journal: Segment | None = None
    torn: bool = False

    @property
    def exposed(self) -> int:
        """Pages that are in memory alone."""
        return len(self.records) - (0 if self.journal is None else self.journal.pages)

    def add(self, record: Record) -> bool:
        """Add a page; False where the journal does not hold it."""
        self.records.append(record)
        self.rows += len(record[schema.ITEM_ID])
        if self.journal is None or self.torn:
            return False
        try:
            self.journal.append(record)
        except OSError as error:
            logger.warning(
                "the quote journal cannot be written (%s); pages of this file are lost if the process is killed",
                error.strerror,
            )
            self.torn = True  # its last line may be cut off: it takes no other
            return False
        return True


class QuoteLog:
    """Writes quoted pages to parquet files.

    Args:
        url: fsspec URL of the folder; each day has a folder in it.
        journal_dir: Local folder of the journal; None keeps no journal.
        rows: Rows that close a file.
        seconds: Age that closes a file.
        capacity: Pages that may wait.
        clock: Monotonic seconds, for ages.
        storage_options: Options of the file system.
    """

    def __init__(
        self,
        url: str,
        *,
        journal_dir: Path | None = None,
        rows: int = 20_000,
        seconds: float = 30.0,
        capacity: int = 2_000,
        clock: Callable[[], float] = time.monotonic,
        storage_options: dict[str, Any] | None = None,
    ) -> None:
        self.counts = LogCounts()
        self._fs, root = fsspec.core.url_to_fs(url, **(storage_options or {}))
        self._root = PurePosixPath(root)
        self._journal_dir = journal_dir
        self._rows = rows
        self._seconds = seconds
        self._clock = clock
        self._queue: Mailbox[Record] = Mailbox(capacity)
        self._stopping = threading.Event()
        self._retry = RETRY_SECONDS
        self._batches: list[_Batch] = []  # not in whole files yet
        self._filing: queue.Queue[_Batch | None] = queue.Queue(maxsize=FILES_WAITING)
        self._filer = threading.Thread(target=self._file, name="quote-files", daemon=True)
        self._writer = threading.Thread(target=self._run, name="quote-log", daemon=True)

    @property
    def waiting(self) -> int:
        """Pages in the queue now."""
        return len(self._queue)

    def start(self) -> None:
        """Read back what a dead process left, then write in the background."""
        if self._journal_dir is not None:
            self._recover(self._journal_dir)
        self._filer.start()
        self._writer.start()

    def put(self, record: Record) -> bool:
        """Hand over a page without waiting; False if the queue is full, and the page is then dropped and counted."""
        if not self._queue.put(record):
            self.counts.dropped_pages += 1
            if self.counts.dropped_pages in (1, 10) or not self.counts.dropped_pages % 1_000:
                logger.error("the quote log cannot keep up: %d pages dropped", self.counts.dropped_pages)
            return False
        self.counts.pages += 1
        return True

    def stop(self, timeout: float = 30.0) -> bool:
        """Write everything that waits, and stop; False if that takes longer than the timeout.

        Pages that are then in memory alone are counted as dropped.
        """
        self._stopping.set()
        self._queue.close()
        if self._writer.is_alive():
            self._writer.join(timeout)
        done = not self._writer.is_alive()
        lost = len(self._queue) + sum(batch.exposed for batch in tuple(self._batches))
        if lost:
            self.counts.dropped_pages += lost
            logger.error("%d quoted pages are lost: neither the quote log nor its journal could be written", lost)
        return done

    def _run(self) -> None:
        batch: _Batch | None = None
        while True:
            stopping = self._stopping.is_set()
            records = self._take(batch, stopping=stopping)
            for record in records:
                batch = self._hand_on(batch) or self._open()
                self.counts.unjournalled_pages += not batch.add(record)
            batch = self._hand_on(batch)
            if stopping and not records:
                break
        if batch is not None:
            self._filing.put(batch)
        self._filing.put(None)
        self._filer.join()

    def _hand_on(self, batch: _Batch | None) -> _Batch | None:
        """Pass the open file on if it is due and there is room in the queue of files; None then, else the file."""
        if batch is None or not self._due(batch) or self._filing.full():
            return batch
        self._filing.put(batch)
        return None

    def _file(self) -> None:
        """Write the files handed over and retry those that fail; after a last try the journal keeps them."""
        while (batch := self._filing.get()) is not None:
            while not self._try_write(batch, last=(last := self._stopping.is_set())) and not last:
                self._stopping.wait(self._retry)
                self._retry = min(self._retry * 2, LONGEST_RETRY_SECONDS)
            self._retry = RETRY_SECONDS

    def _take(self, batch: _Batch | None, *, stopping: bool) -> list[Record]:
        """The next pages; none if the open file falls due first, or if the log stops and the queue is empty."""
        if not stopping and batch is not None and batch.rows >= self._rows * 2:
            self._stopping.wait(0.05)  # files cannot be written: bound the memory
            return []
        left = None if batch is None else max(0.01, batch.opened + self._seconds - self._clock())
        return self._queue.take(PAGES_AT_A_TIME, left)

    def _due(self, batch: _Batch) -> bool:
        return batch.rows >= self._rows or self._clock() - batch.opened >= self._seconds

    def _open(self) -> _Batch:
        name = f"quotes-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:12]}"
        journal = None
        if self._journal_dir is not None:
            try:
                journal = Segment(self._journal_dir / f"{name}{SUFFIX}")
            except OSError as error:
                logger.warning(
                    "the quote journal cannot be opened (%s); pages of this file are lost if the process is killed",
                    error.strerror,
                )
        batch = _Batch(name, self._clock(), journal=journal)
        self._batches.append(batch)
        return batch

    def _try_write(self, batch: _Batch, *, last: bool) -> bool:
        """Write a file, and say whether it was written; after the last failure the journal keeps its pages."""
        try:
            self._write(batch.name, batch.records)
        except Exception as error:  # a disk, a bucket or a network: pricing goes on whatever it is
            self.counts.failures += 1
            logger.warning("the quote log cannot be written (%s); it is tried again", type(error).__name__)
            if last and batch.journal is not None:
                batch.journal.leave()
            return False
        self._batches.remove(batch)
        if batch.journal is not None:
            with contextlib.suppress(OSError):  # a read-only disk: the next start finds its pages in the file
                batch.journal.remove()
        return True

    def _write(self, name: str, records: Sequence[Record]) -> None:
        self._write_table(name, quote_table(records))

    def _write_table(self, name: str, table: pa.Table) -> None:
        write_parquet(self._fs, self._file_of(name), table)
        self.counts.files += 1
        self.counts.rows += table.num_rows

    def _file_of(self, name: str) -> str:
        return str(self._root / name[7:11] / f"{name[11:13]}-{name[13:15]}" / f"{name}.parquet")

    def _recover(self, folder: Path) -> None:
        """Add to the log what journals hold and it lacks; a journal goes once all its pages are in whole files."""
        for path, records, torn in orphans(folder):
            self.counts.torn_pages += torn
            try:
                added = self._add_missing(path.stem, records)
                path.unlink(missing_ok=True)
            except Exception as error:  # a disk, a bucket, a network, a broken file
                self.counts.failures += 1
                logger.warning(
                    "the journal %s cannot be added to the quote log (%s: %s); the next start tries again",
                    path.name, type(error).__name__, error,
                )  # fmt: skip
                continue
            self.counts.recovered_pages += added
            logger.warning("recovered %d quoted pages of a process that died; %d more were torn", added, torn)

    def _add_missing(self, name: str, records: Sequence[Record]) -> int:
        """Write the pages that the file of a journal lacks, beside those that it has; how many there were."""
        target, kept = self._file_of(name), None
        if self._fs.exists(target):
            try:
                with self._fs.open(target, "rb") as stream:
                    kept = pq.read_table(stream, schema=SCHEMA)
            except (pa.ArrowException, OSError, ValueError) as error:
                name = f"{name}-recovered"  # what is there may be mended by hand, and is not written over
                logger.warning("%s cannot be read (%s); its journal goes to %s", target, error, name)
                return self._add_missing(name, records)
        known = set() if kept is None else set(kept[schema.QUOTE_ID].to_pylist())
        missing = {record[schema.QUOTE_ID]: record for record in records if record[schema.QUOTE_ID] not in known}
        if missing:
            table = quote_table(list(missing.values()))
            self._write_table(name, table if kept is None else pa.concat_tables([kept, table]))
        return len(missing)
