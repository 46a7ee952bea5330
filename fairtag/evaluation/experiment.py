"""A live A/B test: who sees which arm, when it may stop, and what stops it at once.

Customers are assigned by hash, so that nothing is stored and every service computes the same arm. Metrics may be read
at any time (:mod:`fairtag.fairness.sequential`). A wrong split between the arms is checked first, because it
invalidates every other figure (Fabijan et al., KDD 2019).

>>> test = Split("prices-1", {"control": 0.5, "treatment": 0.5})
>>> arms = {"control": {"profit": sums([1.0, 1.2] * 500)}, "treatment": {"profit": sums([1.5, 1.7] * 500)}}
>>> reading = read_experiment(test, [Metric("profit", scale=0.1)], arms)
>>> reading.advice.value, reading.why
('ship', 'profit surely rose and every guardrail holds')
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import special, stats

from fairtag.base.errors import ConfigError, DataError
from fairtag.fairness import sequential
from fairtag.policy.experiments import Split

RATIO_ALPHA = 0.001  # a wrong split means a broken experiment, not a finding: report it late rather than falsely
PRIOR_ROWS = 1_000.0  # strength of the prior around the planned split: how soon small deviations count


class Advice(StrEnum):
    """What to do after a look."""

    CONTINUE = "continue"
    SHIP = "ship"
    STOP = "stop"
    BROKEN = "broken"


@dataclass(frozen=True)
class Sums:
    """Sums of a metric over the customers of one arm; adding two merges them.

    Args:
        n: Customers.
        total: Sum of the metric.
        squares: Sum of its squares.
    """

    n: int
    total: float
    squares: float

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Mean per customer; NaN without customers."""
        return self.total / self.n if self.n else math.nan

    @property
    def variance(self) -> float:
        """Unbiased variance; NaN below two customers."""
        return max(self.squares - self.n * self.mean**2, 0.0) / (self.n - 1) if self.n > 1 else math.nan


def sums(values: ArrayLike) -> Sums:
    """Sums of one number for each assigned customer.

    Raises:
        DataError: A value is not finite.
    """
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise DataError(f"metric: {int((~np.isfinite(x)).sum())} values are not finite")
    return Sums(len(x), float(x.sum()), float(np.square(x).sum()))


def effect(control: Sums, treatment: Sums) -> tuple[float, float]:
    """Difference of means, treatment minus control, and its standard error (Welch)."""
    error = control.variance / max(control.n, 1) + treatment.variance / max(treatment.n, 1)
    return treatment.mean - control.mean, math.sqrt(error)


@dataclass(frozen=True)
class SplitCheck:
    """Whether customers arrive in the planned shares.

    Args:
        p_value: Chi-square, valid for one look.
        e_value: Dirichlet-multinomial Bayes factor against the planned shares (Lindon and Malek, NeurIPS 2022), valid
            at every look; above ``1 / alpha`` the experiment is broken.
        broken: Whether it is.
    """

    p_value: float
    e_value: float
    broken: bool


def split_check(counts: Mapping[str, int], split: Split, alpha: float = RATIO_ALPHA) -> SplitCheck:
    """Check the sample ratio, at any look.

    Raises:
        DataError: A count is negative, or of an arm that the experiment does not have.
    """
    if set(counts) - set(split.shares) or any(count < 0 for count in counts.values()):
        raise DataError(f"{split.name}: counts {dict(counts)} do not fit the arms {list(split.shares)}")
    seen = np.array([counts.get(arm, 0) for arm in split.shares], dtype=np.float64)
    plan = np.array(list(split.shares.values()))
    if not seen.sum():
        return SplitCheck(1.0, 1.0, broken=False)
    p_value = float(stats.chisquare(seen, plan / plan.sum() * seen.sum()).pvalue)
    prior = PRIOR_ROWS * plan
    log_e = _log_beta(prior + seen) - _log_beta(prior) - float(seen @ np.log(plan))
    return SplitCheck(p_value, math.exp(min(log_e, 700.0)), broken=log_e > -math.log(alpha))


def _log_beta(alpha: np.ndarray) -> float:
    return float(special.gammaln(alpha).sum() - special.gammaln(alpha.sum()))


@dataclass(frozen=True)
class Metric:
    """A metric of an experiment, and what it may lose.

    Args:
        name: Name.
        scale: Size of effect that the sequential test is built for, in the metric's unit; fixed in advance.
        margin: A guardrail's largest tolerated loss, in the metric's unit; None for the metric that decides.
        higher_is_better: Direction.
    """

    name: str
    scale: float
    margin: float | None = None
    higher_is_better: bool = True


@dataclass(frozen=True)
class Reading:
    """One look at the whole experiment.

    Args:
        advice: What to do.
        why: The reason in words.
        states: Sequential state by metric, for the next look.
        split: The sample ratio.
    """

    advice: Advice
    why: str
    states: Mapping[str, sequential.SequentialState]
    split: SplitCheck


def read_experiment(
    split: Split,
    metrics: Sequence[Metric],
    arms: Mapping[str, Mapping[str, Sums]],
    states: Mapping[str, sequential.SequentialState] | None = None,
    *,
    confidence: float = 0.95,
) -> Reading:
    """Look at an experiment of two arms.

    Args:
        split: How customers are split; its first arm is the control.
        metrics: The first decides, the others are guardrails with a margin.
        arms: Sums by arm and metric, over all customers so far.
        states: States after the previous look.
        confidence: Level of every confidence sequence, over all looks.

    Returns:
        BROKEN on a wrong split; STOP when a guardrail surely lost more than its margin, or the deciding metric surely
        fell; SHIP when it surely rose and no guardrail can have lost its margin; otherwise CONTINUE.

    Raises:
        DataError: An arm or metric is absent.
        ConfigError: Not two arms, or a guardrail without a margin.
    """
    control, treatment = _two(split, metrics, arms)
    counts = {name: max((entry.n for entry in by_metric.values()), default=0) for name, by_metric in arms.items()}
    checked = split_check(counts, split)
    after = {
        metric.name: sequential.look(
            (states or {}).get(metric.name, sequential.SequentialState()),
            *effect(control[metric.name], treatment[metric.name]),
            scale=metric.scale,
            confidence=confidence,
        )
        for metric in metrics
    }
    if checked.broken:
        return Reading(Advice.BROKEN, f"customers do not arrive as planned: {counts}", after, checked)
    advice, why = _advice(metrics, after)
    return Reading(advice, why, after, checked)


def _advice(metrics: Sequence[Metric], after: Mapping[str, sequential.SequentialState]) -> tuple[Advice, str]:
    ranges = {metric.name: _gain(metric, after[metric.name]) for metric in metrics}
    decides, guards = metrics[0], metrics[1:]
    lost = [guard.name for guard in guards if ranges[guard.name][1] < -float(guard.margin or 0)]
    if lost:
        return Advice.STOP, f"guardrail {', '.join(lost)} surely lost more than its margin"
    worst, best = ranges[decides.name]
    if best < 0:
        return Advice.STOP, f"{decides.name} surely fell"
    open_guards = [guard.name for guard in guards if ranges[guard.name][0] < -float(guard.margin or 0)]
    if worst > 0 and not open_guards:
        return Advice.SHIP, f"{decides.name} surely rose and every guardrail holds"
    return Advice.CONTINUE, f"open: {', '.join(open_guards) or decides.name}"


def _gain(metric: Metric, state: sequential.SequentialState) -> tuple[float, float]:
    """The confidence sequence turned so that more is better."""
    return (state.low, state.high) if metric.higher_is_better else (-state.high, -state.low)


def _two(
    split: Split, metrics: Sequence[Metric], arms: Mapping[str, Mapping[str, Sums]]
) -> tuple[Mapping[str, Sums], Mapping[str, Sums]]:
    if len(split.shares) != 2 or not metrics or any(guard.margin is None for guard in metrics[1:]):
        raise ConfigError(
            f"{split.name}: a reading needs two arms, a metric that decides, and a margin for each guardrail"
        )
    for name in split.shares:
        missing = [metric.name for metric in metrics if metric.name not in arms.get(name, {})]
        if missing:
            raise DataError(f"{split.name}: arm {name} lacks {', '.join(missing)}")
    first, second = split.shares
    return arms[first], arms[second]
