"""Puts a console together: pages, sessions, and what guards every answer.

app = console_app(ConsoleSettings(url="http://127.0.0.1:8080"))
"""

from __future__ import annotations

import asyncio
import getpass
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.endpoint import Endpoint
from console.frame import Frame
from console.pages import HIDDEN, PAGES
from console.pages.policy import DAYS
from console.sessions import SessionCookies, Sessions
from console.settings import ConsoleSettings
from console.sign_in import SignIn
from console.users import Role, User, Users
from console.view import STATIC
from console.work import Deployment, Work
from fairtag.base.errors import ConfigError, FairtagError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
GUARDS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
logger = logging.getLogger(__name__)
HEALTH = "/healthz"
CATCH_UP_SECONDS = 30.0  # between two looks whether a store of the live policy lacks versions
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
YEAR = 31_536_000

if TYPE_CHECKING:
    from console.oidc import Provider


class GuardedHeaders:
    """Puts the security headers on every answer; pages are not kept by browsers, static files are kept for good.

    Args:
        app: What answers.
        https: Whether browsers come over HTTPS, and shall only ever do so.
    """

    def __init__(self, app: ASGIApp, *, https: bool) -> None:
        self._app = app
        self._headers = GUARDS | ({"strict-transport-security": f"max-age={YEAR}"} if https else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        static = scope["path"].startswith("/static/")
        kept = f"public, max-age={YEAR}, immutable" if static and b"v=" in scope["query_string"] else "no-store"
        added = [(name.encode(), value.encode()) for name, value in {**self._headers, "cache-control": kept}.items()]

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}  # a report in its sandbox brings a policy of its own
                message["headers"] = [*message["headers"], *(each for each in added if each[0] not in given)]
            await send(message)

        await self._app(scope, receive, guarded)


class KnownHosts(TrustedHostMiddleware):
    """Refuses host names that are not the console's, except at the health check: probes come by the pod's address."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == HEALTH:
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def console_app(
    settings: ConsoleSettings, *, endpoint: Endpoint | None = None, deployment: Deployment | None = None
) -> Starlette:
    """A console as an ASGI application.

    Args:
        settings: Its settings.
        endpoint: Whom it asks; the one of the settings by default.
        deployment: Promotes and rolls back; None where it cannot.

    Raises:
        ConfigError: It would be open to other machines without users.
    """
    provider = _provider(settings)
    if not settings.signs_in and not settings.loopback:
        raise ConfigError(
            f"host {settings.host}: other machines would reach the console and nobody would have to sign in; name the "
            "users with --users (`python -m console user FILE NAME ROLE` adds one), name an identity provider with "
            "FAIRTAG_CONSOLE_OIDC_ISSUER (docs/console.md), or listen on 127.0.0.1"
        )
    asked = endpoint or Endpoint(
        settings.url, settings.model_name, api_key=_key(settings.key_file), timeout=settings.timeout_seconds
    )
    work = Work(settings, asked, deployment)
    users = None if settings.users_file is None else Users(settings.users_file)
    cookies = SessionCookies(
        Sessions(settings.session_minutes * 60, settings.session_hours * 3600, settings.sessions),
        users,
        None if settings.signs_in else User(getpass.getuser(), Role.ADMIN),
        place=settings.place,
        secure=settings.cookies_over_https,
    )
    sign_in = SignIn(work, cookies, PAGES, users, provider)
    frame = Frame(work, cookies, PAGES, HIDDEN)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(run_in_threadpool(_warm, work)), asyncio.create_task(_keep_policy_whole(work))]
        yield
        for task in tasks:
            task.cancel()
        await asked.close()

    return Starlette(
        routes=[
            Route(HEALTH, _healthy),
            Mount("/static", StaticFiles(directory=STATIC)),
            *sign_in.routes(),
            *frame.routes(),
        ],
        middleware=[
            Middleware(GuardedHeaders, https=settings.cookies_over_https),
            Middleware(KnownHosts, allowed_hosts=_hosts(settings)),
            Middleware(GZipMiddleware, minimum_size=1_000),
        ],
        lifespan=life,
    )


def _provider(settings: ConsoleSettings) -> Provider | None:
    """The identity provider; its libraries are imported only where there is one."""
    if not any((settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret_file, settings.oidc_roles)):
        return None
    from console.oidc import Provider, oidc_settings

    found = oidc_settings(settings)
    return None if found is None else Provider(found)


def _hosts(settings: ConsoleSettings) -> list[str]:
    """Host names that requests may carry; any, where none is named and other machines reach the console."""
    named = [*settings.hosts]
    if settings.public_url and (own := urlsplit(settings.public_url).hostname):
        named.append(own)
    return [*named, *LOOPBACK_HOSTS] if settings.loopback or named else ["*"]


async def _keep_policy_whole(work: Work) -> None:
    """Give stores of the live policy what they lack, at the start and whenever one was down."""
    while work.policy is not None:
        with suppress(FairtagError):  # pages say which store does not answer
            await run_in_threadpool(work.policy.catch_up)
        await asyncio.sleep(CATCH_UP_SECONDS)


def _warm(work: Work) -> None:
    """Read what the first pages need before somebody asks; what cannot be read says so on its page."""
    try:
        logger.info("%s", work.audit.verify())
    except FairtagError as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says it all
    with suppress(FairtagError):
        work.shop.examples()
        work.shop.suggestions("a")
        if work.shop.has_model:
            work.prices.frame(work.shop.model())
            _warm_previews(work)


def _warm_previews(work: Work) -> None:
    """Read the pages that a policy is previewed on, and what the policy in force does on them."""
    if work.policy is None:
        return
    for days in (None, float(DAYS)) if work.settings.quotes else (None,):
        with suppress(FairtagError):  # no hold-out, or nobody was quoted yet
            current = work.policy.current().policy
            work.replay(days).preview(current, current, on=datetime.now(UTC).date())


async def _healthy(_: Request) -> PlainTextResponse:
    """The console answers, whatever its endpoint does."""
    return PlainTextResponse("ok\n")


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return next(iter(file.read_text(encoding="utf-8").split()), None)
    except OSError as error:
        raise ConfigError(f"{file}: the endpoint's key cannot be read ({type(error).__name__})") from error
