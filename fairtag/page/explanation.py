"""Explanation of a page's prices: the exact Shapley value of each driver (docs/pricing-model.md, section 11)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import ConfigError
from fairtag.base.money import currency
from fairtag.page.explanation_words import summary, whole_parts
from fairtag.page.page_prices import PagePrices
from fairtag.page.problem import FAINT, PageProblem, Rows
from fairtag.policy.guardrails import Bounds, GuardrailLimits, nearest_ending, project, snap
from fairtag.solver.page_arrays import Flags, Floats
from fairtag.solver.page_solver import solve_pages


def explain_problem(problem: PageProblem, chosen: PagePrices) -> list[dict[str, Any]]:
    """Exact Shapley values of the drivers of each price, in whole minor units and in words, in page order.

    Without a cost or without demand there is no optimum to come from: all of the way to the price is the decision.
    """
    base = problem.model.estimates.f[problem.rows]
    parts = {
        int(place): {DECISION: float(chosen.price[place] - base[place])} for place in np.flatnonzero(problem.on_sale)
    }
    solved = problem.on_sale & np.isfinite(problem.market.unit_cost) & problem.model.demand.learned
    if (places := np.flatnonzero(solved)).size:
        explanation = explain_prices(drivers_of(problem, places), chosen.price[places])
        parts |= {int(place): explanation.of(number) for number, place in enumerate(places)}
    return [_explained(problem, chosen, place, parts.get(place, {})) for place in range(len(problem.rows))]


def _explained(problem: PageProblem, chosen: PagePrices, place: int, parts: dict[str, float]) -> dict[str, Any]:
    """One item: amounts are rounded where they are shown, and the parts still lead from the base to the price."""
    model, row = problem.model, int(problem.rows[place])
    unit = model.policy.limits.minor_per_unit
    base, price, listed = (
        round(float(amount) * unit)
        for amount in (model.estimates.f[row], chosen.price[place], problem.market.list_price[place])
    )
    whole = whole_parts({name: value * unit for name, value in parts.items()}, price - base)
    return {
        "item_id": model.item_ids[row],
        "list_price_minor": listed,
        "base_minor": base,
        "price_minor": price,
        "contributions_minor": whole,
        "summary": summary(price, listed, base, whole, currency(model.policy.currency)),
    }


def drivers_of(problem: PageProblem, places: Rows) -> PageDrivers:
    """Inputs of some of the page's items, split by their source: market, query, customer."""
    model, policy = problem.model, problem.model.policy
    rows, similarity = problem.rows[places], problem.price_similarity[places]
    usual = np.full(places.size, model.demand.scaling.similarity)
    a, b = model.demand.page(rows, usual)
    a_query, b_query = model.demand.page(rows, similarity)
    a_all, b_all = model.demand.page(rows, similarity, problem.behaviour)
    dearer = b_all < b_query  # the customer's data may lower a price and never raise it
    return PageDrivers(
        f=model.estimates.f[rows],
        reference=problem.r[places],
        a=a,
        b=b,
        a_intent=a_query - a,
        b_intent=b_query - b,
        a_behaviour=np.where(dearer, 0.0, a_all - a_query),
        b_behaviour=np.where(dearer, 0.0, b_all - b_query),
        cost=problem.market.unit_cost[places],
        stock_cost=problem.counted_cost[places] + model.estimates.shadow[rows],
        competition=problem.competition[places] * problem.r[places],
        bounds=_of(problem.bounds, places),
        menu=problem.menu[places],
        limits=policy.limits,
        margin_weight=policy.margin_weight,
        anchor_weight=policy.anchor_weight,
        least_slope=model.demand.b_min,
    )


def _of(bounds: Bounds, places: Rows) -> Bounds:
    return Bounds(**{name: values[places] for name, values in vars(bounds).items()})


DRIVERS = ("market", "intent", "behaviour", "competition", "stock", "bounds", "rounding")
DECISION = "decision"


@dataclass(frozen=True)
class PageDrivers:
    """Inputs of a page's prices, split by driver; arrays ``(n,)``.

    Args:
        f: The price model's price, money.
        reference: r, money.
        a: Utility at price 0 at mean similarity and without behaviour.
        b: Price slope likewise, in units of 1/r.
        a_intent: Contribution of the query to ``a``.
        b_intent: Contribution of the query to ``b``.
        a_behaviour: Contribution of the customer's behaviour to ``a``.
        b_behaviour: Contribution of the customer's behaviour to ``b``.
        cost: Unit cost, money.
        stock_cost: Cost with the shadow price of stock, or with the salvage value of ageing stock, money.
        competition: What a sale takes from the rest of the pages that show the item, money.
        bounds: The guardrails of the page.
        menu: Price endings inside the bounds, money ``(n, m)``; None where prices are not rounded.
        limits: The limits that made bounds and menu.
        margin_weight: w.
        anchor_weight: lambda.
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
    competition: Floats
    bounds: Bounds
    menu: Floats | None
    limits: GuardrailLimits
    margin_weight: float = 1.0
    anchor_weight: float = 0.0
    least_slope: float = 0.0


def explain_prices(page: PageDrivers, served: Floats | None = None) -> Explanation:
    """Exact Shapley values, in money, of the drivers of a page's prices.

    Args:
        page: The page's inputs, without items that are out of stock.
        served: Prices that the customer got. Where they are not the optimum (low confidence, a price lock,
            exploration), the difference is an eighth driver, ``decision``.
    """
    explanation = explain(lambda at_work: coalition_prices(page, at_work), DRIVERS)
    if served is None:
        return explanation
    rows = np.vstack([explanation.contributions, served - explanation.price])
    return Explanation((*DRIVERS, DECISION), explanation.base, served, rows)


def coalition_prices(page: PageDrivers, at_work: Flags) -> Floats:
    """Prices in money, ``(S, n)``, under each coalition of drivers ``(S, 7)`` in the order of ``DRIVERS``."""
    on = dict(zip(DRIVERS, at_work.T, strict=True))
    alone = _solve_coalitions(page, {name: np.zeros(1, bool) for name in DRIVERS})  # the price level of f
    price: Floats = _solve_coalitions(page, on) * switch(on["market"], page.reference, page.f / alone[0])
    # With market and bounds in the coalition the solver met bounds and endings itself; else they act on the price.
    for row in np.flatnonzero(~(on["market"] & on["bounds"])):
        if on["bounds"][row]:
            price[row] = project(price[row], page.bounds)
        if on["rounding"][row] and page.menu is not None:
            inside = on["bounds"][row]
            price[row] = snap(price[row], page.menu) if inside else nearest_ending(price[row], page.bounds, page.limits)
    return price


def _solve_coalitions(page: PageDrivers, on: dict[str, Flags]) -> Floats:
    """Prices in units of r, ``(S, n)``, under each coalition.

    Each item is a page of its own. With ``competition`` it reckons with the logged pages that show it, and
    without it only with the customers whom it would lose itself.
    """
    a = page.a + switch(on["intent"], page.a_intent, 0.0) + switch(on["behaviour"], page.a_behaviour, 0.0)
    b = page.b + switch(on["intent"], page.b_intent, 0.0) + switch(on["behaviour"], page.b_behaviour, 0.0)
    cost = switch(on["stock"], page.stock_cost, page.cost) + switch(on["competition"], page.competition, 0.0)
    a = np.where(on["competition"][:, None], FAINT, a)
    held = on["market"] & on["bounds"]
    lo = switch(held, page.bounds.lo / page.reference, 0.0)
    hi = switch(held, page.bounds.hi / page.reference, np.inf)
    anchor = np.broadcast_to(page.f / page.reference, a.shape)
    terms = [a, np.maximum(b, page.least_slope), cost / page.reference, anchor, lo, hi]
    solved = np.empty_like(a)
    for ending in (True, False):
        rows = (held & on["rounding"]) == ending
        if rows.any():
            solved[rows] = _solve_items(page, [x[rows] for x in terms], page.menu if ending else None)
    return solved


def _solve_items(page: PageDrivers, terms: list[Floats], menu: Floats | None) -> Floats:
    shape = terms[0].shape
    grid = None if menu is None else np.broadcast_to(menu / page.reference[:, None], (*shape, menu.shape[1]))
    return solve_pages(
        *(x[..., None] for x in terms),
        margin_weight=page.margin_weight,
        anchor_weight=page.anchor_weight,
        menu=None if grid is None else grid[..., None, :],
    ).y.reshape(shape)


MOST_DRIVERS = 8  # 256 solves of the page; the number doubles with each driver

PriceOf = Callable[[Flags], Floats]
"""Function from coalitions ``(2^k, k)``, True where a driver takes part, to prices ``(2^k, n)``."""


@dataclass(frozen=True)
class Explanation:
    """Contribution of each driver to ``n`` prices.

    Args:
        drivers: Names of the ``k`` driver groups.
        base: Prices without any driver, f, ``(n,)``.
        price: Prices with all drivers, ``(n,)``.
        contributions: ``(k, n)``, same unit; the columns sum to ``price - base``.
    """

    drivers: tuple[str, ...]
    base: Floats
    price: Floats
    contributions: Floats

    def of(self, item: int) -> dict[str, float]:
        """Contribution of each driver to one item's price."""
        return dict(zip(self.drivers, self.contributions[:, item].tolist(), strict=True))


def explain(price_of: PriceOf, drivers: Sequence[str]) -> Explanation:
    """Explain the prices that ``price_of`` gives with all drivers.

    Raises:
        ConfigError: There is no driver, more than eight, or a name twice.

    Example: demand adds 2, and a bound takes 1 of it away again.

        >>> def price_of(at_work):
        ...     demand, bound = at_work.T
        ...     return (10.0 + 2.0 * demand - 1.0 * (demand & bound))[:, None]
        >>> explain(price_of, ["demand", "bound"]).of(0)
        {'demand': 1.5, 'bound': -0.5}
    """
    names = tuple(drivers)
    if not 0 < len(names) <= MOST_DRIVERS or len(set(names)) < len(names):
        raise ConfigError(f"drivers {names} are refused; give 1 to {MOST_DRIVERS} different names")
    prices = np.asarray(price_of(coalitions(len(names))), float)
    return Explanation(names, prices[0], prices[-1], shapley_values(prices))


def coalitions(k: int) -> Flags:
    """All subsets of ``k`` players, ``(2^k, k)``; the bits of a row's number are its members, player 0 the lowest."""
    return (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(bool)


def shapley_values(worth: Floats) -> Floats:
    """Shapley values ``(k, ...)`` from the worth ``(2^k, ...)`` of all :func:`coalitions`.

    ``phi_i = sum_S |S|! (k - |S| - 1)! / k! (v(S + i) - v(S))`` over the sets S without i (Shapley, 1953).
    """
    k = len(worth).bit_length() - 1
    order = np.array([factorial(size) * factorial(k - size - 1) / factorial(k) for size in range(k)])
    sets = np.arange(len(worth))
    size = coalitions(k).sum(-1)
    values = np.empty((k, *worth.shape[1:]))
    for player in range(k):
        without = sets[sets >> player & 1 == 0]
        gain = worth[without | 1 << player] - worth[without]
        values[player] = np.tensordot(order[size[without]], gain, axes=1)
    return values


def switch(on: Flags, actual: Floats, neutral: Floats | float) -> Floats:
    """One input under every coalition, ``(S, n)``: the actual ``(n,)`` where its driver takes part."""
    chosen: NDArray[np.float64] = np.where(on[:, None], actual, neutral)
    return chosen
