"""Thresholds of the fairness audit, and the status that follows from a group's figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fairtag.base.types import Status
from fairtag.fairness.fixed_effects import Estimate


@dataclass(frozen=True)
class AuditLimits:
    """Thresholds of the fairness audit; a gap is a share of the price.

    Args:
        confidence: Two-sided level of every interval.
        equal: PASS if the gap's interval lies within plus and minus this share.
        warn: WARN if the whole interval lies beyond this share, above or below.
        urgent: URGENT if the whole interval lies beyond this share, above or below.
        access: URGENT if the access ratio is below this (the four-fifths rule), its interval is below 1, and its
            corrected p-value is small.
        rows: Smallest number of priced impressions of a group, and of all others, for an answer.
        users: Smallest number of customers on either side: a thousand impressions of ten customers are ten voices.
        false_discovery: Share of false alarms among all alarms (Benjamini-Hochberg).
        replicates: Bootstrap resamples.
        permutations: Permutations for a group; more where many groups are tested.
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
        """Customers of a group with whom a gap of zero would pass nine times in ten; None if it cannot be told.

        The interval must then reach half of ``equal`` to either side, which leaves the other half to chance. Errors
        shrink with the square root of the number of customers.

        Args:
            users: Customers now.
            standard_error: Standard error of the gap with them.

        >>> AuditLimits().users_needed(500, 0.01)
        5466
        """
        if not (np.isfinite(standard_error) and standard_error > 0 and users > 0):
            return None
        enough = float(np.log1p(self.equal) / (2 * ndtri(0.5 + self.confidence / 2)))
        return max(self.users, int(np.ceil(users * (standard_error / enough) ** 2)))

    def permutations_for(self, groups: int) -> int:
        """Permutations after which the smallest possible p-value of one group survives the correction for all."""
        return max(self.permutations, int(np.ceil(2 * groups / self.false_discovery)) - 1)


def group_status(
    gap: float,
    interval: tuple[float, float],
    adjusted_p: float,
    access: Estimate,
    access_p: float,
    limits: AuditLimits,
) -> tuple[Status, str]:
    """Status of a group with enough data, and the reason; the first rule that holds decides.

    Args:
        gap: Mean difference of log price.
        interval: Its interval; NaN where no stratum has both sides.
        adjusted_p: Corrected p-value of no gap.
        access: Access ratio with its interval.
        access_p: Corrected p-value of no worse access.
        limits: Thresholds.
    """
    low, high = interval
    nearest = max(0.0, low, -high)  # distance of the interval from zero
    significant = adjusted_p <= limits.false_discovery
    equal = float(np.log1p(limits.equal))
    rules = (
        (
            access.value < limits.access and access.high < 1 and access_p <= limits.false_discovery,
            Status.URGENT,
            f"access to prices below list is {access.value:.2f} of that of others; the limit is {limits.access:g}",
        ),
        (not np.isfinite(low), Status.UNKNOWN, "no item was priced for both sides on one day"),
        (
            significant and nearest > np.log1p(limits.urgent),
            Status.URGENT,
            f"the gap is {_percent(gap)}, its interval beyond {limits.urgent:.1%}",
        ),
        (
            significant and nearest > np.log1p(limits.warn),
            Status.WARN,
            f"the gap is {_percent(gap)}, its interval beyond {limits.warn:.1%}",
        ),
        (-equal < low and high < equal, Status.PASS, f"the gap's interval lies within {limits.equal:.0%}"),
        (True, Status.UNKNOWN, f"cannot tell yet: a gap of {_percent(low)} to {_percent(high)}; look at more days"),
    )
    return next((status, why) for holds, status, why in rules if holds)


def _percent(log_gap: float) -> str:
    return f"{np.expm1(log_gap):+.2%}"
