"""The pricing problem of one page: demand, costs, bounds and menu, in money and in units of r.

The price of an item depends on the item and the customer, not on the page that it stands on: its competition is that of
the logged pages that show it (:mod:`fairtag.training.page_values`). So nobody chooses a price by composing pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairtag.base.types import Reason
from fairtag.model.pricing_model import PricingModel
from fairtag.page.day_corridor import DayCorridor, own_corridor
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.guardrails import Bounds, GuardrailLimits, close_empty_menus, price_menu, snap
from fairtag.policy.item_terms import ItemTerms, fixed_at
from fairtag.price_model.price_model import reference_price
from fairtag.search.similarity import intent, user_vector
from fairtag.stock.shadow_prices import counted_cost, floor_cost

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FAINT = -50.0  # utility of an item that takes no part in its own competition: its page value stands for that


@dataclass(frozen=True)
class PageProblem:
    """Everything that decides the prices of one page; arrays (n,), money unless stated.

    Args:
        model: The model folder.
        rows: Catalogue rows of the page's items.
        similarity: s of each, in [0, 1]; it moves purchase probabilities, and prices only if the policy says so.
        behaviour: Raw allow-listed behaviour, None where prices are not personal.
        habits: The same where it foresees purchases, which it may do where prices are not personal.
        market: Money and stock of each item.
        counted_cost: Unit cost, or the salvage value of stock that ages.
        ageing: Whether it is the salvage value.
        r: Reference price, the unit of y.
        fixed: Price locks that are imposed, NaN where there is none.
        bounds: Bounds of each item.
        menu: (n, m) allowed prices, padded with NaN.
        list_only: Whether every item without an imposed lock gets the fallback: list, inside the legal bounds.
        terms: What the live policy says about single items; None where it says nothing.
        named: Items whose price an arm of an experiment names; None where none does.
        trial: Whether the page is at list because an arm of an experiment says so.
    """

    model: PricingModel
    rows: Rows
    similarity: Floats
    behaviour: Floats | None
    habits: Floats | None
    market: MarketContext
    counted_cost: Floats
    ageing: NDArray[np.bool_]
    r: Floats
    fixed: Floats
    bounds: Bounds
    menu: Floats
    list_only: bool = False
    terms: ItemTerms | None = None
    named: NDArray[np.bool_] | None = None
    trial: bool = False

    @cached_property
    def unpriced(self) -> NDArray[np.bool_]:
        """Items that demand may not price: they stay at list, or the page does. Prices near f(v) ask no demand."""
        if self.model.policy.anchored:
            return np.full(len(self.rows), self.list_only)
        return ~self.model.demand.priceable(self.rows) | self.list_only

    @cached_property
    def demand(self) -> tuple[Floats, Floats]:
        """``(a, b)`` of the logit on this page, which foresees purchases; prices use :meth:`slope`."""
        return self.model.demand.page(self.rows, self.similarity, self.habits)

    @cached_property
    def listed(self) -> NDArray[np.bool_]:
        """Items that get the fallback whatever demand says: infeasible or unpriced."""
        return ~self.bounds.feasible | self.unpriced

    @cached_property
    def settled(self) -> NDArray[np.bool_]:
        """Items whose price the live policy names, or an arm of an experiment."""
        named = np.zeros(len(self.rows), dtype=bool) if self.named is None else self.named
        return named if self.terms is None else named | self.terms.settled

    @cached_property
    def impersonal(self) -> NDArray[np.bool_]:
        """Items whose price no customer's data may move, as the live policy says."""
        return np.zeros(len(self.rows), dtype=bool) if self.terms is None else ~self.terms.personal

    @cached_property
    def on_sale(self) -> NDArray[np.bool_]:
        """Items that can be bought; an item known to be out of stock takes no demand from the others."""
        return ~(self.market.stock <= 0)

    @cached_property
    def price_similarity(self) -> Floats:
        """The similarity that prices know: the mean of training, so that no query is a way to a better price."""
        if self.model.policy.similarity_in_price:
            return self.similarity
        return np.full(len(self.rows), self.model.demand.scaling.similarity)

    def slope(self, behaviour: Floats | None) -> Floats:
        """(n,) price slope for a customer, or for an unknown one."""
        if behaviour is None:
            return self.public_slope
        return self.model.demand.page(self.rows, self.price_similarity, behaviour)[1]

    @cached_property
    def public_slope(self) -> Floats:
        """(n,) price slope for an unknown customer."""
        return self.model.demand.page(self.rows, self.price_similarity)[1]

    @cached_property
    def competition(self) -> Floats:
        """(n,) what a sale takes from the rest of the page, in units of r; it adds to the cost."""
        policy = self.model.policy
        if policy.anchored:
            return np.zeros(len(self.rows))
        value = self.model.estimates.page_value[self.rows]
        return np.asarray(value / (self.r * policy.margin_weight), dtype=np.float64)

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

    def solve(self, behaviour: Floats | None) -> Floats:
        """The best price of each item, money (n,), for a customer or for an unknown one; NaN where it is not on sale.

        ``argmax G(y) exp(-b y)`` over its menu, as what it competes with is in its cost; of equally good prices the
        lowest. A fixed or listed item has one price.
        """
        b = np.zeros(len(self.rows)) if self.model.policy.anchored else self.slope(behaviour)  # the optimum is then f
        y = self.menu / self.r[:, None]
        earned = self.gain(y) * np.exp(-b[:, None] * (y - y[:, :1]))  # beside the lowest price: nothing underflows
        best = np.where(np.isnan(earned), -np.inf, earned).argmax(-1)
        price = np.where(self.listed, self.bounds.fallback, self.menu[np.arange(len(best)), best])
        price = np.where(np.isnan(self.fixed), price, self.fixed)
        return np.where(self.on_sale, price, np.nan)

    def gain(self, y: Floats, places: Rows | slice = slice(None)) -> Floats:
        """What a sale earns at a price, units of r, with what it takes from the rest of the page and of the stock.

        Args:
            y: Prices in units of r, (n,) or (n, points).
            places: Places on the page that they belong to; all of them when not given.
        """
        policy, shape = self.model.policy, (-1, *[1] * (y.ndim - 1))
        taken = (self.cost + self.shadow + self.competition)[places].reshape(shape)
        off = y - self.anchor[places].reshape(shape)
        return np.asarray(policy.margin_weight * (y - taken) - policy.anchor_weight * off**2, dtype=np.float64)

    def confidence(self, behaviour: Floats | None, price: Floats, other: Floats) -> Floats:
        """(n,) posterior probability that a price earns more than another; NaN where they are equal, or follow f(v).

        ``G(y) exp(-b y) > G(y') exp(-b y')`` holds for every slope b on one side of
        ``ln(G(y') / G(y)) / (y' - y)``, and the posterior of the slope is Gaussian.
        """
        policy = self.model.policy
        y, against = price / self.r, other / self.r
        if policy.anchored:
            return np.full(len(y), np.nan)
        gain, least = self.gain(y), self.gain(against)
        with np.errstate(divide="ignore", invalid="ignore"):
            threshold = np.log(least / gain) / (against - y)
            above = self.model.demand.slope_above(self.rows, threshold, self.price_similarity, behaviour)
        found = np.where(against > y, above, 1.0 - above)
        found = np.where(gain <= 0, 0.0, np.where(least <= 0, 1.0, found))
        return np.where(np.abs(price - other) * policy.limits.minor_per_unit < 0.5, np.nan, found)


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
    shopper: UserContext | None = None,
    terms: ItemTerms | None = None,
    trial: bool = False,
) -> PageProblem:
    """Set up the problem of a page.

    Args:
        model: The model folder.
        rows: (n,) catalogue rows of the page's items.
        query_embedding: (d,) unit vector of the query; None without a query.
        user: The customer, without data that may not move prices.
        market: Current money and stock of the items; the catalogue's when None.
        previous_price: (n,) price last shown to the customer, NaN where none.
        corridor: The corridor of the price day; the model's own when None.
        list_only: Whether every item without a price lock gets the fallback.
        shopper: The customer with the data that may foresee purchases; the same as ``user`` when None, or where
            similarity may move prices.
        terms: What the live policy says about the items.
        trial: Whether the page is at list because an arm of an experiment says so.
    """
    if shopper is None or model.policy.similarity_in_price:
        shopper = user
    unit = model.policy.limits.minor_per_unit
    market = market.filled(model.market, rows, unit) if market else model.market.rows(rows)
    cost, ageing = counted_cost(market, model.estimates.sales_rate[rows])
    absent = np.full(len(rows), np.nan)
    corridor = corridor or own_corridor(model, rows)

    def bounded(limits: GuardrailLimits) -> Bounds:
        return market.bounds(
            limits,
            floor_cost(cost, ageing),
            previous_price=absent if previous_price is None else previous_price,
            corridor_low=corridor.low,
            corridor_high=corridor.high,
        )

    bounds = bounded(model.policy.limits)
    if terms is not None:
        bounds = under_terms(bounds, terms, market.list_price, corridor, model.policy.limits, bounded)
    menu = price_menu(bounds, model.policy.limits)
    if terms is not None:
        menu = one_price(
            menu, bounds.hi, bounds.feasible & (terms.settled | ((terms.cut > 0) & np.isnan(menu).all(-1)))
        )
    bounds, menu = close_empty_menus(bounds, menu)
    return PageProblem(
        model=model,
        rows=rows,
        similarity=page_similarity(model, rows, query_embedding, shopper),
        behaviour=user.behaviour_vector(),
        habits=shopper.behaviour_vector(),
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
        terms=terms,
        trial=trial,
    )


def under_terms(
    bounds: Bounds,
    terms: ItemTerms,
    list_price: Floats,
    corridor: DayCorridor,
    limits: GuardrailLimits,
    bounded: Callable[[GuardrailLimits], Bounds],
) -> Bounds:
    """The bounds of a page with what the live policy says about its items.

    Args:
        bounds: What the limits leave.
        terms: Of the items.
        list_price: (n,) money.
        corridor: Of the price day. A limit that was tightened since may leave no legal price: then list is served, and
            where it lies above the corridor, the corridor's end. No margin raises a price lock: a promise is raised by
            a higher cost alone.
        limits: The limits.
        bounded: The bounds under other limits: a promotion that was accepted may cut deeper than any other discount.
    """
    for cut in np.unique(terms.cut[terms.cut > limits.max_discount]).tolist():
        at, deeper = terms.cut == cut, bounded(replace(limits, max_discount=cut))
        bounds = replace(
            bounds,
            **{
                name: np.where(at, getattr(deeper, name), getattr(bounds, name))
                for name in ("lo", "hi", "lo_reason", "hi_reason", "feasible", "fallback")
            },
        )
    bounds = replace(
        bounds,
        fallback=np.where(bounds.feasible, bounds.fallback, np.fmin(bounds.fallback, corridor.high)),
        floor=bounded(replace(limits, min_margin=0.0)).floor,
    )
    return terms.applied(bounds, list_price, limits.minor_per_unit)


def with_cut(problem: PageProblem, cut: float) -> PageProblem:
    """The same page with one cut from list for everything, as the nearest allowed price inside the bounds.

    Items stay as they are where the live policy names their price, or demand may not price them.

    Args:
        problem: The page.
        cut: Share off list.
    """
    at = problem.bounds.feasible & ~problem.listed & ~problem.settled
    price = np.where(at, snap(problem.market.list_price * (1 - cut), problem.menu), problem.bounds.fallback)
    bounds = fixed_at(problem.bounds, at, price, Reason.EXPERIMENT)
    return replace(problem, bounds=bounds, menu=one_price(problem.menu, price, at), named=at)


def one_price(menu: Floats, price: Floats, at: NDArray[np.bool_]) -> Floats:
    """A menu (n, m) with one price (n,) where ``at``, whatever its ending: the shop has named it."""
    menu = menu.copy()
    menu[at] = np.nan
    menu[at, 0] = price[at]
    return menu


def legal_locks(bounds: Bounds, price: Floats, minor_per_unit: int) -> Floats:
    """(n,) price locks, money, each moved to the nearest price that is legal today; NaN where there is none.

    Where no price is legal, no lock is raised. A lock below one minor unit counts as none.
    """
    known = np.isfinite(price) & (price * minor_per_unit >= 1)
    return np.where(known, np.minimum(np.maximum(price, bounds.floor), bounds.ceiling), np.nan)


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
