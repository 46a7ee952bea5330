"""What a log of drawn prices says about a policy: on such a log its prices are judged without a demand model's word.

    gates = policy_log_gates(policy_evidence(model, demand, menu, prices, clip=np.inf), limits)

The policy's prices are compared with those of the policy that the model was accepted with, and with list. Surely worse
is a failure. Where the log holds too little of these prices, as it does of discounts that nobody was ever shown, it
cannot tell yet: held-out demand models decide then, unless ``require_experiment`` is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.evaluation.comparison import Comparison, must_not_lose
from fairtag.evaluation.held_out_demand import HeldOutDemand
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.log_evidence import LISTED, PUBLIC, LogEvidence, open_levels, page_log
from fairtag.evaluation.value_gate import log_gates
from fairtag.model.capabilities import PASSING
from fairtag.model.decision import GateResult
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.context import MarketContext
from fairtag.stock.shadow_prices import counted_cost, floor_cost

Floats = NDArray[np.float64]

ACCEPTED: Final = "the accepted policy"
NAME: Final = "off_policy"
BEYOND: Final = 0.01  # share of the prices beyond the log's menu from which it is no experiment about them
ROUNDING: Final = 0.005  # of a price, to an ending or a coin
MORE: Final = "an experiment that shows some of these prices: explore them, or fairtag experiment plan"


def policy_evidence(
    model: PricingModel, demand: HeldOutDemand, menu: Floats, after: Floats, before: Floats, clip: float
) -> LogEvidence:
    """The held-out log with the prices of two policies.

    Args:
        model: The model that serves.
        demand: Held-out demand on the logged pages.
        menu: (K,) the shares of list that prices were drawn from.
        after: (n,) prices under the policy in question, money.
        before: (n,) prices under the policy that the model was accepted with.
        clip: Largest weight.
    """
    pages, rows = demand.pages, demand.pages.rows
    market, limits = MarketContext.of(rows), model.policy.limits
    bounds = market.bounds(limits, floor_cost(*counted_cost(market, model.estimates.sales_rate[pages.item])))
    levels = open_levels(pages, np.minimum(bounds.lo, bounds.fallback), menu, limits.coin.smallest)
    days = max((rows[schema.TS].max() - rows[schema.TS].min()).total_seconds() / 86_400, 1.0)
    prices: Mapping[str, Floats] = {PUBLIC: after, ACCEPTED: before, LISTED: pages.listed}
    earlier = rows[schema.SPEND_90D].to_numpy(dtype=np.float64)
    log = page_log(pages, demand.cells, demand.units, levels)
    return LogEvidence(log, demand.a, demand.b, prices, earlier, days, clip)


def policy_log_gates(evidence: LogEvidence | None, limits: EvaluationLimits, why: str = "") -> list[GateResult]:
    """The gates on the log; one that does not apply where the log is no experiment or holds too little of the prices.

    Args:
        evidence: The log; None where its prices were not drawn.
        limits: Thresholds.
        why: Why there is no evidence, in words.
    """
    if evidence is None:
        return [_untold(why, "", limits)]
    if (beyond := share_beyond(evidence)) > BEYOND:
        return [_untold(f"{beyond:.0%} of the prices lie beyond all that were ever drawn", MORE, limits)]
    trust = log_gates(evidence, limits.launch)
    if doubts := [gate for gate in trust if gate.status not in PASSING]:
        said = "; ".join(f"{gate.name}: {gate.note or gate.rule}" for gate in doubts)
        return [_untold(said, next((gate.needs for gate in doubts if gate.needs), ""), limits)]
    return [
        *trust,
        *(
            must_not_lose(f"{NAME}_{name}", rival, _compared(evidence, rival, limits))
            for name, rival in (("against_accepted", ACCEPTED), ("against_list", LISTED))
        ),
    ]


def share_beyond(evidence: LogEvidence) -> float:
    """Share of the public prices that lie below or above every price that could have been drawn for their item."""
    log, price = evidence.log, evidence.prices[PUBLIC]
    drawn = log.on_sale & np.isfinite(log.levels).any(axis=1)
    if not drawn.any():
        return 1.0
    lowest, highest = np.nanmin(log.levels[drawn], axis=1), np.nanmax(log.levels[drawn], axis=1)
    return float(((price[drawn] < lowest * (1 - ROUNDING)) | (price[drawn] > highest * (1 + ROUNDING))).mean())


def _compared(evidence: LogEvidence, rival: str, limits: EvaluationLimits) -> Comparison:
    difference = evidence.difference(PUBLIC, rival)
    return Comparison.of(difference, evidence.values[rival].value, evidence.days, limits.launch.confidence)


def _untold(why: str, needs: str, limits: EvaluationLimits) -> GateResult:
    rule = "profit per page on the log of drawn prices, not surely below that of the accepted policy and of list"
    if limits.require_experiment:
        return GateResult(NAME, None, rule, "could not tell", note=f"cannot tell yet: {why}", needs=needs)
    note = f"cannot tell yet: {why}; held-out demand models decide"
    return GateResult(NAME, None, rule, "not applicable", note=note)
