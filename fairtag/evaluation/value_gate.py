"""Would these prices have earned more? Off-policy on a randomised log, by independent judges where there is none.

Knows prices, logs and judges; nothing of how the prices were chosen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.evaluation.held_out_demand import Judgement, Trial, interval
from fairtag.evaluation.launch_gate import launch_report
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.off_policy import bandit_log
from fairtag.evaluation.pricing_metrics import pricing_metrics
from fairtag.model.decision import GateResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPrices:
    """Prices of one policy on a trial's impressions.

    Args:
        name: Of the policy.
        price: (n,) money.
        floor: (n,) lowest price it might have chosen, money; logged levels below cannot stand for it.
    """

    name: str
    price: Floats
    floor: Floats


def uplift_figures(judgement: Judgement, policies: list[PolicyPrices], seed: int) -> list[dict[str, Any]]:
    """Profit per page above list prices of each policy, with interval, for the report."""
    base = judgement.page_profit_draws(judgement.trial.listed)
    rows = []
    for policy in policies:
        gain = judgement.page_profit_draws(policy.price) - base
        low, high = interval(gain, judgement.trial.page_customer, seed)
        value = float((judgement.page_profit(policy.price) - judgement.page_profit(judgement.trial.listed)).mean())
        rows.append({"policy": policy.name, "value": value, "low": low, "high": high})
    return rows


def offer_figures(trial: Trial, policy: PolicyPrices) -> dict[str, Any]:
    """Price decrease and increase recall and precision, and booking regret: what the log says with no counterfactual.

    Offers that could not be bought say nothing and are left out; a share of nothing is left out too.
    """
    offered = trial.rows[schema.PRICE].to_numpy(dtype=np.float64)[trial.on_sale]
    sold = trial.rows[schema.PURCHASED].to_numpy(dtype=bool)[trial.on_sale]
    found = asdict(pricing_metrics(offered, policy.price[trial.on_sale], sold))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def value_gates(
    judgement: Judgement | None,
    challenger: PolicyPrices | None,
    champion: PolicyPrices | None,
    menu: Floats | None,
    limits: EvaluationLimits,
    seed: int,
) -> list[GateResult]:
    """Uplift over what is in force, and non-inferiority to the champion."""
    if judgement is None or challenger is None:
        note = "the hold-out has too few purchases for an independent judge"
        return [GateResult("profit_uplift", None, "profit above list prices", "could not tell", note=note)]
    randomised = menu is not None and schema.PROPENSITY in judgement.trial.rows.columns
    if randomised and menu is not None:
        gates = off_policy_gates(judgement, challenger, menu, limits)
    else:
        gates = [observational_gate(judgement, challenger, limits, seed)]
    return [*gates, non_inferiority(judgement, challenger, champion, limits.profit_margin, seed)]


def off_policy_gates(
    judgement: Judgement, challenger: PolicyPrices, menu: Floats, limits: EvaluationLimits
) -> list[GateResult]:
    """The launch gates on the logged price menu, against the prices that were in force when it was written.

    The judges say what a page is worth when all its prices move together; what each logged row says of its own price
    corrects them, doubly robust.
    """
    rows = judgement.trial.rows
    known = (rows[schema.PROPENSITY].notna() & judgement.trial.on_sale).to_numpy(dtype=bool)
    price = rows[schema.PRICE].to_numpy(dtype=np.float64)
    profit = rows[schema.PURCHASED].to_numpy(dtype=np.float64) * (price - judgement.trial.cost)
    action = np.abs(price[:, None] / judgement.trial.listed[:, None] - menu).argmin(axis=1)
    spend = rows[schema.SPEND_90D].to_numpy(dtype=np.float64)[known]
    log = bandit_log(
        profit[known],
        action[known],
        rows[schema.PROPENSITY].to_numpy(dtype=np.float64)[known],
        judgement.trial.customer[known],
    )
    report = launch_report(
        log,
        on_menu(challenger, judgement.trial.listed, menu)[known],
        judgement.item_rewards(menu)[known],
        joint=judgement.item_profit(challenger.price)[known],
        placebo=np.nan_to_num(spend) if np.isfinite(spend).any() else None,
        limits=limits.launch,
    )
    return list(report.gates)


def on_menu(policy: PolicyPrices, listed: Floats, menu: Floats) -> Floats:
    """(n, K) probabilities on the logged levels whose mean is the policy's price.

    A price between two levels is shared between them; one whose lower neighbour lies under the policy's floor, or
    which no level reaches down to, goes whole to the nearest level above.
    """
    order = np.argsort(menu)
    levels = menu[order]
    ratio = np.clip(policy.price / listed, levels[0], levels[-1])
    above = np.clip(np.searchsorted(levels, ratio - 1e-9), 1, levels.size - 1)
    share = (ratio - levels[above - 1]) / (levels[above] - levels[above - 1])
    share = np.where(levels[above - 1] * listed < policy.floor - 0.01, 1.0, share)
    chance = np.zeros((ratio.size, levels.size))
    rows = np.arange(ratio.size)
    chance[rows, above] = share
    chance[rows, above - 1] = 1.0 - share
    result = np.zeros_like(chance)
    result[:, order] = chance
    return result


def observational_gate(
    judgement: Judgement, challenger: PolicyPrices, limits: EvaluationLimits, seed: int
) -> GateResult:
    """Uplift over the prices the shop charged, by judges fitted on other customers: no experiment."""
    logged = judgement.trial.rows[schema.PRICE].to_numpy(dtype=np.float64)
    gain = judgement.page_profit_draws(challenger.price) - judgement.page_profit_draws(logged)
    low, high = interval(gain, judgement.trial.page_customer, seed)
    rule = "lower end of the 95 % interval of profit per page above the shop's own prices > 0, by independent judges"
    note = "observational: prices were not randomised, so this is a model's opinion and not an experiment"
    value = float((judgement.page_profit(challenger.price) - judgement.page_profit(logged)).mean())
    if limits.require_experiment:
        return GateResult(
            "profit_uplift", value, rule, "could not tell", 0.0, low, high, f"{note}; an experiment is required"
        )
    return GateResult("profit_uplift", value, rule, "pass" if low > 0 else "fail", 0.0, low, high, note)


def non_inferiority(
    judgement: Judgement, challenger: PolicyPrices, champion: PolicyPrices | None, margin: float, seed: int
) -> GateResult:
    """The challenger loses at most a margin of the champion's profit, on the same pages."""
    rule = f"profit per page not below the champion's by more than {margin:.0%} (lower end of the paired 95 % interval)"
    if champion is None:
        return GateResult("non_inferiority", None, rule, "not applicable", note="there is no champion yet")
    base = judgement.page_profit_draws(champion.price)
    low, high = interval(judgement.page_profit_draws(challenger.price) - base, judgement.trial.page_customer, seed)
    profit = judgement.page_profit(champion.price)
    value = float((judgement.page_profit(challenger.price) - profit).mean())
    floor = -margin * float(profit.mean())
    return GateResult("non_inferiority", value, rule, "pass" if low >= floor else "fail", floor, low, high)
