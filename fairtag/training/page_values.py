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
from fairtag.training.corridors import public_prices

Floats = NDArray[np.float64]

ROUNDS = 30  # of prices and values in turn: halved steps are within a price ending by then
CLOSE = 1e-3  # change of a value, as a share of its item's reference price, at which they stand still
BORROWED = 1.0  # purchases at the category's mean value that count with an item's own: one that hardly sold says little
LEAST = 1e-9  # purchases at the shop's mean value that count with a category's: one without any has that mean
STEEPEST = 50.0  # utilities beyond are clipped: exp stays finite, and the probability is 0 or 1 either way


def page_values(model: PricingModel, data: DemandData | None) -> Floats:
    """(N,) value of the pages that show each catalogue row, money a visit; 0 where prices follow f(v) alone.

    Public prices decide what pages are worth, and that decides prices, so both are found in turn.

    Args:
        model: All that is fitted but the page values and the corridors, whose estimates are ignored.
        data: The training pages as the demand model reads them; None where demand was not learned.
    """
    value = np.zeros(len(model.item_ids))
    if data is None or model.policy.anchored:
        return value
    nowhere = np.full(value.size, np.nan)
    demand = model.demand
    a, b = demand.utilities(data.item, data.similarity, data.behaviour[data.page], np.zeros(data.n_rows))
    for _ in range(ROUNDS):
        estimates = replace(model.estimates, page_value=value, corridor_low=nowhere)
        problem, chosen = public_prices(replace(model, estimates=estimates))
        found = _mean_worth(problem, chosen.price, a, b, data)
        step = 0.5 * (found - value)
        value = value + step
        if np.all(np.abs(step) <= CLOSE * problem.r):
            break
    return value


def _mean_worth(problem: PageProblem, price: Floats, a: Floats, b: Floats, data: DemandData) -> Floats:
    """(N,) mean value of each row's logged pages at given prices, weighted by its purchases; shrunk to its category."""
    policy, r, n = problem.model.policy, problem.r, len(price)
    y = np.where(np.isfinite(r), price / r, 1.0)
    gain = policy.margin_weight * (y - problem.cost - problem.shadow)
    gain = np.nan_to_num(r * (gain - policy.anchor_weight * (y - problem.anchor) ** 2))
    pull = np.exp(np.clip(a - b * y[data.item], -STEEPEST, STEEPEST))
    bought = pull / (1.0 + np.add.reduceat(pull, data.starts))[data.page]
    worth = np.add.reduceat(bought * gain[data.item], data.starts)[data.page]
    sold = np.bincount(data.item, bought, n)
    earned = np.bincount(data.item, bought * worth, n)
    category = problem.model.demand.category
    whole = earned.sum() / max(sold.sum(), LEAST)
    mean = (np.bincount(category, earned) + LEAST * whole) / (np.bincount(category, sold) + LEAST)
    return np.asarray((earned + BORROWED * mean[category]) / (sold + BORROWED), dtype=np.float64)
