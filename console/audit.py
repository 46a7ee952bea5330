"""The audit log: who did what in the console, when, and how it ended; append-only and hash-chained."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fairtag.base.chained_log import ChainedLog

SCHEMA = "fairtag.console-audit/1"
FILE = "audit.jsonl"
SECRET_FIELDS = frozenset({"csrf", "token", "quote"})
LONGEST = 500  # characters of a field that are kept


@dataclass(frozen=True)
class AuditEntry:
    """One action.

    Args:
        at: When, RFC 3339, UTC.
        who: Name of the user.
        role: Their role.
        action: Page and action, such as ``policy/approve``.
        outcome: ``done``, or why not.
        fields: What the form said, without tokens.
    """

    at: str
    who: str
    role: str
    action: str
    outcome: str
    fields: dict[str, str] = field(default_factory=dict)


class AuditLog:
    """The log of a console.

    Args:
        folder: Where it is kept.
        now: The time of an entry.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._log, self._now, self._lock = ChainedLog(folder / FILE, SCHEMA), now, threading.Lock()

    def note(self, who: str, role: str, action: str, outcome: str, fields: Mapping[str, str]) -> None:
        """Write an entry; it is on disk when the call returns.

        Raises:
            DataError: The log was altered.
        """
        kept = {name: value[:LONGEST] for name, value in fields.items() if name not in SECRET_FIELDS and value}
        at = self._now().isoformat(timespec="seconds")
        with self._lock:
            self._log.append(asdict(AuditEntry(at, who, role, action, outcome[:LONGEST], kept)))

    def entries(self) -> tuple[AuditEntry, ...]:
        """All entries, oldest first.

        Raises:
            DataError: The log was altered.
        """
        return tuple(AuditEntry(**entry) for entry in self._log.entries())
