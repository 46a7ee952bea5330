"""The checks of the fairness job: one for each price promise, one for each audited group."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.fairness import fixed_effects
from fairtag.fairness.audit import CROSS, AuditReport, Finding
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.group_measures import AuditSample
from fairtag.fairness.invariants import Floats, InvariantCheck, check_invariants
from fairtag.policy.disclosure import read_disclosures
from monitoring.detect.checks import ChangeDetector, Comparison
from monitoring.detect.evidence import Change
from monitoring.detect.state import State
from monitoring.inputs import Inputs, cursor_of, take_step
from monitoring.job_report import Check

GAP = "price_gap"
PROMISE = "promise"  # prefix of the checks of price promises


def limits_of(inputs: Inputs) -> AuditLimits:
    """Thresholds of the audit, with the minimum of impressions from the settings."""
    return AuditLimits(rows=inputs.settings.group_min_impressions)


def promise_checks(quotes: pd.DataFrame, rho: float | Floats, markup: float | Floats = 0.0) -> tuple[Check, ...]:
    """One check for each price promise; a single breach is urgent.

    Args:
        quotes: Rows of schema.QUOTES.
        rho: Width of the corridor, as a ratio of two customers' prices; or that of each quote.
        markup: Largest share by which a price may exceed list; or that of each quote.
    """
    breaches = check_invariants(quotes, rho=rho, markup=markup, disclosures=read_disclosures())
    return tuple(_promise_check(breach) for breach in breaches)


def _promise_check(breach: InvariantCheck) -> Check:
    broken = breach.count > 0
    share = breach.count / max(1, breach.checked)
    if broken:
        summary = f"broken on {breach.count:,} of {breach.checked:,} quotes"
    else:
        summary = f"kept on {breach.checked:,} quotes"
    return Check(
        f"{PROMISE}_{breach.rule}",
        Status.URGENT if broken else Status.PASS,
        summary,
        value=float(breach.count),
        reference=0.0,
        change=share,
        warn_at=0.0,
        urgent_at=0.0,
        unit="quotes",
        n=breach.checked,
        examples=tuple(json.dumps(example, default=str) for example in breach.examples),
    )


def gap_checks(
    inputs: Inputs, quotes: pd.DataFrame, groups: pd.DataFrame, report: AuditReport, state: State | None
) -> tuple[Check, ...]:
    """One check for each audited group; with a state, warnings and urgent alerts come from the hourly detectors.

    Args:
        inputs: Window and settings.
        quotes: Quotes of the window.
        groups: The audit table, with pseudonyms.
        report: The audit of the window.
        state: The job's memory; None tests the window in a single look.
    """
    if not report.findings:
        return (Check(GAP, Status.UNKNOWN, "the audit table has no group"),)
    checks = tuple(_gap_check(finding) for finding in report.findings)
    if state is None:
        return _mark_deciding(checks, report)
    cursor = cursor_of(inputs, state) or inputs.window.start
    fresh = quotes[quotes[schema.TS] >= pd.Timestamp(cursor)]
    hours = take_step(inputs, int((fresh[schema.RANK] == 1).sum()), state)
    detector = ChangeDetector(inputs.settings, len(checks), hours, state)
    comparisons = _comparisons(report, fresh if hours is not None else None, groups, limits_of(inputs))
    combined = tuple(
        _combine(check, detector.check(comparison), finding)
        for check, comparison, finding in zip(checks, comparisons, report.findings, strict=True)
    )
    return _mark_deciding(combined, report)


def _mark_deciding(checks: tuple[Check, ...], report: AuditReport) -> tuple[Check, ...]:
    """Let crossings of attributes that are unknown not decide.

    Crossings divide the same customers into ever smaller groups, so that some are too small in any shop. If each made
    the whole report unknown, nobody would read it. A crossing that clearly pays more warns or is urgent like any
    group. One that cannot be tested is listed, with the largest gap that its data leave open. A group of a single
    attribute that is too small still keeps the report from passing.
    """
    return tuple(
        replace(check, decides=False) if CROSS in finding.attribute and check.status is Status.UNKNOWN else check
        for check, finding in zip(checks, report.findings, strict=True)
    )


def not_judged(checks: tuple[Check, ...]) -> dict[str, Any]:
    """For the report: how many groups do not decide, and how large a gap their data leave open."""
    undecided = [check for check in checks if not check.decides]
    if not undecided:
        return {}
    groups = sum(check.name.startswith(f"{GAP}:") for check in checks)
    ends = [abs(end) for check in undecided for end in (check.low, check.high) if end is not None]
    needed = [int(check.detail["needed"]) for check in undecided if "needed" in check.detail]
    return {
        "not_judged": {
            "groups": len(undecided),
            "of": groups,
            "largest_gap_left_open": max(ends, default=None),
            "customers_needed": max(needed, default=None),
        }
    }


def _gap_check(finding: Finding) -> Check:
    has_result = finding.status is not Status.UNKNOWN or np.isfinite(finding.low)
    # a group that is too small is named and counted, but its figures are not shown
    enough_to_show = finding.rows > 0 and not finding.why.startswith("fewer")
    gap = float(np.expm1(finding.gap)) if has_result and enough_to_show and np.isfinite(finding.gap) else None
    limits = AuditLimits()
    return Check(
        f"{GAP}:{finding.attribute}",
        finding.status,
        f"{finding.attribute} {finding.group}: {finding.why}{_next_step(finding) if enough_to_show else ''}",
        component=finding.group,
        value=gap,
        reference=0.0 if gap is not None else None,
        change=gap,
        low=float(np.expm1(finding.low)) if gap is not None and np.isfinite(finding.low) else None,
        high=float(np.expm1(finding.high)) if gap is not None and np.isfinite(finding.high) else None,
        warn_at=limits.warn,
        urgent_at=limits.urgent,
        unit="relative price",
        n=finding.rows if enough_to_show else 0,
        detail=_detail(finding) if enough_to_show else {},
    )


def _next_step(finding: Finding) -> str:
    """How many customers an unknown finding has and needs."""
    if finding.status is not Status.UNKNOWN or finding.needed is None:
        return ""
    if finding.needed > finding.users:
        return f"; {finding.users:,} customers, about {finding.needed:,} are needed to show equal prices"
    return f"; {finding.users:,} customers, enough to show equal prices if they were equal"


def _detail(finding: Finding) -> dict[str, Any]:
    ratios = {"access": finding.access, "surplus": finding.surplus, "equal_cost": finding.equal_cost}
    figures = {name: list(ratio) for name, ratio in ratios.items() if ratio is not None and np.isfinite(ratio).all()}
    needed = {} if finding.needed is None else {"needed": finding.needed}
    return {**figures, "adjusted_p": finding.adjusted_p, "users": finding.users, **needed}


def _comparisons(
    report: AuditReport, fresh: pd.DataFrame | None, groups: pd.DataFrame, limits: AuditLimits
) -> list[Comparison]:
    """The gap of each finding in the window and in the quotes that the detectors have not seen."""
    samples: dict[str, AuditSample] = {}
    if fresh is not None:
        known = fresh[fresh[schema.USER_KEY].notna()]
        for name, table in groups.groupby(schema.ATTRIBUTE, observed=True):
            rows = known[known[schema.USER_KEY].isin(table[schema.USER_KEY])]
            if len(rows):
                samples[str(name)] = AuditSample.of(rows, table)
    return [_comparison(finding, samples.get(finding.attribute), limits) for finding in report.findings]


def _comparison(finding: Finding, sample: AuditSample | None, limits: AuditLimits) -> Comparison:
    window = _change(finding.gap, finding.standard_error, finding.users)
    fresh = None if sample is None else gap_of(sample, finding.group)
    return gap_comparison(finding.attribute, finding.group, window, fresh, finding.rows, finding.why, limits)


def gap_of(sample: AuditSample, group: str) -> Change:
    """The gap of one group against all others, as a difference of log price."""
    estimate = fixed_effects.gap(sample.prices, sample.member == group)
    return _change(estimate.value, estimate.standard_error, int(np.count_nonzero(estimate.weight)))


def gap_comparison(
    attribute: str, group: str, window: Change, fresh: Change | None, rows: int, why: str, limits: AuditLimits
) -> Comparison:
    """The comparison of a group's prices with those of all others, with the audit's limits as tolerance."""
    one = np.ones(1)
    return Comparison(
        f"{GAP}:{attribute}={group}",
        (group,),
        window,
        fresh,
        window.value,
        0 * one,
        np.log1p(limits.warn) * one,
        np.log1p(limits.urgent) * one,
        rows * one,
        "relative price",
        lambda _: why,
    )


def _change(value: float, se: float, users: int) -> Change:
    return Change(np.array([value]), np.array([se]), np.array([float(users)]))


def _combine(audit: Check, hourly: Check, finding: Finding) -> Check:
    """Combine the audit's check of the window with the evidence of hourly looks.

    The audit's error level holds for a single look. Repeated every hour it would soon raise a false alarm, so that
    warnings and urgent alerts come from the detectors, which bound their rate of false alarms. What only the audit sees
    is unknown. One exception: an access ratio whose whole interval lies below four fifths is urgent by itself.
    """
    detail = {**audit.detail, **hourly.detail}
    if finding.access.high < AuditLimits().access and audit.status is Status.URGENT:
        return replace(audit, detail=detail)
    if hourly.status in (Status.WARN, Status.URGENT):
        return replace(audit, status=hourly.status, detail=detail)
    if audit.status in (Status.WARN, Status.URGENT):
        summary = f"{audit.summary}; cannot tell yet, the hourly looks have too little evidence"
        return replace(audit, status=Status.UNKNOWN, summary=summary, detail=detail)
    return replace(audit, detail=detail)
