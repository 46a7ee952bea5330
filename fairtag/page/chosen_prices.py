"""The prices of a page: the solver's, or list where the posterior is not sure of them, or a draw to learn from.

Knows a page problem; nothing of requests, documents or money's minor units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.page.exploration import Explored, exploration_menu, explore
from fairtag.page.problem import Floats, PageProblem, best_prices
from fairtag.policy.guardrails import snap
from fairtag.solver.page_solver import page_value
from fairtag.solver.posterior import probability_better

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ChosenPrices:
    """Prices of a page before they become a document.

    Args:
        price: (n,) money.
        probability: (n,) purchase probabilities.
        profit: Expected profit of the page, money; a unit of ageing stock counts at its salvage value.
        confidence: Posterior probability of beating list.
        at_list: (n,) items that carry the fallback because nothing better is known: for want of confidence, because
            the page may only show list, or because there was nothing to optimise (out of stock, say).
        explored: (n,) items whose price was drawn at random to learn.
        propensity: (n,) probability with which each price was chosen.
    """

    price: Floats
    probability: Floats
    profit: float
    confidence: float
    at_list: Flags
    explored: Flags
    propensity: Floats


def choose_prices(problem: PageProblem, seed: int, customer: str | None = None) -> ChosenPrices:
    """Solve the page; serve list unless the posterior is sure enough that the solution is better; explore a share.

    Args:
        problem: The page.
        seed: Of the posterior draws: the price epoch.
        customer: Whom exploration draws for; None draws the same for everybody.
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
    drawn = _explored(problem, fallback if unsure else best, may_explore, seed, customer)
    value, probability = _value(problem, drawn.price)
    at_list = free & problem.bounds.feasible & (problem.unpriced | unsure | ~solution.priced) & ~drawn.explored
    return ChosenPrices(drawn.price, probability, value, confidence, at_list, drawn.explored, drawn.propensity)


def _explored(problem: PageProblem, price: Floats, allowed: Flags, epoch: int, customer: str | None) -> Explored:
    """Draw the share of prices that the policy gives to learning, on the price endings of the guardrails."""
    n, rate = len(price), problem.model.policy.exploration
    drawn = Explored(price.copy(), np.zeros(n, dtype=np.int64), np.ones(n), np.zeros(n, dtype=bool))
    at = np.flatnonzero(allowed)
    if rate == 0 or at.size == 0:
        return drawn
    low, high = problem.bounds.lo[at], problem.bounds.hi[at]
    # A price in whole cents may miss its bound by a rounding error; the menu keeps the price itself all the same.
    menu, chosen = exploration_menu(np.clip(price[at], low, high), low, high)
    ending = snap(menu, problem.menu[at])
    ending[np.arange(at.size), chosen] = price[at]
    keys = [(customer or "", problem.model.item_ids[row], epoch, problem.model.version) for row in problem.rows[at]]
    found = explore(ending, chosen, rate, keys)
    for whole, part in zip(drawn, found, strict=True):
        whole[at] = part
    return drawn


def _confidence(problem: PageProblem, best: Floats, fallback: Floats, seed: int) -> float:
    """Pr(U(best) > U(list)) over posterior draws; NaN, which is never too low, where demand has nothing to say.

    That is where the two are the same, and where prices follow f(v) alone.
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
