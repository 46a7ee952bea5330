"""The reason codes of a page's prices (docs/pricing-model.md, section 11).

Consent comes first, then what moved a price, then the bounds it lies on.
"""

from __future__ import annotations

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from fairtag.base.types import Reason
from fairtag.page.page_prices import PagePrices
from fairtag.page.problem import PageProblem
from fairtag.policy.guardrails import binding_reasons

SLOPE_MOVED = 0.01  # relative change of the slope above which the customer explains part of the price


def price_reasons(problem: PageProblem, chosen: PagePrices, refusal: Reason | None) -> list[tuple[Reason, ...]]:
    """Reason codes of each item.

    Args:
        problem: The page.
        chosen: Its prices.
        refusal: Why the customer's data were not used, None if they were.
    """
    listed = refusal is Reason.PERSONAL_NOT_ACCEPTED and not problem.model.may_price  # no price is accepted at all
    first = () if refusal is None or listed else (refusal,)
    moved = movers(problem, chosen.personal)
    bounding = binding_reasons(chosen.price, problem.bounds)
    unit = problem.model.policy.limits.minor_per_unit
    same = np.abs(chosen.price - problem.market.list_price) < 0.5 / unit
    costed = np.isfinite(problem.market.unit_cost)
    withheld = problem.impersonal & (problem.behaviour is not None)
    columns = (costed, problem.bounds.feasible, problem.settled, chosen.explored, chosen.at_list, same, withheld)
    flags = np.stack(columns, axis=1).tolist()
    fallback = Reason.LOW_CONFIDENCE_LIST if problem.model.may_price else Reason.PRICES_NOT_ACCEPTED
    fallback = Reason.EXPERIMENT if problem.trial else fallback
    found: list[tuple[Reason, ...]] = []
    for (has_cost, feasible, settled, explored, at_list, is_list, stopped), why, bound in zip(
        flags, moved, bounding, strict=True
    ):
        if not has_cost:
            row = (*first, Reason.COST_UNKNOWN)
        elif not feasible:
            row = (*first, Reason.INFEASIBLE)
        elif settled:  # the reason of the bound is that of the policy, and of the limit that moved it
            row = (*first, *bound)
        elif explored:
            row = (*first, Reason.EXPLORATION, *bound)
        elif at_list:  # list, or list moved inside the legal bounds
            row = (*first, fallback, *(() if is_list else bound))
        else:
            row = (*first, *why, *(bound or (Reason.PRICE_ENDING,)))
        own = (Reason.PERSONAL_STOPPED,) if stopped else ()
        found.append(tuple(dict.fromkeys((*own, *row))))
    return found


def movers(problem: PageProblem, personal: NDArray[np.bool_]) -> list[tuple[Reason, ...]]:
    """What moved each price: demand, compared with an unknown customer's at the mean similarity; stock; the anchor.

    Args:
        problem: The page.
        personal: (n,) items whose price the customer's data lowered.
    """
    model = problem.model
    if model.policy.anchored:  # neither demand nor stock plays a part
        return [(Reason.ANCHOR,)] * len(problem.rows)
    slope = base = problem.public_slope
    if personal.any():
        slope = np.where(personal, problem.slope(problem.behaviour), slope)
    if model.policy.similarity_in_price:
        _, base = model.demand.page(problem.rows, np.full(len(problem.rows), model.demand.scaling.similarity))
    ratio = slope / base
    marks = (
        (ratio > 1 + SLOPE_MOVED, Reason.DEMAND_PRICE_SENSITIVE),
        (ratio < 1 - SLOPE_MOVED, Reason.DEMAND_HIGH_INTENT),
        (problem.shadow > 0, Reason.STOCK_SCARCE),
        (problem.ageing, Reason.STOCK_AGEING),
        (np.full(len(ratio), model.policy.anchor_weight > 0), Reason.ANCHOR),
    )
    names = [reason for _, reason in marks]
    rows = np.stack([mask for mask, _ in marks], axis=1).tolist()
    return [tuple(compress(names, row)) for row in rows]
