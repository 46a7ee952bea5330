"""An append-only file of JSON lines, each with the digest of the line before: altering one breaks all that follow.

>>> from tempfile import mkdtemp
>>> log = ChainedLog(Path(mkdtemp()) / "log.jsonl", "example/1")
>>> digest = log.append({"who": "ada", "what": "stopped everything"})
>>> [entry["who"] for entry in log.entries()]
['ada']

That its last lines are still there no chain can show: whoever must know keeps the newest digest somewhere else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, sha256_text

START = "0" * 64
CHAIN = ("schema", "previous", "digest")  # what the log adds to an entry
BLOCK = 65_536  # bytes that are read at a time, from the end


class ChainedLog:
    """The log; one process writes it at a time.

    Args:
        path: The file; the first entry creates it.
        schema: Name and version of the entries that are appended, on every line.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._schema = path, schema

    def append(self, entry: Mapping[str, Any], after: str | None = None) -> str:
        """Append an entry of JSON values; it is on disk when the call returns.

        Without ``after`` everything is read and checked, and a last line that a crash cut off is removed first: its
        append never returned.

        Args:
            entry: The entry.
            after: Digest of the last line, from a caller who knows that the file ends with it.

        Returns:
            The digest of the line.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        if after is None:
            before = self.documents()
            self.keep(len(before))
            after = before[-1]["digest"] if before else START
        body = {"schema": self._schema, **entry, "previous": after}
        digest = sha256_text(canonical_json(body))
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(canonical_json({**body, "digest": digest}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        return digest

    def entries(self) -> tuple[dict[str, Any], ...]:
        """All entries, oldest first, as they were given; checked as by :meth:`documents`."""
        return tuple(
            {name: value for name, value in document.items() if name not in CHAIN} for document in self.documents()
        )

    def documents(self) -> list[dict[str, Any]]:
        """All lines, oldest first, with schema and digests. A last line that a crash cut off is left out.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        text = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
        return self._chained(text.split("\n"), START)

    def tail(self, count: int, digest: str) -> list[dict[str, Any]]:
        """The last lines, oldest first; nothing before them is read.

        Args:
            count: How many; at most as many as there are.
            digest: Of the last line.

        Raises:
            DataError: They do not continue one another, or the last one is another.
        """
        if not count:
            return []
        lines = self._last_lines(count)
        try:
            previous = str(json.loads(lines[0])["previous"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(f"{self._path}: its last lines cannot be read: it was altered; restore it") from error
        found = self._chained([*lines, ""], previous)
        if found[-1]["digest"] != digest:
            raise DataError(f"{self._path}: its last line is not that of its head: it was altered; restore it")
        return found

    def _last_lines(self, count: int) -> list[str]:
        """The last lines of the file, read backwards in blocks."""
        with self._path.open("rb") as stream:
            start, content = stream.seek(0, os.SEEK_END), b""
            while start and content.count(b"\n") <= count:
                size = min(BLOCK, start)
                start = stream.seek(start - size)
                content = stream.read(size) + content
        return [line.decode("utf-8", "replace") for line in content.split(b"\n") if line][-count:]

    def _chained(self, lines: Sequence[str], previous: str) -> list[dict[str, Any]]:
        """The documents of lines that follow a digest."""
        found: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                document = json.loads(line)
            except ValueError as error:
                if number == len(lines):  # no newline at the end: the process died while writing
                    break
                raise DataError(f"{self._path}: line {number} is not JSON: it was altered; restore it") from error
            body = {key: value for key, value in document.items() if key != "digest"}
            if document.get("previous") != previous or document.get("digest") != sha256_text(canonical_json(body)):
                raise DataError(
                    f"{self._path}: line {number} does not continue the hash chain: it was altered; restore it"
                )
            previous = document["digest"]
            found.append(document)
        return found

    def keep(self, entries: int) -> None:
        """Keep the first entries and remove what follows them."""
        content = self._path.read_bytes() if self._path.is_file() else b""
        end = left = 0
        for line in content.splitlines(keepends=True):
            left += bool(line.strip())
            if left > entries:
                break
            end += len(line)
        if end < len(content):
            with self._path.open("r+b") as stream:
                stream.truncate(end)
