"""Signed price quotes: a token that checkout verifies without a look-up.

A quote is a JSON Web Token (HS256). Its claims: ``jti`` quote id, ``sub`` the customer (empty for a guest),
``iat``, ``nbf``, ``exp``, ``cur`` currency, ``mv`` model version and ``itm``, the price of each item in minor units.

``sub`` is a hash of the customer and of the quote, keyed by the signing key. It differs from quote to quote and from
the pseudonym in the quote log, so that quotes tell nobody who stands behind a row of the log.
"""

from __future__ import annotations

import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
import orjson

from fairtag.base.errors import (
    QuoteExpired,
    QuoteKeyUnknown,
    QuoteNotYetValid,
    QuoteTampered,
    QuoteWrongItem,
    QuoteWrongPrice,
    QuoteWrongUser,
)
from fairtag.base.pseudonym import keyed_hash
from serving.keys import QUOTE_KEYS, QuoteKeys, quote_keys
from serving.settings import KeySettings

ALGORITHM = "HS256"
ISSUER = "fairtag"
CLAIMS = ["iss", "jti", "sub", "iat", "nbf", "exp", "cur", "mv", "itm"]


@dataclass(frozen=True)
class VerifiedQuote:
    """What an honoured quote guarantees for one item."""

    quote_id: str
    item_id: str
    price_minor: int
    currency: str
    model_version: str
    expires_at: datetime

    def as_json(self) -> dict[str, Any]:
        """The fields as the endpoint answers them."""
        return {**asdict(self), "expires_at": rfc3339(self.expires_at.timestamp())}


class QuoteBook:
    """Signs quotes with the active key and verifies them with any key of the set.

    Args:
        keys: Signing keys.
        lifetime: Seconds for which a quote is valid.
        skew: Seconds by which the clocks of two machines may differ.
        step_back: Seconds by which a clock may have been set back since a quote was issued.
    """

    def __init__(self, keys: QuoteKeys, *, lifetime: int, skew: int, step_back: int = 0) -> None:
        self.keys = keys
        self._lifetime = lifetime
        self._skew = skew
        self._step_back = step_back

    def expiry(self, now: float) -> int:
        """Unix second at which a quote issued now expires."""
        return int(now) + self._lifetime

    def sign(
        self,
        quote_id: str,
        user_id: str | None,
        prices: Mapping[str, int],
        *,
        currency: str,
        model_version: str,
        now: float,
    ) -> str:
        """The token of one page.

        Args:
            quote_id: Id of the page's quote.
            user_id: The customer, None for a guest.
            prices: Price in minor units by item id.
            currency: ISO 4217 code.
            model_version: Version of the model that priced.
            now: Unix time in seconds.
        """
        issued, keys = int(now), self.keys  # one set of keys, whoever replaces it meanwhile
        key = keys.keys[keys.active]
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "jti": quote_id,
            "sub": _subject(key, quote_id, user_id),
            "iat": issued,
            "nbf": issued,
            "exp": self.expiry(now),
            "cur": currency,
            "mv": model_version,
            "itm": dict(prices),
        }
        signed = f"{_head(keys.active)}.{_base64url(orjson.dumps(claims))}"
        return f"{signed}.{_base64url(keyed_hash(key, signed.encode()))}"

    def verify(self, token: str, *, item_id: str, user_id: str | None, price_minor: int | None = None) -> VerifiedQuote:
        """Check that this user was quoted this item at this price, and that the quote is still valid.

        Args:
            token: The ``quote`` of a page.
            item_id: Item at checkout.
            user_id: User at checkout, None for nobody.
            price_minor: Price at checkout in minor units, None to ask for it.

        Raises:
            QuoteError: A subclass for each reason not to honour it.
        """
        claims, key = self._claims(token)
        if not hmac.compare_digest(claims["sub"], _subject(key, claims["jti"], user_id)):
            raise QuoteWrongUser(f"quote {claims['jti']} was issued to another user; ask for a page for this user")
        prices = claims["itm"]
        if item_id not in prices:
            raise QuoteWrongItem(
                f"quote {claims['jti']} has no price for item {item_id!r}, only for {len(prices)} others"
            )
        quoted = int(prices[item_id])
        if price_minor is not None and price_minor != quoted:
            raise QuoteWrongPrice(
                f"quote {claims['jti']} prices item {item_id!r} at {quoted} minor units, not at {price_minor}"
            )
        expires = datetime.fromtimestamp(int(claims["exp"]), UTC)
        return VerifiedQuote(claims["jti"], item_id, quoted, claims["cur"], claims["mv"], expires)

    def _claims(self, token: str) -> tuple[dict[str, Any], bytes]:
        """The claims of a token that may be honoured now, and the key that signed it."""
        try:
            kid = jwt.get_unverified_header(token).get("kid")
        except jwt.InvalidTokenError as error:
            raise QuoteTampered(
                "the quote is not a token that this endpoint issued; send it exactly as received"
            ) from error
        key = self.keys.keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise QuoteKeyUnknown("the quote is signed with a key that is not in use; ask for a new page")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                [ALGORITHM],
                issuer=ISSUER,
                leeway=self._skew,
                options={"require": CLAIMS, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.ExpiredSignatureError as error:
            raise QuoteExpired("the quote has expired; ask for a new page") from error
        except jwt.InvalidTokenError as error:
            raise QuoteTampered(
                "the quote's signature does not match: it was altered, or another endpoint issued it"
            ) from error
        if not isinstance(claims["itm"], dict) or not all(isinstance(claims[name], str) for name in ("jti", "sub")):
            raise QuoteTampered("the quote carries no prices, no id or no customer")
        ahead = self._skew + self._step_back
        if not isinstance(claims["nbf"], int) or claims["nbf"] > time.time() + ahead:
            raise QuoteNotYetValid(f"the quote was issued more than {ahead} s ahead of this clock; set the clock right")
        return claims, key


@lru_cache(8)
def _head(key_id: str) -> str:
    """The header of the tokens of one key."""
    return _base64url(orjson.dumps({"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}))


def _base64url(content: bytes) -> str:
    """As a token writes it (RFC 7515, section 2). PyJWT's encode takes four times as long as all of a quote."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _subject(key: bytes, quote_id: str, user_id: str | None) -> str:
    """The customer of one quote, 32 hex digits; empty for a guest."""
    if user_id is None:
        return ""
    own = keyed_hash(key, b"fairtag quote subject")
    return keyed_hash(own, f"{quote_id}\n{user_id}".encode())[:16].hex()


def rfc3339(seconds: float) -> str:
    """A Unix time as text, to the second, UTC."""
    return _to_the_second(int(seconds // 1))


@lru_cache(1_024)
def _to_the_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_settings(run_dir: Path | None = None) -> KeySettings:
    """Where the keys are: files or texts that the environment names, else the files of an endpoint's run folder.

    Args:
        run_dir: The run folder; a file that does not exist is not used.
    """
    named = KeySettings()
    if run_dir is None or named.quote_keys is not None or named.quote_keys_file is not None:
        return named
    file = run_dir / QUOTE_KEYS
    return named.model_copy(update={"quote_keys_file": file}) if file.is_file() else named


def verify_quote(
    token: str, item_id: str, *, user_id: str | None, price_minor: int | None, settings: KeySettings
) -> VerifiedQuote:
    """What a quote guarantees for an item, verified with the endpoint's keys and without the endpoint.

    Args:
        token: The ``quote`` of a page.
        item_id: Item at checkout.
        user_id: Customer at checkout; None if the page had none.
        price_minor: Price at checkout in minor units, None to ask for it.
        settings: Where the keys are.

    Raises:
        ConfigError: There are no keys, or they cannot be read.
        QuoteError: The quote is not honoured; the subclass says why.
    """
    book = QuoteBook(
        quote_keys(settings),
        lifetime=0,
        skew=settings.clock_skew_seconds,
        step_back=settings.clock_step_back_seconds,
    )
    return book.verify(token, item_id=item_id, user_id=user_id, price_minor=price_minor)
