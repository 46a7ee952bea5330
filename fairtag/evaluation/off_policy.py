"""Off-policy evaluation: the value of prices that were never shown, from a log of randomised ones.

>>> log = bandit_log(reward=[0.0, 3.0, 0.0, 5.0], action=[0, 1, 0, 1], propensity=[0.5, 0.5, 0.5, 0.5])
>>> always_second = [[0.0, 1.0]] * 4
>>> ips(log, always_second).value, on_policy(log).value
(4.0, 2.0)
>>> difference(ips(log, always_second), on_policy(log)).value
2.0

Symbols are those of the literature: reward ``r``, logged action ``a`` with its probability ``p``, evaluated policy
``pi(a | x)``, weight ``w = pi(a | x) / p``, reward model ``q(x, a)``. Estimators: IPS (Horvitz and Thompson 1952),
SNIPS (Swaminathan and Joachims 2015), the direct method, DR (Dudik, Langford and Li 2011) and its switch (Wang, Agarwal
and Dudik 2017). The rows of a customer are one cluster in every error and interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fairtag.base.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SUM_TOLERANCE = 1e-6  # a policy's probabilities may miss 1 by rounding, not by a forgotten action
BOOTSTRAP_CELLS = 1 << 24  # weights drawn at a time: 128 MiB


@dataclass(frozen=True)
class BanditLog:
    """A log of actions drawn at random with known probabilities, one row a decision.

    Args:
        reward: What followed, shape (n,); for prices, the profit in money.
        action: Index of the shown menu point, shape (n,).
        propensity: Probability with which that action was drawn given everything the draw depended on, shape (n,).
        cluster: Index of the independent unit (the customer) of each row, shape (n,).
    """

    reward: Floats
    action: Ints
    propensity: Floats
    cluster: Ints

    @property
    def size(self) -> int:
        """Number of rows n."""
        return len(self.reward)


def bandit_log(
    reward: ArrayLike, action: ArrayLike, propensity: ArrayLike, cluster: ArrayLike | None = None
) -> BanditLog:
    """Check a log and build it.

    Args:
        reward: What followed, shape (n,).
        action: Index of the shown menu point, shape (n,).
        propensity: Probability of that action, shape (n,), in (0, 1].
        cluster: Label of the independent unit of each row, shape (n,); each row is its own unit when None.

    Raises:
        DataError: Empty, of unequal lengths, a reward that is not a number, a negative action, or a propensity
            outside (0, 1].
    """
    r = np.asarray(reward, dtype=np.float64)
    a = np.asarray(action, dtype=np.int64)
    p = np.asarray(propensity, dtype=np.float64)
    units = np.arange(len(r)) if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
    if r.ndim != 1 or not len(r) or not len(r) == len(a) == len(p) == len(units):
        raise DataError(f"a log needs rows of one length; got {r.shape}, {a.shape}, {p.shape}, {units.shape}")
    _refuse(~np.isfinite(r), r, "reward", "a finite number")
    _refuse(a < 0, a, "action", "an index of the menu, 0 or more")
    _refuse(~((p > 0) & (p <= 1)), p, "propensity", "in (0, 1]: an action that could not be drawn cannot be logged")
    return BanditLog(r, a, p, units.astype(np.int64))


@dataclass(frozen=True)
class Estimate:
    """A value ``mean(numerator) / mean(denominator)``, row by row, so that errors and differences can be computed.

    Args:
        name: Estimator.
        numerator: Shape (n,).
        denominator: Shape (n,); ones unless the estimator is self-normalised.
        cluster: Index of the independent unit of each row, shape (n,).
    """

    name: str
    numerator: Floats
    denominator: Floats
    cluster: Ints

    @property
    def value(self) -> float:
        """The estimate."""
        return float(self.numerator.mean() / self.denominator.mean())

    @property
    def influence(self) -> Floats:
        """First-order influence of each row on the value (n,); sums to zero."""
        result: Floats = (self.numerator - self.value * self.denominator) / self.denominator.mean()
        return result

    @property
    def standard_error(self) -> float:
        """Cluster-robust standard error of the value."""
        return clustered_error(self.influence, self.cluster)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided normal interval."""
        reach = float(stats.norm.ppf(0.5 + confidence / 2)) * self.standard_error
        return self.value - reach, self.value + reach


def clustered_error(influence: Floats, cluster: Ints) -> float:
    """Standard error of a mean from the influence of its rows; NaN with a single cluster."""
    totals = np.bincount(cluster, weights=influence)
    units = int(np.count_nonzero(np.bincount(cluster)))
    if units < 2:
        return float("nan")
    return float(np.sqrt(units / (units - 1) * np.square(totals).sum()) / len(influence))


def weights(log: BanditLog, policy: ArrayLike, clip: float = np.inf) -> Floats:
    """Importance weights ``min(pi(a | x) / p, clip)``, shape (n,).

    Args:
        log: The log.
        policy: Probabilities of every action under the evaluated policy, shape (n, actions).
        clip: Largest weight; clipping trades a bias towards zero reward (IPS) or the model (DR) for variance.

    Raises:
        DataError: The policy is no probability distribution, or lacks a logged action.
    """
    pi = checked_policy(log, policy)
    result: Floats = np.minimum(pi[np.arange(log.size), log.action] / log.propensity, clip)
    return result


def effective_sample_size(weight: Floats) -> float:
    """``(sum w)^2 / sum w^2`` (Kish 1965): how many unweighted rows the weighted ones are worth; 0 without support."""
    total = float(np.square(weight).sum())
    return float(weight.sum() ** 2 / total) if total > 0 else 0.0


def ips(log: BanditLog, policy: ArrayLike, clip: float = np.inf) -> Estimate:
    """Inverse propensity score: ``mean(w r)``."""
    return Estimate("ips", weights(log, policy, clip) * log.reward, np.ones(log.size), log.cluster)


def snips(log: BanditLog, policy: ArrayLike, clip: float = np.inf) -> Estimate:
    """Self-normalised inverse propensity score: ``sum(w r) / sum(w)``.

    Raises:
        DataError: No logged action is possible under the policy, so there is nothing to normalise by.
    """
    w = weights(log, policy, clip)
    if not w.any():
        raise DataError(
            "no logged action is possible under the evaluated policy, so the log cannot evaluate it; "
            "log more exploration"
        )
    return Estimate("snips", w * log.reward, w, log.cluster)


def direct(log: BanditLog, policy: ArrayLike, model: ArrayLike) -> Estimate:
    """Direct method: ``mean(sum_a pi(a | x) q(x, a))``; its error leaves out that of the model."""
    return Estimate("dm", _expected(log, policy, model)[0], np.ones(log.size), log.cluster)


def doubly_robust(log: BanditLog, policy: ArrayLike, model: ArrayLike, clip: float = np.inf) -> Estimate:
    """Doubly robust: ``mean(sum_a pi q + w (r - q(x, a)))``: unbiased if the propensities or the model are right."""
    expected, logged = _expected(log, policy, model)
    return Estimate("dr", expected + weights(log, policy, clip) * (log.reward - logged), np.ones(log.size), log.cluster)


def switch(log: BanditLog, policy: ArrayLike, model: ArrayLike, threshold: float) -> Estimate:
    """Switch-DR: doubly robust where ``w <= threshold``, the model alone beyond it."""
    expected, logged = _expected(log, policy, model)
    w = weights(log, policy)
    correction = np.where(w <= threshold, w, 0.0) * (log.reward - logged)
    return Estimate("switch", expected + correction, np.ones(log.size), log.cluster)


def on_policy(log: BanditLog) -> Estimate:
    """The value of the policy that wrote the log: the mean reward."""
    return Estimate("logged", log.reward, np.ones(log.size), log.cluster)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """``first - second`` on the same rows, paired, with the error of the difference.

    A self-normalised side enters through its linearisation, exact in value and first-order in error.

    Raises:
        DataError: The two are not of the same rows.
    """
    if not np.array_equal(first.cluster, second.cluster):
        raise DataError("a paired difference needs both estimates on the same rows")
    rows = first.value + first.influence - second.value - second.influence
    return Estimate(f"{first.name} - {second.name}", rows, np.ones(len(rows)), first.cluster)


def bootstrap_interval(
    estimate: Estimate, *, seed: int, confidence: float = 0.95, replicates: int = 1_000
) -> tuple[float, float]:
    """Percentile interval over clusters drawn with replacement; a cluster's rows stay together."""
    rng = np.random.default_rng(seed)
    top = np.bincount(estimate.cluster, weights=estimate.numerator)
    bottom = np.bincount(estimate.cluster, weights=estimate.denominator)
    sums = np.stack([top, bottom], axis=1)[np.bincount(estimate.cluster) > 0]
    units = len(sums)
    step = max(1, BOOTSTRAP_CELLS // units)
    drawn = [
        rng.multinomial(units, np.full(units, 1 / units), size=min(step, replicates - start)) @ sums
        for start in range(0, replicates, step)
    ]
    values = np.concatenate(drawn)
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[:, 0] / values[:, 1], [tail, 1 - tail])
    return float(low), float(high)


def _expected(log: BanditLog, policy: ArrayLike, model: ArrayLike) -> tuple[Floats, Floats]:
    """The model's mean reward under the policy and of the logged action, both (n,)."""
    pi = checked_policy(log, policy)
    q = np.asarray(model, dtype=np.float64)
    if q.shape != pi.shape:
        raise DataError(f"the reward model gives {q.shape}, the policy {pi.shape}; both are rows x actions")
    _refuse(~np.isfinite(q), q, "model", "a finite reward for every action")
    return (pi * q).sum(axis=1), q[np.arange(log.size), log.action]


def checked_policy(log: BanditLog, policy: ArrayLike) -> Floats:
    """The policy as an array (n, actions) that is a distribution in each row and covers the logged actions.

    Raises:
        DataError: It is not.
    """
    pi = np.asarray(policy, dtype=np.float64)
    if pi.ndim != 2 or len(pi) != log.size:
        raise DataError(f"the policy has shape {pi.shape}; the log needs ({log.size}, actions)")
    if int(log.action.max()) >= pi.shape[1]:
        raise DataError(f"the log holds action {int(log.action.max())}, the policy has only {pi.shape[1]} actions")
    _refuse(~(pi >= 0), pi, "policy", "a probability, 0 or more")
    _refuse(np.abs(pi.sum(axis=1) - 1) > SUM_TOLERANCE, pi.sum(axis=1), "policy", "rows that sum to 1")
    return pi


def _refuse(broken: NDArray[np.bool_], values: NDArray[Any], column: str, rule: str) -> None:
    if broken.any():
        examples = values[broken][:3].tolist()
        raise DataError(
            f"{column}: {int(broken.sum())} values such as {examples} are not {rule}",
            column=column,
            rule=rule,
            count=int(broken.sum()),
            examples=examples,
        )
