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

from starlette.requests import Request
from starlette.responses import Response

from console.users import User, Users

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


@dataclass(frozen=True)
class Flow:
    """A sign-in with the identity provider that has begun.

    Args:
        nonce: That the ID token must repeat.
        code_verifier: The secret of PKCE.
        next: Where in the console somebody wanted to go.
        started: Monotonic seconds.
    """

    nonce: str
    code_verifier: str
    next: str
    started: float


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
        id_token: By which the identity provider knows its own session; empty for who did not come from there.
        flows: Sign-ins with the identity provider that have begun, by state.
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
    id_token: str = ""
    flows: dict[str, Flow] = field(default_factory=dict)
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


class SessionCookies:
    """The session of each request, by its cookie.

    Args:
        sessions: The browsers.
        users: The file of users; None where there is none.
        local: Who works where nobody signs in; None where somebody must.
        place: Where customers are at first.
        secure: Whether the cookie is sent over HTTPS alone.
    """

    def __init__(
        self, sessions: Sessions, users: Users | None, local: User | None, *, place: str = "", secure: bool = True
    ) -> None:
        self._sessions, self._users, self._local, self._place, self._secure = sessions, users, local, place, secure

    def of(self, request: Request) -> tuple[str, Session]:
        """The browser's session and its token; a new one where it has none."""
        token = request.cookies.get(COOKIE)
        session = self._sessions.find(token)
        if session is None or token is None:
            return self.begin(self._local)
        if self._users and session.user is not None and not session.id_token:
            session.user = self._users.still(session.user)
        return token, session

    def begin(self, user: User | None) -> tuple[str, Session]:
        """A new session."""
        token, session = self._sessions.begin(user)
        session.shopper.place = self._place
        return token, session

    def end(self, token: str) -> None:
        """Forget a session."""
        self._sessions.end(token)

    def keep(self, answer: Response, token: str) -> Response:
        """An answer with the session's cookie.

        It goes along when a link leads here, such as the identity provider's, and not when another site sends a form.
        It has no date: it ends with the browser, and the session ends here.
        """
        answer.set_cookie(COOKIE, token, httponly=True, samesite="lax", secure=self._secure, path="/")
        return answer
