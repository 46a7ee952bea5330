"""Gap between a group and all others within strata (fixed effects), with errors clustered by customer.

For rows i in strata s with outcome y, and g 1 for customers of the group and 0 for all others,

    gap = sum_i g~_i y~_i / sum_i g~_i^2          ~ subtracts the stratum's mean

- :func:`panel` averages each customer's rows in a stratum: a locked price seen twice counts once.
- :func:`bootstrap` draws customers with replacement, each with the exact change that leaving them out makes to the
  estimate, ``sum g~ e n_s / (n_s - 1)`` over their rows (``n_s`` rows in the stratum). Without that factor thin strata
  would absorb errors into their own means: with two rows in a stratum, half of a customer's lasting effect.
- :func:`permutation_p_value` permutes labels between customers of equal activity and recomputes the studentised
  estimate. Labels move by customer: one who always pays more would otherwise count once for each row. Studentising
  keeps the level where groups differ in activity and spread (Janssen, Statistics & Probability Letters 36, 1997).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_BLOCKS = 10_000  # more customers are pooled at random into this many blocks for the bootstrap
ACTIVITY_STRATA = 10  # labels are permuted within deciles of activity
PERMUTED_AT_ONCE = 64  # permutations computed in one pass; memory is 64 float64 for each customer


class Estimate(NamedTuple):
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """Panel data: one row for each customer and stratum.

    Args:
        user: Index of the customer, shape (n,).
        stratum: Index of the stratum, shape (n,).
        outcome: Mean outcome of the customer in the stratum, shape (n,).
        rows: Rows averaged into each, shape (n,).
        users: Number of customers.
        strata: Number of strata.
    """

    user: Ints
    stratum: Ints
    outcome: Floats
    rows: Ints
    users: int
    strata: int

    def take(self, keep: NDArray[np.bool_]) -> Panel:
        """The rows where ``keep`` is true; indices stay as they are."""
        return Panel(self.user[keep], self.stratum[keep], self.outcome[keep], self.rows[keep], self.users, self.strata)


class PanelShape:
    """Who stands in which stratum, for many outcomes of the same rows.

    Args:
        user: (rows,) customer, from 0.
        stratum: (rows,) stratum, from 0.
    """

    def __init__(self, user: Ints, stratum: Ints) -> None:
        self._users, self._strata = int(user.max(initial=-1)) + 1, int(stratum.max(initial=-1)) + 1
        code, self._place, self._rows = np.unique(
            user * max(1, self._strata) + stratum, return_inverse=True, return_counts=True
        )
        self._user, self._stratum = code // max(1, self._strata), code % max(1, self._strata)

    def panel(self, outcome: Floats) -> Panel:
        """Each customer's mean outcome in each stratum, from the outcome of each row, (rows,)."""
        mean = np.bincount(self._place, weights=outcome, minlength=self._rows.size) / self._rows
        return Panel(self._user, self._stratum, mean, self._rows, self._users, self._strata)


def panel(user: Ints, stratum: Ints, outcome: Floats) -> Panel:
    """Average each customer's rows in each stratum; all arrays (rows,), customer and stratum from 0."""
    return PanelShape(user, stratum).panel(outcome)


@dataclass(frozen=True)
class Gap:
    """The estimate, and what its resampling needs.

    Args:
        value: The gap; NaN where no stratum has both sides.
        score: Each customer's contribution to the numerator's error, shape (users,).
        weight: Each customer's contribution to the denominator, shape (users,).
        informative: Number of strata that have both sides.
    """

    value: float
    score: Floats
    weight: Floats
    informative: int

    @property
    def standard_error(self) -> float:
        """Cluster-robust standard error; NaN where there is no estimate."""
        active = int(np.count_nonzero(self.weight))
        if active < 2:
            return float("nan")
        return float(np.sqrt(active / (active - 1) * np.square(self.score).sum()) / self.weight.sum())


def sums(index: Ints, values: Floats, size: int) -> Floats:
    """Sum of the values at each index, shape (size,)."""
    return np.bincount(index, weights=values, minlength=size).astype(np.float64, copy=False)


def demean(values: Floats, stratum: Ints, strata: int) -> Floats:
    """Each value less its stratum's mean."""
    counts = np.maximum(np.bincount(stratum, minlength=strata), 1)
    result: Floats = values - (sums(stratum, values, strata) / counts)[stratum]
    return result


def gap(data: Panel, group: NDArray[np.bool_]) -> Gap:
    """Within-strata gap between the customers of a group and all others.

    Args:
        data: The panel.
        group: Whether each customer is in the group, shape (users,).

    Example: in both strata customer 1 pays 0.1 more than customer 0.

        >>> user, stratum = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
        >>> data = panel(user, stratum, outcome=np.array([1.0, 1.1, 2.0, 2.1]))
        >>> round(gap(data, group=np.array([False, True])).value, 6)
        0.1
    """
    member = demean(group[data.user].astype(np.float64), data.stratum, data.strata)
    outcome = demean(data.outcome, data.stratum, data.strata)
    weight = sums(data.user, np.square(member), data.users)
    total = float(weight.sum())
    if total <= 0:
        return Gap(float("nan"), np.zeros(data.users), weight, 0)
    value = float(member @ outcome) / total
    residual = (outcome - value * member) * _leave_one_out(data)
    score = sums(data.user, member * residual, data.users)
    return Gap(value, score, weight, len(np.unique(data.stratum[np.abs(member) > 1e-12])))


def _leave_one_out(data: Panel) -> Floats:
    """``n_s / (n_s - 1)`` for each row; 1 in a stratum of one row, which has no residual."""
    counts = np.bincount(data.stratum, minlength=data.strata).astype(np.float64)
    factor: Floats = (counts / np.maximum(counts - 1, 1))[data.stratum]
    return factor


def bootstrap(estimate: Gap, *, seed: int, replicates: int) -> Floats:
    """Gaps under resamples of customers, shape (replicates,); all NaN where there is no estimate."""
    if not np.isfinite(estimate.value):
        return np.full(replicates, np.nan)
    active = np.flatnonzero(estimate.weight)
    by_user = np.stack([estimate.score[active], estimate.weight[active]], axis=1)
    drawn = resampled_sums(np.random.default_rng(seed), by_user, replicates)
    shift = np.full(replicates, np.nan)
    np.divide(drawn[:, 0], drawn[:, 1], out=shift, where=drawn[:, 1] > 0)
    result: Floats = estimate.value + shift
    return result


def resampled_sums(rng: np.random.Generator, by_user: Floats, replicates: int) -> Floats:
    """Sums over customers drawn with replacement, (replicates, columns), from values (users, columns).

    More than :data:`MAX_BLOCKS` customers are first pooled at random into blocks, which are as independent as they.
    """
    blocks = min(len(by_user), MAX_BLOCKS)
    if not blocks:
        return np.zeros((replicates, by_user.shape[1]))
    block = rng.permutation(len(by_user)) % blocks
    pooled = np.stack([sums(block, column, blocks) for column in by_user.T], axis=1)
    return np.concatenate([_resample(rng, pooled, count) for count in _batches(replicates, 64)])


def _resample(rng: np.random.Generator, pooled: Floats, count: int) -> Floats:
    blocks = len(pooled)
    picks = rng.integers(blocks, size=(count, blocks))
    times = np.bincount((picks + np.arange(count)[:, None] * blocks).ravel(), minlength=count * blocks)
    result: Floats = times.reshape(count, blocks) @ pooled
    return result


def permutation_p_value(data: Panel, group: NDArray[np.bool_], *, seed: int, permutations: int) -> float:
    """Two-sided permutation p-value of no gap; NaN where no stratum has both sides.

    ``(1 + #{|t*| >= |t|}) / (1 + permutations)``: never 0, and valid for any number of permutations.
    """
    observed = gap(data, group)
    if not np.isfinite(observed.value):
        return float("nan")
    rng = np.random.default_rng(seed)
    activity = np.bincount(data.user, minlength=data.users)
    bands = _bands(activity)
    design = _Design.of(data)
    target = abs(float(design.studentised(group[:, None].astype(np.float64))[0]))
    extreme = 0
    for count in _batches(permutations, PERMUTED_AT_ONCE):
        labels = np.stack([_shuffled(rng, group, bands) for _ in range(count)], axis=1).astype(np.float64)
        extreme += int((np.abs(design.studentised(labels)) >= target * (1 - 1e-9)).sum())
    return (1 + extreme) / (1 + permutations)


def _bands(activity: Ints) -> tuple[Ints, ...]:
    """Active customers in deciles of activity."""
    active = np.flatnonzero(activity)
    ranked = active[np.argsort(activity[active], kind="stable")]
    edges = np.linspace(0, len(ranked), ACTIVITY_STRATA + 1).astype(np.int64)
    return tuple(ranked[start:stop] for start, stop in pairwise(edges) if stop > start)


def _shuffled(rng: np.random.Generator, group: NDArray[np.bool_], bands: tuple[Ints, ...]) -> NDArray[np.bool_]:
    labels = group.copy()
    for band in bands:
        labels[band] = rng.permutation(group[band])
    return labels


@dataclass(frozen=True)
class _Design:
    """Quantities that no permutation of labels changes."""

    incidence: sparse.csr_array  # (strata, users): 1 where the customer has a row
    scored: sparse.csr_array  # (users, strata): the demeaned outcome, times n_s / (n_s - 1)
    counts: Floats  # rows of each stratum
    own: Floats  # (users,) sums of ``scored``
    plain: Floats  # (users,) sums of the demeaned outcome

    @classmethod
    def of(cls, data: Panel) -> _Design:
        outcome = demean(data.outcome, data.stratum, data.strata)
        restored = outcome * _leave_one_out(data)
        shape = (data.users, data.strata)
        ones = sparse.csr_array((np.ones(len(data.user)), (data.user, data.stratum)), shape=shape)
        return cls(
            incidence=ones.T.tocsr(),
            scored=sparse.csr_array((restored, (data.user, data.stratum)), shape=shape),
            counts=np.maximum(np.bincount(data.stratum, minlength=data.strata), 1).astype(np.float64),
            own=sums(data.user, restored, data.users),
            plain=sums(data.user, outcome, data.users),
        )

    def studentised(self, labels: Floats) -> Floats:
        """T statistic of each column of labels (users, permutations), its error computed under the null."""
        share = (self.incidence @ labels) / self.counts[:, None]
        score = labels * self.own[:, None] - self.scored @ share
        error = np.sqrt(np.square(score).sum(axis=0))
        top = labels.T @ self.plain
        result: Floats = np.divide(top, error, out=np.zeros_like(top), where=error > 0)
        return result


def benjamini_hochberg(p_values: Floats) -> Floats:
    """Adjusted p-values (Benjamini and Hochberg, 1995); NaN stays NaN and does not count as a test.

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.5])).round(3).tolist()
    [0.03, 0.06, nan, 0.5]
    """
    adjusted = np.full(len(p_values), np.nan)
    tested = np.flatnonzero(~np.isnan(p_values))
    if not len(tested):
        return adjusted
    order = tested[np.argsort(p_values[tested])[::-1]]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p_values[order] * len(order) / ranks))
    return adjusted


def _batches(total: int, size: int) -> list[int]:
    return [min(size, total - start) for start in range(0, total, size)]
