"""Group averages for a wider circle of readers, with differential privacy by customer.

Released for each group: the mean of ``log(price / list)`` over its quotes. List is public, so a customer changes only
their own group's sum and count. Both changes are bounded: at most ``rows`` quotes of a customer count, each clipped to
``[-bound, bound]``. Laplace noise on sum and count then gives epsilon-differential privacy for all of a customer's
quotes (Dwork, McSherry, Nissim and Smith, 2006). Groups of one attribute are disjoint and share a budget; attributes
add up.

The noise is drawn in floating point. That protects against readers of a report, not against someone who can reproduce
the draw bit by bit.
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
    """Privacy budget: how much a release may reveal about one customer.

    Args:
        epsilon: Total for everything released, over all attributes.
        rows: Largest number of a customer's quotes that count; more are thinned by a seeded draw.
        bound: Largest ``|log(price / list)|``. Choose it from the policy (largest discount), never from the data.
    """

    epsilon: float = 1.0
    rows: int = 20
    bound: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a budget that protects nobody."""
        if not (np.isfinite(self.epsilon) and self.epsilon > 0 and self.rows >= 1 and self.bound > 0):
            raise ConfigError(
                f"privacy budget: epsilon {self.epsilon}, rows {self.rows}, bound {self.bound}; all must be above 0"
            )


@dataclass(frozen=True)
class PrivateMean:
    """One released figure.

    Args:
        attribute: The attribute.
        group: The group.
        mean: Noisy mean of ``log(price / list)``; 0 is list, -0.1 about 10 % below it.
        error: Standard error due to the noise alone.
        rows: Noisy number of quotes, at least 0.
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
        groups: schema.USER_KEY, schema.ATTRIBUTE, schema.GROUP; names of attributes and groups are taken to be public.
        budget: Spent in full by one call; a second call on the same quotes spends it again.
        seed: Seed of draws and noise. Keep it secret: whoever knows it can remove the noise.
    """
    rng = np.random.default_rng(seed)
    kept = _clipped_quotes(quotes, budget, rng)
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
            released.append(_private_mean(attribute, name, total, count, budget, half))
    return tuple(released)


def _clipped_quotes(quotes: pd.DataFrame, budget: PrivacyBudget, rng: np.random.Generator) -> pd.DataFrame:
    """At most ``rows`` quotes of each customer, clipped."""
    known = quotes[quotes[schema.USER_KEY].notna()]
    drawn = known.iloc[rng.permutation(len(known))]
    drawn = drawn[drawn.groupby(schema.USER_KEY).cumcount() < budget.rows]
    relative = np.log(drawn[schema.PRICE_MINOR].to_numpy(np.float64) / drawn[schema.LIST_PRICE_MINOR].to_numpy())
    return pd.DataFrame(
        {schema.USER_KEY: drawn[schema.USER_KEY].array, RELATIVE: relative.clip(-budget.bound, budget.bound)}
    )


def _private_mean(
    attribute: str, group: str, total: float, count: float, budget: PrivacyBudget, half: float
) -> PrivateMean:
    """Ratio of two noisy figures, with its first-order error (a Laplace variable has sd ``sqrt(2) scale``)."""
    if count < 1:
        return PrivateMean(attribute, group, float("nan"), float("nan"), count)
    mean = float(np.clip(total / count, -budget.bound, budget.bound))
    scale = np.sqrt(2) * budget.rows / half
    error = float(np.hypot(scale * budget.bound, scale * mean) / count)
    return PrivateMean(attribute, group, mean, error, count)
