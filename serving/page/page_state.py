"""What is known of a page between its request and its prices, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fairtag.page.day_corridor import EpochCorridor
from fairtag.policy.context import MarketContext, UserContext
from serving.page.core import Core, Floats, Rows, Settled, Vector
from serving.page.kept import Kept
from serving.page.lookups import Customer
from serving.protocol.payload import PageRequest
from serving.stores.features import UserFeatures

if TYPE_CHECKING:
    from fairtag.page.pricing import PricedPage


@dataclass(frozen=True)
class Known:
    """What is known of a request before any item is looked for.

    Args:
        embedding: Of the query, None when there is none.
        user: The customer.
        user_age: Age of the customer's features in seconds, None without any.
        kept: What the customer was promised before.
        cause: Why nothing but list and promised prices may be shown, None when there is no reason.
    """

    embedding: Vector | None
    user: UserContext
    user_age: float | None
    kept: Kept
    cause: str | None


@dataclass(frozen=True)
class Found:
    """The items of a page, and what their features are.

    Args:
        rows: Catalogue rows.
        unknown: Item ids asked for that are not in the catalogue.
        market: Money and stock.
        age: Of the oldest, seconds.
        old: Rows whose features may not be priced on as they are.
        corridor: That of the epoch; None where it is the model's own, or not known yet.
    """

    rows: Rows
    unknown: list[str]
    market: MarketContext
    age: float | None
    old: Rows
    corridor: EpochCorridor | None = None


@dataclass(frozen=True)
class Priced:
    """A page, and what it was priced on."""

    page: PricedPage
    known: Known
    found: Found


Arguments = tuple[Rows, Vector | None, UserContext, MarketContext, int, Settled]


def priced(core: Core, known: Known, found: Found, epoch: int) -> tuple[PricedPage, Arguments]:
    """The page, and the arguments of the core that made it.

    A promise is imposed only where the page would break it: a page asked for again is the same page, with the same
    reasons and propensities. With a cause every other item is at list, and nothing of the customer is in it.
    """
    user = known.user
    if known.cause is not None:
        user = UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)
    promised = _in_money(known.kept.prices, core, found.rows, found.market)
    settled = Settled(None, known.kept.personal, list_only=known.cause is not None, corridor=found.corridor)
    while True:
        arguments = (found.rows, known.embedding, user, found.market, epoch, settled)
        page = core.price(*arguments)
        imposed = _imposed(page, promised, settled.prices, core.minor_per_unit)
        if imposed is None:
            return page, arguments
        settled = replace(settled, prices=imposed)


def _imposed(page: PricedPage, promised: Floats | None, before: Floats | None, unit: int) -> Floats | None:
    """The promises to impose, those of before and those that this page breaks; None where there are no more."""
    if promised is None:
        return None
    shown = np.array([item.price_minor for item in page.items]) / unit
    held = np.zeros(len(shown), dtype=bool) if before is None else ~np.isnan(before)
    broken = np.abs(shown - promised) > 0.5 / unit
    return np.where(broken | held, promised, np.nan) if (broken & ~held).any() else None


def known_of(request: PageRequest, embedding: Vector | None, customer: Customer, now: float) -> Known:
    """What request, encoder and stores say.

    Args:
        request: What is asked for.
        embedding: (d,) of its query, None without one.
        customer: What was looked up.
        now: Unix time in seconds.
    """
    features = customer.read.features
    observed = None if features is None else features.observed_at
    age = None if observed is None else max(0.0, now - observed)
    cause = customer.read.cause or customer.broken
    return Known(embedding, _user_context(request, features), age, customer.kept, cause)


def _user_context(request: PageRequest, features: UserFeatures | None) -> UserContext:
    return UserContext(
        user_id=request.user_id,
        behaviour=features.behaviour if features else None,
        history_items=features.history_items if features else (),
        history_age_days=features.history_age_days if features else (),
        opted_out=request.opted_out,
        jurisdiction=request.jurisdiction,
    )


def prices_of(page: PricedPage) -> dict[str, int]:
    """Price of each item in minor units."""
    return {item.item_id: item.price_minor for item in page.items}


def _in_money(promised: Mapping[str, int], core: Core, rows: Rows, market: MarketContext) -> Floats | None:
    """Promised prices in money, aligned with the rows, NaN where there is none; none above what today's list allows."""
    if not promised:
        return None
    money = np.array([promised.get(core.item_ids[row], np.nan) for row in rows]) / core.minor_per_unit
    unit = core.minor_per_unit
    most = np.floor(market.list_price * (1.0 + core.markup) * unit + 1e-6) / unit
    return np.asarray(np.where(money > most, most, money), dtype=np.float64)


def promise_key(core: Core, request: PageRequest, epoch: int, subject: str) -> str | None:
    """What a promise is kept under; None for somebody nobody knows, to whom nothing can be promised."""
    if not subject:
        return None
    consent = "plain" if request.opted_out else "personal"
    return f"fairtag:{core.version}:{epoch}:{consent}:{core.place_of(request.jurisdiction)}:{subject}"
