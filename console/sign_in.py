"""The way in and out: a token of the file of users, or the shop's identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.frame import DONE, LOGIN, SEE_OTHER, Page, Visit, local, read_form, require_own_form, trouble
from console.sessions import SessionCookies
from console.users import Denied, User, Users
from console.work import Work
from fairtag.base.errors import FairtagError

if TYPE_CHECKING:
    from console.oidc import Provider

WITH_PROVIDER, CALLBACK, LOGOUT = "/login/provider", "/login/callback", "/logout"


class SignIn:
    """Routes of the way in and out.

    Args:
        work: What pages share.
        cookies: The browsers' sessions.
        pages: All pages, for the menu.
        users: The file of users; None where nobody has a token.
        provider: The identity provider; None where none is configured.
    """

    def __init__(
        self,
        work: Work,
        cookies: SessionCookies,
        pages: tuple[Page, ...],
        users: Users | None,
        provider: Provider | None,
    ) -> None:
        self._work, self._cookies, self._pages = work, cookies, pages
        self._users, self._provider = users, provider

    def routes(self) -> list[Route]:
        """Routes of the way in and out; those of the identity provider only where there is one."""
        found = [
            Route(LOGIN, self._show, methods=["GET"]),
            Route(LOGIN, self._with_token, methods=["POST"]),
            Route(LOGOUT, self._sign_out, methods=["POST"]),
        ]
        if self._provider is not None:
            found += [
                Route(WITH_PROVIDER, self._to_provider, methods=["GET"]),
                Route(CALLBACK, self._from_provider, methods=["GET"]),
            ]
        return found

    async def _show(self, request: Request) -> Response:
        token, session = self._cookies.of(request)
        if session.user is not None:
            return self._cookies.keep(RedirectResponse("/", SEE_OTHER), token)
        visit = Visit(request, session, self._work, None, self._pages)
        return self._cookies.keep(await self._page(visit, local(visit.asked("next"))), token)

    async def _page(self, visit: Visit, to: str, status: int = 200) -> Response:
        name = "" if self._provider is None else self._provider.name
        return await visit.render("login.html", status, to=to, provider=name, tokens=self._users is not None)

    async def _with_token(self, request: Request) -> Response:
        token, session = self._cookies.of(request)
        form = await read_form(request)
        visit = Visit(request, session, self._work, None, self._pages, form)
        try:
            require_own_form(request, session, form)
            user = self._users.sign_in(visit.given("token")) if self._users else None
        except FairtagError as error:
            return self._cookies.keep(await trouble(visit, error), token)
        if user is None:
            await visit.note(None, "login", "refused: nobody has this token", {})
            session.notice = "Nobody has this token. An administrator can give you a new one."
            return self._cookies.keep(await self._page(visit, local(visit.given("next")), 401), token)
        return await self._let_in(visit, token, user, visit.given("next"))

    async def _to_provider(self, request: Request) -> Response:
        """Send the browser to the identity provider."""
        assert self._provider is not None, "there is no such route without one"
        token, session = self._cookies.of(request)
        visit = Visit(request, session, self._work, None, self._pages)
        try:
            address = await self._provider.begin(session.flows, local(visit.asked("next")))
        except FairtagError as error:
            return self._cookies.keep(await trouble(visit, error), token)
        return self._cookies.keep(RedirectResponse(address, SEE_OTHER), token)

    async def _from_provider(self, request: Request) -> Response:
        """Let in whom the identity provider sends back."""
        assert self._provider is not None, "there is no such route without one"
        token, session = self._cookies.of(request)
        visit = Visit(request, session, self._work, None, self._pages)
        if session.user is not None:  # another tab was quicker
            return self._cookies.keep(RedirectResponse("/", SEE_OTHER), token)
        try:
            found = await self._provider.finish(session.flows, dict(request.query_params))
        except FairtagError as error:
            if isinstance(error, Denied):
                await visit.note(None, "login", f"refused: {error}", {})
            return self._cookies.keep(await trouble(visit, error), token)
        return await self._let_in(visit, token, found.user, found.next, found.id_token, subject=found.subject)

    async def _let_in(
        self, visit: Visit, before: str, user: User, to: str, id_token: str = "", **facts: str
    ) -> Response:
        """Begin a session of a user. It has a new token, so that the one before is worth nothing."""
        self._cookies.end(before)
        token, visit.session = self._cookies.begin(user)
        visit.session.id_token = id_token
        await visit.note(user, "login", DONE, facts)
        return self._cookies.keep(RedirectResponse(local(to), SEE_OTHER), token)

    async def _sign_out(self, request: Request) -> Response:
        token, session = self._cookies.of(request)
        form = await read_form(request)
        visit = Visit(request, session, self._work, None, self._pages, form)
        try:
            require_own_form(request, session, form)
        except Denied as error:
            return self._cookies.keep(await trouble(visit, error), token)
        address = None
        if self._provider is not None and session.id_token:
            address = await self._provider.sign_out_address(session.id_token)
        self._cookies.end(token)
        if address is None or self._provider is None:
            return RedirectResponse(LOGIN, SEE_OTHER)
        token, visit.session = self._cookies.begin(None)
        return self._cookies.keep(
            await visit.render("signed_out.html", address=address, provider=self._provider.name), token
        )
