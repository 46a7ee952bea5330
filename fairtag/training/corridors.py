"""Places each item's fairness corridor under a fitted demand model, for customers as the log has them.

A sample of logged pages stands for the population: what each customer is like, how close the page was to their intent,
and how attractive the rest of the page was. Every catalogue item takes the place of one item on each sampled page, and
its corridor lies where mean profit is largest (:mod:`fairtag.fairness.corridor`; docs/pricing-model.md, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.fairness.corridor import Population, optimal_corridor, population
from fairtag.policy.context import MarketContext
from fairtag.policy.guardrails import Bounds
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.price_model.price_model import reference_price
from fairtag.solver.page_solver import solve_pages
from fairtag.stock.shadow_prices import counted_cost, floor_cost
from fairtag.training.stock import StockValue

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAGES = 200  # sampled customers: enough to know the optimum of their mean well within a price ending
CHUNK_ITEMS = 2_048  # items placed at a time: 200 x 2,048 float64 is 3 MiB an array


@dataclass(frozen=True)
class Shoppers:
    """Sampled page visits.

    Args:
        behaviour: Raw allow-listed behaviour, shape (u, k), NaN where unknown.
        similarity: Similarity of an item in the visited place, shape (u,).
        outside: Attraction of the outside option and of the rest of the page at its logged prices, shape (u,).
    """

    behaviour: Floats
    similarity: Floats
    outside: Floats


def sample_shoppers(demand: DemandModel, data: DemandData, *, pages: int = PAGES, seed: int = 0) -> Shoppers:
    """Draw pages without replacement, and the place of one item on each."""
    rng = np.random.default_rng(seed)
    ends = np.append(data.starts[1:], len(data.item))
    drawn = rng.choice(len(data.starts), size=min(pages, len(data.starts)), replace=False)
    place = data.starts[drawn] + (rng.random(len(drawn)) * (ends - data.starts)[drawn]).astype(np.int64)
    outside = np.ones(len(drawn))
    for at, (page, own) in enumerate(zip(drawn, place, strict=True)):
        rows = np.arange(data.starts[page], ends[page])
        a, b = demand.page(data.item[rows], data.similarity[rows], data.behaviour[page])
        outside[at] += np.exp(np.clip(a - b * data.y[rows], -50.0, 50.0))[rows != own].sum()
    return Shoppers(data.behaviour[drawn], data.similarity[place], outside)


def fit_corridor(
    demand: DemandModel,
    shoppers: Shoppers,
    *,
    reference: Floats,
    cost: Floats,
    lo: Floats,
    hi: Floats,
    rho: float,
) -> Floats:
    """Lowest price ``l_i`` of each catalogue row, money, shape (I,); the highest is ``rho l_i``.

    Args:
        demand: The fitted model.
        shoppers: The population.
        reference: r of each row, money.
        cost: Unit cost, money.
        lo: Lowest price that the guardrails allow without the corridor, money.
        hi: Highest such price, money. Where ``lo > hi``, or where the category may not be priced, the corridor ends at
            ``hi``, the only price that the item will have.
        rho: Width of the corridor, the ratio of its ends.
    """
    low = hi / rho
    rows = np.flatnonzero((lo <= hi) & demand.priceable(np.arange(len(reference))))
    for start in range(0, len(rows), CHUNK_ITEMS):
        part = rows[start : start + CHUNK_ITEMS]
        unit = reference[part]
        sample = _population(demand, shoppers, part, cost[part] / unit)
        low[part] = optimal_corridor(sample, rho, lo=lo[part] / unit, hi=hi[part] / unit).low * unit
    return low


def corridor_low(
    catalogue: pd.DataFrame,
    f: Floats,
    stock: StockValue,
    demand: DemandModel,
    data: DemandData,
    policy: PricingPolicy,
    seed: int,
) -> Floats:
    """Lowest price of each catalogue row's corridor under the shop's policy, money (N,).

    The guardrails hold every price inside the corridor, the fallback to list included.
    """
    market = MarketContext.of(catalogue)
    cost, bounds = _costs_and_bounds(market, stock, policy)
    return fit_corridor(
        demand,
        sample_shoppers(demand, data, seed=seed),
        reference=reference_price(f, market.list_price, market.competitor_price, policy.reference_weights),
        cost=cost,
        lo=bounds.lo,
        hi=bounds.hi,
        rho=policy.limits.corridor_ratio,
    )


def list_corridor(catalogue: pd.DataFrame, stock: StockValue, policy: PricingPolicy) -> Floats:
    """Lowest price of each corridor of a shop whose demand was not learned, money (N,): it ends at list."""
    _, bounds = _costs_and_bounds(MarketContext.of(catalogue), stock, policy)
    return np.asarray(bounds.hi / policy.limits.corridor_ratio, dtype=np.float64)


def _costs_and_bounds(market: MarketContext, stock: StockValue, policy: PricingPolicy) -> tuple[Floats, Bounds]:
    """Counted cost, list where it is unknown, and the bounds without the corridor."""
    cost, ageing = counted_cost(market, stock.sales_rate)
    bounds = market.bounds(policy.limits, floor_cost(cost, ageing))
    return np.where(np.isnan(cost), market.list_price, cost), bounds


def _population(demand: DemandModel, shoppers: Shoppers, rows: Ints, cost: Floats) -> Population:
    """Every shopper facing every row alone, the rest of the page held still, in units of r."""
    pairs = [
        demand.page(rows, np.full(len(rows), similarity), behaviour)
        for similarity, behaviour in zip(shoppers.similarity, shoppers.behaviour, strict=True)
    ]
    a, b = np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])
    alone = (a - np.log(shoppers.outside)[:, None]).reshape(-1, 1)
    net = np.broadcast_to(cost, a.shape).reshape(-1, 1)
    best = solve_pages(alone, b.reshape(-1, 1), net, 0.0, -np.inf, np.inf).y.reshape(a.shape)
    outside = np.broadcast_to(shoppers.outside[:, None], a.shape)
    return population(best, a, b, cost, outside=outside)
