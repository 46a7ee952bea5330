"""The pricing problem of one page: demand, costs, bounds and menu, in money and in units of r."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.model.pricing_model import PricingModel
from fairtag.page.day_corridor import SLACK, DayCorridor, own_corridor, whole_corridor
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.guardrails import Bounds, close_empty_menus, price_bounds, price_menu
from fairtag.price_model.price_model import reference_price
from fairtag.search.similarity import intent, user_vector
from fairtag.solver.page_solver import PageSolution, solve_pages
from fairtag.stock.shadow_prices import counted_cost, floor_cost

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PageProblem:
    """Everything that decides the prices of one page; arrays (n,), money unless stated.

    Args:
        model: The model folder.
        rows: Catalogue rows of the page's items.
        similarity: s of each, in [0, 1].
        behaviour: Raw allow-listed behaviour, None where prices are not personal.
        market: Money and stock of each item.
        counted_cost: Unit cost, or the salvage value of stock that ages.
        ageing: Whether it is the salvage value.
        r: Reference price, the unit of y.
        fixed: Price locks that are imposed, NaN where there is none.
        bounds: Bounds of each item.
        menu: (n, m) allowed prices, padded with NaN.
        list_only: Whether every item without an imposed lock gets the fallback: list, inside the legal bounds.
    """

    model: PricingModel
    rows: Rows
    similarity: Floats
    behaviour: Floats | None
    market: MarketContext
    counted_cost: Floats
    ageing: NDArray[np.bool_]
    r: Floats
    fixed: Floats
    bounds: Bounds
    menu: Floats
    list_only: bool = False

    @cached_property
    def unpriced(self) -> NDArray[np.bool_]:
        """Items that demand may not price: their category stays at list, or the page does."""
        return ~self.model.demand.priceable(self.rows) | self.list_only

    @cached_property
    def demand(self) -> tuple[Floats, Floats]:
        """``(a, b)`` of the logit."""
        return self.model.demand.page(self.rows, self.similarity, self.behaviour)

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """Items that get the fallback whatever demand says: infeasible or unpriced."""
        return ~self.bounds.feasible | self.unpriced

    @cached_property
    def on_sale(self) -> NDArray[np.bool_]:
        """Items that can be bought; an item known to be out of stock takes no demand from the others."""
        return ~(self.market.stock <= 0)

    @cached_property
    def weight(self) -> Floats:
        """R over its mean on the page: weights with which the objective counts money rather than ratios."""
        return np.asarray(self.r / self.r.mean() if self.r.size else self.r, dtype=np.float64)

    @cached_property
    def shadow(self) -> Floats:
        """Shadow price of stock, in units of r."""
        return np.asarray(self.model.estimates.shadow[self.rows] / self.r, dtype=np.float64)

    @cached_property
    def cost(self) -> Floats:
        """Cost of a sold unit, in units of r."""
        return np.asarray(self.counted_cost / self.r, dtype=np.float64)

    @cached_property
    def anchor(self) -> Floats:
        """f(v) in units of r."""
        return np.asarray(self.model.estimates.f[self.rows] / self.r, dtype=np.float64)

    def _solver_inputs(self) -> dict[str, NDArray[Any]]:
        """Arguments of :func:`fairtag.solver.page_solver.solve_pages`; a fixed or listed item has a single price."""
        a, b = self.demand
        policy = self.model.policy
        if policy.anchored:  # with slope 0 the optimum is f; otherwise a price that few pay would lose less
            b = np.zeros_like(b)
        pinned = np.where(np.isnan(self.fixed), np.where(self.listed, self.bounds.fallback, np.nan), self.fixed)
        menu = self.menu.copy()
        menu[~np.isnan(pinned)] = np.nan
        menu[:, 0] = np.where(np.isnan(pinned), menu[:, 0], pinned)
        return {
            "a": a,
            "b": b,
            "cost": self.cost,
            "anchor": self.anchor,
            "lo": np.where(np.isnan(pinned), self.bounds.lo, pinned) / self.r,
            "hi": np.where(np.isnan(pinned), self.bounds.hi, pinned) / self.r,
            "shadow": self.shadow,
            "margin_weight": policy.margin_weight * self.weight,
            "anchor_weight": policy.anchor_weight * self.weight,
            "menu": menu / self.r[:, None],
            "mask": self.on_sale,
        }

    def solve(self) -> PageSolution:
        """The optimal prices of the page."""
        return solve_pages(**self._solver_inputs())


def best_prices(
    solution: PageSolution, r: Floats, listed: NDArray[np.bool_], fallback: Floats, fixed: Floats, minor_per_unit: int
) -> Floats:
    """Price of each item in money: an imposed lock, else the fallback where nothing was priced, else the optimum."""
    optimum = np.rint(solution.y * r * minor_per_unit) / minor_per_unit  # y * r misses the menu by a rounding error
    best = np.where(solution.priced & ~listed, optimum, fallback)
    return np.where(np.isnan(fixed), best, fixed)


def page_problem(
    model: PricingModel,
    rows: Rows,
    query_embedding: NDArray[np.float32] | None,
    user: UserContext,
    *,
    market: MarketContext | None = None,
    previous_price: Floats | None = None,
    corridor: DayCorridor | None = None,
    list_only: bool = False,
) -> PageProblem:
    """Set up the problem of a page.

    Args:
        model: The model folder.
        rows: (n,) catalogue rows of the page's items.
        query_embedding: (d,) unit vector of the query; None without a query.
        user: The customer, without data that may not be used.
        market: Current money and stock of the items; the catalogue's when None.
        previous_price: (n,) price last shown to the customer, NaN where none.
        corridor: The corridor of the price day; the model's own when None.
        list_only: Whether every item without a price lock gets the fallback.
    """
    catalogue = model.market.rows(rows)
    market = market.filled(catalogue, model.policy.limits.minor_per_unit) if market else catalogue
    cost, ageing = counted_cost(market, model.estimates.sales_rate[rows])
    absent = np.full(len(rows), np.nan)
    corridor = corridor or own_corridor(model, rows)
    bounds = price_bounds(
        model.policy.limits,
        list_price=market.list_price,
        unit_cost=floor_cost(cost, ageing),
        map_price=market.map_price,
        msrp=market.msrp,
        competitor_price=market.competitor_price,
        previous_price=absent if previous_price is None else previous_price,
        corridor_low=corridor.low,
        corridor_high=corridor.high,
    )
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, model.policy.limits))
    return PageProblem(
        model=model,
        rows=rows,
        similarity=page_similarity(model, rows, query_embedding, user),
        behaviour=user.behaviour_vector(),
        market=market,
        counted_cost=np.where(np.isnan(cost), market.list_price, cost),  # unknown: as if nothing were earned
        ageing=ageing,
        r=reference_price(
            model.estimates.f[rows], market.list_price, market.competitor_price, model.policy.reference_weights
        ),
        fixed=absent,
        bounds=bounds,
        menu=menu,
        list_only=list_only,
    )


def legal_locks(model: PricingModel, corridor: DayCorridor, market: MarketContext, price: Floats) -> Floats:
    """(n,) price locks, money, none above what list price and corridor allow today; NaN where there is none.

    The corridor also holds for prices that another model locked. A lock below one minor unit counts as none, so that a
    broken store cannot give an item away.
    """
    limits = model.policy.limits
    unit = limits.minor_per_unit
    price = np.where(np.isfinite(price) & (price * unit >= 1), price, np.nan)
    own_top = whole_corridor(corridor.low, limits.corridor_ratio, unit).high
    listed = np.floor(market.list_price * (1.0 + limits.markup) * unit + SLACK) / unit
    top = np.fmin(np.fmin(own_top, corridor.high), listed)
    return np.asarray(np.where(price > top, top, price), dtype=np.float64)


def intent_of(model: PricingModel, query_embedding: NDArray[np.float32] | None, user: UserContext) -> Floats | None:
    """The intent ``z`` of a request, which mixes query and history; None if there is neither."""
    known = [
        (model.row_of[item], age)
        for item, age in zip(user.history_items, user.history_age_days, strict=True)
        if item in model.row_of
    ]
    history = user_vector(model.embeddings[[row for row, _ in known]], [age for _, age in known]) if known else None
    return intent(query_embedding, history, model.policy.intent_alpha)


def page_similarity(
    model: PricingModel, rows: Rows, query_embedding: NDArray[np.float32] | None, user: UserContext
) -> Floats:
    """The similarity ``s`` of each item; the training mean if there is neither query nor history."""
    z = intent_of(model, query_embedding, user)
    if z is None:
        return np.full(len(rows), model.demand.scaling.similarity)
    cosine = np.asarray(model.embeddings[rows] @ z, dtype=np.float64)
    return np.asarray((1.0 + np.clip(cosine, -1.0, 1.0)) / 2.0, dtype=np.float64)
