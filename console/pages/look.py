"""What only this browser sees: the colours, and whom the storefront is looked at as."""

from __future__ import annotations

import re

from starlette.responses import JSONResponse, Response

from console.frame import Action, Page, Visit
from console.sessions import Shopper
from console.users import Role
from fairtag.base.errors import RequestError

LONGEST_ID = 128  # that the endpoint takes; what is kept here is sent with every page
_PLACE = re.compile(r"(?:[A-Za-z]{2}(?:-[A-Za-z0-9]{1,3})?)?")
THEMES = ("", "light", "dark")


async def show(visit: Visit) -> Response:
    """Nothing to see here: back to the storefront."""
    return visit.back(to="/")


async def customers(visit: Visit) -> Response:
    """Customers whose id contains what is typed, as ``[id, words]``."""
    found = await visit.blocking(visit.work.shop.customers, visit.asked("q"))
    return JSONResponse([[card.user_id, card.words] for card in found])


async def suggestions(visit: Visit) -> Response:
    """Searches that hold what is typed, as ``[text, ""]``."""
    found = await visit.blocking(visit.work.shop.suggestions, visit.asked("q"))
    return JSONResponse([[text, ""] for text in found])


async def theme(visit: Visit) -> Response:
    """Change the colours."""
    if (chosen := visit.given("theme")) not in THEMES:
        raise RequestError("theme", chosen, "must be light, dark or empty")
    visit.session.theme = chosen
    return visit.back()


async def shopper(visit: Visit) -> Response:
    """Look at the storefront as another customer, or from another place."""
    before = visit.shopper
    user, place = visit.given("user_id"), visit.given("place")
    if len(user) > LONGEST_ID or not user.isprintable():
        raise RequestError("user_id", user, f"must be at most {LONGEST_ID} characters that can be seen")
    if not _PLACE.fullmatch(place):
        raise RequestError("place", place, "must be an ISO 3166 code such as DE or US-NY")
    guest = before.guest_session if not user and not before.user_id else None
    visit.session.shopper = Shopper(user, place, visit.given("opted_out") == "yes", guest)
    return visit.back()


PAGE = Page(
    "look",
    "/look",
    "Look",
    "what this browser sees",
    show,
    (
        Action("theme", Role.VIEWER, theme, audited=False),
        Action("shopper", Role.VIEWER, shopper, audited=False),
    ),
    views={"customers": customers, "suggestions": suggestions},
)
