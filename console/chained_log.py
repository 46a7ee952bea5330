"""An append-only file of JSON lines, each with the digest of the line before: altering one breaks all that follow.

>>> from tempfile import mkdtemp
>>> log = ChainedLog(Path(mkdtemp()) / "log.jsonl", "example/1")
>>> log.append({"who": "ada", "what": "stopped everything"})
>>> [entry["who"] for entry in log.entries()]
['ada']
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
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
        schema: Name and version of its entries, on every line.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path, self._schema = path, schema

    def append(self, entry: Mapping[str, Any]) -> None:
        """Append an entry of JSON values; it is on disk when the call returns.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        body = {"schema": self._schema, **entry, "previous": self._last_digest()}
        line = canonical_json({**body, "digest": sha256_text(canonical_json(body))})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def entries(self) -> tuple[dict[str, Any], ...]:
        """All entries, oldest first, after a check of the hash chain.

        A last line that a crash cut off is ignored; the next :meth:`append` removes it.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        return tuple(
            {name: value for name, value in document.items() if name not in CHAIN} for document in self._documents()
        )

    def _documents(self) -> Iterator[dict[str, Any]]:
        previous = START
        lines = self._path.read_text(encoding="utf-8").split("\n") if self._path.is_file() else []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                document = json.loads(line)
            except ValueError as error:
                if number == len(lines):  # no newline at the end: the process died while writing
                    return
                raise DataError(f"{self._path}: line {number} is not JSON: it was altered; restore it") from error
            body = {key: value for key, value in document.items() if key != "digest"}
            if document.get("previous") != previous or document.get("digest") != sha256_text(canonical_json(body)):
                raise DataError(
                    f"{self._path}: line {number} does not continue the hash chain: it was altered; restore it"
                )
            previous = document["digest"]
            yield document

    def _last_digest(self) -> str:
        self._heal()
        digest = START
        for document in self._documents():
            digest = document["digest"]
        return digest

    def _heal(self) -> None:
        """Remove a last line that a crash cut off; its append never returned."""
        if not self._path.is_file():
            return
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            with self._path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)
