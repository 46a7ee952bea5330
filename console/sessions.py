"""Sessions of browsers: kept here, named by a random cookie, ended by silence or age.

A session holds the basket with its signed quotes, which no cookie has room for (a quote of 24 items takes 1.5 kB, a
cookie 4 kB): so sessions are kept in this process, which a signed cookie of Starlette's would not need. A restart ends
them; nothing but baskets is lost.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from console.users import User

COOKIE = "fairtag-console"
TOKEN_BYTES = 32


@dataclass
class Line:
    """One item in a basket, at the price of the quote that promises it.

    Args:
        item_id: The item.
        title: Its title.
        price_minor: The quoted price.
        currency: ISO 4217 code.
        quote: The signed quote.
        quote_id: Its number, by which an outcome is joined with the quote log.
        expires_at: RFC 3339, UTC.
        user_id: Whom it was quoted to; None for a guest.
        quantity: Units.
    """

    item_id: str
    title: str
    price_minor: int
    currency: str
    quote: str
    quote_id: str
    expires_at: str
    user_id: str | None
    quantity: int = 1


@dataclass
class Shopper:
    """Whom the storefront is looked at as.

    Args:
        user_id: Customer; empty for a guest.
        place: ISO 3166 code; empty where unknown.
        opted_out: The customer refused personal prices.
        guest_session: The endpoint's session of the guest.
    """

    user_id: str = ""
    place: str = ""
    opted_out: bool = False
    guest_session: str | None = None


@dataclass
class Session:
    """One browser.

    Args:
        user: Who is signed in; None before.
        csrf: Token that every form carries.
        started: Monotonic seconds.
        seen: Of the last request.
        shopper: Whom the storefront is looked at as.
        basket: What is in the basket, by item.
        notice: A sentence that the next page shows once.
        theme: ``light``, ``dark``, or empty for the system's.
        kept: What pages keep for themselves between requests, by page.
    """

    user: User | None
    csrf: str
    started: float
    seen: float
    shopper: Shopper = field(default_factory=Shopper)
    basket: dict[str, Line] = field(default_factory=dict)
    notice: str = ""
    theme: str = ""
    kept: dict[str, Any] = field(default_factory=dict)

    def carries(self, token: str) -> bool:
        """Whether a form's token is this session's."""
        return hmac.compare_digest(self.csrf.encode(), token.encode())

    def take_notice(self) -> str:
        """The notice, which is then gone."""
        notice, self.notice = self.notice, ""
        return notice


class Sessions:
    """All sessions of this process.

    Args:
        idle_seconds: Silence that ends one.
        longest_seconds: Age that ends one.
        most: How many are kept.
        clock: Monotonic seconds.
    """

    def __init__(
        self, idle_seconds: float, longest_seconds: float, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._idle, self._longest, self._most, self._clock = idle_seconds, longest_seconds, most, clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, token: str | None) -> Session | None:
        """The session of a cookie; None where there is none, or where it has ended."""
        session = self._sessions.get(token or "")
        if session is None or token is None:
            return None
        now = self._clock()
        if now - session.seen > self._idle or now - session.started > self._longest:
            del self._sessions[token]
            return None
        session.seen = now
        self._sessions.move_to_end(token)
        return session

    def begin(self, user: User | None) -> tuple[str, Session]:
        """A new session and the token of its cookie. Who signs in gets a new one, so that no old token is theirs."""
        now, token = self._clock(), secrets.token_urlsafe(TOKEN_BYTES)
        session = Session(user, secrets.token_urlsafe(TOKEN_BYTES), now, now)
        self._sessions[token] = session
        while len(self._sessions) > self._most:  # visitors who never signed in go first
            stranger = next((name for name, each in self._sessions.items() if each.user is None), None)
            self._sessions.pop(stranger or next(iter(self._sessions)))
        return token, session

    def end(self, token: str | None) -> None:
        """Forget a session."""
        self._sessions.pop(token or "", None)
