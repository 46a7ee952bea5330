"""Is it worth treating customers differently? A personal choice of arms against the best single arm.

An arm is a price, a discount or a letter that was drawn at random for each customer. A model that predicts the outcome
of each arm suggests a choice; whoever always takes the best arm needs no customer's data. Where the personal
choice is not surely better, customers are better left alone.

>>> rng = np.random.default_rng(0)
>>> taste, arm = rng.normal(size=4_000), rng.integers(0, 2, 4_000)
>>> outcome = np.where(arm == 1, taste, 0.0) + rng.normal(size=4_000)
>>> own = np.column_stack([np.zeros(4_000), taste])       # what a perfect model predicts
>>> found = personal_gain(outcome, arm, np.full(4_000, 0.5), own, fold=np.arange(4_000) % 5)
>>> found.personalise, round(found.gain.value, 1)
(True, 0.4)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import DataError
from fairtag.evaluation import off_policy as ope

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class PersonalGain:
    """The value of a personal choice beside that of the best single arm.

    Args:
        personal: Mean outcome if each customer gets the arm that the model predicts best.
        single: Mean outcome if all get the arm that was best on the other folds.
        best: That arm by fold, (folds,).
        confidence: Two-sided level of the interval.
    """

    personal: ope.Estimate
    single: ope.Estimate
    best: Ints
    confidence: float = 0.95

    @property
    def gain(self) -> ope.Estimate:
        """The paired difference."""
        return ope.difference(self.personal, self.single)

    @property
    def interval(self) -> tuple[float, float]:
        """Of the gain."""
        return self.gain.interval(self.confidence)

    @property
    def personalise(self) -> bool:
        """Whether the whole interval of the gain lies above 0."""
        return self.interval[0] > 0

    @property
    def verdict(self) -> str:
        """The decision in words."""
        low, high = self.interval
        reach = f"the gain over the best single arm is {self.gain.value:.3g} ({low:.3g} to {high:.3g})"
        if self.personalise:
            return f"personalise: {reach}"
        worse = high < 0
        return f"do not personalise: {reach}" + ("" if worse else "; there may be nothing to gain")


def personal_gain(
    outcome: ArrayLike,
    arm: ArrayLike,
    propensity: ArrayLike,
    predicted: ArrayLike,
    *,
    fold: ArrayLike,
    cluster: ArrayLike | None = None,
) -> PersonalGain:
    """Value both by doubly robust estimates (docs/pricing-model.md, section 10), each fold by what the others say.

    Args:
        outcome: What followed, (n,): profit, a purchase, a gift.
        arm: Drawn arm, (n,), from 0.
        propensity: Probability of that arm, (n,).
        predicted: Outcome of each customer under each arm, (n, K), by models that never saw the customer's fold.
        fold: Fold of each customer, (n,), from 0.
        cluster: Label of the independent unit of each row; each row is its own when None.

    Raises:
        DataError: Lengths or ranges do not fit, or a fold has all rows, so that no other can choose its best arm.
    """
    log = ope.bandit_log(outcome, arm, propensity, cluster)
    q, folds = np.asarray(predicted, dtype=np.float64), np.asarray(fold, dtype=np.int64)
    if q.ndim != 2 or len(q) != log.size or len(folds) != log.size:
        raise DataError(f"personal gain: predictions {q.shape} and folds {folds.shape}; the log has {log.size} rows")
    names, code = np.unique(folds, return_inverse=True)
    if len(names) < 2:
        raise DataError("personal gain: all rows are in one fold; the best single arm needs others to be found on")
    every = np.eye(q.shape[1])
    value = np.column_stack([ope.ips(log, np.broadcast_to(one, q.shape)).numerator for one in every])
    best = np.array([value[code != k].mean(axis=0).argmax() for k in range(len(names))], dtype=np.int64)
    personal = ope.doubly_robust(log, every[q.argmax(axis=1)], q)
    single = ope.doubly_robust(log, every[best[code]], q)
    return PersonalGain(personal, single, best)
