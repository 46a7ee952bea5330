"""What every page stands in: session, role, CSRF token, audit log, and the template around it.

A page is :class:`Page`; ``console/__init__.py`` says how one is added. A request becomes a :class:`Visit`. The way in
is :mod:`console.sign_in`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.sessions import COOKIE, Session, SessionCookies, Shopper
from console.users import STOP_ROLE, Denied, Role, User
from console.work import Work
from fairtag.base.errors import ConfigError, DataError, FairtagError, RequestError, UnavailableError

logger = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
SEE_OTHER = 303
DONE = "done"  # outcome of an action in the audit log, where it was not refused
LOGIN = "/login"
MOST_FIELDS, MOST_BYTES = 200, 262_144  # of a form


class Visit:
    """One request to a page.

    Args:
        request: As it came.
        session: The browser's.
        work: What pages share.
        page: The page that is asked for; None for those of the frame itself.
        pages: All pages, for the menu.
        form: Fields of a posted form, the last value of each name.
    """

    def __init__(
        self,
        request: Request,
        session: Session,
        work: Work,
        page: Page | None,
        pages: tuple[Page, ...],
        form: dict[str, str] | None = None,
    ) -> None:
        self.request, self.session, self.work, self.page, self.pages = request, session, work, page, pages
        self.form = form or {}
        self.refusal = ""  # why an action did nothing, where it answers with a page of its own

    @property
    def user(self) -> User:
        """Who is signed in."""
        assert self.session.user is not None, "the frame lets nobody else in"
        return self.session.user

    @property
    def stop_role(self) -> Role:
        """Who may stop learned prices."""
        return STOP_ROLE

    @property
    def shopper(self) -> Shopper:
        """Whom the storefront is looked at as."""
        return self.session.shopper

    def asked(self, name: str, default: str = "") -> str:
        """A parameter of the address, without spaces around it."""
        return self.request.query_params.get(name, default).strip()

    def all_asked(self, name: str) -> list[str]:
        """All values of a parameter of the address."""
        return [value for value in self.request.query_params.getlist(name) if value]

    def given(self, name: str, default: str = "") -> str:
        """A field of the posted form, without spaces around it."""
        return self.form.get(name, default).strip()

    @property
    def came_from(self) -> str:
        """The page of the console that a form or a link was on: its ``back``."""
        return local(self.given("back") or self.asked("back") or (self.page.path if self.page else "/"))

    def needed(self, name: str, what: str) -> str:
        """A field of the posted form.

        Raises:
            RequestError: It is empty.
        """
        if not (value := self.given(name)):
            raise RequestError(name, value, f"{what} is needed")
        return value

    async def blocking(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that blocks, in a thread."""
        return await run_in_threadpool(function, *args, **kwargs)

    async def note(self, user: User | None, action: str, outcome: str, fields: Mapping[str, str]) -> None:
        """Write an action to the audit log. Where it takes no entry, whoever acted is told; what was done stays."""
        name, role = ("", "") if user is None else (user.name, user.role.word)
        try:
            await self.blocking(self.work.audit.note, name, role, action, outcome, fields)
        except (DataError, UnavailableError) as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "%s by %s is not in the audit log: %s", action, name or "somebody", error
            )
            if outcome == DONE:
                self.session.notice = f"{self.session.notice} It is not in the audit log: {error}.".strip()

    async def render(self, template: str, status: int = 200, **values: Any) -> Response:
        """The page as HTML, with what every page shows."""
        state = await self.blocking(self.work.policy_state)
        text = self.work.templates.render(
            template,
            visit=self,
            session=self.session,
            user=self.session.user,
            page=self.page,
            pages=self.pages,
            policy=state,
            notice=self.session.take_notice(),
            settings=self.work.settings,
            **values,
        )
        return Response(text, status, media_type="text/html")

    async def absent(self, need: str) -> Response:
        """The page of a console that was not told where something is; ``need`` says what, and how to name it."""
        return await self.render("absent.html", need=need)

    def back(self, notice: str = "", to: str = "") -> Response:
        """Send the browser to a page of the console, which shows the notice once; by default to where it came from."""
        if notice:
            self.session.notice = notice
        return RedirectResponse(local(to) if to else self.came_from, SEE_OTHER)


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True)
class Action:
    """Something that a form of a page does.

    Args:
        name: Last part of its address.
        role: Who may.
        run: Does it; it answers with a redirect (:meth:`Visit.back`).
        audited: Whether it is written to the audit log; not where it only changes what this browser looks at.
        urgent: Whether it is done even where the audit log takes no entry: a stop waits for nothing.
    """

    name: str
    role: Role
    run: Handler
    audited: bool = True
    urgent: bool = False


@dataclass(frozen=True)
class Page:
    """One page.

    Args:
        name: Of its module and template.
        path: Its address.
        title: In the menu and the window.
        task: What for, in a line.
        show: Answers a GET.
        actions: Its forms.
        views: Further addresses below it, such as a download: name -> handler of a GET.
        role: Who may see it.
    """

    name: str
    path: str
    title: str
    task: str
    show: Handler
    actions: tuple[Action, ...] = ()
    views: dict[str, Handler] = field(default_factory=dict)
    role: Role = Role.VIEWER


class Frame:
    """Makes routes of pages.

    Args:
        work: What pages share.
        cookies: The browsers' sessions.
        pages: All pages, in the order of the menu.
        hidden: Pages that are not in the menu.
    """

    def __init__(
        self, work: Work, cookies: SessionCookies, pages: tuple[Page, ...], hidden: tuple[Page, ...] = ()
    ) -> None:
        self.work, self.pages = work, pages
        self._cookies, self._hidden = cookies, hidden

    def routes(self) -> list[Route]:
        """Routes of all pages."""
        found = []
        for page in (*self.pages, *self._hidden):
            base = page.path.rstrip("/")
            found.append(Route(page.path, partial(self._get, page, page.show), methods=["GET"]))
            found += [
                Route(f"{base}/{name}", partial(self._get, page, view), methods=["GET"])
                for name, view in page.views.items()
            ]
            found += [
                Route(f"{base}/{action.name}", partial(self._post, page, action), methods=["POST"])
                for action in page.actions
            ]
        return found

    async def _get(self, page: Page, handler: Handler, request: Request) -> Response:
        token, session = self._cookies.of(request)
        if session.user is None:
            return self._cookies.keep(_to_login(request), token)
        visit = Visit(request, session, self.work, page, self.pages)
        try:
            if not session.user.may(page.role):
                raise Denied(f"{page.title} takes the role {page.role.word}; you are {session.user.role.word}")
            answer = await handler(visit)
        except FairtagError as error:
            answer = await trouble(visit, error)
        return self._cookies.keep(answer, token)

    async def _post(self, page: Page, action: Action, request: Request) -> Response:
        token, session = self._cookies.of(request)
        if session.user is None:
            session.notice = "Your session has ended, and what you sent was not done. Sign in and send it again."
            return self._cookies.keep(_to_login(request), token)
        form = await read_form(request)
        visit = Visit(request, session, self.work, page, self.pages, form)
        outcome = DONE
        try:
            require_own_form(request, session, form)
            if not session.user.may(action.role):
                raise Denied(f"this takes the role {action.role.word}; you are {session.user.role.word}")
            if action.audited and not action.urgent:
                await visit.blocking(self.work.audit.require_whole)
            answer = await action.run(visit)
            outcome = f"refused: {visit.refusal}" if visit.refusal else DONE
        except FairtagError as error:
            outcome = f"refused: {error}"
            answer = await trouble(visit, error)
        finally:
            if action.audited:
                await visit.note(session.user, f"{page.name}/{action.name}", outcome, form)
        return self._cookies.keep(answer, token)


async def trouble(visit: Visit, error: FairtagError) -> Response:
    """What went wrong, as a page: the sentence of the error, and the status that fits."""
    status = 400
    if isinstance(error, Denied):
        status = 403
    elif isinstance(error, UnavailableError):
        status = 503
    elif isinstance(error, RequestError):
        status = error.status
    elif not isinstance(error, ConfigError):
        status = 409
    logger.info("%s: %s", visit.request.url.path, error)
    return await visit.render("trouble.html", status, error=str(error))


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; none of one that is too large, which is then refused for want of a token."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return {}
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        return {}


def require_own_form(request: Request, session: Session, form: dict[str, str]) -> None:
    """Refuse a form that did not come from a page of this session.

    Raises:
        Denied: Another site sent it, or it carries another token.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Denied(f"the form came from {origin}; open the page in the console and send it from there")
    if COOKIE not in request.cookies:
        raise Denied(
            "your browser sent no cookie. On any address but the loopback the console's goes over HTTPS alone: open it "
            "by https (FAIRTAG_CONSOLE_SECURE_COOKIES)"
        )
    if not session.carries(form.get("csrf", "")):
        raise Denied("your session had ended, and what you sent was not done; send it again")


def _to_login(request: Request) -> Response:
    """To the way in, and from there to what was asked for; after a form, to the page that it was on."""
    came_from = request.url if request.method == "GET" else URL(request.headers.get("referer", ""))
    path = came_from.path if came_from.netloc == request.headers.get("host") else "/"
    to = local(path + (f"?{came_from.query}" if came_from.query else ""))
    return RedirectResponse(f"{LOGIN}?next={quote(to)}", SEE_OTHER)


def local(address: str) -> str:
    """An address on this console: a path, never another site.

    >>> local("/prices?q=a"), local("//elsewhere.example"), local("https://elsewhere.example"), local("")
    ('/prices?q=a', '/', '/', '/')
    """
    safe = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if safe else "/"
