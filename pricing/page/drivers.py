"""A page's prices with only some of its drivers at work: what an explanation asks for. Knows no customer or request.

With no driver the price is f, the model's price of the item. Each driver adds one thing to that:

- ``market``: the reference price r in place of f, and the price level the market's demand bears;
- ``intent`` and ``behaviour``: what the query and the customer's own behaviour do to demand;
- ``competition``: the other items of the page (without it each item is priced alone);
- ``stock``: the shadow price or salvage value of stock;
- ``bounds`` and ``rounding``: the guardrails and the price endings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pricing.page.arrays import Flags, Floats
from pricing.page.guardrails import Bounds, GuardrailLimits, nearest_ending, project, snap
from pricing.page.shapley import Explanation, explain, switch
from pricing.page.solver import solve_pages

DRIVERS = ("market", "intent", "behaviour", "competition", "stock", "bounds", "rounding")
DECISION = "decision"


@dataclass(frozen=True)
class PageDrivers:
    """One priced page taken apart; arrays ``(n,)``, money where it says so.

    Args:
        f: The price model's price, money.
        reference: r, money.
        a: Utility at price zero without intent or behaviour (typical similarity, no user terms).
        b: Price slope without them, in units of 1/r.
        a_intent: What the query adds to ``a``.
        b_intent: What the query adds to ``b``.
        a_behaviour: What the customer's behaviour adds to ``a``.
        b_behaviour: What it adds to ``b``.
        cost: Unit cost, money.
        stock_cost: Cost with the shadow price of stock, or with the salvage value of ageing stock, money.
        bounds: The guardrails of the page.
        menu: Price endings inside the bounds, money ``(n, m)``; None where prices are not rounded.
        limits: The limits that made bounds and menu.
        margin_weight: w, one or ``(n,)``.
        anchor_weight: lambda, one or ``(n,)``.
        least_slope: b_min.
    """

    f: Floats
    reference: Floats
    a: Floats
    b: Floats
    a_intent: Floats
    b_intent: Floats
    a_behaviour: Floats
    b_behaviour: Floats
    cost: Floats
    stock_cost: Floats
    bounds: Bounds
    menu: Floats | None
    limits: GuardrailLimits
    margin_weight: float | Floats = 1.0
    anchor_weight: float | Floats = 0.0
    least_slope: float = 0.0


def explain_prices(page: PageDrivers, served: Floats | None = None) -> Explanation:
    """Exact Shapley values, in money, of the drivers of a page's prices.

    Args:
        page: The page taken apart; items that are out of stock left out, as the solver leaves them out.
        served: Prices the customer got, where the solver did not have the last word (list for want of confidence, a
            price promised before, exploration): their difference is an eighth driver, ``decision``.
    """
    explanation = explain(lambda at_work: coalition_prices(page, at_work), DRIVERS)
    if served is None:
        return explanation
    rows = np.vstack([explanation.contributions, served - explanation.price])
    return Explanation((*DRIVERS, DECISION), explanation.base, served, rows)


def coalition_prices(page: PageDrivers, at_work: Flags) -> Floats:
    """Prices in money ``(S, n)`` of each coalition ``(S, 7)``, columns in the order of ``DRIVERS``."""
    on = dict(zip(DRIVERS, at_work.T, strict=True))
    alone = _solved(page, {name: np.zeros(1, bool) for name in DRIVERS})  # f goes with this price level
    price: Floats = _solved(page, on) * switch(on["market"], page.reference, page.f / alone[0])
    # With the market at work the solver met bounds and endings itself; else they act on the price, as they do last.
    for row in np.flatnonzero(~(on["market"] & on["bounds"])):
        if on["bounds"][row]:
            price[row] = project(price[row], page.bounds)
        if on["rounding"][row] and page.menu is not None:
            price[row] = snap(price[row], page.menu) if on["bounds"][row] else nearest_ending(price[row], page.limits)
    return price


def _solved(page: PageDrivers, on: dict[str, Flags]) -> Floats:
    """Prices in units of r, ``(S, n)``."""
    a = page.a + switch(on["intent"], page.a_intent, 0.0) + switch(on["behaviour"], page.a_behaviour, 0.0)
    b = page.b + switch(on["intent"], page.b_intent, 0.0) + switch(on["behaviour"], page.b_behaviour, 0.0)
    cost = switch(on["stock"], page.stock_cost, page.cost) / page.reference
    held = on["market"] & on["bounds"]
    lo = switch(held, page.bounds.lo / page.reference, 0.0)
    hi = switch(held, page.bounds.hi / page.reference, np.inf)
    terms = [a, np.maximum(b, page.least_slope), cost, np.broadcast_to(page.f / page.reference, a.shape), lo, hi]
    solved = np.empty_like(a)
    for together in (True, False):
        for ending in (True, False):
            rows = (on["competition"] == together) & ((held & on["rounding"]) == ending)
            menu = page.menu if ending else None
            if rows.any():
                solved[rows] = _solve_rows(page, [x[rows] for x in terms], menu, together=together)
    return solved


def _solve_rows(page: PageDrivers, terms: list[Floats], menu: Floats | None, *, together: bool) -> Floats:
    shape = terms[0].shape
    weights = [np.broadcast_to(x, shape) for x in (page.margin_weight, page.anchor_weight)]
    grid = None if menu is None else np.broadcast_to(menu / page.reference[:, None], (*shape, menu.shape[1]))
    if not together:  # pages of one item
        terms, weights = [x[..., None] for x in terms], [x[..., None] for x in weights]
        grid = None if grid is None else grid[..., None, :]
    return solve_pages(*terms, margin_weight=weights[0], anchor_weight=weights[1], menu=grid).y.reshape(shape)
