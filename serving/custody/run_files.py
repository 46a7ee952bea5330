"""Erases people from the files of a run folder: rows of tables, and names in reports.

Tables are the Parquet files that have a column ``user_id``. In reports and pages a name is written over with the word
``erased``. Nothing is written into model folders, whose files are held to their digests, and nothing into logs of the
endpoint (:mod:`serving.custody.logs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from fairtag.base import schema
from fairtag.base.files import write_text
from fairtag.model.manifest import MANIFEST
from serving.stores.parquet_files import write_parquet

REPORTS = ("reports", "workspace", "validation")  # folders of a run whose files only show what was found
REPORT_FILES = ("page.html", "validation.html")
TEXTS = (".json", ".jsonl", ".html", ".csv", ".log", ".txt", ".yaml", ".prom", ".ipynb")
LOGS = ("quotes", "journal", "locks", "secrets")  # below the endpoint's folder
ERASED = "erased"
HEX = re.compile(rb"(?<![0-9a-f])(?:[0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f])")  # pseudonyms and quote ids
SHORT = 4  # characters of an id; a shorter one, or a number, counts only where it stands in quotes or tags


@dataclass(frozen=True)
class TextHits:
    """Where names stand in texts.

    Args:
        changed: Reports in which they were, or would be, written over.
        left: Other files that hold one, which nobody but their owner can change.
    """

    changed: tuple[str, ...]
    left: tuple[str, ...]


def erase_table_rows(run: Path, users: Set[str], *, dry_run: bool) -> dict[str, int]:
    """Remove customers' rows from the tables of a run folder; rows by file."""
    found, values = {}, pa.array(sorted(users), pa.string())
    for file in _files(run):
        if file.suffix != ".parquet" or schema.USER_ID not in pq.read_schema(file).names:
            continue
        table = pq.read_table(file)
        theirs = pc.fill_null(pc.is_in(table[schema.USER_ID].cast(pa.string()), value_set=values), False)
        if count := pc.sum(theirs).as_py() or 0:
            found[file.relative_to(run).as_posix()] = int(count)
            if not dry_run:
                write_parquet(LocalFileSystem(), str(file), table.filter(pc.invert(theirs)))
    return found


def erase_names(run: Path, users: Set[str], codes: Set[str], *, dry_run: bool) -> TextHits:
    """Write over names in the reports of a run folder.

    Args:
        run: The folder.
        users: Ids of customers.
        codes: Their pseudonyms and the ids of their quotes.
        dry_run: Only say where they stand.
    """
    patterns = [_pattern(user) for user in sorted(users)]
    coded = {code.encode() for code in codes}
    changed, left = [], []
    for file in _files(run):
        if file.suffix not in TEXTS:
            continue
        content = file.read_bytes()
        cleaned = HEX.sub(lambda match: ERASED.encode() if match[0] in coded else match[0], content)
        for pattern in patterns:
            cleaned = pattern.sub(ERASED.encode(), cleaned)
        if cleaned == content:
            continue
        path = file.relative_to(run)
        if path.parts[0] in (*REPORTS, *REPORT_FILES):
            changed.append(path.as_posix())
            if not dry_run:
                write_text(file, cleaned.decode("utf-8", "surrogateescape"))
        else:
            left.append(path.as_posix())
    return TextHits(tuple(changed), tuple(left))


def _pattern(user: str) -> re.Pattern[bytes]:
    """An id where it stands by itself: item 170 is no customer 17."""
    text = re.escape(user.encode())
    if user.isdecimal() or len(user) < SHORT:
        return re.compile(rb"(?<=[\"'>])" + text + rb"(?=[\"'<])")
    return re.compile(rb"(?<![\w-])" + text + rb"(?![\w-])")


def _files(run: Path) -> Iterator[Path]:
    """The files of a run folder, without model folders and the endpoint's own logs and keys."""
    models = {manifest.parent for manifest in run.rglob(MANIFEST)}
    for file in sorted(run.rglob("*")):
        parts = file.relative_to(run).parts
        if not file.is_file() or file.is_symlink() or any(parent in models for parent in file.parents):
            continue
        if parts[0] == "serving" and len(parts) > 1 and parts[1] in LOGS:
            continue
        yield file
