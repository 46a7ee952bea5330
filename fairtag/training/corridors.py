"""Places each item's fairness corridor on whole pages, for customers as the log has them.

A sample of logged visits stands for the population: what each customer is like, and what the rest of their page is
worth at the prices that it is asked. Every item of a category takes the place of one item on each sampled visit to the
category. Its corridor lies where the mean profit of these pages is largest, and holds the list price wherever list is
what the item will show (:mod:`fairtag.fairness.corridor`; docs/pricing-model.md, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fairtag.demand.demand_data import DemandData
from fairtag.demand.demand_model import DemandModel
from fairtag.fairness.corridor import Population, optimal_corridor, population
from fairtag.model.pricing_model import PricingModel
from fairtag.page.page_prices import PagePrices, choose_prices
from fairtag.page.problem import FAINT, PageProblem, page_problem
from fairtag.policy.context import UserContext
from fairtag.solver.page_solver import solve_pages
from fairtag.training.equal_items import equal_items, mean_of_equals

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

VISITS = 200  # sampled of each category: enough to know the optimum of their mean well within a price ending
CHUNK_ITEMS = 2_048  # items placed at a time: 200 x 2,048 float64 is 3 MiB an array
STEEPEST = 50.0  # utilities beyond are clipped: exp stays finite, and the probability is 0 or 1 either way


@dataclass(frozen=True)
class Visits:
    """Sampled visits to a category: the place of one of its items on a logged page.

    Args:
        behaviour: Raw allow-listed behaviour of the customer, shape (v, k), NaN where unknown.
        similarity: Similarity of an item in the place, shape (v,).
        outside: Attraction of the outside option and of the rest of the page at the prices that it is asked, (v,).
        worth: Expected gain of the rest of the page, money a visit and unit of a purchase of the category, (v,).
    """

    behaviour: Floats
    similarity: Floats
    outside: Floats
    worth: Floats


def place_corridors(model: PricingModel, data: DemandData | None, *, seed: int = 0) -> Floats:
    """Lowest price of each catalogue row's corridor, money (N,); the highest is ``corridor_ratio`` times it.

    Equal items share one corridor. An item that shows list, because it may not be priced or no other price is surely
    better, has list in its corridor. What it shows depends on the corridors of its rivals, so placing and looking are
    repeated until no such item is left outside.

    Args:
        model: All that is fitted but the corridors, whose estimates are ignored.
        data: The training pages as the demand model reads them; None where demand was not learned.
        seed: Seed of the sample of visits.
    """
    problem, chosen = public_prices(_with_corridors(model, np.full(len(model.item_ids), np.nan)))
    shows_list = chosen.at_list | ~problem.bounds.feasible
    low = np.asarray(problem.bounds.fallback / problem.model.policy.limits.corridor_ratio, dtype=np.float64)
    outside, alike = np.ones(len(low), dtype=bool), equal_items(model)
    while outside.any():  # the corridors of the others stay: they depend on the public prices alone
        low = mean_of_equals(np.where(outside, _place(problem, chosen, shows_list, data, seed, outside), low), alike)
        inside, now = public_prices(_with_corridors(model, low))
        outside = now.at_list & ~shows_list & (inside.bounds.fallback < problem.bounds.fallback)
        shows_list |= outside
    return low


def public_prices(model: PricingModel) -> tuple[PageProblem, PagePrices]:
    """What every item of the catalogue costs an unknown customer while it is in stock, before any exploration."""
    policy = replace(model.policy, exploration=0.0)
    market = replace(model.market, stock=np.where(model.market.stock <= 0, np.nan, model.market.stock))
    rows = np.arange(len(model.item_ids))
    problem = page_problem(replace(model, policy=policy), rows, None, UserContext(), market=market)
    return problem, choose_prices(problem, 0)


def sample_visits(
    problem: PageProblem, price: Floats, data: DemandData, *, visits: int = VISITS, seed: int = 0
) -> dict[int, Visits]:
    """Visits to each category of the demand model, by its number; to a category that no page shows, any visits.

    Args:
        problem: The whole catalogue.
        price: (N,) public price of each row, money, which the rest of a page is taken to cost.
        data: The logged pages.
        visits: Visits drawn for each category, without replacement.
        seed: Seed of the draws.
    """
    demand, item, page = problem.model.demand, data.item, data.page
    pull, cells = pulls(problem, price, data), demand.cells(item, page)
    units = demand.units_of(np.arange(len(price)))
    margin = (units * np.nan_to_num(price - (problem.cost + problem.shadow) * problem.r))[item]
    outside = 1.0 + np.add.reduceat(pull, data.starts)[page] - pull
    worth = np.add.reduceat(pull * margin, data.starts)[page] - pull * margin
    _, more = cells.move_one(pull, np.full(pull.shape, -np.inf))  # twins attract more where the item is away
    outside, worth = outside + more, (worth + more * cells.mean_of_others(margin, pull)) / (outside + more)
    category, rng, found = demand.category[item], np.random.default_rng(seed), {}
    for code in range(len(demand.categories)):
        places = np.flatnonzero(category == code)
        places = places if places.size else np.arange(data.n_rows)
        drawn = rng.choice(places, size=min(visits, places.size), replace=False, p=_shares(data.weight[page[places]]))
        own = worth[drawn] / demand.units[code]
        found[code] = Visits(data.behaviour[page[drawn]], data.similarity[drawn], outside[drawn], own)
    return found


def _shares(weight: Floats) -> Floats | None:
    """How often each place is drawn; None, all alike, where weights do not differ."""
    return None if np.ptp(weight) == 0 else weight / weight.sum()


def pulls(problem: PageProblem, price: Floats, data: DemandData) -> Floats:
    """(n,) attraction of each logged item at given prices of the catalogue, (N,) money; 1 is that of the outside.

    An item that has no price any more attracts nobody.
    """
    demand, none, y = problem.model.demand, np.zeros(data.n_rows), (price / problem.r)[data.item]
    a, b = demand.utilities(data.item, data.similarity, data.behaviour[data.page], none)
    utility = np.where(np.isfinite(y), np.clip(a - b * y, -STEEPEST, STEEPEST), -np.inf)
    return np.exp(demand.cells(data.item, data.page).adjust(utility))


def _with_corridors(model: PricingModel, low: Floats) -> PricingModel:
    return replace(model, estimates=replace(model.estimates, corridor_low=low))


def _place(
    problem: PageProblem, chosen: PagePrices, shows_list: Flags, data: DemandData | None, seed: int, wanted: Flags
) -> Floats:
    """Corridors of the wanted rows at the public prices that hold without any; the others' end at list."""
    rho, placed = problem.model.policy.limits.corridor_ratio, ~problem.listed & wanted
    low = np.asarray(problem.bounds.fallback / rho, dtype=np.float64)
    if data is None or not placed.any():
        return low
    if problem.model.policy.anchored:  # everybody is asked f(v): any corridor that holds it will do
        return np.where(placed, np.minimum(chosen.price, low), low)
    sampled = sample_visits(problem, chosen.price, data, seed=seed)
    category = problem.model.demand.category
    for code, visits in sampled.items():
        rows = np.flatnonzero(placed & (category == code))
        for start in range(0, rows.size, CHUNK_ITEMS):
            part = rows[start : start + CHUNK_ITEMS]
            r, bounds = problem.r[part], problem.bounds
            least = np.where(shows_list[part], np.maximum(bounds.lo[part], low[part]), bounds.lo[part])
            found = optimal_corridor(
                _population(problem, chosen.price, visits, part),
                rho,
                lo=np.minimum(least, bounds.hi[part]) / r,
                hi=bounds.hi[part] / r,
                prefer=low[part] / r,
            )
            low[part] = found.low * r
    return low


def _population(problem: PageProblem, public: Floats, visits: Visits, rows: Ints) -> Population:
    """Every visitor facing every row, in units of r: what they are asked without a corridor, and what a sale is worth.

    The customer's data may lower the public price and never raise it.
    """
    policy, demand, r = problem.model.policy, problem.model.demand, problem.r[rows]
    a, b = _by_visit(demand, rows, visits.similarity, visits.behaviour)
    asked = np.broadcast_to(public[rows] / r, a.shape)
    if policy.personalise:
        usual = np.full(len(visits.similarity), demand.scaling.similarity)
        seen = visits.similarity if policy.similarity_in_price else usual
        _, slope = _by_visit(demand, rows, seen, visits.behaviour)
        own = solve_pages(
            np.full((*slope.shape, 1), FAINT),
            slope[..., None],
            *(x[rows, None] for x in (problem.cost, problem.anchor)),
            *(x[rows, None] / r[:, None] for x in (problem.bounds.lo, problem.bounds.hi)),
            shadow=(problem.shadow + problem.competition)[rows, None],
            margin_weight=policy.margin_weight,
            anchor_weight=policy.anchor_weight,
        )
        asked = np.fmin(own.y[..., 0], asked)
    cost = (problem.cost + problem.shadow)[rows] + visits.worth[:, None] / r
    return population(asked, a, b, cost, outside=np.broadcast_to(visits.outside[:, None], a.shape))


def _by_visit(demand: DemandModel, rows: Ints, similarity: Floats, behaviour: Floats) -> tuple[Floats, Floats]:
    """``(a, b)``, each (v, n), of every visitor on every row."""
    pairs = [demand.page(rows, np.full(len(rows), s), z) for s, z in zip(similarity, behaviour, strict=True)]
    return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])
