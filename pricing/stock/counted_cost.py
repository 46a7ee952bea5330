"""What a sold unit costs the shop: its unit cost, or what it would still fetch where it will not sell in time.

Knows the market and a rate of sales; nothing of how the rate was found or what price is made of the cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pricing.page.context import MarketContext
from pricing.stock.shadow_prices import ageing_cost

Floats = NDArray[np.float64]


def counted_cost(market: MarketContext, sales_rate: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The cost to price with, money (n,), and where it is the salvage value because the stock ages.

    Stock ages where more is on hand than will sell before its life ends. An item without a salvage value or a shelf
    life never does. What is left has to be got rid of, so that a negative salvage value (disposal) counts as well.

    Args:
        market: Money, stock and life of the items.
        sales_rate: (n,) units that sell a day at prices set on the unit cost.
    """
    in_time = sales_rate * market.shelf_life_days
    return ageing_cost(market.unit_cost, market.salvage_value, market.stock, in_time)


def floor_cost(cost: Floats, ageing: NDArray[np.bool_]) -> Floats:
    """The cost that the margin floor stands on: never below 0, where every price earns more than disposal does."""
    return np.where(ageing, np.maximum(cost, 0.0), cost)
