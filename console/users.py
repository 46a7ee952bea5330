"""Who may do what: users with a role, from a file with hashed tokens.

    python -m console user users.json ada approver

adds a user and prints the token once. Tokens are 256 random bits, so that a plain SHA-256 cannot be searched.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

from fairtag.base.errors import ConfigError, FairtagError
from fairtag.base.files import read_json, write_json

SCHEMA = "fairtag.console-users/1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
TOKEN_BYTES = 32


class Denied(FairtagError):
    """Somebody may not do this, may not come in, or sent a form that is not from a page of their session."""


class Role(IntEnum):
    """What somebody may do; each role may do what those before it may."""

    VIEWER = 0
    MERCHANDISER = 1
    APPROVER = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is written in the file and on the page."""
        return self.name.lower()


STOP_ROLE = Role.MERCHANDISER  # who may stop learned prices: it must not wait for anybody


@dataclass(frozen=True)
class User:
    """Somebody who is signed in.

    Args:
        name: Stands in the audit log and in the history of the policy.
        role: What they may do.
    """

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this user may do what a role may."""
        return self.role >= role


@dataclass(frozen=True)
class _Row:
    name: str
    role: str
    sha256: str


class Users:
    """The users of a file, which is read again when it changes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1.0
        self._rows: tuple[_Row, ...] = ()
        self._refresh()

    def sign_in(self, token: str) -> User | None:
        """Whose token it is; None where it is nobody's. It takes as long whoever it is."""
        self._refresh()
        digest, found = hashed(token), None
        for row in self._rows:
            if hmac.compare_digest(row.sha256.encode(), digest.encode()):
                found = row
        return None if found is None else User(found.name, Role[found.role.upper()])

    def still(self, user: User) -> User | None:
        """The same user as the file has them now; None who was removed."""
        self._refresh()
        return next((User(row.name, Role[row.role.upper()]) for row in self._rows if row.name == user.name), None)

    def _refresh(self) -> None:
        try:
            changed = self._path.stat().st_mtime
            if changed != self._read_at:
                self._rows, self._read_at = _read(self._path), changed
        except OSError as error:
            raise ConfigError(
                f"{self._path}: the users cannot be read ({type(error).__name__}); add one with "
                "`python -m console user FILE NAME ROLE`"
            ) from error


def hashed(token: str) -> str:
    """What the file keeps of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def add_user(path: Path, name: str, role: str) -> str:
    """Add a user, or give one a new token and role; returns the token, which nothing can show again.

    Raises:
        ConfigError: The name or the role is none.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"user {name!r} is refused; a name has letters, digits, and . _ @ -, at most 64")
    _role(role, name)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    rows = [row for row in (_read(path) if path.is_file() else ()) if row.name != name]
    rows.append(_Row(name, role, hashed(token)))
    write_json(path, {"schema": SCHEMA, "users": [asdict(row) for row in rows]})
    path.chmod(0o600)
    return token


def _read(path: Path) -> tuple[_Row, ...]:
    try:
        document = read_json(path)
        rows = tuple(_Row(**row) for row in document["users"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no file of users ({type(error).__name__}); see docs/console.md") from error
    if document.get("schema") != SCHEMA:
        raise ConfigError(f"{path}: schema {document.get('schema')!r}, this version reads {SCHEMA!r}")
    for row in rows:
        _role(row.role, row.name)
    return rows


def _role(role: str, name: str) -> None:
    if role.upper() not in Role.__members__:
        words = ", ".join(each.word for each in Role)
        raise ConfigError(f"user {name}: role {role!r} is refused; the roles are {words}")
