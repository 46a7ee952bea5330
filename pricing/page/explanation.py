"""A priced page taken apart into its drivers, and what each adds to a price. Changes no price."""

from __future__ import annotations

from typing import Any

import numpy as np

from pricing.page.chosen_prices import ChosenPrices
from pricing.page.drivers import PageDrivers, explain_prices
from pricing.page.guardrails import Bounds
from pricing.page.problem import Floats, PageProblem, Rows


def explain_problem(problem: PageProblem, chosen: ChosenPrices) -> list[dict[str, Any]]:
    """Exact Shapley values of the drivers of each price, minor units, in page order."""
    unit = problem.model.policy.limits.minor_per_unit
    on_sale = np.flatnonzero(problem.on_sale)
    parts: dict[int, dict[str, float]] = {}
    if on_sale.size:
        explanation = explain_prices(drivers_of(problem, on_sale), chosen.price[on_sale])
        parts = {int(place): explanation.of(number) for number, place in enumerate(on_sale)}
    return [
        {
            "item_id": problem.model.item_ids[row],
            "base_minor": float(problem.model.reference.f[row] * unit),
            "price_minor": float(np.rint(chosen.price[place] * unit)),  # 19.99 * 100 is 1998.9999999999998
            "contributions_minor": {name: value * unit for name, value in parts.get(place, {}).items()},
        }
        for place, row in enumerate(problem.rows)
    ]


def drivers_of(problem: PageProblem, places: Rows) -> PageDrivers:
    """The numbers of some of the page's items, split by who brings them: the market, the query, the customer."""
    model = problem.model
    rows, similarity = problem.rows[places], problem.similarity[places]
    usual = np.full(places.size, model.demand.standard.similarity)
    a, b = model.demand.page(rows, usual)
    a_query, b_query = model.demand.page(rows, similarity)
    a_all, b_all = model.demand.page(rows, similarity, problem.behaviour)
    cost = problem.market.unit_cost[places]
    return PageDrivers(
        f=model.reference.f[rows],
        reference=problem.r[places],
        a=a,
        b=b,
        a_intent=a_query - a,
        b_intent=b_query - b,
        a_behaviour=a_all - a_query,
        b_behaviour=b_all - b_query,
        cost=cost,
        stock_cost=problem.counted_cost[places] + model.reference.shadow[rows],
        bounds=_of(problem.bounds, places),
        menu=problem.menu[places],
        limits=model.policy.limits,
        margin_weight=_at(model.policy.margin_weight * problem.weight, places),
        anchor_weight=_at(model.policy.anchor_weight * problem.weight, places),
        least_slope=model.demand.b_min,
    )


def _of(bounds: Bounds, places: Rows) -> Bounds:
    return Bounds(**{name: values[places] for name, values in vars(bounds).items()})


def _at(values: Floats, places: Rows) -> Floats:
    return np.asarray(values[places], dtype=np.float64)
