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

if TYPE_CHECKING:
    from fairtag.model.pricing_model import PricingModel

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


def own_corridor(model: PricingModel, rows: NDArray[np.int64]) -> DayCorridor:
    """The corridor that a model fixes where it is the first of an epoch; where only list is accepted it ends there."""
    limits = model.policy.limits
    low = model.estimates.corridor_low if model.may_price else model.market.list_price / limits.corridor_ratio
    return whole_corridor(low[rows], limits.corridor_ratio, limits.minor_per_unit)


def whole_corridor(low: Floats, ratio: float, unit: int) -> DayCorridor:
    """``[l, rho l]`` in whole minor units, both ends rounded inwards so that their ratio is at most rho.

    >>> corridor = whole_corridor(np.array([7.999]), 1.25, 100)
    >>> corridor.low.tolist(), corridor.high.tolist()
    ([8.0], [10.0])
    """
    lowest = np.ceil(np.where(low > 0, low, np.nan) * unit - SLACK)
    return DayCorridor(lowest / unit, np.floor(lowest * ratio + SLACK) / unit)
