"""Group averages that may be shown without showing anyone: differential privacy by customer.

What is released for each group is the mean of ``log(price / list)`` over its quotes. The list price is public, so a
customer changes only their own group's sum and count; both are bounded by taking at most ``rows`` quotes of a customer
and clipping each to ``[-bound, bound]``. Laplace noise on sum and count then gives epsilon-differential privacy for the
whole record of a customer (Dwork, McSherry, Nissim and Smith 2006). Groups of one attribute are disjoint and share one
budget; attributes add up. The exact figures stay with the audit; these are for a wider circle. The noise is drawn in
floating point, which guards against readers of a report, not against one who can replay the draw to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import ConfigError

RELATIVE = "relative"


@dataclass(frozen=True)
class PrivacyBudget:
    """How much may be learnt of one customer.

    Args:
        epsilon: For everything released together, over all attributes.
        rows: Most quotes of one customer that count; a seeded draw when there are more.
        bound: Largest ``|log(price / list)|``; choose it from the policy (largest discount), never from the data.
    """

    epsilon: float = 1.0
    rows: int = 20
    bound: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a budget that promises nothing."""
        if not (np.isfinite(self.epsilon) and self.epsilon > 0 and self.rows >= 1 and self.bound > 0):
            raise ConfigError(f"epsilon {self.epsilon}, rows {self.rows} and bound {self.bound} must be positive")


@dataclass(frozen=True)
class PrivateMean:
    """One released figure.

    Args:
        attribute: The attribute.
        group: The group.
        mean: Noisy mean of ``log(price / list)``; 0 is list price, -0.1 about a tenth below.
        error: Standard error that the noise alone adds.
        rows: Noisy number of quotes, not below 0.
    """

    attribute: str
    group: str
    mean: float
    error: float
    rows: float


def private_means(
    quotes: pd.DataFrame, groups: pd.DataFrame, budget: PrivacyBudget, *, seed: int
) -> tuple[PrivateMean, ...]:
    """Release the mean log price to list of every group.

    Args:
        quotes: Rows of schema.QUOTES with a customer.
        groups: schema.USER_KEY, schema.ATTRIBUTE, schema.GROUP; the names of attributes and groups count as public.
        budget: Spent in full by one call; a second call on the same quotes spends it again.
        seed: Of draws and noise. Keep it secret: who knows it can take the noise away.
    """
    rng = np.random.default_rng(seed)
    kept = _bounded(quotes, budget, rng)
    attributes = sorted(groups[schema.ATTRIBUTE].astype(str).unique())
    half = budget.epsilon / max(len(attributes), 1) / 2  # one half each for sums and counts
    released: list[PrivateMean] = []
    for attribute in attributes:
        table = groups[groups[schema.ATTRIBUTE].astype(str) == attribute]
        group = kept[schema.USER_KEY].map(table.set_index(schema.USER_KEY)[schema.GROUP].astype(str))
        for name in sorted(table[schema.GROUP].astype(str).unique()):
            values = kept[RELATIVE].to_numpy(np.float64)[(group == name).to_numpy()]
            total = float(values.sum()) + rng.laplace(scale=budget.rows * budget.bound / half)
            count = max(len(values) + rng.laplace(scale=budget.rows / half), 0.0)
            released.append(_released(attribute, name, total, count, budget, half))
    return tuple(released)


def _bounded(quotes: pd.DataFrame, budget: PrivacyBudget, rng: np.random.Generator) -> pd.DataFrame:
    """At most ``rows`` quotes a customer, each clipped."""
    known = quotes[quotes[schema.USER_KEY].notna()]
    drawn = known.iloc[rng.permutation(len(known))]
    drawn = drawn[drawn.groupby(schema.USER_KEY).cumcount() < budget.rows]
    relative = np.log(drawn[schema.PRICE_MINOR].to_numpy(np.float64) / drawn[schema.LIST_PRICE_MINOR].to_numpy())
    return pd.DataFrame(
        {schema.USER_KEY: drawn[schema.USER_KEY].array, RELATIVE: relative.clip(-budget.bound, budget.bound)}
    )


def _released(
    attribute: str, group: str, total: float, count: float, budget: PrivacyBudget, half: float
) -> PrivateMean:
    """The ratio of two noisy figures, and its error from the noise to first order (a Laplace has sd sqrt(2) scale)."""
    if count < 1:
        return PrivateMean(attribute, group, float("nan"), float("nan"), count)
    mean = float(np.clip(total / count, -budget.bound, budget.bound))
    scale = np.sqrt(2) * budget.rows / half
    error = float(np.hypot(scale * budget.bound, scale * mean) / count)
    return PrivateMean(attribute, group, mean, error, count)
