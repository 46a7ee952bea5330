"""Changes the key files of an endpoint in two phases, so that no replica meets a key that it does not know.

* **distribute** adds a new key: every replica accepts it, none uses it yet;
* **activate** takes it into use: what the old key signed or named is still accepted;
* **retire** drops the keys that are no longer in use.

A running endpoint reads changed files by itself (``FAIRTAG_KEY_CHECK_SECONDS``). docs/how-to/keys.md walks through it.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from fairtag.base.errors import ConfigError
from fairtag.base.pseudonym import parse_secrets
from serving.keys import KEY_BYTES, QUOTE_KEYS, USER_KEY, parse_quote_keys
from serving.settings import KeySettings

API_KEY_BYTES = 24
PRICE_DAY_SECONDS = 86_400.0  # of the default policy: the price locks of one are read under old user keys too


class Kind(StrEnum):
    """What a key is for."""

    QUOTE = "quote"
    USER = "user"
    API = "api"


class KeyState(NamedTuple):
    """One key without its secret: what it is called, and whether it is in use."""

    name: str
    active: bool


class KeyFile:
    """The file of one kind of keys.

    Args:
        kind: What its keys are for.
        path: The file.
        clock: Unix seconds.

    Raises:
        ConfigError: There is no such file.
    """

    def __init__(self, kind: Kind, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.kind = kind
        self.path = path
        self._clock = clock
        if not path.is_file():
            raise ConfigError(f"{path}: there is no file of {kind} keys; start the endpoint once, or write it yourself")

    @property
    def age(self) -> float:
        """Seconds since its last change."""
        return self._clock() - self.path.stat().st_mtime

    def states(self) -> list[KeyState]:
        """Its keys in their order.

        Raises:
            ConfigError: The file cannot be read.
        """
        if self.kind is Kind.QUOTE:
            keys = parse_quote_keys(self._text(), str(self.path))
            return [KeyState(name, name == keys.active) for name in keys.keys]
        return [
            KeyState(f"line {number}", number == 1 or self.kind is Kind.API)
            for number, _ in enumerate(self._lines(), start=1)
        ]

    def distribute(self) -> str:
        """Add a new key; its name, or for an API key the key itself, which nothing else will tell again."""
        if self.kind is Kind.QUOTE:
            document = self._document()
            day = time.strftime("%Y-%m-%d", time.gmtime(self._clock()))
            name = next(n for n in (day, *(f"{day}.{i}" for i in range(2, 1_000))) if n not in document["keys"])
            document["keys"][name] = secrets.token_hex(KEY_BYTES)
            self._write(json.dumps(document))
            return name
        new = secrets.token_hex(KEY_BYTES) if self.kind is Kind.USER else secrets.token_urlsafe(API_KEY_BYTES)
        lines = [*self._lines(), new]
        self._write("\n".join(lines))
        return new if self.kind is Kind.API else f"line {len(lines)}"

    def activate(self, least_age: float) -> str:
        """Take the newest key into use; its name.

        Args:
            least_age: Seconds that every replica needs to read the key before one of them uses it.

        Raises:
            ConfigError: There is no new key, the last change is too recent, or keys of this kind are all in use.
        """
        if self.kind is Kind.API:
            raise ConfigError("api keys need no activation: all keys of the file are accepted; move your clients")
        newest = self.states()[-1]
        if newest.active:
            raise ConfigError(f"{self.path}: there is no new key; add one with `fairtag keys distribute {self.kind}`")
        self._wait(least_age, "so that every replica knows the new key before one uses it")
        if self.kind is Kind.QUOTE:
            self._write(json.dumps({**self._document(), "active": newest.name}))
            return newest.name
        *old, new = self._lines()
        self._write("\n".join([new, *old]))
        return "line 1"

    def retire(self, least_age: float) -> list[str]:
        """Drop the keys that are no longer in use, or the oldest API key; their names.

        Args:
            least_age: Seconds after which nobody needs the old keys any more.

        Raises:
            ConfigError: There is none to drop, or the last change is too recent.
        """
        keys = self.states()
        old = [keys[0].name] if self.kind is Kind.API and len(keys) > 1 else [k.name for k in keys if not k.active]
        if not old:
            raise ConfigError(f"{self.path}: it has one key, which is in use; nothing to retire")
        if self.kind is Kind.QUOTE and keys[-1].name in old:
            raise ConfigError(
                f"{self.path}: the newest key is not in use yet; `fairtag keys activate {self.kind}` first"
            )
        self._wait(least_age, "so that what the old key signed or named has expired")
        if self.kind is Kind.QUOTE:
            document = self._document()
            self._write(json.dumps({**document, "keys": {document["active"]: document["keys"][document["active"]]}}))
        else:
            lines = self._lines()
            self._write("\n".join(lines[1:] if self.kind is Kind.API else lines[:1]))
        return old

    def _wait(self, least_age: float, why: str) -> None:
        if (left := least_age - self.age) > 0:
            raise ConfigError(
                f"{self.path}: changed {self.age:.0f} s ago; wait {left:.0f} s more, {why}; --force does not wait"
            )

    def _text(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{self.path}: keys cannot be read ({type(error).__name__})") from error

    def _document(self) -> dict[str, Any]:
        parse_quote_keys(self._text(), str(self.path))
        document: dict[str, Any] = json.loads(self._text())
        return document

    def _lines(self) -> list[str]:
        text = self._text()
        if self.kind is Kind.USER:
            parse_secrets(text, str(self.path))
        return [line.strip() for line in text.splitlines() if line.strip()]

    def _write(self, text: str) -> None:
        """Replace the file, readable by its owner alone; a reader sees the old one or the new one."""
        handle, name = tempfile.mkstemp(dir=self.path.parent)  # mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(self.path)


def old_key_seconds(kind: Kind) -> float:
    """How long what an old key signed or named is needed: the life of a quote, or a price day."""
    settings = KeySettings()
    if kind is Kind.QUOTE:
        return settings.quote_seconds + settings.clock_skew_seconds
    return PRICE_DAY_SECONDS if kind is Kind.USER else 0.0


def key_file(kind: Kind, run_dir: Path, settings: KeySettings, api_keys: Path | None = None) -> KeyFile:
    """The file of a kind of keys: the one that the environment names, else that of an endpoint's run folder.

    Raises:
        ConfigError: The keys are in the environment itself, or there is no file.
    """
    given = {Kind.QUOTE: settings.quote_keys, Kind.USER: settings.user_key}.get(kind)
    if given is not None:
        raise ConfigError(f"the {kind} keys are in the environment; change them there, or move them to a file")
    named = {Kind.QUOTE: settings.quote_keys_file, Kind.USER: settings.user_key_file, Kind.API: api_keys}[kind]
    if kind is Kind.API and named is None:
        raise ConfigError("no file of API keys: set FAIRTAG_API_KEYS_FILE to the file of the endpoint")
    own = {Kind.QUOTE: run_dir / QUOTE_KEYS, Kind.USER: run_dir / USER_KEY}
    return KeyFile(kind, named or own[kind])
