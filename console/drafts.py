"""Drafts of the policy: what somebody proposes, until somebody makes it live or drops it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.files import read_json, write_json

SCHEMA = "fairtag.console-drafts/1"
FILE = "drafts.json"
MOST = 50


@dataclass(frozen=True)
class Draft:
    """One proposal.

    Args:
        id: Names it in addresses.
        at: When it was made, RFC 3339, UTC.
        who: Who proposes it.
        why: Why, in words.
        document: The policy, as it would be written into ``policy.yaml``.
        version: Of the live policy that it was made under.
    """

    id: str
    at: str
    who: str
    why: str
    document: dict[str, Any]
    version: int = 0


class Drafts:
    """The open drafts of a console, in a file.

    Args:
        folder: Where the file is.
        now: The time of a draft.
    """

    def __init__(self, folder: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path, self._now, self._lock = folder / FILE, now, threading.Lock()

    def open(self) -> tuple[Draft, ...]:
        """All open drafts, newest first.

        Raises:
            DataError: The file cannot be read.
        """
        if not self._path.is_file():
            return ()
        try:
            document = read_json(self._path)
            if document["schema"] != SCHEMA:
                raise DataError(f"{self._path}: schema {document['schema']!r}, this version reads {SCHEMA!r}")
            return tuple(Draft(**entry) for entry in document["drafts"])
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self._path}: no file of drafts ({type(error).__name__}); remove it") from error

    def find(self, name: str) -> Draft:
        """An open draft.

        Raises:
            ConfigError: There is none of that id; somebody else has made it live or dropped it.
        """
        found = next((draft for draft in self.open() if draft.id == name), None)
        if found is None:
            raise ConfigError(f"draft {name!r} is open no more: somebody made it live or dropped it")
        return found

    def add(self, document: dict[str, Any], *, who: str, why: str, version: int = 0) -> Draft:
        """Keep a proposal.

        Raises:
            ConfigError: There are too many.
        """
        with self._lock:
            drafts = self.open()
            if len(drafts) >= MOST:
                raise ConfigError(f"{MOST} drafts are open; decide about some of them first")
            made = Draft(secrets.token_hex(4), self._now().isoformat(timespec="seconds"), who, why, document, version)
            self._write((made, *drafts))
        return made

    def close(self, name: str) -> None:
        """Forget a draft."""
        with self._lock:
            self._write(tuple(draft for draft in self.open() if draft.id != name))

    def _write(self, drafts: tuple[Draft, ...]) -> None:
        write_json(self._path, {"schema": SCHEMA, "drafts": [asdict(draft) for draft in drafts]})
