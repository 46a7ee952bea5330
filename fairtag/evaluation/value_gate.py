"""Would these prices have earned more? Off-policy on a randomised log; otherwise by held-out demand models.

They are compared with the logged prices, with list, and with the best uniform prices, and personal prices with the same
prices without the customer's data. They must be surely better than the logged prices and surely worse than none; while
that cannot be told, list is served.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.comparison import Comparison, must_gain, must_not_lose
from fairtag.evaluation.held_out_demand import HeldOutDemand, HeldOutPages
from fairtag.evaluation.launch_gate import balance_gate, distance_gate, placebo_gate, support_gate
from fairtag.evaluation.limits import EvaluationLimits, LaunchLimits
from fairtag.evaluation.log_evidence import LISTED, LOGGED, PERSONAL, PUBLIC, UNIFORM, LogEvidence
from fairtag.evaluation.price_menu import UNRANDOMISED
from fairtag.evaluation.pricing_metrics import pricing_metrics
from fairtag.model.decision import GateResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPrices:
    """Prices that one policy chooses for held-out impressions, arrays (n,) in money.

    Args:
        name: Name of the policy.
        price: Its price.
    """

    name: str
    price: Floats


def uplift_figures(demand: HeldOutDemand, policies: list[PolicyPrices], seed: int) -> list[dict[str, Any]]:
    """Profit per page of each policy above list prices, with its interval, for the report."""
    base = demand.page_profit_draws(demand.pages.listed)
    rows = []
    for policy in policies:
        gain = demand.page_profit_draws(policy.price) - base
        low, high = demand.interval(gain, seed)
        value = demand.mean(demand.page_profit(policy.price) - demand.page_profit(demand.pages.listed))
        rows.append({"policy": policy.name, "value": value, "low": low, "high": high})
    return rows


def value_figures(evidence: LogEvidence) -> list[dict[str, Any]]:
    """Profit per page of each price on the randomised log, with its 95 % interval, for the report."""
    rows = []
    for name, estimate in evidence.values.items():
        low, high = estimate.interval()
        rows.append({"policy": name, "value": estimate.value, "low": low, "high": high})
    return rows


def offer_figures(pages: HeldOutPages, policy: PolicyPrices) -> dict[str, Any]:
    """Price decrease and increase recall and precision, and booking regret: figures that need no counterfactual.

    Offers that could not be bought are left out, and so is a share of nothing.
    """
    offered = pages.rows[schema.PRICE].to_numpy(dtype=np.float64)[pages.on_sale]
    sold = pages.rows[schema.PURCHASED].to_numpy(dtype=bool)[pages.on_sale]
    found = asdict(pricing_metrics(offered, policy.price[pages.on_sale], sold))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def value_gates(
    evidence: LogEvidence | None,
    demand: HeldOutDemand | None,
    prices: Mapping[str, Floats],
    limits: EvaluationLimits,
    seed: int,
    *,
    has_champion: bool = False,
    personal: bool = True,
    why: str = UNRANDOMISED,
    needs: str = "",
) -> list[GateResult]:
    """The gates of value: on the randomised log where there is one, else according to held-out demand models.

    Args:
        evidence: The randomised log; None where prices were not drawn.
        demand: Held-out demand; None where there is too little for it.
        prices: (n,) prices on the pages of ``demand`` by name, where there is no randomised log.
        limits: Thresholds.
        seed: Seed of the bootstrap.
        has_champion: Whether the logged prices may be a champion's: then they need not be beaten, only not lost to.
        personal: Whether the policy lets the customer's data move prices.
        why: Why the log is no experiment, in words.
        needs: What would let demand be judged, in words.
    """
    if evidence is not None:
        return off_policy_gates(evidence, limits, has_champion=has_champion, personal=personal)
    if demand is None:
        note = "the hold-out has too few purchases for a held-out demand model"
        return [GateResult("profit_uplift", None, "profit above list prices", "could not tell", note=note, needs=needs)]
    return observational_gates(demand, prices, limits, seed, has_champion=has_champion, personal=personal, why=why)


def off_policy_gates(
    evidence: LogEvidence, limits: EvaluationLimits, *, has_champion: bool = False, personal: bool = True
) -> list[GateResult]:
    """The gates on a randomised log: can it judge these prices, and are they better?"""
    bounds = limits.launch

    def compare(first: str, second: str) -> Comparison:
        base = evidence.values[second].value
        return Comparison.of(evidence.difference(first, second), base, evidence.days, bounds.confidence)

    return [
        *log_gates(evidence, bounds),
        *comparison_gates(
            "off_policy_uplift",
            compare,
            has_champion=has_champion,
            personal=personal,
            personal_must_gain=limits.personal_must_gain,
        ),
    ]


def log_gates(evidence: LogEvidence, bounds: LaunchLimits) -> list[GateResult]:
    """Can the log judge the public prices: are there enough of them, are propensities right, do two estimates agree?"""
    known = np.isfinite(evidence.menu_weights)
    weight = evidence.menu_weights[known]
    cluster, visits = evidence.log.customer[evidence.log.page][known], evidence.log.visits[known]
    curves = ope.difference(evidence.values[PUBLIC], evidence.without_curves())
    earlier = evidence.earlier[known]
    return [
        support_gate(weight * visits, bounds),
        balance_gate(weight, cluster, bounds, visits),
        placebo_gate(weight, cluster, np.nan_to_num(earlier) if np.isfinite(earlier).any() else None, bounds, visits),
        distance_gate(
            "off_policy_agreement",
            curves,
            0.0,
            bounds.agreement,
            "the estimate that knows demand curves agrees with one that does not",
            "demand does not fall with the price as a logit does, or the propensities are wrong",
        ),
    ]


def comparison_gates(
    uplift: str,
    compare: Callable[[str, str], Comparison],
    *,
    has_champion: bool,
    personal: bool,
    personal_must_gain: bool,
) -> list[GateResult]:
    """The comparisons: with the logged prices, list, the best uniform prices, and personal prices with public ones.

    Args:
        uplift: Name of the first gate.
        compare: Gives the comparison of two prices by name.
        has_champion: Whether the logged prices may be a champion's.
        personal: Whether the policy lets the customer's data move prices.
        personal_must_gain: Whether personal prices must be surely better than public ones, not just never surely worse.
    """
    logged = compare(PUBLIC, LOGGED)
    gates = [
        must_not_lose(uplift, LOGGED, logged) if has_champion else must_gain(uplift, LOGGED, logged, meanwhile=LISTED),
        must_not_lose("uplift_over_list", LISTED, compare(PUBLIC, LISTED)),
        must_not_lose("uplift_over_uniform", UNIFORM, compare(PUBLIC, UNIFORM)),
    ]
    if not personal:
        rule, note = f"profit per page against {PUBLIC}", "the policy lets no customer's data move prices"
        return [*gates, GateResult("personal_uplift", None, rule, "not applicable", note=note)]
    own = compare(PERSONAL, PUBLIC)
    return [
        *gates,
        must_gain("personal_uplift", PUBLIC, own, meanwhile=PUBLIC)
        if personal_must_gain
        else must_not_lose("personal_uplift", PUBLIC, own),
    ]


def observational_gates(
    demand: HeldOutDemand,
    prices: Mapping[str, Floats],
    limits: EvaluationLimits,
    seed: int,
    *,
    has_champion: bool = False,
    personal: bool = True,
    why: str = UNRANDOMISED,
) -> list[GateResult]:
    """The same comparisons according to held-out demand models: not an experiment.

    Args:
        demand: The held-out demand models.
        prices: (n,) prices by name.
        limits: Thresholds.
        seed: Seed of the bootstrap.
        has_champion: Whether the logged prices may be a champion's.
        personal: Whether the policy lets the customer's data move prices.
        why: Why the log is no experiment, in words.
    """
    rows = demand.pages.rows
    named = {**prices, LOGGED: rows[schema.PRICE].to_numpy(dtype=np.float64)}
    days = max((rows[schema.TS].max() - rows[schema.TS].min()).total_seconds() / 86_400, 1.0)
    caveat = f"observational: {why}; so this is a model's estimate and not an experiment"

    def compare(first: str, second: str) -> Comparison:
        gain = demand.page_profit_draws(named[first]) - demand.page_profit_draws(named[second])
        bounds = demand.interval(gain, seed)
        base = demand.page_profit(named[second])
        value = demand.mean(demand.page_profit(named[first]) - base)
        return Comparison(value, *bounds, demand.mean(base), bounds, days, base.size, caveat)

    gates = comparison_gates(
        "profit_uplift",
        compare,
        has_champion=has_champion,
        personal=personal,
        personal_must_gain=limits.personal_must_gain,
    )
    if not limits.require_experiment:
        return gates
    return [
        replace(gate, status="could not tell", note=f"{gate.note}; an experiment is required")
        if gate.status == "pass"
        else gate
        for gate in gates
    ]


def non_inferiority(
    demand: HeldOutDemand, challenger: PolicyPrices, champion: PolicyPrices | None, margin: float, seed: int
) -> GateResult:
    """The challenger loses at most a margin of the champion's profit on the same pages."""
    rule = f"profit per page not below the champion's by more than {margin:.0%} (lower end of the paired 95 % interval)"
    if champion is None:
        return GateResult("non_inferiority", None, rule, "not applicable", note="there is no champion yet")
    base = demand.page_profit_draws(champion.price)
    low, high = demand.interval(demand.page_profit_draws(challenger.price) - base, seed)
    profit = demand.page_profit(champion.price)
    value = demand.mean(demand.page_profit(challenger.price) - profit)
    floor = -margin * demand.mean(profit)
    return GateResult("non_inferiority", value, rule, "pass" if low >= floor else "fail", floor, low, high)
