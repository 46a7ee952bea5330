"""Why this price: a sentence and a waterfall, and what the price would be if cost, stock or a limit were another."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from starlette.responses import Response

from console.drawing import waterfall
from console.form_numbers import typed_amount, typed_number
from console.frame import Page, Visit
from fairtag.base.errors import RequestError
from fairtag.base.money import Currency
from fairtag.model.pricing_model import PricingModel
from fairtag.page.explanation_words import WORDS, reason_words
from fairtag.page.pricing import PageInputs, explain_page, price_page
from fairtag.policy.context import UserContext

# Fields of the what-if: name in the form -> column of the market, or limit of the policy.
MARKET = {"cost": "unit_cost", "stock": "stock", "competitor": "competitor_price", "list": "list_price"}
MOST_PERCENT = {"discount": 100.0, "margin": 99.0}
MONEY = ("cost", "competitor", "list")
LIMITS = {"discount": "max_discount", "margin": "min_margin", "corridor": "corridor_ratio"}


@dataclass(frozen=True)
class Priced:
    """One item's price and its explanation; amounts in minor units.

    Args:
        price: The price.
        listed: List price.
        base: What an item like this costs.
        parts: What each driver adds.
        summary: All of it in words.
        reasons: Reason codes in words.
    """

    price: int
    listed: int
    base: int
    parts: dict[str, int]
    summary: str
    reasons: list[str]


def what_if(model: PricingModel, item: str, user: UserContext, changes: Mapping[str, float]) -> tuple[Priced, Priced]:
    """An item's price as the model makes it now, and with changes; neither knows price locks or the live policy.

    Args:
        model: The live model.
        item: The item.
        user: The customer.
        changes: Of :data:`MARKET`, in currency units or units of stock, and of :data:`LIMITS`, shares.

    Raises:
        RequestError: The model does not know the item.
        ConfigError: A limit is outside its range.
    """
    if item not in model.row_of:
        raise RequestError("item", item, "is not in the model's catalogue", status=404)
    rows = np.array([model.row_of[item]], dtype=np.int64)
    limits: dict[str, Any] = {LIMITS[name]: value for name, value in changes.items() if name in LIMITS}
    altered = model
    if limits:
        policy = replace(model.policy, limits=replace(model.policy.limits, **limits))
        altered = replace(model, policy=policy)
    market = model.market.rows(rows)
    money = {MARKET[name]: np.array([value]) for name, value in changes.items() if name in MARKET}
    epoch = model.policy.epoch_of(time.time())
    return (
        _priced(model, PageInputs(rows, None, user, epoch, market=market)),
        _priced(altered, PageInputs(rows, None, user, epoch, market=replace(market, **money))),
    )


def _priced(model: PricingModel, inputs: PageInputs) -> Priced:
    page = price_page(replace(model, policy=replace(model.policy, exploration=0.0)), inputs)
    if not page.items:
        raise RequestError("list", "", "must be at least the smallest coin")
    quiet = replace(model, policy=replace(model.policy, exploration=0.0))
    (why,) = explain_page(quiet, inputs)
    (item,) = page.items
    return Priced(
        item.price_minor,
        item.list_price_minor,
        why["base_minor"],
        why["contributions_minor"],
        why["summary"],
        [reason_words(code) for code in item.reasons],
    )


async def show(visit: Visit) -> Response:
    """The price of an item for a customer, as the endpoint explains it, and the what-if."""
    item, shop = visit.asked("item"), visit.work.shop
    user = visit.asked("user", visit.shopper.user_id)
    place = visit.asked("place", visit.shopper.place)
    opted_out = visit.asked("opted_out", "yes" if visit.shopper.opted_out else "") == "yes"
    values: dict[str, Any] = {"item": item, "user_id": user, "place": place, "opted_out": opted_out}
    if item:
        request = {
            "task": "price",
            "item_ids": [item],
            "user_id": user or None,
            "session_id": None if user else visit.shopper.guest_session,
            "jurisdiction": place or None,
            "opted_out": opted_out,
        }
        answer = await visit.work.endpoint.explain(request)
        if not answer["items"]:
            raise RequestError("item", item, "is not on offer", status=404)
        (explained,) = answer["items"]
        page = await visit.work.endpoint.page(request | {"fields": ["category", "brand", "description"]})
        values |= _shown(explained, page["items"][0], page)
    changes = _changes(visit, shop.coin)
    trial = facts = None
    if item and shop.has_model:
        model = await visit.blocking(shop.model)
        customer = await visit.blocking(shop.user, user, place, opted_out=opted_out)
        facts = _facts(model, item)
        before, after = await visit.blocking(what_if, model, item, customer, changes)
        trial = {"before": before, "after": after, "changed": bool(changes)}
        if changes:
            trial["bars"], trial["list_at"] = waterfall(after.base, after.parts, after.price, WORDS, after.listed)
    return await visit.render(
        "why.html",
        **{"explained": None, **values},
        trial=trial,
        facts=facts,
        asked={name: visit.asked(name) for name in (*MARKET, *LIMITS)},
        places=shop.places,
        who=await visit.blocking(shop.in_words, user) if user else "a guest: no price is personal",
        examples=await visit.blocking(shop.examples),
        titles=await visit.blocking(shop.popular, 12),
    )


def _shown(explained: dict[str, Any], priced: dict[str, Any], page: dict[str, Any]) -> dict[str, Any]:
    bars, list_at = waterfall(
        explained["base_minor"],
        explained["contributions_minor"],
        explained["price_minor"],
        WORDS,
        explained["list_price_minor"],
    )
    return {
        "explained": explained,
        "priced": priced,
        "currency": page["currency"],
        "disclosure": page["disclosure"],
        "bars": bars,
        "list_at": list_at,
    }


def _facts(model: PricingModel, item: str) -> dict[str, Any]:
    """What the model knows of an item, money in currency units; None where it does not know it."""
    if item not in model.row_of:
        raise RequestError("item", item, "is not in the model's catalogue", status=404)
    row, limits = model.row_of[item], model.policy.limits
    market = {name: getattr(model.market, column)[row] for name, column in MARKET.items()}
    known = {name: None if np.isnan(value) else float(value) for name, value in market.items()}
    return (
        known | {name: getattr(limits, limit) for name, limit in LIMITS.items()} | {"currency": model.policy.currency}
    )


def _changes(visit: Visit, coin: Currency | None) -> dict[str, float]:
    """The fields of the what-if that are filled in; shares come in per cent.

    Raises:
        RequestError: One is no number.
    """
    found: dict[str, float] = {}
    for name in (*MARKET, *LIMITS):
        text = visit.asked(name)
        if not text:
            continue
        if name in MONEY and coin is not None:
            found[name] = typed_amount(name, text, coin, positive=name == "list")
            continue
        value = typed_number(name, text, most=MOST_PERCENT.get(name, math.inf))
        found[name] = 1 + value / 100 if name == "corridor" else value / 100 if name in LIMITS else value
    return found


PAGE = Page("why", "/why", "Why this price", "what made a price, and what would change it", show)
