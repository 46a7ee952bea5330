"""Authenticates the values of a store that others may write: a code over the key, the field and the value itself.

>>> seal = Seal([bytes(32)])
>>> text = seal.seal("customer and day", "public:mug", (1999,))
>>> seal.open("customer and day", "public:mug", text, print)
(1999,)
>>> seal.open("another customer", "public:mug", text, print)
forged
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Final

Value = tuple[int, ...]  # one price, or the two ends of a corridor
Ignored = Callable[[str], None]  # told why a value was ignored: UNREADABLE or FORGED
UNREADABLE, FORGED = "unreadable", "forged"
MOST_MINOR: Final = 2**53  # of one price; beyond it JSON loses whole numbers
CODE_BYTES: Final = 12
_SEALED = re.compile(r"([1-9][0-9]{0,15})(?:-([1-9][0-9]{0,15}))?\.[A-Za-z0-9_-]{16}")


class Seal:
    """Authenticates what is kept where others may write.

    Args:
        secrets: The first seals; a value sealed with any of them is genuine.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self.use(secrets)

    def use(self, secrets: Iterable[bytes]) -> None:
        """Go on with other secrets."""
        self._keys = [hmac.digest(secret, b"fairtag price-lock seal", "sha256") for secret in secrets]

    def sign(self, key: str, name: str, text: str) -> str:
        """A text with its code: ``TEXT.CODE``."""
        return f"{text}.{_code(self._keys[0], key, name, text)}"

    def verified(self, key: str, name: str, signed: str) -> str | None:
        """The text of :meth:`sign`; None where the code is not ours, or belongs to another place."""
        text, _, code = signed.rpartition(".")
        given = code.encode("utf-8", "replace")
        own = any(hmac.compare_digest(given, _code(secret, key, name, text).encode()) for secret in self._keys)
        return text if own else None

    def seal(self, key: str, name: str, value: Value) -> str:
        """A value as it is stored: ``1999.CODE``, or ``1500-1875.CODE`` for the ends of a corridor."""
        return self.sign(key, name, "-".join(map(str, value)))

    def open(self, key: str, name: str, stored: str, ignored: Ignored) -> Value | None:
        """The value of a stored text; None, and a reason to ``ignored``, where it is none or not ours."""
        found = _SEALED.fullmatch(stored)
        value = () if found is None else tuple(int(number) for number in found.groups() if number is not None)
        if not value or not value[0] <= value[-1] <= MOST_MINOR:
            ignored(UNREADABLE)
            return None
        if self.verified(key, name, stored) is None:
            ignored(FORGED)
            return None
        return value

    def open_all(self, key: str, stored: Mapping[str, str], ignored: Ignored) -> dict[str, Value]:
        """The genuine values among stored texts."""
        opened = ((name, self.open(key, name, text, ignored)) for name, text in stored.items())
        return {name: value for name, value in opened if value is not None}


def _code(secret: bytes, key: str, name: str, text: str) -> str:
    """Keyed hash of a value in its place; its parts are told apart by their lengths."""
    content = f"{len(key)}:{key}{len(name)}:{name}{text}".encode()
    return base64.urlsafe_b64encode(blake2b(content, key=secret, digest_size=CODE_BYTES).digest()).decode()
