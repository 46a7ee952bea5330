"""The trigger's ledger: every decision with its reason, in an append-only file with a hash chain and a signed head.

The chain shows that an entry was altered, inserted or taken out of the middle. That the last ones are still there no
chain can show: for that, the head (``ledger.head.json``) says how many entries there are and the digest of the last.
With a key it is signed, so that whoever can write the folder can make no other. An older pair of ledger and head looks
whole; each call of the trigger therefore prints its head, and its log keeps it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.base.chained_log import CHAIN, START, ChainedLog
from fairtag.base.errors import DataError
from fairtag.base.files import read_json, write_json
from fairtag.model.signature import SIGNATURE, key_id

SCHEMA = "fairtag.trigger-ledger/2"  # since this version there is a head
HEAD_SCHEMA = "fairtag.trigger-ledger-head/1"
HEAD = "ledger.head.json"
CONTEXT = b"fairtag.ledger-head\n"  # a signature of a head is none of anything else


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


@dataclass(frozen=True)
class Head:
    """How far the ledger goes.

    Args:
        entries: Number of entries.
        digest: Digest of the last one.
        signed_by: Id of the key that signed it; empty where none did.
    """

    entries: int = 0
    digest: str = START
    signed_by: str = ""

    def __str__(self) -> str:
        signed = f"signed by {self.signed_by}" if self.signed_by else "not signed"
        return f"ledger: {self.entries} entries, head {self.digest[:16]}, {signed}"


class Ledger:
    """An append-only file of JSON lines, each with the digest of the line before, and its head in a file beside it.

    Args:
        path: The file; the first entry creates it.
        key: Signs the head; then no other head counts. None neither signs nor asks for a signature.
    """

    def __init__(self, path: Path, key: Ed25519PrivateKey | None = None) -> None:
        self._path = path
        self._log = ChainedLog(path, SCHEMA)
        self._head_path = path.with_name(HEAD)
        self._key = key

    def append(self, entry: Entry) -> Entry:
        """Append an entry; entry and head are on disk when the call returns.

        Raises:
            DataError: The ledger was altered.
        """
        before = self.head()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._log.keep(before.entries)  # without the line that a crash kept out of the head
        if not self._head_path.is_file():  # from now on, a missing head is one that somebody took away
            self._write_head(before)
        self._write_head(Head(before.entries + 1, self._log.append(asdict(entry))))
        return entry

    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first, after a check of the hash chain and of the head.

        A last line that a crash cut off, or that a crash kept out of the head, is ignored: its append never returned.
        The next :meth:`append` removes it.

        Raises:
            DataError: A line was altered, removed or inserted, or the head was.
        """
        documents = self._log.documents()
        return tuple(_entry(document) for document in documents[: self._checked(documents).entries])

    def head(self) -> Head:
        """The head, after the same checks as :meth:`entries`.

        Raises:
            DataError: The ledger or its head was altered.
        """
        return self._checked(self._log.documents())

    def sign(self) -> Head:
        """Sign the head as it is: once, where a ledger without a signed head gets a key.

        Raises:
            DataError: The ledger was altered.
        """
        found = Ledger(self._path).head()
        self._write_head(found)
        return self.head()

    def _checked(self, documents: list[dict[str, Any]]) -> Head:
        if not self._head_path.is_file():
            if any(document["schema"] == SCHEMA for document in documents):
                raise DataError(f"{self._head_path}: the head of the ledger is gone; restore it from a backup")
            return Head(len(documents), documents[-1]["digest"] if documents else START)
        head = self._read_head()
        missing = head.entries - len(documents)
        if missing > 0:
            raise DataError(
                f"{self._path}: the last entries are missing ({missing} of {head.entries}): the ledger was altered; "
                "restore it"
            )
        last = documents[head.entries - 1]["digest"] if head.entries else START
        if last != head.digest or missing < -1:
            raise DataError(f"{self._path}: its last entries are not those of its head: it was altered; restore it")
        return head

    def _read_head(self) -> Head:
        try:
            document = read_json(self._head_path)
            head = Head(int(document["entries"]), str(document["digest"]))
            signature: Any = document.get(SIGNATURE)
            if self._key is not None:
                value = base64.b64decode(str(signature["ed25519"]), validate=True)
                self._key.public_key().verify(value, _message(head))
        except (OSError, ValueError, KeyError, TypeError, InvalidSignature) as error:
            raise DataError(
                f"{self._head_path}: the head is not signed with the ledger's key, or cannot be read "
                f"({type(error).__name__}); restore it, or sign a ledger that you trust: "
                "`python -m monitoring ledger --ledger DIR --sign`"
            ) from error
        signed_by = str(signature["key"]) if isinstance(signature, Mapping) else ""
        return Head(head.entries, head.digest, signed_by)

    def _write_head(self, head: Head) -> None:
        document: dict[str, Any] = {"schema": HEAD_SCHEMA, "entries": head.entries, "digest": head.digest}
        if self._key is not None:
            value = base64.b64encode(self._key.sign(_message(head))).decode()
            document[SIGNATURE] = {"key": key_id(self._key.public_key()), "ed25519": value}
        write_json(self._head_path, document)


def _entry(document: dict[str, Any]) -> Entry:
    values = {key: value for key, value in document.items() if key not in CHAIN}
    return Entry(**{**values, "fingerprints": tuple(values["fingerprints"])})


def _message(head: Head) -> bytes:
    return CONTEXT + f"{head.entries} {head.digest}".encode()
