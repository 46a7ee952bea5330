"""The kill test of the evaluation: it hides a planted cause of both price and demand, and the evaluation must fail.

A shop draws prices from a menu of five and leans towards high prices when demand is high (a holiday, say). The true
propensities reflect that; a careless log keeps only their averages. With the true propensities every gate passes and
the interval contains the truth; with the careless ones the placebo gate fails and the interval misses it. An evaluation
that cannot tell the two apart proves nothing (docs/pricing-model.md, section 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.launch_gate import LaunchReport, launch_report
from fairtag.evaluation.limits import LaunchLimits

PRICES = np.array([0.80, 0.85, 0.90, 0.95, 1.00])  # of list
COST = 0.5
SLOPE = 12.0  # of the logit in the price: the lowest price is the best one, so a sound evaluation must accept it
LEVEL = 10.8  # intercept: one in two buys at the middle price


@dataclass(frozen=True)
class KillTest:
    """What the evaluation concluded with the confounder logged, and with it left out.

    Args:
        truth: True uplift of the new prices over the logged ones, from the planted demand.
        complete: The report on true propensities.
        omitted: The report on propensities averaged over the confounder.
    """

    truth: float
    complete: LaunchReport
    omitted: LaunchReport

    @property
    def alive(self) -> bool:
        """Whether the evaluation works: it accepts the sound log, with the truth in its interval, and not the other."""
        return self.complete.passes and _holds(self.complete, self.truth) and self.caught

    @property
    def caught(self) -> bool:
        """Whether the omission is visible: a gate refuses, and the interval misses the truth."""
        return not self.omitted.passes and not _holds(self.omitted, self.truth)


def confounder_kill_test(*, seed: int, rows: int = 20_000, strength: float = 1.0) -> KillTest:
    """Simulate the shop and evaluate "always the lowest price" on the complete and on the careless log.

    Args:
        seed: Seed of the simulation.
        rows: Logged decisions.
        strength: How strongly the hidden state moves demand and the price draw; 0 plants no confounder.
    """
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 2, size=rows) * 2.0 - 1.0  # high or low demand, the planted confounder
    tilt = np.exp(strength * state[:, None] * np.linspace(-1.0, 1.0, len(PRICES)))
    propensity = tilt / tilt.sum(axis=1, keepdims=True)
    action = (rng.random(rows)[:, None] > propensity.cumsum(axis=1)).sum(axis=1).clip(0, len(PRICES) - 1)
    chance = 1 / (1 + np.exp(SLOPE * PRICES - LEVEL - strength * state[:, None]))
    reward = (rng.random(rows) < chance[np.arange(rows), action]) * (PRICES[action] - COST)
    earlier = state * strength + rng.normal(size=rows)  # last week's demand: fixed before the price was drawn

    policy = np.tile(np.eye(len(PRICES))[0], (rows, 1))
    profit = chance * (PRICES - COST)
    truth = float((policy * profit).sum(axis=1).mean() - (propensity * profit).sum(axis=1).mean())
    logged = propensity[np.arange(rows), action]
    careless = (np.bincount(action, minlength=len(PRICES)) / rows)[action]
    return KillTest(
        truth,
        _report(reward, action, logged, policy, profit, earlier),
        _report(reward, action, careless, policy, _by_action(reward, action), earlier),
    )


def _report(
    reward: ope.Floats,
    action: ope.Ints,
    propensity: ope.Floats,
    policy: ope.Floats,
    model: ope.Floats,
    earlier: ope.Floats,
) -> LaunchReport:
    log = ope.bandit_log(reward, action, propensity)
    return launch_report(log, policy, model, placebo=earlier, limits=LaunchLimits())


def _by_action(reward: ope.Floats, action: ope.Ints) -> ope.Floats:
    """Mean reward of each price: all that a model without the confounder can learn."""
    counts = np.bincount(action, minlength=len(PRICES))
    means = np.bincount(action, weights=reward, minlength=len(PRICES)) / np.maximum(counts, 1)
    return np.tile(means, (len(reward), 1))


def _holds(report: LaunchReport, truth: float) -> bool:
    low, high = report.uplift.interval(0.99)
    return low <= truth <= high
