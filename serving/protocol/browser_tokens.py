"""Browser tokens: let one customer's browser ask for pages, without the shop's API key.

The shop's server asks for a token with its API key and hands it to the page that it renders. The token is a JSON Web
Token (HS256), signed with a key derived from the active quote key. It lives for minutes, works from one origin and for
one session, and may only ask for pages: what the shop fixed in it (customer, place, consent) no browser can change.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from fairtag.base.errors import RequestError
from fairtag.base.pseudonym import keyed_hash
from serving.keys import QuoteKeys
from serving.page.quotes import rfc3339
from serving.protocol.payload import PageRequest, TokenRequest

ALGORITHM = "HS256"
AUDIENCE = "fairtag-browser"
CLAIMS = ["aud", "sub", "iat", "exp", "ori", "fix"]
PURPOSE = b"fairtag browser token"  # separates its key from the one that signs quotes
READS = re.compile(r"/v1/models/[^/]+:(predict|explain)|/v2/models/[^/]+(/versions/[^/]+)?/infer")
OWNED = ("user_id", "session_id")  # who somebody is: only the shop may say so


@dataclass(frozen=True)
class BrowserToken:
    """What a valid browser token says.

    Args:
        session_id: The session it was issued for.
        fixed: Fields of a page request that the shop has fixed.
    """

    session_id: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, request: PageRequest, place: str) -> PageRequest:
        """A page request with what the token fixes.

        Args:
            request: What the browser asked for.
            place: Its path in the body, for messages.

        Raises:
            RequestError: Status 403: it names another customer, session, place or consent.
        """
        for name in request.model_fields_set & {*OWNED, *self.fixed}:
            if getattr(request, name) != self.fixed.get(name):
                rule = "the browser token fixes it; leave it out"
                raise RequestError(f"{place}.{name}", "(not shown)", rule, status=403)
        return request.model_copy(update=dict(self.fixed))


class BrowserTokens:
    """Issues and reads browser tokens.

    Args:
        keys: The quote keys in use.
        origins: Origins that may be named.
        lifetime: Longest life of a token, seconds.
        new_session: Makes a session for a token that was asked for without one.
        clock: Unix seconds.
    """

    def __init__(
        self,
        keys: Callable[[], QuoteKeys],
        origins: Collection[str],
        lifetime: int,
        new_session: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._origins = origins
        self._lifetime = lifetime
        self._new_session = new_session
        self._clock = clock

    def issue(self, asked: TokenRequest) -> dict[str, Any]:
        """A token, in the form of :class:`serving.protocol.payload.IssuedToken`.

        Its session is the guest's: the prices of its pages stay with it, and with every later token for it.

        Raises:
            RequestError: The origin is not allowed, or the life too long.
        """
        if asked.origin not in self._origins:
            rule = "it must be one of FAIRTAG_ALLOWED_ORIGINS, written alike"
            raise RequestError("body.origin", asked.origin, rule)
        seconds = self._lifetime if asked.seconds is None else asked.seconds
        if seconds > self._lifetime:
            raise RequestError("body.seconds", seconds, f"it must be 1 to {self._lifetime}")
        session = self._new_session() if asked.session_id is None else asked.session_id
        fixed: dict[str, Any] = {"session_id": session, "user_id": asked.user_id}
        fixed |= {"jurisdiction": asked.jurisdiction, "opted_out": asked.opted_out}
        now, keys = int(self._clock()), self._keys()
        claims = {
            "aud": AUDIENCE,
            "sub": session,
            "iat": now,
            "exp": now + seconds,
            "ori": asked.origin,
            "fix": {name: value for name, value in fixed.items() if value is not None},
        }
        token = jwt.encode(claims, _signing_key(keys, keys.active), ALGORITHM, headers={"kid": keys.active})
        return {"token": token, "session_id": session, "expires_at": rfc3339(now + seconds)}

    def read(self, token: str, origin: str | None) -> BrowserToken | None:
        """What a token says; None where it is none of ours.

        Args:
            token: The bearer token.
            origin: The ``Origin`` header.

        Raises:
            RequestError: Status 401 where it has expired, 403 where it belongs to another origin.
        """
        keys = self._keys()
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            if not isinstance(kid, str) or kid not in keys.keys:
                return None
            options: Any = {"require": CLAIMS, "verify_exp": False, "verify_iat": False}
            claims = jwt.decode(token, _signing_key(keys, kid), [ALGORITHM], audience=AUDIENCE, options=options)
        except jwt.InvalidTokenError:
            return None
        if claims["exp"] <= self._clock():
            raise RequestError("authorization", "(not shown)", "the token has expired; ask for a new one", status=401)
        if claims["ori"] != origin:
            raise RequestError("origin", origin, "the token was issued for another origin", status=403)
        return BrowserToken(claims["sub"], claims["fix"])


def _signing_key(keys: QuoteKeys, name: str) -> bytes:
    return keyed_hash(keys.keys[name], PURPOSE)
