"""The trigger's ledger: every decision with its reason, in an append-only file with a hash chain."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, sha256_text

SCHEMA = "fairtag.trigger-ledger/1"
START = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    Args:
        at: Time (ISO).
        event: ``skipped``, ``due`` (a start was decided), ``started``, ``failed`` (it will be tried again),
            ``would_start`` (dry run) or ``finished`` (the outcome of a run).
        request: Name of the run request that ``due``, ``started``, ``failed`` and ``finished`` belong to.
        reason: Reason in words.
        fingerprints: Fingerprints of the job reports behind the entry.
        checks: Job -> checks that called for a run.
        run: Name of the run at its target.
        detail: The evidence, as JSON values.
    """

    at: str
    event: str
    request: str
    reason: str
    fingerprints: tuple[str, ...] = ()
    checks: dict[str, list[str]] = field(default_factory=dict)
    run: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> datetime:
        """The time of the entry."""
        return datetime.fromisoformat(self.at)


class Ledger:
    """An append-only file of JSON lines, each with the digest of the line before.

    Args:
        path: The file; the first entry creates it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, entry: Entry) -> Entry:
        """Append an entry; it is on disk when the call returns."""
        body = {"schema": SCHEMA, **asdict(entry), "previous": self._last_digest()}
        line = canonical_json({**body, "digest": sha256_text(canonical_json(body))})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        return entry

    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first, after a check of the hash chain.

        A last line that a crash cut off is ignored; the next :meth:`append` removes it.

        Raises:
            DataError: A line was altered, removed or inserted.
        """
        return tuple(self._entry(document) for document in self._documents())

    def _entry(self, document: dict[str, Any]) -> Entry:
        values = {key: value for key, value in document.items() if key not in ("schema", "previous", "digest")}
        return Entry(**{**values, "fingerprints": tuple(values["fingerprints"])})

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
                raise DataError(
                    f"{self._path}: line {number} is not JSON: the ledger was altered; restore it"
                ) from error
            body = {key: value for key, value in document.items() if key != "digest"}
            if document.get("previous") != previous or document.get("digest") != sha256_text(canonical_json(body)):
                raise DataError(
                    f"{self._path}: line {number} does not continue the hash chain: the ledger was altered; restore it"
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
