"""The endpoint's secrets: keys that sign quotes, user keys that everything about a customer is hashed with, API keys.

Quote keys are JSON: ``{"active": "2026-11", "keys": {"2026-11": "<hex>", "2026-10": "<hex>"}}``. User keys are hex, one
a line: the first is in use, the others are still read. API keys are one a line, all accepted.
:mod:`serving.key_rotation` changes the files.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairtag.base.errors import ConfigError
from fairtag.base.pseudonym import parse_secret, parse_secrets, read_secrets
from serving.settings import KeySettings, ServingSettings

KEY_BYTES = 32
QUOTE_KEYS = Path("secrets/quote_keys.json")  # under a run folder
USER_KEY = Path("secrets/user_key")


@dataclass(frozen=True)
class QuoteKeys:
    """Signing keys by id, and which of them signs."""

    active: str
    keys: Mapping[str, bytes] = field(repr=False)

    def __post_init__(self) -> None:
        if self.active not in self.keys:
            raise ConfigError(f"quote keys: the active key {self.active!r} is not among {', '.join(sorted(self.keys))}")


def parse_quote_keys(text: str, source: str) -> QuoteKeys:
    """Quote keys from their JSON text.

    Raises:
        ConfigError: Not that JSON, a key too short, or the active one absent.
    """
    try:
        document: Any = json.loads(text)
        active, keys = document["active"], document["keys"]
        hexes = {str(name): str(value) for name, value in keys.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f'{source}: quote keys must be JSON {{"active": ID, "keys": {{ID: HEX}}}}') from None
    return QuoteKeys(str(active), {name: parse_secret(value, f"{source}, key {name}") for name, value in hexes.items()})


def quote_keys(settings: KeySettings, run_dir: Path | None = None) -> QuoteKeys:
    """The quote keys from the environment or a file, else those of a run folder, where they are created once.

    Args:
        settings: Where they are.
        run_dir: Run folder of an endpoint; None creates no keys.

    Raises:
        ConfigError: There are none, or they cannot be read.
    """
    if settings.quote_keys is not None:
        return parse_quote_keys(settings.quote_keys, "FAIRTAG_QUOTE_KEYS")
    path = settings.quote_keys_file
    if path is None and run_dir is not None:
        path = _create_once(run_dir / QUOTE_KEYS, _new_quote_keys)
    if path is None:
        raise ConfigError(
            "no quote keys: set FAIRTAG_QUOTE_KEYS_FILE or FAIRTAG_QUOTE_KEYS to the keys of the endpoint"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: quote keys cannot be read ({type(error).__name__})") from error
    return parse_quote_keys(text, str(path))


def user_keys(settings: KeySettings, run_dir: Path | None = None) -> tuple[bytes, ...]:
    """The user keys, the one in use first: from the environment or a file, else those of a run folder, created once.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    if settings.user_key is not None:
        return parse_secrets(settings.user_key, "FAIRTAG_USER_KEY")
    path = settings.user_key_file
    if path is None and run_dir is not None:
        path = _create_once(run_dir / USER_KEY, _new_secret)
    if path is None:
        raise ConfigError("no user key: set FAIRTAG_USER_KEY_FILE or FAIRTAG_USER_KEY to the key of the endpoint")
    return read_secrets(path)


def api_keys(settings: ServingSettings) -> tuple[str, ...]:
    """The accepted bearer keys; none means that everyone is let in.

    Raises:
        ConfigError: The file is named and cannot be read, or holds no key.
    """
    if settings.api_keys_file is None:
        return ()
    try:
        lines = settings.api_keys_file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{settings.api_keys_file}: API keys cannot be read ({type(error).__name__})") from error
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise ConfigError(
            f"{settings.api_keys_file}: holds no API key, so that nobody could be let in; write one key on each line"
        )
    return keys


def key_files(settings: ServingSettings) -> list[Path]:
    """The files that hold an endpoint's keys."""
    own = settings.run_dir
    quote, user = settings.quote_keys_file or own / QUOTE_KEYS, settings.user_key_file or own / USER_KEY
    return [quote, user, *([settings.api_keys_file] if settings.api_keys_file else [])]


def _new_secret() -> str:
    return secrets.token_hex(KEY_BYTES) + "\n"


def _new_quote_keys() -> str:
    return json.dumps({"active": "k1", "keys": {"k1": secrets.token_hex(KEY_BYTES)}}) + "\n"


def _create_once(path: Path, make: Any) -> Path:
    """Create the file, readable by its owner alone, unless it exists; processes that race agree on one winner."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(make())
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
    return path
