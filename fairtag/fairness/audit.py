"""The fairness audit: do groups of customers pay different prices for the same item on the same day?

Each group of each audited attribute is compared with all other customers of that attribute. The gap in log price is
estimated within item and price day, its errors are clustered by customer (:mod:`fairtag.fairness.fixed_effects`), and
p-values are corrected for the number of groups (docs/pricing-model.md, section 7):

    report = audit(quotes, groups, seed=0)
    report.status, [(finding.group, finding.gap, finding.why) for finding in report.findings]

Protected attributes are read here alone. Nothing the audit reads can reach a price.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.types import Status, worst
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.audit_limits import AuditLimits, group_status
from fairtag.fairness.fixed_effects import Estimate
from fairtag.fairness.group_measures import AuditSample, GroupMeasures, measure_group

CROSS: Final = " x "  # joins the names of crossed attributes and groups
NEEDED: Final = (schema.USER_KEY, schema.ITEM_ID, schema.EPOCH, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR)


@dataclass(frozen=True)
class Finding:
    """One group compared with all other customers whose group is known.

    Args:
        attribute: The audited attribute, or several joined by ``" x "``.
        group: The group.
        status: PASS, WARN, URGENT or UNKNOWN.
        why: The reason in words.
        rows: Priced impressions of the group.
        users: Its customers.
        strata: Items and price days on which both sides were priced.
        gap: Mean difference of log price within item and price day; positive if the group pays more.
        low: Lower end of its interval.
        high: Upper end.
        standard_error: Standard error of the gap, clustered by customer.
        p_value: Permutation p-value of no gap.
        adjusted_p: The same, corrected for the number of groups (Benjamini-Hochberg).
        access: Chance of a price below list over that of all others, within item and price day.
        surplus: Mean consumer surplus of a page over that of all others, under the demand model. Not a test, since
            tastes differ. None without purchase probabilities.
        equal_cost: Gap of log markup within category, price day and band of unit cost: is the group shown items that
            earn more at the same cost? None without categories and costs.
        access_p: Permutation p-value of no worse access, corrected likewise.
        needed: Customers of the group with whom a gap of zero would pass nine times in ten; None if not estimable.
    """

    attribute: str
    group: str
    status: Status
    why: str
    rows: int
    users: int
    strata: int
    gap: float
    low: float
    high: float
    standard_error: float
    p_value: float
    adjusted_p: float
    access: Estimate
    surplus: Estimate | None
    equal_cost: Estimate | None
    access_p: float = 1.0
    needed: int | None = None


@dataclass(frozen=True)
class AuditReport:
    """Findings for all groups.

    Args:
        findings: One for each attribute and group.
        unmatched: Priced impressions of customers who are not in the audit table, by attribute.
    """

    findings: tuple[Finding, ...]
    unmatched: dict[str, int]

    @property
    def status(self) -> Status:
        """The most severe status; UNKNOWN if there is no finding."""
        return worst(finding.status for finding in self.findings)

    def to_json(self) -> list[dict[str, Any]]:
        """One object for each finding; NaN becomes None."""
        return [_plain(asdict(finding)) for finding in self.findings]


def audit(quotes: pd.DataFrame, groups: pd.DataFrame, *, seed: int, limits: AuditLimits | None = None) -> AuditReport:
    """Audit every attribute of the audit table on a window of quotes.

    Args:
        quotes: Rows of schema.QUOTES; rows without a customer are ignored.
        groups: Columns schema.USER_KEY (hashed with the quote log's key), schema.ATTRIBUTE and schema.GROUP. Crossed
            attributes come from :func:`cross_groups`.
        seed: Seed of resamples and permutations; equal inputs give equal reports.
        limits: Thresholds.

    Raises:
        MissingDataError: A column is absent.
        DataError: A customer has two groups of one attribute.
    """
    rules = limits or AuditLimits()
    _check(quotes, groups)
    known = quotes[quotes[schema.USER_KEY].notna()]
    raw: list[tuple[str, str, GroupMeasures]] = []
    unmatched: dict[str, int] = {}
    tests = groups.groupby([schema.ATTRIBUTE, schema.GROUP], observed=True).ngroups
    for attribute, table in groups.groupby(schema.ATTRIBUTE, observed=True, sort=True):
        sample = AuditSample.of(known, table)
        unmatched[str(attribute)] = len(known) - sample.rows
        raw.extend(
            (str(attribute), name, measure_group(sample, name, seed=seed, rules=rules, tests=tests))
            for name in sample.names
        )
    gaps, accesses = (
        fe.benjamini_hochberg(np.array([getattr(measured, name) for _, _, measured in raw], dtype=np.float64))
        for name in ("p_value", "access_p")
    )
    return AuditReport(
        tuple(
            _finding(attribute, name, measured, (float(p), float(access_p)), rules)
            for (attribute, name, measured), p, access_p in zip(raw, gaps, accesses, strict=True)
        ),
        unmatched,
    )


def cross_groups(groups: pd.DataFrame, order: int = 2) -> pd.DataFrame:
    """The audit table with crossed attributes added: ``age x income`` with groups such as ``65+ x low``.

    Small crossings stay in and get UNKNOWN, so that nobody takes silence for a pass.
    """
    wide = groups.pivot(index=schema.USER_KEY, columns=schema.ATTRIBUTE, values=schema.GROUP)
    crossed = [groups]
    for size in range(2, order + 1):
        crossed.extend(_crossed(wide, names) for names in combinations(sorted(wide.columns), size))
    return pd.concat(crossed, ignore_index=True)


def _crossed(wide: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    both = wide[list(names)].dropna()
    labels = both.astype(str).agg(CROSS.join, axis=1)
    return pd.DataFrame({schema.USER_KEY: both.index, schema.ATTRIBUTE: CROSS.join(names), schema.GROUP: labels.array})


def _finding(attribute: str, name: str, m: GroupMeasures, adjusted: tuple[float, float], rules: AuditLimits) -> Finding:
    adjusted_p, access_p = adjusted
    few = f"fewer than {rules.rows} priced impressions or {rules.users} customers on one side"
    status, why = (
        group_status(m.gap, (m.low, m.high), adjusted_p, m.access, access_p, rules)
        if m.enough
        else (Status.UNKNOWN, few)
    )
    figures = {field.name: getattr(m, field.name) for field in fields(m) if field.name not in ("enough", "access_p")}
    needed = rules.users_needed(m.users, m.standard_error)
    return Finding(attribute, name, status, why, adjusted_p=adjusted_p, access_p=access_p, needed=needed, **figures)


def _check(quotes: pd.DataFrame, groups: pd.DataFrame) -> None:
    for table, frame, needed in (
        ("quotes", quotes, NEEDED),
        ("audit groups", groups, (schema.USER_KEY, schema.ATTRIBUTE, schema.GROUP)),
    ):
        missing = [name for name in needed if name not in frame.columns]
        if missing:
            raise MissingDataError(
                f"{table}: column {', '.join(missing)} is missing; the audit needs {', '.join(needed)}",
                table=table,
                column=missing[0],
            )
    price = quotes[schema.PRICE_MINOR]
    if not (price > 0).all():
        bad = price[~(price > 0)]
        raise DataError(f"quotes: {len(bad)} prices such as {bad.head(3).tolist()} are not above 0", table="quotes")
    twice = groups[groups.duplicated([schema.USER_KEY, schema.ATTRIBUTE])]
    if len(twice):
        raise DataError(
            f"audit groups: {len(twice)} customers have two groups of one attribute; keep one group for each",
            table="audit_groups",
            rule="one group for each customer and attribute",
            count=len(twice),
        )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
