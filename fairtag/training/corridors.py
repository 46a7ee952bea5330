"""Where each item's corridor stands under a fitted demand model, for customers as the log has them.

A sample of logged pages stands for the population: what its customer is like, how near the page was to the intent, and
how attractive the rest of the page was. Every item of the catalogue is put in the place of one item of each sampled
page, and its corridor is placed where the mean profit is largest (:mod:`fairtag.fairness.corridor`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.fairness.corridor import Population, optimal_corridor, population
from fairtag.solver.page_solver import solve_pages

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAGES = 200  # sampled customers; the optimum of a mean over 200 is known well within a price ending
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
    """Draw pages without replacement, and one item's place on each."""
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
    """Lowest price ``l_i`` of every catalogue row, money, shape (I,); the highest is ``rho l_i``.

    Args:
        demand: The fitted model.
        shoppers: The population.
        reference: r of each row, money.
        cost: Unit cost, money.
        lo: Lowest price the guardrails allow without the corridor, money.
        hi: Highest price, money. Where ``lo > hi``, and where the category is not to be priced, the corridor ends at
            ``hi``: the one price the item will have.
        rho: Width.
    """
    low = hi / rho
    rows = np.flatnonzero((lo <= hi) & demand.priceable(np.arange(len(reference))))
    for start in range(0, len(rows), CHUNK_ITEMS):
        part = rows[start : start + CHUNK_ITEMS]
        unit = reference[part]
        sample = _population(demand, shoppers, part, cost[part] / unit)
        low[part] = optimal_corridor(sample, rho, lo=lo[part] / unit, hi=hi[part] / unit).low * unit
    return low


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
