"""Keyed hashes of user ids: equal ids give equal keys, and nobody without the secret can go back."""

from __future__ import annotations

import hmac
from pathlib import Path

from fairtag.base.errors import ConfigError

MIN_SECRET_BYTES = 32  # as long as the SHA-256 it keys: a shorter one is the weakest link


def user_key(user_id: str, secret: bytes) -> str:
    """Hex HMAC-SHA256 of a user id: what stands for the user in the quote log, in logs and in sticky prices.

    Args:
        user_id: The shop's id of the user, any text.
        secret: At least :data:`MIN_SECRET_BYTES` bytes (:func:`read_secret`); whoever joins on ``user_key`` needs the
            same one.
    """
    return hmac.digest(secret, user_id.encode("utf-8"), "sha256").hex()


def parse_secret(text: str, source: str) -> bytes:
    """The secret written as hex, as files and environments carry it.

    Raises:
        ConfigError: The text is not hex, or the secret is too short. The text itself is never shown.
    """
    try:
        secret = bytes.fromhex(text.strip())
    except ValueError:
        raise ConfigError(f"{source}: the secret is not hexadecimal; make one with `openssl rand -hex 32`") from None
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(
            f"{source}: the secret has {len(secret)} bytes, at least {MIN_SECRET_BYTES} are needed; "
            "make one with `openssl rand -hex 32`"
        )
    return secret


def read_secret(path: Path) -> bytes:
    """Read a secret from a file that holds it as hex.

    Raises:
        ConfigError: The file is absent, not hex, or too short.
    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the secret cannot be read ({type(error).__name__})") from error
    return parse_secret(text, str(path))
