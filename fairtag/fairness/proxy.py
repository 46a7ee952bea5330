"""Proxy check: do the pricing features reveal who belongs to a protected group?

A classifier is trained to guess the group from the pricing features and is scored out of fold. An area under the ROC
curve (AUC) of 0.5 means that the features carry no information about the group, 1.0 that they determine it. Groups too
small for a classifier are checked one feature at a time; groups too small even for that are *not checked*, and say so.
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

TOGETHER, ONE_BY_ONE, NOT_CHECKED = "all features together", "the features one by one", "not checked"
FOLDS = 5
TREES = 60  # shallow trees on a handful of features; more of them change the AUC in the third decimal


@dataclass(frozen=True)
class ProxyLimits:
    """Thresholds of the proxy check.

    Args:
        pass_below: PASS if the AUC's interval ends below this.
        warn_above: WARN if it begins above this: about two right guesses in three.
        users: Smallest number of customers in a group, and outside it, for all features together.
        fewest: Smallest number for the features one by one; smaller groups are not checked.
        block_above: A feature whose AUC alone is surely above this is a copy of the group: it blocks personal prices.
        confidence: Two-sided level of the interval.
    """

    pass_below: float = 0.70
    warn_above: float = 0.65
    users: int = 200
    fewest: int = 20
    block_above: float = 0.8
    confidence: float = 0.90


@dataclass(frozen=True)
class ProxyFinding:
    """How well the features reveal one group.

    Args:
        attribute: The protected attribute.
        group: The group.
        status: PASS, WARN or UNKNOWN. Never URGENT: a proxy harms through prices, which the audit checks.
        checked: What was checked: all features together, the features one by one, or nothing.
        auc: Area under the ROC curve, cross-validated where it is of all features together, else of the most telling
            one; NaN where nothing was checked.
        low: Lower end of its interval.
        high: Upper end.
        users: Customers of the group.
        by_feature: AUC of each feature alone, in whichever direction it tells: ``max(auc, 1 - auc)``.
        copies: Features that alone tell the group beyond ``block_above``, at the lower end of their interval.
    """

    attribute: str
    group: str
    status: Status
    checked: str
    auc: float
    low: float
    high: float
    users: int
    by_feature: dict[str, float]
    copies: tuple[str, ...] = ()


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
    if min(users, others) < rules.fewest:
        nan = float("nan")
        return ProxyFinding(attribute, group, Status.UNKNOWN, NOT_CHECKED, nan, nan, nan, users, {})
    alone = {name: _single_feature_auc(X[:, at], member) for at, name in enumerate(names)}
    copies = tuple(name for name, value in alone.items() if value - _reach(value, member, rules) > rules.block_above)
    together = min(users, others) >= rules.users
    value = auc(out_of_fold(X, member, seed=seed), member) if together else max(alone.values())
    reach = _reach(value, member, rules)
    low, high = value - reach, value + reach
    if copies or low > rules.warn_above:
        status = Status.WARN
    else:  # features that tell nothing one by one may still tell it together
        status = Status.PASS if together and high < rules.pass_below else Status.UNKNOWN
    checked = TOGETHER if together else ONE_BY_ONE
    return ProxyFinding(attribute, group, status, checked, value, low, high, users, alone, copies)


def _reach(value: float, member: Flags, rules: ProxyLimits) -> float:
    """Half of the interval of an AUC."""
    z = float(stats.norm.ppf(0.5 + rules.confidence / 2))
    return z * auc_error(value, int(member.sum()), int((~member).sum()))


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
