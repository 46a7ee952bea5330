"""The corridor of an epoch: whoever prices an item first in it fixes the corridor for every model.

A model folder says where its own corridor stands. Two model folders that price one epoch, a reload or a canary, would
each keep ``rho`` and break it together: one may sell at ``l`` what the other sells at ``rho l'``. So a corridor belongs
to item and epoch, not to a model. The first price of the epoch fixes ``[l, rho l]``; every later one, whichever model
makes it, lies inside, and inside what its own policy allows. The next epoch begins anew, with the model that serves
then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairtag.policy.item_terms import ItemTerms, item_terms
from fairtag.stock.shadow_prices import counted_cost, floor_cost

if TYPE_CHECKING:
    from fairtag.model.pricing_model import PricingModel
    from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]
SLACK = 1e-6  # minor units: what is whole but for a rounding error is whole


@dataclass(frozen=True)
class DayCorridor:
    """The corridor in force for the items of a page.

    Args:
        low: (n,) lowest price, money, whole minor units; NaN where the item has none.
        high: (n,) highest price.
    """

    low: Floats
    high: Floats


def own_corridor(model: PricingModel, rows: NDArray[np.int64], terms: ItemTerms | None = None) -> DayCorridor:
    """The corridor that a model fixes where it is the first of an epoch; where only list is accepted it ends there.

    Args:
        model: The model.
        rows: (n,) catalogue rows.
        terms: What the live policy says about the items: a price that it names for everybody lies in the corridor.
    """
    limits, listed = model.policy.limits, model.market.list_price[rows]
    low = model.estimates.corridor_low[rows] if model.may_price else listed / limits.corridor_ratio
    if terms is not None and (terms.settled | (terms.cut > 0)).any():
        market = model.market.rows(rows)
        bounds = market.bounds(limits, floor_cost(*counted_cost(market, model.estimates.sales_rate[rows])))
        low = terms.corridor_low(low, bounds, listed, limits)
    return whole_corridor(low, limits.corridor_ratio, limits.minor_per_unit)


def terms_of(model: PricingModel, rows: NDArray[np.int64], epoch: int, policy: ShopPolicy | None) -> ItemTerms | None:
    """What the live policy says about some rows in an epoch; None where it says nothing."""
    if policy is None:
        return None
    items = [model.item_ids[row] for row in rows.tolist()]
    categories = [str(category) for category in model.categories[rows]]
    return item_terms(policy, items, categories, model.policy.day_of(epoch))


def whole_corridor(low: Floats, ratio: float, unit: int) -> DayCorridor:
    """``[l, rho l]`` in whole minor units, both ends rounded inwards so that their ratio is at most rho.

    >>> corridor = whole_corridor(np.array([7.999]), 1.25, 100)
    >>> corridor.low.tolist(), corridor.high.tolist()
    ([8.0], [10.0])
    """
    lowest = np.ceil(np.where(low > 0, low, np.nan) * unit - SLACK)
    return DayCorridor(lowest / unit, np.floor(lowest * ratio + SLACK) / unit)
