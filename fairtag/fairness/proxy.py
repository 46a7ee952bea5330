"""Proxy check: do the pricing features reveal who belongs to a protected group?

A classifier is trained to guess the group from the pricing features and is scored out of fold. An area under the ROC
curve (AUC) of 0.5 means that the features carry no information about the group, 1.0 that they determine it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.types import Status, worst

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FOLDS = 5
TREES = 60  # shallow trees on a handful of features; more of them change the AUC in the third decimal


@dataclass(frozen=True)
class ProxyLimits:
    """Thresholds of the proxy check.

    Args:
        pass_below: PASS if the AUC's interval ends below this.
        warn_above: WARN if it begins above this: about two right guesses in three.
        users: Smallest number of customers in a group, and outside it, for an answer.
        confidence: Two-sided level of the interval.
    """

    pass_below: float = 0.70
    warn_above: float = 0.65
    users: int = 200
    confidence: float = 0.90


@dataclass(frozen=True)
class ProxyFinding:
    """How well the features reveal one group.

    Args:
        attribute: The protected attribute.
        group: The group.
        status: PASS, WARN or UNKNOWN. Never URGENT: a proxy harms through prices, which the audit checks.
        auc: Cross-validated area under the ROC curve; NaN with too few customers.
        low: Lower end of its interval.
        high: Upper end.
        users: Customers of the group.
        by_feature: AUC of each feature alone, in whichever direction it tells: ``max(auc, 1 - auc)``.
    """

    attribute: str
    group: str
    status: Status
    auc: float
    low: float
    high: float
    users: int
    by_feature: dict[str, float]


def proxy_check(
    features: pd.DataFrame,
    groups: pd.DataFrame,
    *,
    seed: int,
    names: Sequence[str] = schema.USER_PRICING_FEATURES,
    limits: ProxyLimits | None = None,
) -> tuple[ProxyFinding, ...]:
    """Check the pricing features against every group of the audit table.

    Args:
        features: One row for each customer: schema.USER_KEY and the features; NaN where unknown.
        groups: schema.USER_KEY, schema.ATTRIBUTE, schema.GROUP.
        seed: Seed of the folds and the trees.
        names: The pricing features.
        limits: Thresholds.

    Raises:
        DataError: A customer has two rows of features.
    """
    rules = limits or ProxyLimits()
    if features[schema.USER_KEY].duplicated().any():
        raise DataError(
            "features: a customer has more than one row; give one row for each",
            table="features",
            column=schema.USER_KEY,
        )
    findings: list[ProxyFinding] = []
    for attribute, table in groups.groupby(schema.ATTRIBUTE, sort=True, observed=True):
        joined = features.merge(table[[schema.USER_KEY, schema.GROUP]], on=schema.USER_KEY)
        X = joined[list(names)].to_numpy(np.float64)
        for group in sorted(table[schema.GROUP].astype(str).unique()):
            member = (joined[schema.GROUP].astype(str) == group).to_numpy()
            findings.append(_check(str(attribute), group, X, member, tuple(names), seed, rules))
    return tuple(findings)


def overall(findings: Sequence[ProxyFinding]) -> Status:
    """The most severe status; UNKNOWN if there is no finding."""
    return worst(finding.status for finding in findings)


def _check(
    attribute: str, group: str, X: Floats, member: Flags, names: tuple[str, ...], seed: int, rules: ProxyLimits
) -> ProxyFinding:
    users, others = int(member.sum()), int((~member).sum())
    if min(users, others) < rules.users:
        nan = float("nan")
        return ProxyFinding(attribute, group, Status.UNKNOWN, nan, nan, nan, users, {})
    value = auc(out_of_fold(X, member, seed=seed), member)
    reach = float(stats.norm.ppf(0.5 + rules.confidence / 2)) * auc_error(value, users, others)
    low, high = value - reach, value + reach
    status = Status.WARN if low > rules.warn_above else Status.PASS if high < rules.pass_below else Status.UNKNOWN
    alone = {name: _single_feature_auc(X[:, at], member) for at, name in enumerate(names)}
    return ProxyFinding(attribute, group, status, value, low, high, users, alone)


def out_of_fold(X: Floats, member: Flags, *, seed: int) -> Floats:
    """Out-of-fold score of each customer by boosted trees, which take NaN features as they are."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    scores = np.empty(len(X))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(X, member):
        trees = HistGradientBoostingClassifier(max_iter=TREES, max_depth=3, learning_rate=0.1, random_state=seed)
        scores[test] = trees.fit(X[train], member[train]).predict_proba(X[test])[:, 1]
    return scores


def auc(score: ArrayLike, member: Flags) -> float:
    """Probability that a member scores above a non-member, ties counting half (Mann and Whitney, 1947).

    >>> auc([0.1, 0.4, 0.35, 0.8], np.array([False, False, True, True]))
    0.75
    """
    ranks = stats.rankdata(score)
    users, others = int(member.sum()), int((~member).sum())
    return float((ranks[member].sum() - users * (users + 1) / 2) / (users * others))


def auc_error(value: float, users: int, others: int) -> float:
    """Standard error of an AUC (Hanley and McNeil, Radiology 143, 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    square = value**2
    spread = value * (1 - value) + (users - 1) * (q1 - square) + (others - 1) * (q2 - square)
    return float(np.sqrt(max(spread, 0.0) / (users * others)))


def _single_feature_auc(values: Floats, member: Flags) -> float:
    """AUC of one feature alone, in whichever direction it tells; unknown values rank lowest."""
    value = auc(np.nan_to_num(values, nan=-np.inf), member)
    return max(value, 1 - value)
