"""Pseudonyms of users: keyed hashes that nobody can reverse without the secret.

>>> user_key("user-1", b"0" * 32) == user_key("user-1", b"0" * 32)
True
>>> len(user_key("user-1", b"0" * 32))
64
"""

from __future__ import annotations

import hmac
import os
from collections import deque
from pathlib import Path

from fairtag.base.errors import ConfigError

MIN_SECRET_BYTES = 32  # the length of a SHA-256 digest; a shorter secret would be easier to guess than the hash


ID_BYTES, _DRAWN = 16, 256  # of a random id; how many are drawn at a time
_ids: deque[bytes] = deque()
os.register_at_fork(after_in_child=_ids.clear)  # no two processes give out the same one


def random_id() -> bytes:
    """16 bytes of the system's generator that nobody else gets; safe in any thread.

    Drawn ahead: each draw releases the GIL, which a busy server waits for.
    """
    try:
        return _ids.pop()
    except IndexError:
        drawn = os.urandom(_DRAWN * ID_BYTES)
        _ids.extend(drawn[at : at + ID_BYTES] for at in range(ID_BYTES, len(drawn), ID_BYTES))
        return drawn[:ID_BYTES]


def keyed_hash(key: bytes, content: bytes) -> bytes:
    """HMAC-SHA256, 32 bytes. ``hmac.digest`` would release the GIL, and a busy server waits 1 ms to get it back."""
    return hmac.new(key, content, "sha256").digest()


def user_key(user_id: str, secret: bytes) -> str:
    """Hex HMAC-SHA256 of a user id: it replaces the id in the quote log, in logs and in price locks.

    Args:
        user_id: The shop's id of the user, any text.
        secret: At least :data:`MIN_SECRET_BYTES` bytes (:func:`read_secret`); the same secret gives the same keys.
    """
    return keyed_hash(secret, user_id.encode("utf-8")).hex()


def parse_secret(text: str, source: str) -> bytes:
    """Read a secret from hex text, as files and environment variables hold it.

    Raises:
        ConfigError: The text is not hex, or the secret is too short; the message never shows the text.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        raise ConfigError(f"{source}: the secret is not hexadecimal; make one with `openssl rand -hex 32`") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{source}: the secret has {len(secret)} bytes and needs at least {MIN_SECRET_BYTES}; "
            "make one with `openssl rand -hex 32`"
        )
    return secret


def parse_secrets(text: str, source: str) -> tuple[bytes, ...]:
    """Secrets from hex text, one a line: the first is in use, the others are still accepted (docs/how-to/keys.md).

    Raises:
        ConfigError: A line is not hex, or a secret is too short; the message never shows the text.
    """
    lines = [line for line in text.splitlines() if line.strip()] or [text]
    return tuple(parse_secret(line, source) for line in lines)


def read_secret(path: Path) -> bytes:
    """The secret in use of a file that holds secrets as hex, one a line.

    Raises:
        ConfigError: The file is absent, not hex, or too short.
    """
    return read_secrets(path)[0]


def read_secrets(path: Path) -> tuple[bytes, ...]:
    """All secrets of a file, the one in use first.

    Raises:
        ConfigError: The file is absent, not hex, or too short.
    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: the secret cannot be read ({type(error).__name__}); check the path and its permissions"
        ) from error
    return parse_secrets(text, str(path))
