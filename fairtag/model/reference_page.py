"""What a visit to an item's category is worth: the competition that the item's price reckons with.

On a page, items compete through one number, the page's value R: given R, each price is an optimum of its own
(docs/pricing-model.md, section 5). Were R that of the page asked for, whoever composes pages would choose prices. So an
item's price reckons with the value of a *reference page* instead: the items nearest to the middle of its category, at
the mean similarity, priced for an unknown customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fairtag.price_model.price_model import reference_price
from fairtag.solver.page_solver import solve_pages
from fairtag.stock.shadow_prices import counted_cost, floor_cost

if TYPE_CHECKING:
    from fairtag.model.pricing_model import PricingModel

Floats = NDArray[np.float64]

ITEMS = 24  # of a reference page: those of a page by default
SAMPLE = 20_000  # items of a category that are looked at, evenly spaced: its middle needs no more


def reference_page_values(model: PricingModel) -> Floats:
    """(N,) value of each item's reference page, money a visit; 0 where prices follow f(v) alone.

    All pages are solved in one batch.
    """
    policy = model.policy
    if policy.anchored:
        return np.zeros(len(model.item_ids))
    names, code = np.unique(model.categories.astype(str), return_inverse=True)
    pages = np.full((len(names), ITEMS), -1)
    for number in range(len(names)):
        rows = np.flatnonzero(code == number)
        if len(rows) > SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]
        near = np.asarray(model.embeddings[rows])
        order = np.argsort(-(near @ near.mean(axis=0)), kind="stable")[:ITEMS]
        pages[number, : len(order)] = rows[order]
    value = np.nan_to_num(_values(model, pages))
    return np.asarray(value[code], dtype=np.float64)


def _values(model: PricingModel, pages: NDArray[np.int64]) -> Floats:
    """(P,) expected gain of a visit to each page, money; rows of -1 are empty places."""
    policy, shape = model.policy, pages.shape
    rows, there = np.maximum(pages, 0).ravel(), pages >= 0
    market = model.market.rows(rows)
    cost, ageing = counted_cost(market, model.estimates.sales_rate[rows])
    low = model.estimates.corridor_low[rows]
    bounds = market.bounds(policy.limits, floor_cost(cost, ageing), corridor_low=low)
    r = reference_price(model.estimates.f[rows], market.list_price, market.competitor_price, policy.reference_weights)
    usable = there & (np.isfinite(r) & bounds.feasible).reshape(shape)
    mean = np.where(usable, r.reshape(shape), 0.0).sum(-1, keepdims=True) / np.maximum(usable.sum(-1, keepdims=True), 1)
    weight = np.where(usable, r.reshape(shape) / np.maximum(mean, 1e-300), 0.0)
    a, b = model.demand.page(rows, np.full(rows.size, model.demand.scaling.similarity))
    terms = (a, b, cost / r, model.estimates.f[rows] / r, bounds.lo / r, bounds.hi / r)
    solved = solve_pages(
        *(term.reshape(shape) for term in terms),
        shadow=(model.estimates.shadow[rows] / r).reshape(shape),
        margin_weight=policy.margin_weight * weight,
        anchor_weight=policy.anchor_weight * weight,
        mask=usable,
    )
    return np.asarray(solved.value * mean[:, 0], dtype=np.float64)
