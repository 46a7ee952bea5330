"""Prices: every item with its list price, the range it was offered at, margin, stock, elasticity and competitor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from starlette.responses import Response

from console.drawing import sparkline
from console.frame import Action, Page, Visit
from console.policy_change import propose
from console.quotes import QuoteReader
from console.users import Role
from fairtag.base import schema
from fairtag.base.errors import RequestError
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]

ROWS = 50  # of one page of the table
HOURS = 24.0
DRAWS = 256  # of the posterior, for an interval of the elasticity
INTERVAL = (5.0, 95.0)  # per cent: a 90 % interval
SORTS = {
    "title": "title",
    "list": "list",
    "low": "low",
    "quotes": "quotes",
    "margin": "margin",
    "stock": "stock",
    "elasticity": "elasticity",
    "index": "index",
}
FILTERS = {
    "quoted": "offered today",
    "below": "offered below list",
    "low-stock": "stock for less than a week",
    "dear": "dearer than the competitor",
    "thin": "margin below 10 %",
}


@dataclass(frozen=True)
class Table:
    """The rows that are asked for.

    Args:
        rows: One dictionary an item, as the template reads them.
        total: Items that meet the filters.
        page: Number of the page, 1 first.
        pages: How many there are.
        currency: ISO 4217 code.
    """

    rows: list[dict[str, Any]]
    total: int
    page: int
    pages: int
    currency: str


def elasticity(model: PricingModel, rows: NDArray[np.int64]) -> Floats:
    """(n,) by how many per cent purchases change when the list price rises by one: ``-b y (1 - q)`` of an item alone.

    NaN where demand was not learned. ``q`` is the probability that somebody who sees the item alone buys it.
    """
    if not model.demand.learned:
        return np.full(len(rows), np.nan)
    usual = np.full(len(rows), model.demand.scaling.similarity)
    a, b = model.demand.page(rows, usual)
    return _elastic(a, b)


def elasticity_interval(model: PricingModel, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """(n,) ends of the 90 % interval of :func:`elasticity`, from draws of the posterior."""
    if not model.demand.learned or not len(rows):
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    usual = np.full(len(rows), model.demand.scaling.similarity)
    low, high = np.percentile(_elastic(*model.demand.draws(rows, usual, n_draws=DRAWS)), INTERVAL, axis=0)
    return np.asarray(low), np.asarray(high)


def _elastic(a: Floats, b: Floats) -> Floats:
    """At the list price, which is the reference price: y = 1."""
    chance = 1 / (1 + np.exp(-(a - b)))
    return np.asarray(-b * (1 - chance))


def price_frame(model: PricingModel, quotes: QuoteReader | None) -> pd.DataFrame:
    """Every item of the catalogue, money in minor units; columns that are not known are NaN."""
    rows, unit = np.arange(len(model.item_ids), dtype=np.int64), model.policy.limits.minor_per_unit
    market = model.market
    frame = pd.DataFrame(
        {
            "row": rows,
            "item": model.item_ids,
            "title": model.catalogue[schema.TITLE].astype(str).to_numpy(),
            "category": model.categories,
            "list": np.rint(market.list_price * unit),
            "cost": market.unit_cost * unit,
            "competitor": market.competitor_price * unit,
            "stock": market.stock,
            "rate": model.estimates.sales_rate,
            "elasticity": elasticity(model, rows),
        }
    )
    ranges = quotes.ranges(HOURS) if quotes is not None else pd.DataFrame()
    for name in ("low", "middle", "high", "quotes", "personal"):
        frame[name] = frame["item"].map(ranges[name]) if name in ranges else np.nan
    price = frame["middle"].fillna(frame["list"])
    frame["margin"] = (price - frame["cost"]) / price
    frame["index"] = 100 * price / frame["competitor"]
    frame["days"] = frame["stock"] / frame["rate"].where(frame["rate"] > 0)
    return frame


def table(model: PricingModel, quotes: QuoteReader | None, asked: dict[str, str]) -> Table:
    """The part of the frame that a reader asks for.

    Args:
        model: The live model.
        quotes: The quote log; None where it is not known.
        asked: ``q``, ``category``, ``only`` (of :data:`FILTERS`), ``sort`` (of :data:`SORTS`, a minus first for the
            largest first) and ``page``.

    Raises:
        RequestError: A filter or an order is unknown.
    """
    frame = _filtered(price_frame(model, quotes), asked)
    name, down = asked["sort"].lstrip("-"), asked["sort"].startswith("-")
    if name not in SORTS:
        raise RequestError("sort", name, f"must be one of {', '.join(SORTS)}")
    frame = frame.sort_values([SORTS[name], "item"], ascending=[not down, True], na_position="last", kind="stable")
    pages = max(1, math.ceil(len(frame) / ROWS))
    page = min(max(1, int(asked["page"])) if asked["page"].isdecimal() else 1, pages)
    part = frame.iloc[(page - 1) * ROWS : page * ROWS]
    low, high = elasticity_interval(model, part["row"].to_numpy(dtype=np.int64))
    part = part.assign(elasticity_low=low, elasticity_high=high)
    rows = [{str(key): _known(value) for key, value in row.items()} for row in part.to_dict("records")]
    return Table(rows, len(frame), page, pages, model.policy.currency)


def _filtered(frame: pd.DataFrame, asked: dict[str, str]) -> pd.DataFrame:
    if asked["only"] and asked["only"] not in FILTERS:
        raise RequestError("only", asked["only"], f"must be one of {', '.join(FILTERS)}")
    for word in asked["q"].lower().split():
        found = frame["title"].str.lower().str.contains(word, regex=False)
        frame = frame[found | frame["item"].str.lower().str.contains(word, regex=False)]
    if asked["category"]:
        frame = frame[frame["category"] == asked["category"]]
    masks = {
        "quoted": frame["quotes"] > 0,
        "below": frame["low"] < frame["list"],
        "low-stock": frame["days"] < 7,
        "dear": frame["index"] > 100,
        "thin": frame["margin"] < 0.1,
    }
    return frame[masks[asked["only"]]] if asked["only"] else frame


def _known(value: Any) -> Any:
    """None for a value that is absent."""
    return None if isinstance(value, float) and math.isnan(value) else value


async def show(visit: Visit) -> Response:
    """The table."""
    if not visit.work.shop.has_model:
        return await visit.absent(
            "this console does not know the live model; start it with the run's folder, or set "
            "FAIRTAG_CONSOLE_MODEL_FOLDER"
        )
    asked = {name: visit.asked(name) for name in ("q", "category", "only", "page")}
    asked["sort"] = visit.asked("sort", "-quotes")
    model = await visit.blocking(visit.work.shop.model)
    found = await visit.blocking(table, model, visit.work.quotes, asked)
    return await visit.render(
        "prices.html", table=found, asked=asked, categories=visit.work.shop.categories(), filters=FILTERS
    )


async def item(visit: Visit) -> Response:
    """One item: how its list price moved, and what it was offered at by day."""
    name = visit.asked("item")
    model = await visit.blocking(visit.work.shop.model)
    if name not in model.row_of:
        raise RequestError("item", name, "is not in the model's catalogue", status=404)
    lists = await visit.blocking(visit.work.shop.list_prices, name)
    days = await visit.blocking(_days, visit.work.quotes, name)
    rows = np.array([model.row_of[name]], dtype=np.int64)
    frame = await visit.blocking(price_frame, model, visit.work.quotes)
    row = {key: _known(value) for key, value in frame.iloc[model.row_of[name]].to_dict().items()}
    low, high = await visit.blocking(elasticity_interval, model, rows)
    unit = model.policy.limits.minor_per_unit
    return await visit.render(
        "price_item.html",
        row=row | {"elasticity_low": _known(float(low[0])), "elasticity_high": _known(float(high[0]))},
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
    """Pin an item at a price, from one day to another."""
    name, why = visit.needed("item", "an item"), visit.needed("why", "a reason, in words,")
    given: dict[str, Any] = {"item": name, "price": _price(visit.needed("price", "a price"))}
    given |= {day: visit.given(day) for day in ("starts", "ends") if visit.given(day)}

    def change() -> str:
        policy = visit.work.require_policy().current().policy
        return propose(visit.work, policy.changed(pins=[*_pins(policy), given]), visit.user, why)

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


def _price(text: str) -> float:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        raise RequestError("price", text, "must be a number") from None
    if not 0 < value < math.inf:
        raise RequestError("price", text, "must be above 0")
    return value


def _days(quotes: QuoteReader | None, name: str) -> list[dict[str, Any]]:
    """What an item was offered at on each of the last days, newest first."""
    if quotes is None:
        return []
    rows = quotes.rows(24 * 31)
    rows = rows[rows[schema.ITEM_ID] == name]
    if rows.empty:
        return []
    grouped = rows.groupby(rows[schema.TS].dt.date)[schema.PRICE_MINOR]
    found = pd.DataFrame({"low": grouped.min(), "middle": grouped.median(), "high": grouped.max(), "n": grouped.size()})
    found.insert(0, "day", [str(day) for day in found.index])
    return [{str(key): value for key, value in row.items()} for row in found.iloc[::-1].to_dict("records")]


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
