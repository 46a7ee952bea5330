"""The steps of the ladder: was demand learned, are customers known, is nothing lost that the champion does?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fairtag.base import schema
from fairtag.demand.config import DemandConfig
from fairtag.evaluation.held_out_demand import LEAST_PURCHASES
from fairtag.evaluation.power import purchases_for_slope, uniform_spread
from fairtag.model.capabilities import SEARCH, accepted_by
from fairtag.model.decision import GateResult, GateStatus
from fairtag.model.pricing_model import PricingModel
from fairtag.policy.pricing_policy import PricingPolicy

HALVES = 8  # a half of a hold-out of a quarter of the pages is an eighth of the log


def demand_gate(model: PricingModel, orders: pd.DataFrame) -> GateResult:
    """Demand was fitted on pages of this shop; otherwise what it takes, from a power calculation."""
    rule = "demand was learned on pages that show what was not bought"
    if model.demand.learned:
        report = model.demand.report
        each = report["counts"]["units_per_purchase"]
        sized = "" if abs(each - 1.0) < 1e-9 else f" of {each:.2f} units"
        note = f"{report['purchases']:,} purchases{sized} on {report['pages']:,} pages"
        if never := report["level_from_prior"]:
            note += (
                f"; every page with an item of {', '.join(never)} ended in a purchase: how much of it is bought is not "
                "seen, and it stays at list (log the pages that sold nothing too)"
            )
        return GateResult("demand_learned", float(report["purchases"]), rule, "pass", note=note)
    why = str(model.demand.report["not_learned"])
    needs = needed_purchases(model.policy, len(model.demand.categories), orders)
    return GateResult("demand_learned", None, rule, "could not tell", note=why, needs=needs)


def needed_purchases(policy: PricingPolicy, categories: int, orders: pd.DataFrame) -> str:
    """Purchases that would let prices be learned and judged, in words."""
    width = policy.limits.max_discount
    slope = DemandConfig().slope_mean
    spread = uniform_spread(width)
    each = purchases_for_slope(slope, spread)
    total = max(each * categories, HALVES * LEAST_PURCHASES)
    text = (
        f"about {total:,} purchases on logged pages (a table impressions): {each:,} in each of {categories} categories "
        f"show with 80 % power that demand falls with the price (a response of {slope:g}, prices drawn evenly between "
        f"{1 - width:.0%} and 100 % of list), and the hold-out needs {LEAST_PURCHASES} in each half to judge them"
    )
    if len(orders) > 1:
        days = max((orders[schema.TS].max() - orders[schema.TS].min()).total_seconds() / 86_400, 1.0)
        text += f"; at {len(orders) / days:.2g} order lines a day that is about {total * days / len(orders):,.0f} days"
    return text


def behaviour_gate(training_set: pd.DataFrame) -> GateResult:
    """Some customer's behaviour is known on the pages that prices are learned from."""
    rule = "customers' behaviour is known on some of the pages"
    names = [name for name in schema.USER_PRICING_FEATURES if name in training_set]
    known = float(training_set[names].notna().any(axis=1).mean()) if len(training_set) else 0.0
    if known > 0:
        return GateResult("behaviour_known", known, rule, "pass", note=f"on {known:.0%} of the impressions")
    needs = "a table users, or orders with the customer of each, from which it is derived"
    return GateResult("behaviour_known", known, rule, "could not tell", threshold=0.0, needs=needs)


def kept_gate(champion: PricingModel | None, gates: Sequence[GateResult]) -> GateResult:
    """The challenger is accepted for everything that the champion does."""
    rule = "no capability of the champion is lost"
    if champion is None:
        return GateResult("capabilities_kept", None, rule, "not applicable", note="there is no champion yet")
    does = champion.capabilities if champion.demand.learned else champion.capabilities & {SEARCH}
    lost = sorted(does - accepted_by({gate.name: gate.status for gate in gates}))
    note = f"lost: {', '.join(name.replace('_', ' ') for name in lost)}" if lost else ""
    status: GateStatus = "fail" if lost else "pass"
    needs = "see the gates of what would be lost; the champion goes on serving" if lost else ""
    return GateResult("capabilities_kept", float(len(lost)), rule, status, threshold=0.0, note=note, needs=needs)
