"""The audit log: who did what in the console, when, and how it ended; append-only, hash-chained and sealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from console.settings import ConsoleSettings
from fairtag.model import signature
from fairtag.model.sealed_log import Head, SealedLog
from fairtag.model.signature import TrustedKeys

SCHEMA = "fairtag.console-audit/2"  # since this version there is a head
HEAD_SCHEMA = "fairtag.console-audit-head/1"
CONTEXT = b"fairtag.console-audit-head\n"  # a signature of a head is none of anything else
REMEDY = "`python -m console audit FOLDER --sign`"
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
    """The log of a console; several consoles may share its folder.

    Args:
        folder: Where it is kept.
        now: The time of an entry.
        key: Signs how far the log goes; None does not.
        trusted: Further keys whose signature counts.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        key: Ed25519PrivateKey | None = None,
        trusted: TrustedKeys | None = None,
    ) -> None:
        self._now = now
        self._log = SealedLog(
            folder / FILE, "audit log", SCHEMA, HEAD_SCHEMA, CONTEXT, key=key, trusted=trusted, remedy=REMEDY
        )

    def note(self, who: str, role: str, action: str, outcome: str, fields: Mapping[str, str]) -> None:
        """Write an entry; it is on disk when the call returns. It takes no longer in a long log.

        Raises:
            DataError: The log was altered.
            UnavailableError: Its folder takes no entry.
        """
        kept = {name: value[:LONGEST] for name, value in fields.items() if name not in SECRET_FIELDS and value}
        at = self._now().isoformat(timespec="seconds")
        self._log.append(asdict(AuditEntry(at, who, role, action, outcome[:LONGEST], kept)))

    def require_whole(self) -> None:
        """Raise where the log was altered: a look at how its file was left, and a full check where that has changed.

        Raises:
            DataError: The log was altered.
        """
        if self._log.glance() is None:
            self._log.head()

    def verify(self) -> Head:
        """How far the log goes, after a check of every line.

        Raises:
            DataError: The log was altered.
        """
        return self._log.head()

    def seal(self) -> Head:
        """Sign a log that somebody trusts with this console's key.

        Raises:
            DataError: The log was altered.
        """
        return self._log.seal()

    def entries(self) -> tuple[AuditEntry, ...]:
        """All entries, oldest first.

        Raises:
            DataError: The log was altered.
        """
        return tuple(AuditEntry(**entry) for entry in self._log.entries())

    def newest(self, count: int) -> tuple[AuditEntry, ...]:
        """The last entries, newest first; it takes no longer in a long log.

        Raises:
            DataError: The log was altered.
        """
        return tuple(AuditEntry(**entry) for entry in self._log.newest(count))


def open_audit_log(settings: ConsoleSettings) -> AuditLog:
    """The audit log of a console, sealed with the key that signs its versions of the live policy, where it has one.

    Raises:
        ConfigError: A key cannot be read.
    """
    own = signature.pem_of(None, settings.policy_signing_key_file, "FAIRTAG_CONSOLE_POLICY_SIGNING_KEY")
    trusted = signature.pem_of(None, settings.policy_keys_file, "FAIRTAG_CONSOLE_POLICY_KEYS")
    return AuditLog(
        settings.state_dir,
        key=None if own is None else signature.signing_key(*own),
        trusted=None if own is None or trusted is None else signature.trusted_keys(*trusted),
    )
