"""Prices: every item with its list price, the range it was offered at, margin, stock, elasticity and competitor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from console.drawing import sparkline
from console.form_numbers import typed_amount
from console.frame import Action, Page, Visit
from console.policy_change import propose
from console.price_table import FILTERS
from console.quotes import QuoteReader
from console.users import Role
from fairtag.base.errors import RequestError
from fairtag.base.money import currency
from fairtag.policy.shop_policy import ShopPolicy


async def show(visit: Visit) -> Response:
    """The table."""
    if need := visit.work.shop.missing:
        return await visit.absent(need)
    asked = {name: visit.asked(name) for name in ("q", "category", "only", "page")}
    asked["sort"] = visit.asked("sort", "-quotes")
    model = await visit.blocking(visit.work.shop.model)
    found = await visit.blocking(visit.work.prices.page, model, asked)
    return await visit.render(
        "prices.html", table=found, asked=asked, categories=visit.work.shop.categories(), filters=FILTERS
    )


async def item(visit: Visit) -> Response:
    """One item: how its list price moved, and what it was offered at by day."""
    name = visit.asked("item")
    model = await visit.blocking(visit.work.shop.model)
    row = await visit.blocking(visit.work.prices.row, model, name)
    lists = await visit.blocking(visit.work.shop.list_prices, name)
    days = await visit.blocking(_days, visit.work.quotes, name)
    unit = model.policy.limits.minor_per_unit
    return await visit.render(
        "price_item.html",
        row=row,
        lists=[(at, round(price * unit)) for at, price in lists],
        line=sparkline([price for _, price in lists], 240, 48),
        terms=await visit.blocking(_terms, visit, name),
        days=days,
        currency=model.policy.currency,
    )


def _terms(visit: Visit, name: str) -> dict[str, Any] | None:
    """What the live policy says about an item; None where this console does not know the policy."""
    if visit.work.policy is None:
        return None
    policy = visit.work.policy.current().policy
    return {
        "pins": [pin for pin in policy.pins if pin.item == name],
        "excluded": name in policy.exclusions.items,
        "promotions": [each for each in policy.promotions if name in each.items],
    }


async def pin(visit: Visit) -> Response:
    """Pin an item at a price, from one day to another; a pin of it that has ended goes."""
    name, why = visit.needed("item", "an item"), visit.needed("why", "a reason, in words,")
    coin = currency((await visit.blocking(visit.work.accepted_model)).policy.currency)
    price = typed_amount("price", visit.needed("price", "a price"), coin, positive=True)
    given: dict[str, Any] = {"item": name, "price": price}
    given |= {day: visit.given(day) for day in ("starts", "ends") if visit.given(day)}
    today = datetime.now(UTC).date().isoformat()
    if "ends" in given and given["ends"] < today:
        raise RequestError("ends", given["ends"], f"must not lie before today, {today}: the pin would do nothing")

    def change() -> str:
        policy = visit.work.require_policy().current().policy
        kept = [each for each in _pins(policy) if each["item"] != name or each.get("ends", today) >= today]
        return propose(visit.work, policy.changed(pins=[*kept, given]), visit.user, why)

    return visit.back(await visit.blocking(change), f"/prices/item?item={quote(name)}")


async def exclude(visit: Visit) -> Response:
    """Leave an item at its list price."""
    name, why = visit.needed("item", "an item"), visit.needed("why", "a reason, in words,")

    def change() -> str:
        policy = visit.work.require_policy().current().policy
        items = [*policy.exclusions.items, name]
        return propose(visit.work, policy.changed(exclusions={"items": items}), visit.user, why)

    return visit.back(await visit.blocking(change), f"/prices/item?item={quote(name)}")


async def release(visit: Visit) -> Response:
    """Take pins and exclusion of an item away: the model prices it again."""
    name, why = visit.needed("item", "an item"), visit.needed("why", "a reason, in words,")

    def change() -> str:
        policy = visit.work.require_policy().current().policy
        pins = [each for each in _pins(policy) if each["item"] != name]
        items = [each for each in policy.exclusions.items if each != name]
        return propose(visit.work, policy.changed(pins=pins, exclusions={"items": items}), visit.user, why)

    return visit.back(await visit.blocking(change), f"/prices/item?item={quote(name)}")


def _pins(policy: ShopPolicy) -> list[dict[str, Any]]:
    return [each.model_dump(mode="json", exclude_unset=True) for each in policy.pins]


def _days(quotes: QuoteReader | None, name: str) -> list[dict[str, Any]]:
    """What an item was offered at on each of the last days, newest first."""
    if quotes is None:
        return []
    found = quotes.days(name).reset_index()
    return [{str(key): value for key, value in row.items()} for row in found.to_dict("records")]


PAGE = Page(
    "prices",
    "/prices",
    "Prices",
    "every item: list, offered today, margin, stock, elasticity, competitor",
    show,
    (
        Action("pin", Role.MERCHANDISER, pin),
        Action("exclude", Role.MERCHANDISER, exclude),
        Action("release", Role.MERCHANDISER, release),
    ),
    views={"item": item},
)
