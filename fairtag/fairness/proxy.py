"""Can the pricing features tell who is in a protected group?

A feature that nobody calls protected can still stand in for one. The check trains a classifier to guess the group from
the features prices are made of, and scores it on customers it has not seen: an area under the ROC curve (AUC) of 0.5
means that the features know nothing of the group, 1.0 that they are the group under another name.
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
TREES = 60  # shallow boosted trees on a handful of features; more changes the AUC in the third decimal


@dataclass(frozen=True)
class ProxyLimits:
    """When features are a proxy.

    Args:
        pass_below: PASS where the AUC's interval ends below this.
        warn_above: WARN where it begins above this: better than two guesses in three.
        users: Fewest customers of a group, and outside it, for an answer.
        confidence: Two-sided level of the interval.
    """

    pass_below: float = 0.70
    warn_above: float = 0.65
    users: int = 200
    confidence: float = 0.90


@dataclass(frozen=True)
class ProxyFinding:
    """How well the features give away one group.

    Args:
        attribute: The protected attribute.
        group: The group.
        status: PASS, WARN or UNKNOWN; a proxy harms through prices, and those the audit pages on.
        auc: Cross-validated area under the ROC curve; NaN with too few customers.
        low: Lower end of its interval.
        high: Upper end.
        users: Customers of the group.
        by_feature: AUC of each feature alone, above or below 0.5 alike: ``max(auc, 1 - auc)``.
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
        features: One row a customer: schema.USER_KEY and the features; NaN where unknown.
        groups: schema.USER_KEY, schema.ATTRIBUTE, schema.GROUP.
        seed: Of the folds and the trees.
        names: The features that prices are made of.
        limits: Thresholds.

    Raises:
        DataError: A customer has two rows of features.
    """
    rules = limits or ProxyLimits()
    if features[schema.USER_KEY].duplicated().any():
        raise DataError("features: a customer has more than one row", table="features", column=schema.USER_KEY)
    findings: list[ProxyFinding] = []
    for attribute, table in groups.groupby(schema.ATTRIBUTE, sort=True, observed=True):
        joined = features.merge(table[[schema.USER_KEY, schema.GROUP]], on=schema.USER_KEY)
        X = joined[list(names)].to_numpy(np.float64)
        for group in sorted(table[schema.GROUP].astype(str).unique()):
            member = (joined[schema.GROUP].astype(str) == group).to_numpy()
            findings.append(_check(str(attribute), group, X, member, tuple(names), seed, rules))
    return tuple(findings)


def overall(findings: Sequence[ProxyFinding]) -> Status:
    """The most pressing finding; UNKNOWN where there is none."""
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
    alone = {name: _either_way(X[:, at], member) for at, name in enumerate(names)}
    return ProxyFinding(attribute, group, status, value, low, high, users, alone)


def out_of_fold(X: Floats, member: Flags, *, seed: int) -> Floats:
    """Score of every customer from trees that never saw the customer; NaN features are the trees' to handle."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    scores = np.empty(len(X))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(X, member):
        trees = HistGradientBoostingClassifier(max_iter=TREES, max_depth=3, learning_rate=0.1, random_state=seed)
        scores[test] = trees.fit(X[train], member[train]).predict_proba(X[test])[:, 1]
    return scores


def auc(score: ArrayLike, member: Flags) -> float:
    """Chance that a member scores above another, ties counting half (Mann and Whitney 1947)."""
    ranks = stats.rankdata(score)
    users, others = int(member.sum()), int((~member).sum())
    return float((ranks[member].sum() - users * (users + 1) / 2) / (users * others))


def auc_error(value: float, users: int, others: int) -> float:
    """Standard error of an AUC (Hanley and McNeil, Radiology 143, 1982)."""
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    square = value**2
    spread = value * (1 - value) + (users - 1) * (q1 - square) + (others - 1) * (q2 - square)
    return float(np.sqrt(max(spread, 0.0) / (users * others)))


def _either_way(values: Floats, member: Flags) -> float:
    """AUC of one feature alone, in whichever direction it tells; unknown values rank below all known ones."""
    value = auc(np.nan_to_num(values, nan=-np.inf), member)
    return max(value, 1 - value)
