"""The storefront: the shop as a customer sees it, at the prices that this customer gets.

Every price is asked of the endpoint, and a purchase is verified there and recorded as an outcome, as a shop would.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from console.frame import Action, Page, Visit
from console.sessions import Line
from console.users import Role
from fairtag.base.errors import ConfigError, QuoteError, RequestError

PAGE_SIZE = 24
SEEN_PAGES = 8  # results pages of one browser whose quotes are kept: so many of its tabs may fill the basket
FRONT_ITEMS = 12  # where nothing is searched for
FIELDS = ["category", "brand"]
FACETS = ("category", "brand", "price")


def request_of(visit: Visit) -> dict[str, Any]:
    """The endpoint's request of the customer whom the storefront is looked at as, without what is searched for."""
    shopper = visit.shopper
    return {
        "user_id": shopper.user_id or None,
        "session_id": None if shopper.user_id else shopper.guest_session,
        "jurisdiction": shopper.place or None,
        "opted_out": shopper.opted_out,
        "fields": FIELDS,
    }


async def show(visit: Visit) -> Response:
    """What a search finds, or what sells best."""
    query = visit.asked("q")
    page = await (_found(visit, query) if query else _front(visit))
    if page is not None:
        if not visit.shopper.user_id:
            visit.shopper.guest_session = page["session_id"]
        seen = visit.session.kept.setdefault("storefront", {})
        seen[page["quote_id"]] = {
            item["item_id"]: Line(
                item["item_id"],
                item["title"] or item["item_id"],
                item["price_minor"],
                item["currency"],
                page["quote"],
                page["quote_id"],
                page["expires_at"],
                visit.shopper.user_id or None,
            )
            for item in page["items"]
        }
        while len(seen) > SEEN_PAGES:
            del seen[next(iter(seen))]
    shop = visit.work.shop
    return await visit.render(
        "storefront.html",
        query=query,
        found=page,
        facets=_facets(visit, page) if page else {},
        basket=_basket(visit),
        examples=await visit.blocking(shop.examples),
        places=shop.places,
        searches=await visit.blocking(shop.popular_queries, 8),
        who=await visit.blocking(shop.in_words, visit.shopper.user_id) if visit.shopper.user_id else "",
        can_buy=visit.work.outcomes is not None,
    )


async def add(visit: Visit) -> Response:
    """Put an item of a page into the basket, at the price that this page quoted."""
    item = visit.needed("item", "an item")
    seen = visit.session.kept.get("storefront", {})
    line = seen.get(visit.given("page"), {}).get(item)
    if line is None:
        raise RequestError("item", item, "is not on a page that you saw lately; search for it again")
    known = visit.session.basket.get(item)
    if known is not None and known.user_id == line.user_id:
        line.quantity = known.quantity + 1
    visit.session.basket[item] = line
    return visit.back(f"{line.title} is in the basket.")


async def remove(visit: Visit) -> Response:
    """Take an item out of the basket."""
    line = visit.session.basket.pop(visit.needed("item", "an item"), None)
    return visit.back(f"{line.title} is out of the basket." if line else "")


async def buy(visit: Visit) -> Response:
    """Have the endpoint verify every quote of the basket, and record the purchase as an outcome."""
    lines, outcomes = list(visit.session.basket.values()), visit.work.outcomes
    if not lines:
        raise RequestError("basket", "", "is empty; add an item first")
    if outcomes is None:
        raise ConfigError("this console records no purchases; set FAIRTAG_CONSOLE_OUTCOMES to the folder of outcomes")
    for line in lines:
        try:
            await visit.work.endpoint.verify(
                line.quote, line.item_id, user_id=line.user_id, price_minor=line.price_minor
            )
        except QuoteError as error:
            raise QuoteError(f"{line.title}: its price is not honoured ({error}); nothing was bought") from error
    await visit.blocking(outcomes.record, lines)
    visit.session.basket.clear()
    count = sum(line.quantity for line in lines)
    return visit.back(
        f"Bought {count} item{'' if count == 1 else 's'}: the endpoint verified every price. The next reports count it."
    )


async def _found(visit: Visit, query: str) -> dict[str, Any]:
    request = request_of(visit) | {
        "task": "search",
        "query": query,
        "page_size": PAGE_SIZE,
        "facets": list(FACETS),
        "category": visit.all_asked("category"),
        "brand": visit.all_asked("brand"),
        "as_typed": visit.asked("as_typed") == "yes",
    }
    low, _, high = visit.asked("price").partition("-")
    request |= {"price_min_minor": _whole(low), "price_max_minor": _whole(high)}
    return await visit.work.endpoint.page(request)


async def _front(visit: Visit) -> dict[str, Any] | None:
    items: list[str] = await visit.blocking(visit.work.shop.popular, FRONT_ITEMS)
    if not items:
        return None
    return await visit.work.endpoint.page(request_of(visit) | {"task": "price", "item_ids": items})


def _whole(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _facets(visit: Visit, page: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Each facet with its values, what is chosen first marked."""
    chosen = {name: visit.all_asked(name) for name in FACETS}
    found: dict[str, list[dict[str, Any]]] = {}
    for facet in page["facets"]:
        value = facet["value"]
        if facet["field"] == "price":
            value = "-".join("" if end is None else str(end) for end in (facet["low_minor"], facet["high_minor"]))
        on = value in chosen[facet["field"]]
        found.setdefault(facet["field"], []).append({**facet, "choice": value, "on": on})
    return found


def _basket(visit: Visit) -> dict[str, Any]:
    lines = list(visit.session.basket.values())
    total = sum(line.price_minor * line.quantity for line in lines)
    return {"lines": lines, "total": total, "currency": lines[0].currency if lines else ""}


PAGE = Page(
    "storefront",
    "/",
    "Storefront",
    "the shop as a customer sees it",
    show,
    (
        Action("add", Role.VIEWER, add, audited=False),
        Action("remove", Role.VIEWER, remove, audited=False),
        Action("buy", Role.MERCHANDISER, buy),
    ),
)
