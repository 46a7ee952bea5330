"""Where learned prices lose against an oracle: each part of a model is replaced by the planted truth in turn.

All prices are one an item, those of a customer without data, and are worth what the planted demand says on later pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.result import Result, Row
from benchmarks.studies.fairness import DISCOUNTS
from benchmarks.studies.plain_model import PlainShop, plain_shop
from fairtag.demand.demand_model import DemandModel
from fairtag.model.pricing_model import PricingModel
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import DEFAULT, PlantedDemand
from fairtag.solver.page_solver import solve_pages
from fairtag.stock.shadow_prices import counted_cost
from fairtag.training.corridors import public_prices

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SEEDS = 3  # shops, each with its own fit
TRAINED = 0.75  # share of the pages that the model is fitted on; the later ones judge
ROUNDS = 60  # of the oracle's prices and what pages are worth at them, with halved steps
BORROWED = 0.002  # expected purchases that an item borrows from its category: one that no page shows has a price, too
UNIT = "share of profit at list"


def quick() -> Result:
    """The same rows from one shop."""
    return run(seeds=1)


def run(seeds: int = SEEDS, size: ShopSize = DEFAULT) -> Result:
    """What prices earn over list with each part of the model as learned or as planted, mean and range over shops."""
    found = [uplifts(plain_shop(seed, size)) for seed in range(seeds)]
    notes = (
        f"{seeds} of the demo's shops, the newest quarter of their pages, planted demand; one price an item. Profit "
        "counts what prices count: stock that will not sell before its life ends costs its salvage value.",
        "served: as quoted. Every other learned row is without the corridor, and changes what its name says. true_*: "
        "slopes as planted, weighted by purchases; what the pages of an item are worth under the planted demand.",
        "oracle: best prices by the planted demand on the training pages; oracle_hindsight: on the later pages. "
        "oracle_page: best prices of every page for its customer. best_uniform: one discount, in hindsight.",
    )
    rows = []
    for name in found[0]:
        values = [each[name] for each in found]
        rows.append(Row(name, float(np.mean(values)), min(values), max(values), unit=UNIT))
    return Result(tuple(rows), notes)


@dataclass(frozen=True)
class Pages:
    """Pages of a shop under its planted demand.

    Args:
        planted: The truth.
        cost: (N,) cost of each catalogue row as prices count it, money.
        items: Catalogue rows, shape (p, n).
        similarity: Latent relevance, (p, n).
        behaviour: Of their customers, (p, k).
    """

    planted: PlantedDemand
    cost: Floats
    items: Ints
    similarity: Floats
    behaviour: Floats

    def only(self, keep: NDArray[np.bool_]) -> Pages:
        """Some of the pages."""
        return replace(self, items=self.items[keep], similarity=self.similarity[keep], behaviour=self.behaviour[keep])

    @cached_property
    def demand(self) -> tuple[Floats, Floats]:
        """``(a, b)``, (p, n) each."""
        return self.planted.page(self.items, self.similarity, self.behaviour)

    def profit(self, price: Floats) -> float:
        """Mean profit of a page at prices of the catalogue (N,) or of every page (p, n), money."""
        ratio = price / self.planted.catalogue.list_price
        return self.worth(ratio[self.items])

    def worth(self, ratio: Floats) -> float:
        """Mean profit of a page at price ratios (p, n)."""
        cost = self.cost[self.items]
        return float(self.planted.profit(self.items, self.similarity, self.behaviour, ratio, cost).mean())

    def best_prices(self, lo: Floats, hi: Floats) -> tuple[Floats, Floats, Floats]:
        """The best price of each item (N,) by the planted demand; its slope and what its pages are worth there.

        Both are means over pages, weighted by purchases, and the worth by slopes too: then the derivative of the
        profit with respect to each price is zero.
        """
        listed, category = self.planted.catalogue.list_price, self.planted.catalogue.category
        price = 0.5 * (lo + hi)
        for _ in range(ROUNDS):
            bought, slope, worth = self._moments(price)
            whole = [np.bincount(category, x)[category] for x in (bought, slope, worth)]
            own = [x + BORROWED * y / whole[0] for x, y in zip((bought, slope, worth), whole, strict=True)]
            steepness, value = own[1] / own[0], own[2] / own[1]
            price = 0.5 * (price + np.clip(self.cost + listed / steepness + value, lo, hi))
        return price, steepness, value

    def _moments(self, price: Floats) -> tuple[Floats, Floats, Floats]:
        """(N,) expected purchases, and their sums weighted by the slope and by slope times the page's profit."""
        (a, b), n = self.demand, price.size
        attraction = np.exp(a - b * (price / self.planted.catalogue.list_price)[self.items])
        q = attraction / (1.0 + attraction.sum(axis=1, keepdims=True))
        value = (q * (price - self.cost)[self.items]).sum(axis=1, keepdims=True)
        bought, slope, worth = (
            np.bincount(self.items.ravel(), x.ravel(), n).astype(np.float64) for x in (q, q * b, q * b * value)
        )
        return bought, slope, worth


def uplifts(shop: PlainShop) -> dict[str, float]:
    """Profit over list of one shop's prices, with each part learned or true."""
    model, nowhere = shop.model, np.full(len(shop.model.item_ids), np.nan)
    free = replace(model, estimates=replace(model.estimates, corridor_low=nowhere))
    early, late = pages_of(shop)
    bounds = public_prices(free)[0].bounds
    oracle, slope, value = early.best_prices(bounds.lo, bounds.hi)
    flat, listed = with_slopes(model.demand, category_means(model)), shop.planted.catalogue.list_price
    parts: dict[str, Callable[[], Floats]] = {
        "served": lambda: priced(model),
        "without_corridor": lambda: priced(free),
        "without_confidence": lambda: priced(free, confidence=0.0),
        "without_endings": lambda: priced(free, endings=()),
        "one_slope_a_category": lambda: priced(free, demand=flat),
        "true_slopes": lambda: priced(free, demand=with_slopes(model.demand, slope)),
        "true_page_values": lambda: priced(free, value=value),
        "true_slopes_and_page_values": lambda: priced(free, demand=with_slopes(model.demand, slope), value=value),
        "oracle": lambda: oracle,
        "oracle_hindsight": lambda: late.best_prices(bounds.lo, bounds.hi)[0],
    }
    base = late.profit(listed)
    found = {name: late.profit(price()) / base - 1.0 for name, price in parts.items()}
    found["oracle_page"] = late.worth(page_oracle(late, bounds.lo / listed, bounds.hi / listed)) / base - 1.0
    cuts = (np.maximum(listed * (1.0 - cut), bounds.lo) for cut in DISCOUNTS)
    found["best_uniform"] = max(late.profit(price) for price in cuts) / base - 1.0
    return found


def pages_of(shop: PlainShop) -> tuple[Pages, Pages]:
    """The pages that the model was fitted on, and the later ones."""
    planted, model = shop.planted, shop.model
    cost = counted_cost(model.market, model.estimates.sales_rate)[0]
    count = len(planted.behaviour)
    whole = Pages(
        planted,
        cost,
        planted.item_row.reshape(count, -1),
        planted.similarity.reshape(count, -1),
        planted.behaviour,
    )
    late = np.arange(count) >= TRAINED * count
    return whole.only(~late), whole.only(late)


def priced(
    model: PricingModel,
    *,
    confidence: float | None = None,
    endings: tuple[int, ...] | None = None,
    demand: DemandModel | None = None,
    value: Floats | None = None,
) -> Floats:
    """(N,) public prices of a model of which some parts are replaced, money."""
    policy = model.policy
    policy = replace(
        policy,
        confidence=policy.confidence if confidence is None else confidence,
        limits=policy.limits if endings is None else replace(policy.limits, endings=endings),
    )
    estimates = model.estimates if value is None else replace(model.estimates, page_value=value)
    return public_prices(replace(model, policy=policy, estimates=estimates, demand=demand or model.demand))[1].price


def with_slopes(demand: DemandModel, slope: Floats) -> DemandModel:
    """The same demand with other slopes (N,) of its items at mean similarity and behaviour."""
    scale, effects = demand.correction.scale[demand.category], demand.posterior.effects.copy()
    effects[:, 1] += slope / scale - demand.slopes[0]
    return replace(demand, posterior=replace(demand.posterior, effects=effects))


def category_means(model: PricingModel) -> Floats:
    """(N,) mean learned slope of each row's category."""
    demand = model.demand
    slope = demand.slopes[0] * demand.correction.scale[demand.category]
    mean = np.bincount(demand.category, slope) / np.maximum(np.bincount(demand.category), 1)
    return np.asarray(mean[demand.category], dtype=np.float64)


def page_oracle(pages: Pages, lo: Floats, hi: Floats) -> Floats:
    """(p, n) price ratios that earn most on every page for its customer, between ratios of the catalogue (N,)."""
    listed, (a, b) = pages.planted.catalogue.list_price[pages.items], pages.demand
    cost = pages.cost[pages.items] / listed
    solved = solve_pages(a, b, cost, 1.0, lo[pages.items], hi[pages.items], margin_weight=listed)
    return np.asarray(solved.y)
