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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, sha256_text

START = "0" * 64
CHAIN = ("schema", "previous", "digest")  # what the log adds to an entry


class ChainedLog:
    """The log; one process writes it at a time.

    Args:
        path: The file; the first entry creates it.
        schema: Name and version of the entries that are appended, on every line.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._schema = path, schema

    def append(self, entry: Mapping[str, Any]) -> str:
        """Append an entry of JSON values; it is on disk when the call returns.

        A last line that a crash cut off is removed first: its append never returned.

        Returns:
            The digest of the line.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        before = self.documents()
        self.keep(len(before))
        body = {"schema": self._schema, **entry, "previous": before[-1]["digest"] if before else START}
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
        previous, found = START, []
        lines = self._path.read_text(encoding="utf-8").split("\n") if self._path.is_file() else []
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
