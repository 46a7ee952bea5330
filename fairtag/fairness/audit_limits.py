"""When a gap is none, when it is worth a look, and when someone is woken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fairtag.base.types import Status
from fairtag.fairness.ratios import Ratio


@dataclass(frozen=True)
class AuditLimits:
    """When a gap is none, when it is worth a look, and when someone is woken.

    Args:
        confidence: Two-sided level of every interval.
        equal: PASS where the gap's interval lies inside plus and minus this share.
        warn: WARN where the interval lies beyond this share, on either side.
        urgent: URGENT where the interval lies beyond this share, on either side.
        access: URGENT where the access ratio is below this (four-fifths rule), its interval below 1, and chance does
            not explain it in as many groups.
        rows: Fewest priced impressions of a group, and of all others, for an answer.
        users: Fewest customers of a group, and of all others: a thousand impressions of ten customers are ten voices.
        false_discovery: Share of false alarms among alarms that Benjamini-Hochberg allows.
        replicates: Bootstrap resamples.
        permutations: Permutations a group; raised where many groups need a smaller p-value to be told apart.
    """

    confidence: float = 0.90
    equal: float = 0.01
    warn: float = 0.005
    urgent: float = 0.02
    access: float = 0.8
    rows: int = 1_000
    users: int = 30
    false_discovery: float = 0.05
    replicates: int = 999
    permutations: int = 499

    def users_needed(self, users: int, standard_error: float) -> int | None:
        """Customers of a group with which a gap of zero would pass nine times in ten; None where no error is known.

        The interval then reaches from the estimate to no further than half of ``equal``, so that chance must move the
        estimate by the other half to spoil the answer. Errors shrink with the root of the number of customers.
        """
        if not (np.isfinite(standard_error) and standard_error > 0 and users > 0):
            return None
        enough = float(np.log1p(self.equal) / (2 * ndtri(0.5 + self.confidence / 2)))
        return max(self.users, int(np.ceil(users * (standard_error / enough) ** 2)))

    def permutations_for(self, groups: int) -> int:
        """Enough that one group at the smallest possible p-value survives the correction for all of them."""
        return max(self.permutations, int(np.ceil(2 * groups / self.false_discovery)) - 1)


def judge(
    gap: float,
    interval: tuple[float, float],
    adjusted_p: float,
    access: Ratio,
    access_p: float,
    limits: AuditLimits,
) -> tuple[Status, str]:
    """The status on one group with enough data, and its reason; the most pressing rule that holds wins.

    Args:
        gap: Difference of mean log price.
        interval: Of the gap; NaN where no stratum held both sides.
        adjusted_p: Of no gap, corrected for the number of groups.
        access: Access ratio with its interval.
        access_p: Of no worse access, corrected for the number of groups.
        limits: Thresholds.
    """
    low, high = interval
    nearest = max(0.0, low, -high)  # how far from zero the interval begins
    significant = adjusted_p <= limits.false_discovery
    equal = float(np.log1p(limits.equal))
    rules = (
        (
            access.value < limits.access and access.high < 1 and access_p <= limits.false_discovery,
            Status.URGENT,
            f"access to prices below list is {access.value:.2f} of that of others, below {limits.access:g}",
        ),
        (not np.isfinite(low), Status.UNKNOWN, "no item and epoch was priced for both sides"),
        (
            significant and nearest > np.log1p(limits.urgent),
            Status.URGENT,
            f"the gap is {_percent(gap)}, surely beyond {limits.urgent:.1%}",
        ),
        (
            significant and nearest > np.log1p(limits.warn),
            Status.WARN,
            f"the gap is {_percent(gap)}, surely beyond {limits.warn:.1%}",
        ),
        (-equal < low and high < equal, Status.PASS, f"the gap lies within {limits.equal:.0%}"),
        (True, Status.UNKNOWN, f"{_percent(low)} to {_percent(high)} is neither surely a gap nor surely none"),
    )
    return next((status, why) for holds, status, why in rules if holds)


def _percent(log_gap: float) -> str:
    return f"{np.expm1(log_gap):+.2%}"
