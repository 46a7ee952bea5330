"""What the pages that show an item are worth: the competition that the item's price reckons with.

On a page, items compete through one number, the page's value R: given R, each price is an optimum of its own
(docs/pricing-model.md, section 5). Were R that of the page asked for, whoever composes pages would choose prices. So an
item's price reckons with the mean value of the logged pages that show it, each weighted by how probably the item is
bought there: then no other price that is the same on all of these pages earns more on them together.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fairtag.demand.demand_data import DemandData
from fairtag.model.pricing_model import PricingModel
from fairtag.page.problem import PageProblem
from fairtag.training.corridors import public_prices, pulls

Floats = NDArray[np.float64]

ROUNDS = 30  # of prices and values in turn: halved steps are within a price ending by then
CLOSE = 1e-3  # change of a value, as a share of its item's reference price, at which they stand still
BORROWED = 1.0  # page at the category's mean value that counts with an item's own: a single page says little of it
LEAST = 1e-9  # purchases at the shop's mean value that count with a category's: one without any has that mean


def page_values(model: PricingModel, data: DemandData | None) -> Floats:
    """(N,) value of the pages that show each catalogue row, money; 0 where prices follow f(v) alone.

    It is that of a visit over the units of a purchase of the item: what its margin on one unit competes with.

    Public prices decide what pages are worth, and that decides prices, so both are found in turn.

    Args:
        model: All that is fitted but the page values and the corridors, whose estimates are ignored.
        data: The training pages as the demand model reads them; None where demand was not learned.
    """
    value = np.zeros(len(model.item_ids))
    if data is None or model.policy.anchored:
        return value
    nowhere = np.full(value.size, np.nan)
    for _ in range(ROUNDS):
        estimates = replace(model.estimates, page_value=value, corridor_low=nowhere)
        problem, chosen = public_prices(replace(model, estimates=estimates))
        found = _mean_worth(problem, chosen.price, data)
        step = 0.5 * (found - value)
        value = value + step
        if np.all(np.abs(step) <= CLOSE * problem.r):
            break
    return value


def _mean_worth(problem: PageProblem, price: Floats, data: DemandData) -> Floats:
    """(N,) mean value of each row's logged pages at given prices, weighted by its purchases; shrunk to its category.

    Near-identical items have one value: that of the pages that show any of them. Their price then earns most where all
    of them ask it.
    """
    policy, r, n = problem.model.policy, problem.r, len(price)
    y = price / r
    gain = policy.margin_weight * (y - problem.cost - problem.shadow)
    gain = np.nan_to_num(r * (gain - policy.anchor_weight * (y - problem.anchor) ** 2))  # at an unknown cost nothing
    demand = problem.model.demand
    units = demand.units_of(np.arange(n))
    pull = pulls(problem, price, data)
    bought = pull / (1.0 + np.add.reduceat(pull, data.starts))[data.page]
    worth = np.add.reduceat(bought * (units * gain)[data.item], data.starts)[data.page]
    bought = bought * data.row_weight
    nest, category = demand.nest, demand.category
    counted = (data.row_weight, bought, bought * worth)
    shown, sold, earned = (np.bincount(nest[data.item], x, n) for x in counted)
    whole = earned.sum() / max(sold.sum(), LEAST)
    by_category = [np.bincount(category, x) for x in (shown, sold, earned)]
    mean = ((by_category[2] + LEAST * whole) / (by_category[1] + LEAST))[category]
    borrowed = BORROWED * np.maximum(by_category[1] / np.maximum(by_category[0], 1.0), LEAST)[category]
    value = ((earned + borrowed * mean) / (sold + borrowed))[nest]
    return np.asarray(value / units, dtype=np.float64)
