"""A journal of quoted pages on the local disk, one line for each page.

A killed process loses only the pages of its last moment, which still waited for the log's thread
(:data:`serving.stores.mailbox.PAUSE_SECONDS`). A segment is the journal of one file of the quote log, and is removed
once that file is whole, also where a full disk had cut the journal short. A segment that no running process has locked
was left by one that died: the next start adds to the quote log what it lacks.
"""

from __future__ import annotations

import errno
import fcntl
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"


class Segment:
    """The journal of one file of the quote log, locked as long as this process lives.

    Args:
        path: The file; it must not exist.

    Raises:
        OSError: The disk refuses it.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.pages = 0
        self._file = io.FileIO(path, "x")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def append(self, record: dict[str, Any]) -> None:
        """Append one page. The operating system has it then: it survives the process, though not the machine.

        Raises:
            OSError: The disk refuses it.
        """
        line = orjson.dumps(record) + b"\n"
        written = self._file.write(line)
        if written != len(line):
            raise OSError(errno.ENOSPC, f"wrote {written} of {len(line)} bytes", str(self.path))
        self.pages += 1

    def remove(self) -> None:
        """Delete the journal: its pages are safe in the quote log.

        Raises:
            OSError: The disk refuses it; the next start finds its pages in the quote log.
        """
        self._file.close()
        self.path.unlink(missing_ok=True)

    def leave(self) -> None:
        """Close the journal and keep it for the next start."""
        self._file.close()


def orphans(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]], int]]:
    """Segments whose process has ended: the path, its pages, and the number of torn lines."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            with path.open("rb") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                records, torn = _lines(stream.read())
        except OSError:  # a running process has it, or another start has just taken it
            continue
        yield path, records, torn


def _lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    records, torn = [], 0
    for line in content.splitlines():
        try:
            records.append(orjson.loads(line))
        except orjson.JSONDecodeError:
            torn += 1
    return records, torn
