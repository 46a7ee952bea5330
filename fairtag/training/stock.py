"""Values a unit of stock until the next delivery, and how fast items sell, from the traffic of the last days.

:mod:`fairtag.stock.shadow_prices` solves the dual problem itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import NotConverged
from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.policy.context import MarketContext
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.price_model.price_model import reference_price
from fairtag.stock.shadow_prices import shadow_prices

Floats = NDArray[np.float64]

PAGES = 2_000  # pages that stand for the traffic of the horizon; more are thinned and weighted
RATE_DAYS = 90.0  # newest days of orders from which the rate of sales is taken


@dataclass(frozen=True)
class StockValue:
    """Value and rate of sales of the stock of each catalogue item.

    Args:
        shadow: Shadow price of stock, money (N,).
        sales_rate: Units sold per day (N,): the larger of what search pages are expected to sell at prices set on the
            unit cost, and what was ordered lately in all channels.
    """

    shadow: Floats
    sales_rate: Floats


def value_stock(
    impressions: pd.DataFrame,
    data: DemandData,
    demand: DemandModel,
    catalogue: pd.DataFrame,
    f: Floats,
    policy: PricingPolicy,
    orders: pd.DataFrame,
) -> StockValue:
    """Shadow price and rate of sales of each catalogue item at the stock of the newest snapshot.

    The last ``policy.stock_horizon_days`` of pages are taken as the traffic until the next delivery.

    Args:
        impressions: The rows that ``data`` was made from, for their times.
        data: The same pages as the demand model reads them.
        demand: The fitted model.
        catalogue: Newest item snapshots, row i is item i.
        f: Predicted prices (N,), money.
        policy: Weights, limits and horizon.
        orders: Order lines (columns of ORDERS).

    Raises:
        NotConverged: The dual stopped short of its optimum.
    """
    days = (impressions[schema.TS].max() - impressions[schema.TS].min()).total_seconds() / 86_400
    pages = data.starts.size
    horizon = min(policy.stock_horizon_days, max(days, 1.0))
    wanted = max(1, round(data.counts["visits"] * horizon / max(days, 1.0)))
    chosen = np.linspace(0, pages - 1, min(wanted, pages, PAGES)).astype(np.int64)
    keep = np.zeros(pages, dtype=bool)
    keep[chosen] = True
    part = data.pages(keep)
    market = MarketContext.of(catalogue)
    cost = np.where(np.isnan(market.unit_cost), market.list_price, market.unit_cost)  # such an item stays at list
    r = reference_price(f, market.list_price, market.competitor_price, policy.reference_weights)
    bounds = market.bounds(policy.limits, cost)
    a, b = demand.utilities(part.item, part.similarity, part.behaviour[part.page], np.zeros(part.n_rows))
    zeta = demand.dissimilarity[demand.category[part.item]]
    columns = (zeta, a, b, *(x[part.item] / r[part.item] for x in (cost, f, bounds.lo, bounds.hi)))
    place = np.arange(part.n_rows) - part.starts[part.page]
    shape = (part.starts.size, int(place.max()) + 1)
    items = np.full(shape, -1, dtype=np.int64)
    items[part.page, place] = part.item
    padded = [np.zeros(shape) for _ in columns]
    for grid, values in zip(padded, columns, strict=True):
        grid[part.page, place] = values
    units = demand.units_of(np.arange(len(catalogue)))
    found = shadow_prices(
        *padded[1:],
        items=items,
        nest=demand.nest[items],
        dissimilarity=padded[0],
        stock=market.stock / units,
        traffic=wanted / part.weight.sum() * part.weight,
        margin_weight=policy.margin_weight * r,
        anchor_weight=0.0,  # a pull towards f makes demand jump, and then no shadow price may balance it
    )
    if not found.converged:
        raise NotConverged(
            f"shadow prices of stock: no optimum after {found.iterations} steps; check the column stock for extremes"
        )
    shadow = np.where(np.isfinite(found.mu), found.mu, 0.0) * r
    return StockValue(
        shadow, np.maximum(units * found.demand / horizon, ordered_rate(orders, catalogue[schema.ITEM_ID]))
    )


def unpriced_stock(catalogue: pd.DataFrame, orders: pd.DataFrame) -> StockValue:
    """The stock of a shop whose demand was not learned: no shadow price, and units sold as they were ordered."""
    return StockValue(np.zeros(len(catalogue)), ordered_rate(orders, catalogue[schema.ITEM_ID]))


def ordered_rate(orders: pd.DataFrame, items: pd.Series[str]) -> Floats:
    """Units ordered per day (N,) over the newest ``RATE_DAYS`` of orders, or over all of them if there are fewer."""
    if orders.empty:
        return np.zeros(len(items))
    end = orders[schema.TS].max()
    age = (end - orders[schema.TS]).dt.total_seconds() / 86_400
    units = orders[age < RATE_DAYS].groupby(schema.ITEM_ID)[schema.QUANTITY].sum()
    days = min(RATE_DAYS, max(float(age.max()), 1.0))
    return np.asarray(units.reindex(items, fill_value=0.0), dtype=np.float64) / days
