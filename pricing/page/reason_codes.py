"""The reason codes of a page's prices: consent first, then what moved each price, then what bounded it.

Reads a priced problem; decides no price.
"""

from __future__ import annotations

import numpy as np

from pricing.page.chosen_prices import ChosenPrices
from pricing.page.guardrails import binding_reasons
from pricing.page.problem import PageProblem
from pricing.reasons import Reason

SLOPE_MOVED = 0.01  # relative change of the slope past which the customer, not the market, explains the price


def price_reasons(problem: PageProblem, chosen: ChosenPrices, refusal: Reason | None) -> list[tuple[Reason, ...]]:
    """Consent first, then what moved the price, then what bounded it."""
    first = () if refusal is None else (refusal,)
    moved = movers(problem)
    bounding = binding_reasons(chosen.price, problem.bounds)
    at_list = np.isclose(chosen.price, problem.market.list_price)
    held = [() if same else row for same, row in zip(at_list, bounding, strict=True)]  # list itself held in the law
    found: list[tuple[Reason, ...]] = []
    for place in range(len(problem.rows)):
        if not problem.bounds.feasible[place]:
            found.append((*first, Reason.INFEASIBLE))
        elif chosen.explored[place]:
            found.append((*first, Reason.EXPLORATION, *bounding[place]))
        elif chosen.at_list[place]:
            found.append((*first, Reason.LOW_CONFIDENCE_LIST, *held[place]))
        else:
            inside = () if bounding[place] else (Reason.PRICE_ENDING,)
            found.append((*first, *moved[place], *bounding[place], *inside))
    return [tuple(dict.fromkeys(row)) for row in found]


def movers(problem: PageProblem) -> list[tuple[Reason, ...]]:
    """Demand against the same items for nobody in particular; stock; the anchor."""
    model = problem.model
    if model.policy.anchored:  # neither demand nor stock has a say
        return [(Reason.ANCHOR,)] * len(problem.rows)
    usual = np.full(len(problem.rows), model.demand.standard.similarity)
    _, slope = problem.demand
    _, base = model.demand.page(problem.rows, usual)
    ratio = slope / base
    marks = (
        (ratio > 1 + SLOPE_MOVED, Reason.DEMAND_PRICE_SENSITIVE),
        (ratio < 1 - SLOPE_MOVED, Reason.DEMAND_HIGH_INTENT),
        (problem.shadow > 0, Reason.STOCK_SCARCE),
        (problem.ageing, Reason.STOCK_AGEING),
        (np.full(len(ratio), model.policy.anchor_weight > 0), Reason.ANCHOR),
    )
    return [tuple(reason for mask, reason in marks if mask[place]) for place in range(len(ratio))]
