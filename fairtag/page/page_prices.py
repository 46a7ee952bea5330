"""The prices of a page: the optimum, list where confidence is low, or a random draw for exploration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.page.exploration import ExplorationDraw, exploration_menu, explore
from fairtag.page.problem import Floats, PageProblem, best_prices
from fairtag.policy.guardrails import snap
from fairtag.solver.page_solver import page_value, probability_better

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class PagePrices:
    """Prices of a page, and how they came about.

    Args:
        price: (n,) money.
        probability: (n,) purchase probabilities.
        profit: Expected profit of the page, money; a unit of ageing stock costs its salvage value.
        confidence: Posterior probability that the optimum beats list; NaN where the question does not arise.
        at_list: (n,) items at the fallback for want of a better price: low confidence, a page at list, or nothing to
            optimise (an item out of stock, for example).
        explored: (n,) items whose price was drawn at random.
        propensity: (n,) probability with which each price was chosen.
    """

    price: Floats
    probability: Floats
    profit: float
    confidence: float
    at_list: Flags
    explored: Flags
    propensity: Floats


def choose_prices(problem: PageProblem, seed: int, customer: str | None = None) -> PagePrices:
    """Solve the page, fall back to list if confidence is low, and explore a share of the prices.

    Args:
        problem: The page.
        seed: The price day: seed of the posterior draws and part of the key of exploration.
        customer: Customer for whom exploration draws; None draws the same for everybody.
    """
    policy = problem.model.policy
    free = np.isnan(problem.fixed)
    fallback = np.where(free, problem.bounds.fallback, problem.fixed)
    unit = policy.limits.minor_per_unit
    solution = problem.solve()
    best = best_prices(solution, problem.r, problem.listed, fallback, problem.fixed, unit)
    confidence = _confidence(problem, best, fallback, seed)
    unsure = confidence < policy.confidence
    may_explore = free & ~problem.listed & problem.on_sale
    drawn = _draw_exploration(problem, fallback if unsure else best, may_explore, seed, customer)
    value, probability = _value(problem, drawn.price)
    at_list = free & problem.bounds.feasible & (problem.unpriced | unsure | ~solution.priced) & ~drawn.explored
    return PagePrices(drawn.price, probability, value, confidence, at_list, drawn.explored, drawn.propensity)


def _draw_exploration(
    problem: PageProblem, price: Floats, allowed: Flags, epoch: int, customer: str | None
) -> ExplorationDraw:
    """Draw the share of prices that the policy gives to exploration, among the allowed price endings."""
    n, rate = len(price), problem.model.policy.exploration
    drawn = ExplorationDraw(price.copy(), np.zeros(n, dtype=np.int64), np.ones(n), np.zeros(n, dtype=bool))
    at = np.flatnonzero(allowed)
    if rate == 0 or at.size == 0:
        return drawn
    low, high = problem.bounds.lo[at], problem.bounds.hi[at]
    # A price in whole cents may miss its bound by a rounding error; the menu holds the price itself nevertheless.
    menu, chosen = exploration_menu(np.clip(price[at], low, high), low, high)
    ending = snap(menu, problem.menu[at])
    ending[np.arange(at.size), chosen] = price[at]
    keys = [(customer or "", problem.model.item_ids[row], epoch, problem.model.version) for row in problem.rows[at]]
    found = explore(ending, chosen, rate, keys)
    for whole, part in zip(drawn, found, strict=True):
        whole[at] = part
    return drawn


def _confidence(problem: PageProblem, best: Floats, fallback: Floats, seed: int) -> float:
    """Pr(U(best) > U(list)) over posterior draws.

    NaN, which never counts as too low, if the two are equal or if prices follow f(v) alone.
    """
    policy = problem.model.policy
    if policy.anchored or np.array_equal(best, fallback):
        return float("nan")
    a, b = problem.model.demand.draws(
        problem.rows, problem.similarity, problem.behaviour, n_draws=policy.posterior_draws, seed=seed
    )
    return probability_better(
        a,
        b,
        best / problem.r,
        fallback / problem.r,
        problem.cost,
        problem.anchor,
        shadow=problem.shadow,
        margin_weight=policy.margin_weight * problem.weight,
        anchor_weight=policy.anchor_weight * problem.weight,
        mask=problem.on_sale,
    )


def _value(problem: PageProblem, price: Floats) -> tuple[float, Floats]:
    """Expected profit in money, and purchase probabilities, of given prices."""
    a, b = problem.demand
    _, q = page_value(price / problem.r, a, b, problem.cost, mask=problem.on_sale)
    return float(q @ (price - problem.counted_cost)), q
