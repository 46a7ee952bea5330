"""Does the model behave? Bounds, response to cost, and opt-outs, tested on held-out pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.model.decision import GateResult, GateStatus
from fairtag.model.pricing_model import PricingModel
from fairtag.page.held_out import ShadowPage, user_of
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.problem import page_problem
from fairtag.policy.context import MarketContext, UserContext

PAGES = 60  # pages tested: each is solved five times
COST_STEP = 1.1  # factor on one item's cost


def page_inputs(
    model: PricingModel, pages: Sequence[ShadowPage], vectors: dict[str, NDArray[np.float32]]
) -> list[PageInputs]:
    """The inputs of the first held-out pages, to be varied."""
    return [
        PageInputs(
            rows=np.array([model.row_of[item] for item in shadow.logged[schema.ITEM_ID]], dtype=np.int64),
            embedding=vectors.get(shadow.query) if shadow.query else None,
            user=user_of(shadow.logged.iloc[0], shadow.page.jurisdiction),
            market=MarketContext.of(shadow.logged),
            epoch=shadow.page.epoch,
        )
        for shadow in pages[:PAGES]
    ]


def behaviour_gates(model: PricingModel, pages: Sequence[ShadowPage], tried: Sequence[PageInputs]) -> list[GateResult]:
    """Prices lie within their bounds, never fall when cost rises, and are a guest's for customers who opt out."""
    return [
        _none(
            "within_bounds",
            "no price outside its bounds, or above the list price and the markup allowed on it",
            _out_of_bounds(model, pages),
        ),
        _none("monotone_in_cost", "no item gets cheaper when its own cost rises", _cheaper_when_dearer(model, tried)),
        _none("opt_out", "a customer who opts out gets exactly a guest's prices", _opt_out_gaps(model, tried)),
    ]


def _none(name: str, rule: str, found: tuple[int, int]) -> GateResult:
    breaches, tried = found
    if tried == 0:
        return GateResult(name, None, rule, "could not tell", note="no page could be tested")
    status: GateStatus = "pass" if breaches == 0 else "fail"
    return GateResult(name, float(breaches), rule, status, threshold=0.0, note=f"{tried} prices tested")


def _out_of_bounds(model: PricingModel, pages: Sequence[ShadowPage]) -> tuple[int, int]:
    items = [item for shadow in pages for item in shadow.page.items]
    most = 1.0 + model.policy.limits.markup
    broken = sum(
        not item.low_minor <= item.price_minor <= item.high_minor
        or item.price_minor > item.list_price_minor * most * (1.0 + 1e-9)
        for item in items
    )
    return broken, len(items)


def _cheaper_when_dearer(model: PricingModel, tried: Sequence[PageInputs]) -> tuple[int, int]:
    broken = 0
    for number, request in enumerate(tried):
        place = number % len(request.rows)
        market = request.market or model.market.rows(request.rows)
        before = _solved(model, request, market)[place]
        cost = market.unit_cost.copy()
        cost[place] *= COST_STEP
        after = _solved(model, request, replace(market, unit_cost=cost))[place]
        broken += bool(after < before - 1e-9)  # NaN means that the item fell back to list, which is not a fall in price
    return broken, len(tried)


def _solved(model: PricingModel, request: PageInputs, market: MarketContext) -> NDArray[np.float64]:
    problem = page_problem(model, request.rows, request.embedding, request.user, market=market)
    return problem.solve(problem.behaviour)


def _opt_out_gaps(model: PricingModel, tried: Sequence[PageInputs]) -> tuple[int, int]:
    broken, prices = 0, 0
    for request in tried:
        known = replace(request.user, opted_out=True)
        guest = UserContext(opted_out=True, jurisdiction=request.user.jurisdiction)
        one, other = (price_page(model, replace(request, user=user)) for user in (known, guest))
        broken += sum(a.price_minor != b.price_minor for a, b in zip(one.items, other.items, strict=True))
        prices += len(one.items)
    return broken, prices
