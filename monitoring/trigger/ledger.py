"""The trigger's ledger: every decision with its reason, in an append-only file with a hash chain and a signed head.

The chain shows that an entry was altered, inserted or taken out of the middle. That the last ones are still there no
chain can show: for that, the head (``ledger.head.json``) says how many entries there are and the digest of the last.
With a key it is signed, so that whoever can write the folder can make no other. An older pair of ledger and head looks
whole; each call of the trigger therefore prints its head, and its log keeps it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fairtag.model.sealed_log import Head, SealedLog

SCHEMA = "fairtag.trigger-ledger/2"  # since this version there is a head
HEAD_SCHEMA = "fairtag.trigger-ledger-head/1"
REMEDY = "`python -m monitoring ledger --ledger DIR --sign`"
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


class Ledger:
    """An append-only file of JSON lines, each with the digest of the line before, and its head in a file beside it.

    Args:
        path: The file; the first entry creates it.
        key: Signs the head; then no other head counts. None neither signs nor asks for a signature.
    """

    def __init__(self, path: Path, key: Ed25519PrivateKey | None = None) -> None:
        self._log = SealedLog(path, "ledger", SCHEMA, HEAD_SCHEMA, CONTEXT, key=key, remedy=REMEDY)

    def append(self, entry: Entry) -> Entry:
        """Append an entry; entry and head are on disk when the call returns.

        Raises:
            DataError: The ledger was altered.
        """
        self._log.append(asdict(entry))
        return entry

    def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first, after a check of the hash chain and of the head.

        Raises:
            DataError: A line was altered, removed or inserted, or the head was.
        """
        return tuple(_entry(values) for values in self._log.entries())

    def head(self) -> Head:
        """The head, after the same checks as :meth:`entries`.

        Raises:
            DataError: The ledger or its head was altered.
        """
        return self._log.head()

    def sign(self) -> Head:
        """Sign the head as it is: once, where a ledger without a signed head gets a key.

        Raises:
            DataError: The ledger was altered.
        """
        return self._log.seal()


def _entry(values: dict[str, Any]) -> Entry:
    return Entry(**{**values, "fingerprints": tuple(values["fingerprints"])})
