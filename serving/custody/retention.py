"""Removes from a quote log what is older than the shop wants to keep: first what customers typed, later the quotes.

A file is rewritten whole or left as it is, so that a job that is killed has done a part of the work and spoilt nothing;
the next one goes on. Price locks have their own end: each store drops them when their time is over
(:mod:`serving.stores.lock_file`, Redis' own expiry).

    report = apply_retention("s3://shop-quotes", RetentionSettings(), datetime.now(UTC))
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from fairtag.base import schema
from serving.settings import RetentionSettings
from serving.stores.parquet_files import ParquetFiles, is_empty, oldest, opened

logger = logging.getLogger(__name__)

LEFTOVER_SECONDS = 3_600.0


@dataclass
class RetentionReport:
    """What was too old.

    Args:
        files: Files that were looked into.
        queries: Queries that went from rows that stay.
        quotes: Rows that went.
        unreadable: Files that cannot be read, and were left as they are.
    """

    files: int = 0
    queries: int = 0
    quotes: int = 0
    unreadable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        broken = f"; {len(self.unreadable)} cannot be read: {self.unreadable[0]}" if self.unreadable else ""
        return f"{self.queries} queries and {self.quotes} quotes too old, in {self.files} files{broken}"


def apply_retention(url: str, settings: RetentionSettings, now: datetime, *, dry_run: bool = False) -> RetentionReport:
    """Remove what is too old from a quote log.

    Args:
        url: fsspec URL of the log.
        settings: How many days are kept.
        now: The present, with a time zone.
        dry_run: Count, and remove nothing.
    """
    files, report = ParquetFiles(url), RetentionReport()
    quotes_from, queries_from = (_cutoff(days, now) for days in (settings.quote_days, settings.query_days))
    newest_cutoff = max((cutoff for cutoff in (quotes_from, queries_from) if cutoff is not None), default=None)
    if newest_cutoff is None:
        return report
    for path in files.paths():
        began = opened(path)
        if began is not None and began >= newest_cutoff:
            continue
        report.files += 1
        try:
            _clean(files, path, quotes_from, queries_from, report, dry_run=dry_run)
        except (OSError, ValueError, pa.ArrowException) as error:
            report.unreadable.append(f"{files.short(path)} ({type(error).__name__})")
    if not dry_run:
        for path in files.leftovers(now.timestamp() - LEFTOVER_SECONDS):
            files.remove(path)
    return report


def _cutoff(days: float, now: datetime) -> datetime | None:
    return now - timedelta(days=days) if days else None


def _clean(
    files: ParquetFiles,
    path: str,
    quotes_from: datetime | None,
    queries_from: datetime | None,
    report: RetentionReport,
    *,
    dry_run: bool,
) -> None:
    footer = files.footer(path)
    first = oldest(footer)
    if is_empty(footer, schema.QUERY) and first is not None and (quotes_from is None or first >= quotes_from):
        return  # an earlier look has been here
    table = files.read(path, [schema.TS, schema.QUERY])
    times = table[schema.TS].cast(pa.timestamp("us", tz="UTC"))
    gone = _before(times, quotes_from)
    typed = pc.and_(_before(times, queries_from), pc.is_valid(table[schema.QUERY]))
    typed = pc.and_(typed, pc.invert(gone))
    quotes, queries = (pc.sum(mask).as_py() or 0 for mask in (gone, typed))
    report.quotes += quotes
    report.queries += queries
    if dry_run or not (quotes or queries):
        return
    if quotes == table.num_rows:
        files.remove(path)
        return
    whole = files.read(path)
    column = whole.schema.names.index(schema.QUERY)
    emptied = pc.if_else(typed, pa.scalar(None, whole.schema.field(column).type), whole[schema.QUERY])
    whole = whole.set_column(column, whole.schema.field(column), emptied)
    files.write(path, whole.filter(pc.invert(gone)))


def _before(times: pa.ChunkedArray, cutoff: datetime | None) -> pa.ChunkedArray:
    """Which times lie before a cutoff; none where there is none."""
    if cutoff is None:
        return pc.and_(pc.is_valid(times), False)
    return pc.fill_null(pc.less(times, pa.scalar(cutoff, times.type)), False)
