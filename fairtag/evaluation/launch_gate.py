"""The off-policy gates: would these prices have earned more, on the evidence of the log alone?

docs/pricing-model.md, section 10. Their results join the decision document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.limits import LaunchLimits
from fairtag.evaluation.power import times_needed
from fairtag.model.decision import GateResult, GateStatus


@dataclass(frozen=True)
class LaunchReport:
    """Gate results and the estimates behind them.

    Args:
        gates: One result each for support, balance, uplift, agreement of two estimators, and the placebo.
        value: Doubly robust value of the new prices, in units of the reward.
        baseline: Value of the prices that they replace.
        uplift: Paired difference of the two.
        direct: Value of the new prices according to the reward model alone.
    """

    gates: tuple[GateResult, ...]
    value: ope.Estimate
    baseline: ope.Estimate
    uplift: ope.Estimate
    direct: ope.Estimate

    @property
    def passes(self) -> bool:
        """Whether every gate passes."""
        return all(gate.status in ("pass", "not applicable") for gate in self.gates)


def launch_report(
    log: ope.BanditLog,
    policy: ArrayLike,
    model: ArrayLike,
    *,
    champion: ArrayLike | None = None,
    placebo: ArrayLike | None = None,
    limits: LaunchLimits | None = None,
) -> LaunchReport:
    """Evaluate a pricing policy on a logged price menu.

    Args:
        log: Randomised prices with propensities.
        policy: Probability of each menu point under the new prices, shape (n, actions).
        model: Reward model ``q(x, a)``, shape (n, actions), fitted on other rows.
        champion: Probabilities under the prices in force; None for the policy that wrote the log.
        placebo: An outcome of each row that was fixed before its price was drawn (last month's spend), shape (n,).
            No price can have changed it, so an uplift in it shows that the log's propensities leave something out.
        limits: Thresholds; the defaults when None.

    Raises:
        DataError: The log, policy or model is malformed.
    """
    bounds = limits or LaunchLimits()
    value, opinion = ope.doubly_robust(log, policy, model, bounds.clip), ope.direct(log, policy, model)
    baseline = ope.on_policy(log) if champion is None else ope.doubly_robust(log, champion, model, bounds.clip)
    uplift = ope.difference(value, baseline)
    raw = ope.weights(log, policy)
    gates = (
        support_gate(raw, bounds),
        balance_gate(raw, log.cluster, bounds),
        _uplift(uplift, bounds),
        _agreement(opinion, value, bounds),
        placebo_gate(raw, log.cluster, placebo, bounds),
    )
    return LaunchReport(gates, value, baseline, uplift, opinion)


def support_gate(weight: ope.Floats, limits: LaunchLimits) -> GateResult:
    """The log holds enough of the new prices: the effective sample size of the importance weights (n,)."""
    size = len(weight)
    needed = max(limits.ess, limits.ess_share * size)
    ess = ope.effective_sample_size(weight)
    return GateResult(
        "off_policy_support",
        ess,
        f"effective sample size >= {limits.ess:g} and >= {limits.ess_share:.0%} of {size} rows",
        "pass" if ess >= needed else "could not tell",
        threshold=needed,
        note=""
        if ess >= needed
        else "the log has too few of the new prices; raise the policy's exploration and log more pages",
        needs="" if ess >= needed else f"{needed / max(ess, 1.0):.1f} times the logged rows",
    )


def balance_gate(
    weight: ope.Floats, cluster: ope.Ints, limits: LaunchLimits, visits: ope.Floats | None = None
) -> GateResult:
    """The propensities are those of the draw: importance weights (n,) have mean 1.

    ``cluster`` (n,) is the customer, ``visits`` (n,) what the row's page stands for, 1 when None.
    """
    counted = np.ones(len(weight)) if visits is None else visits
    mean = ope.Estimate("weight", weight * counted, counted, cluster)
    return distance_gate(
        "off_policy_balance",
        mean,
        1.0,
        limits.balance,
        "the mean importance weight is 1",
        "the new prices lie where the log never went, or the propensities are wrong",
    )


def _uplift(uplift: ope.Estimate, limits: LaunchLimits) -> GateResult:
    low, high = uplift.interval(2 * limits.confidence - 1)  # its ends are the one-sided bounds
    wide = uplift.interval(0.95)
    times = times_needed(uplift.value, *wide)
    short = not low > 0  # nor is NaN
    needs = f"{times:.1f} times the logged pages" if times else "other prices: more pages would show no gain"
    return GateResult(
        "off_policy_uplift",
        uplift.value,
        f"lower {limits.confidence:.0%} bound of the doubly robust uplift > 0",
        "could not tell" if np.isnan(low) else "pass" if low > 0 else "fail",
        threshold=0.0,
        low=_number(low),
        high=_number(high),
        needs=needs if short else "",
    )


def _agreement(opinion: ope.Estimate, value: ope.Estimate, limits: LaunchLimits) -> GateResult:
    return distance_gate(
        "off_policy_agreement",
        ope.difference(opinion, value),
        0.0,
        limits.agreement,
        "the direct method agrees with doubly robust",
        "the reward model or the propensities are wrong",
    )


def placebo_gate(
    weight: ope.Floats,
    cluster: ope.Ints,
    placebo: ArrayLike | None,
    limits: LaunchLimits,
    visits: ope.Floats | None = None,
) -> GateResult:
    """The weights (n,) move no outcome (n,) that was fixed before the price was drawn; None where there is none."""
    rule = "no uplift in an outcome fixed before the price was drawn"
    if placebo is None:
        return GateResult("off_policy_placebo", None, rule, "not applicable", note="no earlier outcome was given")
    earlier = np.asarray(placebo, dtype=np.float64)
    spread = float(earlier.std()) or 1.0
    counted = np.ones(len(weight)) if visits is None else visits
    moved = weight * (earlier - np.average(earlier, weights=counted)) / spread
    shift = ope.Estimate("placebo", moved * counted, counted, cluster)
    return distance_gate(
        "off_policy_placebo",
        shift,
        0.0,
        limits.balance,
        rule,
        "the prices depended on something that the propensities leave out; no estimate from this log can be trusted",
    )


def distance_gate(name: str, estimate: ope.Estimate, target: float, limit: float, rule: str, cause: str) -> GateResult:
    """A gate on the distance of an estimate from its target, in its own standard errors."""
    gap, error = estimate.value - target, estimate.standard_error
    near: GateStatus = "pass" if abs(gap) <= limit * error + 1e-12 else "fail"
    status: GateStatus = "could not tell" if np.isnan(error) else near
    return GateResult(
        name,
        estimate.value,
        f"{rule}, within {limit:g} standard errors",
        status,
        threshold=target,
        low=_number(estimate.value - limit * error),
        high=_number(estimate.value + limit * error),
        note="" if status == "pass" else cause,
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
