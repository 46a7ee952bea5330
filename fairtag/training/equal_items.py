"""Equal items get equal prices: what is estimated about each of them is the mean of what is estimated about all.

Items are equal that are near-identical (one nest of the demand model) and have one unit cost and one list price. Demand
gives them one price slope, training one page value; here they get one f(v), one shadow price of stock and, in
:mod:`fairtag.training.corridors`, one corridor. What is left to tell their prices apart is what the shop itself says of
each: its legal bounds, its competitor's price, the price that a customer saw last, and a draw of exploration
(docs/pricing-model.md, section 5).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fairtag.model.pricing_model import PricingModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def equal_items(model: PricingModel) -> Ints:
    """(N,) number of each catalogue row among equal items."""
    market, columns = model.market, [model.demand.nest.astype(np.float64)]
    columns += [np.nan_to_num(money, nan=-1.0) for money in (market.list_price, market.unit_cost)]
    return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].astype(np.int64)


def mean_of_equals(values: Floats, group: Ints) -> Floats:
    """(N,) the mean of each value's group; a value alone stays to the last bit.

    >>> mean_of_equals(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 1])).tolist()
    [1.0, 3.0, 3.0]
    """
    count = np.bincount(group)[group]
    mean = np.bincount(group, values)[group] / count
    return np.asarray(np.where(count > 1, mean, values), dtype=np.float64)


def with_equal_estimates(model: PricingModel) -> PricingModel:
    """The model with one f(v), its interval, and one shadow price of stock for equal items."""
    group, estimates = equal_items(model), model.estimates
    names = ("f", "f_low", "f_high", "shadow")
    return replace(
        model,
        estimates=replace(estimates, **{name: mean_of_equals(getattr(estimates, name), group) for name in names}),
    )
