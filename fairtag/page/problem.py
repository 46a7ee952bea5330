"""One page as numbers for the solver: demand, costs, bounds, menu, in money and in units of r."""

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
        ageing: Where it is the salvage value.
        r: Reference price, the unit of y.
        fixed: Price locks that are imposed, NaN where there is none.
        bounds: Interval of each item.
        menu: (n, m) allowed prices, NaN padded.
        list_only: Whether every item without an imposed lock carries the fallback: list, inside the legal bounds.
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
        """Items that demand may not price: a category not to be priced, or a page at list."""
        return ~self.model.demand.priceable(self.rows) | self.list_only

    @cached_property
    def demand(self) -> tuple[Floats, Floats]:
        """``(a, b)`` of the logit."""
        return self.model.demand.page(self.rows, self.similarity, self.behaviour)

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """Items that carry the fallback whatever demand says: no feasible price, or none to be set."""
        return ~self.bounds.feasible | self.unpriced

    @cached_property
    def on_sale(self) -> NDArray[np.bool_]:
        """Items that can be bought; one known to be out of stock takes no demand from the others."""
        return ~(self.market.stock <= 0)

    @cached_property
    def weight(self) -> Floats:
        """What a unit of r is worth on this page: r over its mean, so that the page earns money, not ratios."""
        return np.asarray(self.r / self.r.mean() if self.r.size else self.r, dtype=np.float64)

    @cached_property
    def shadow(self) -> Floats:
        """Shadow price of stock, in units of r."""
        return np.asarray(self.model.reference.shadow[self.rows] / self.r, dtype=np.float64)

    @cached_property
    def cost(self) -> Floats:
        """What a sold unit counts as, in units of r."""
        return np.asarray(self.counted_cost / self.r, dtype=np.float64)

    @cached_property
    def anchor(self) -> Floats:
        """f(v) in units of r."""
        return np.asarray(self.model.reference.f[self.rows] / self.r, dtype=np.float64)

    def solver_inputs(self) -> dict[str, NDArray[Any]]:
        """Arguments of :func:`fairtag.solver.page_solver.solve_pages`, in r; a fixed or listed item has one price."""
        a, b = self.demand
        policy = self.model.policy
        if policy.anchored:  # without a slope the solver leaves f for no one: with one, a price that few pay loses less
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
        """The best price of each item, given all others on the page."""
        return solve_pages(**self.solver_inputs())


def best_prices(
    solution: PageSolution, r: Floats, listed: NDArray[np.bool_], fallback: Floats, fixed: Floats, minor_per_unit: int
) -> Floats:
    """Money asked for each item: an imposed lock first, the fallback where nothing was priced, else the solution."""
    optimum = np.rint(solution.y * r * minor_per_unit) / minor_per_unit  # y * r leaves the menu by rounding errors
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
    """Set the page up; whether the customer's data may be used is decided before, in ``user``."""
    catalogue = model.market.rows(rows)
    market = market.filled(catalogue) if market else catalogue
    cost, ageing = counted_cost(market, model.reference.sales_rate[rows])
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
        counted_cost=cost,
        ageing=ageing,
        r=reference_price(
            model.reference.f[rows], market.list_price, market.competitor_price, model.policy.reference_weights
        ),
        fixed=absent,
        bounds=bounds,
        menu=menu,
        list_only=list_only,
    )


def legal_locks(model: PricingModel, corridor: DayCorridor, market: MarketContext, price: Floats) -> Floats:
    """(n,) locked prices, money, none above what list price and corridor allow today; NaN where there is no lock.

    A price of less than one minor unit is no lock: a broken store must not give an item away.
    """
    limits = model.policy.limits
    unit = limits.minor_per_unit
    price = np.where(np.isfinite(price) & (price * unit >= 1), price, np.nan)
    own_top = whole_corridor(corridor.low, limits.corridor_ratio, unit).high
    listed = np.floor(market.list_price * (1.0 + limits.markup) * unit + SLACK) / unit
    top = np.fmin(np.fmin(own_top, corridor.high), listed)
    return np.asarray(np.where(price > top, top, price), dtype=np.float64)


def intent_of(model: PricingModel, query_embedding: NDArray[np.float32] | None, user: UserContext) -> Floats | None:
    """The intent ``z`` of the request: query and history joined; None when there is neither."""
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
    """The similarity ``s`` of each item; the training mean where there is neither query nor history."""
    z = intent_of(model, query_embedding, user)
    if z is None:
        return np.full(len(rows), model.demand.scaling.similarity)
    cosine = np.asarray(model.embeddings[rows] @ z, dtype=np.float64)
    return np.asarray((1.0 + np.clip(cosine, -1.0, 1.0)) / 2.0, dtype=np.float64)
