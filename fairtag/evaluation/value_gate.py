"""Would these prices have earned more? Off-policy on a randomised log; otherwise by held-out demand models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.data.splits import HOLD_OUT_SHARE
from fairtag.evaluation.held_out_demand import HeldOutDemand, HeldOutPages, interval
from fairtag.evaluation.launch_gate import launch_report
from fairtag.evaluation.limits import EvaluationLimits
from fairtag.evaluation.off_policy import bandit_log
from fairtag.evaluation.power import more, times_needed
from fairtag.evaluation.price_menu import UNRANDOMISED, PriceMenu
from fairtag.evaluation.pricing_metrics import pricing_metrics
from fairtag.model.decision import GateResult

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyPrices:
    """Prices that one policy chooses for held-out impressions, arrays (n,) in money.

    Args:
        name: Name of the policy.
        price: Its price.
        floor: Lowest price that it may choose; logged levels below it cannot stand for it.
        coin: Smallest coin of the currency.
    """

    name: str
    price: Floats
    floor: Floats
    coin: float = 0.01


def uplift_figures(demand: HeldOutDemand, policies: list[PolicyPrices], seed: int) -> list[dict[str, Any]]:
    """Profit per page of each policy above list prices, with its interval, for the report."""
    base = demand.page_profit_draws(demand.pages.listed)
    rows = []
    for policy in policies:
        gain = demand.page_profit_draws(policy.price) - base
        low, high = interval(gain, demand.pages.page_customer, seed)
        value = float((demand.page_profit(policy.price) - demand.page_profit(demand.pages.listed)).mean())
        rows.append({"policy": policy.name, "value": value, "low": low, "high": high})
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
    demand: HeldOutDemand | None,
    challenger: PolicyPrices | None,
    champion: PolicyPrices | None,
    menu: PriceMenu,
    limits: EvaluationLimits,
    seed: int,
    needs: str = "",
) -> list[GateResult]:
    """Uplift over the prices in force, and non-inferiority to the champion."""
    if demand is None or challenger is None:
        note = "the hold-out has too few purchases for a held-out demand model"
        return [GateResult("profit_uplift", None, "profit above list prices", "could not tell", note=note, needs=needs)]
    if menu.levels is not None and schema.PROPENSITY in demand.pages.rows.columns:
        gates = off_policy_gates(demand, challenger, menu.levels, limits)
    else:
        gates = [observational_gate(demand, challenger, limits, seed, menu.source)]
    return [*gates, non_inferiority(demand, challenger, champion, limits.profit_margin, seed)]


def off_policy_gates(
    demand: HeldOutDemand, challenger: PolicyPrices, menu: Floats, limits: EvaluationLimits
) -> list[GateResult]:
    """The off-policy gates on the logged price menu, against the prices in force when it was logged.

    Held-out demand models predict what a page is worth when all its prices move together; what each logged row shows
    of its own price corrects them (doubly robust).
    """
    rows = demand.pages.rows
    known = (rows[schema.PROPENSITY].notna() & demand.pages.on_sale).to_numpy(dtype=bool)
    price = rows[schema.PRICE].to_numpy(dtype=np.float64)
    profit = rows[schema.PURCHASED].to_numpy(dtype=np.float64) * (price - demand.pages.cost)
    action = np.abs(price[:, None] / demand.pages.listed[:, None] - menu).argmin(axis=1)
    spend = rows[schema.SPEND_90D].to_numpy(dtype=np.float64)[known]
    log = bandit_log(
        profit[known],
        action[known],
        rows[schema.PROPENSITY].to_numpy(dtype=np.float64)[known],
        demand.pages.customer[known],
    )
    report = launch_report(
        log,
        on_menu(challenger, demand.pages.listed, menu)[known],
        demand.item_rewards(menu)[known],
        joint=demand.item_profit(challenger.price)[known],
        placebo=np.nan_to_num(spend) if np.isfinite(spend).any() else None,
        limits=limits.launch,
    )
    return list(report.gates)


def on_menu(policy: PolicyPrices, listed: Floats, menu: Floats) -> Floats:
    """Probabilities on the logged levels whose mean is the policy's price, (n, K).

    A price between two levels is shared between them. A price whose lower neighbour lies below the policy's floor, or
    which lies below every level, goes wholly to the nearest level above.
    """
    order = np.argsort(menu)
    levels = menu[order]
    ratio = np.clip(policy.price / listed, levels[0], levels[-1])
    above = np.clip(np.searchsorted(levels, ratio - 1e-9), 1, levels.size - 1)
    share = (ratio - levels[above - 1]) / (levels[above] - levels[above - 1])
    share = np.where(levels[above - 1] * listed < policy.floor - policy.coin, 1.0, share)
    chance = np.zeros((ratio.size, levels.size))
    rows = np.arange(ratio.size)
    chance[rows, above] = share
    chance[rows, above - 1] = 1.0 - share
    result = np.zeros_like(chance)
    result[:, order] = chance
    return result


def observational_gate(
    demand: HeldOutDemand, challenger: PolicyPrices, limits: EvaluationLimits, seed: int, why: str = UNRANDOMISED
) -> GateResult:
    """Uplift over the prices that the shop charged, according to held-out demand models: not an experiment.

    Args:
        demand: The held-out demand models.
        challenger: The prices to judge.
        limits: Thresholds.
        seed: Seed of the bootstrap.
        why: Why the log is no experiment, in words.
    """
    logged = demand.pages.rows[schema.PRICE].to_numpy(dtype=np.float64)
    gain = demand.page_profit_draws(challenger.price) - demand.page_profit_draws(logged)
    low, high = interval(gain, demand.pages.page_customer, seed)
    rule = "95 % interval of profit per page above the shop's own prices > 0, according to held-out demand models"
    note = f"observational: {why}; so this is a model's estimate and not an experiment"
    value = float((demand.page_profit(challenger.price) - demand.page_profit(logged)).mean())
    if limits.require_experiment:
        return GateResult(
            "profit_uplift", value, rule, "could not tell", 0.0, low, high, f"{note}; an experiment is required"
        )
    return GateResult(
        "profit_uplift",
        value,
        rule,
        "pass" if low > 0 else "fail",
        0.0,
        low,
        high,
        note,
        _needed(demand, value, low, high),
    )


def _needed(demand: HeldOutDemand, value: float, low: float, high: float) -> str:
    """How many more pages would show the uplift, in words; empty where it is shown."""
    if low > 0:
        return ""
    pages = demand.pages.page_customer.size
    times = times_needed(value, low, high)
    if times is None:
        return "other prices: by these estimates more pages of the same kind would show no gain"
    whole = round(pages / HOLD_OUT_SHARE)
    return f"{more(times, whole, 'pages')}, if the gain is as large as estimated ({whole:,} are now)"


def non_inferiority(
    demand: HeldOutDemand, challenger: PolicyPrices, champion: PolicyPrices | None, margin: float, seed: int
) -> GateResult:
    """The challenger loses at most a margin of the champion's profit on the same pages."""
    rule = f"profit per page not below the champion's by more than {margin:.0%} (lower end of the paired 95 % interval)"
    if champion is None:
        return GateResult("non_inferiority", None, rule, "not applicable", note="there is no champion yet")
    base = demand.page_profit_draws(champion.price)
    low, high = interval(demand.page_profit_draws(challenger.price) - base, demand.pages.page_customer, seed)
    profit = demand.page_profit(champion.price)
    value = float((demand.page_profit(challenger.price) - profit).mean())
    floor = -margin * float(profit.mean())
    return GateResult("non_inferiority", value, rule, "pass" if low >= floor else "fail", floor, low, high)
