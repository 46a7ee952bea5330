"""The prices of a page: the optimum, list where confidence is low, or a random draw for exploration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairtag.demand.choices import probabilities
from fairtag.page.exploration import ExplorationDraw, exploration_menu, explore
from fairtag.page.problem import Floats, PageProblem, Rows
from fairtag.page.thompson import thompson_weights
from fairtag.policy.guardrails import snap

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class PagePrices:
    """Prices of a page, and how they came about.

    Args:
        price: (n,) money.
        probability: (n,) purchase probabilities.
        profit: Expected profit of the page, money; a unit of ageing stock costs its salvage value.
        confidence: (n,) posterior probability that the optimum beats list, or for a personal price the public one; NaN
            where the question does not arise.
        at_list: (n,) items at the fallback for want of a better price: low confidence, a page at list, or nothing to
            optimise (an item out of stock, for example).
        explored: (n,) items whose price was drawn at random.
        propensity: (n,) probability with which each price was chosen.
        personal: (n,) items whose price the customer's data lowered.
    """

    price: Floats
    probability: Floats
    profit: float
    confidence: Floats
    at_list: Flags
    explored: Flags
    propensity: Floats
    personal: Flags


def choose_prices(problem: PageProblem, epoch: int, customer: str | None = None, *, secret: bytes = b"") -> PagePrices:
    """The best price of each item, list where confidence is low, and a share of prices explored.

    The customer's data may lower the public price and never raise it: to withhold them, to log out or to come from
    another place is no way to a better price.

    Args:
        problem: The page.
        epoch: The price day: part of the key of exploration.
        customer: Customer for whom exploration draws, if their behaviour is known; it draws the same for all others,
            so that a fresh account is no second draw.
        secret: Keys the draws; without it anybody could foretell them.
    """
    free = np.isnan(problem.fixed)
    fallback = np.where(free, problem.bounds.fallback, problem.fixed)
    public, confidence, unsure = _best(problem, None, fallback, fallback)
    price, personal = public, np.zeros(len(public), dtype=bool)
    if problem.behaviour is not None:
        own, sure, _ = _best(problem, problem.behaviour, fallback, public)
        personal = (own < public) & ~problem.impersonal
        price, confidence = np.where(personal, own, public), np.where(personal, sure, confidence)
    may_explore = free & ~problem.listed & ~problem.settled & problem.on_sale
    known = customer if problem.behaviour is not None else None
    drawn = _draw_exploration(problem, price, may_explore, epoch, known, secret)
    value, probability = _value(problem, drawn.price)
    unsettled = free & ~problem.settled & problem.bounds.feasible
    at_list = unsettled & (problem.listed | (unsure & ~personal)) & ~drawn.explored
    return PagePrices(
        drawn.price,
        probability,
        value,
        confidence,
        at_list,
        drawn.explored,
        drawn.propensity,
        personal & ~drawn.explored,
    )


def _best(
    problem: PageProblem, behaviour: Floats | None, fallback: Floats, other: Floats
) -> tuple[Floats, Floats, Flags]:
    """The best prices where they surely beat others, else those; how sure; where they are not sure, or not priced."""
    solved = problem.solve(behaviour)
    best = np.where(np.isnan(solved), fallback, solved)
    confidence = problem.confidence(behaviour, best, other)
    unsure = confidence < problem.model.policy.confidence
    return np.where(unsure, other, best), confidence, unsure | np.isnan(solved)


def _draw_exploration(
    problem: PageProblem, price: Floats, allowed: Flags, epoch: int, customer: str | None, secret: bytes
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
    found = explore(ending, chosen, rate, keys, secret, _draw_weights(problem, ending, at))
    for whole, part in zip(drawn, found, strict=True):
        whole[at] = part
    return drawn


def _draw_weights(problem: PageProblem, menu: Floats, at: Rows) -> Floats | None:
    """How often each point of the menus is drawn; None for evenly. The customer's data take no part."""
    policy = problem.model.policy
    if policy.exploration_method != "thompson" or policy.anchored:
        return None
    points, rows = menu.shape[1], problem.rows[at]
    similarity = np.repeat(problem.price_similarity[at], points)

    def above(threshold: Floats) -> Floats:
        flat = problem.model.demand.slope_above(np.repeat(rows, points), threshold.ravel(), similarity)
        return flat.reshape(threshold.shape)

    y = menu / problem.r[at, None]
    return thompson_weights(y, problem.gain(y, at), above)


def _value(problem: PageProblem, price: Floats) -> tuple[float, Floats]:
    """Expected profit in money, and purchase probabilities, of given prices."""
    a, b = problem.demand
    utility = np.where(problem.on_sale, a - b * price / problem.r, -np.inf)
    alone = np.zeros(len(price), dtype=np.int64)
    q, _ = probabilities(problem.model.demand.cells(problem.rows).adjust(utility), alone[:1], alone)
    return float(q @ (price - problem.counted_cost)), q
