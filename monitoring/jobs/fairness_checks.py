"""What the fairness job says of each promise and each group, for one look and for hourly looks."""

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
from fairtag.fairness.invariants import InvariantCheck, check_invariants
from fairtag.policy.disclosure import read_disclosures
from monitoring.detect.checks import Judge, Question
from monitoring.detect.evidence import Change
from monitoring.detect.state import State
from monitoring.inputs import Inputs, cursor_of, take_step
from monitoring.job_report import Check

GAP = "price_gap"
PROMISE = "promise"  # prefix of the checks of invariants


def limits_of(inputs: Inputs) -> AuditLimits:
    """The audit's thresholds with the settings' minimum."""
    return AuditLimits(rows=inputs.settings.group_min_impressions)


def promises(quotes: pd.DataFrame, rho: float, markup: float = 0.0) -> tuple[Check, ...]:
    """One check a promise: a single breach pages."""
    checked = check_invariants(quotes, rho=rho, markup=markup, disclosures=read_disclosures())
    return tuple(_promise(breach) for breach in checked)


def _promise(breach: InvariantCheck) -> Check:
    broken = breach.count > 0
    share = breach.count / max(1, breach.checked)
    said = f"{breach.count:,} of {breach.checked:,} quotes break it" if broken else f"kept on {breach.checked:,} quotes"
    return Check(
        f"{PROMISE}_{breach.rule}",
        Status.URGENT if broken else Status.PASS,
        said,
        value=float(breach.count),
        reference=0.0,
        change=share,
        warn_at=0.0,
        page_at=0.0,
        unit="quotes",
        n=breach.checked,
        examples=tuple(json.dumps(example, default=str) for example in breach.examples),
    )


def gaps(
    inputs: Inputs, quotes: pd.DataFrame, groups: pd.DataFrame, report: AuditReport, state: State | None
) -> tuple[Check, ...]:
    """One check a group; with a state, warnings and pages come from the hourly detectors."""
    if not report.findings:
        summary = "the audit table has no group"
        return (Check(GAP, Status.UNKNOWN, summary),)
    checks = tuple(_finding(finding) for finding in report.findings)
    if state is None:
        return _deciding(checks, report)
    cursor = cursor_of(inputs, state) or inputs.window.start
    fresh = quotes[quotes[schema.TS] >= pd.Timestamp(cursor)]
    hours = take_step(inputs, int((fresh[schema.RANK] == 1).sum()), state)
    judge = Judge(inputs.settings, len(checks), hours, state)
    asked = _questions(report, fresh if hours is not None else None, groups, limits_of(inputs))
    peeked = tuple(
        _peeked(check, judge.answer(question), finding)
        for check, question, finding in zip(checks, asked, report.findings, strict=True)
    )
    return _deciding(peeked, report)


def _deciding(checks: tuple[Check, ...], report: AuditReport) -> tuple[Check, ...]:
    """The groups of each attribute decide; of crossed attributes those that could be judged.

    Crossings cut the same customers into ever smaller cells, so that in any shop some are too small: were each to turn
    the verdict to unknown, nobody would read it. A crossing that surely pays more warns or pages like any group; one
    that nobody can judge is listed with the largest gap that its data leaves open. An attribute's own group that is too
    small still keeps the whole from passing.
    """
    return tuple(
        replace(check, decides=False) if CROSS in finding.attribute and check.status is Status.UNKNOWN else check
        for check, finding in zip(checks, report.findings, strict=True)
    )


def not_judged(checks: tuple[Check, ...]) -> dict[str, Any]:
    """How many groups were left out, and how large a gap their data leaves open, for the report."""
    left = [check for check in checks if not check.decides]
    if not left:
        return {}
    groups = sum(check.name.startswith(f"{GAP}:") for check in checks)
    ends = [abs(end) for check in left for end in (check.low, check.high) if end is not None]
    needed = [int(check.detail["needed"]) for check in left if "needed" in check.detail]
    found = {"groups": len(left), "of": groups, "largest_gap_left_open": max(ends, default=None)}
    return {"not_judged": found | {"customers_needed": max(needed, default=None)}}


def _finding(finding: Finding) -> Check:
    told = finding.status is not Status.UNKNOWN or np.isfinite(finding.low)
    enough_to_show = finding.rows > 0 and not finding.why.startswith("fewer")
    # a group that is too small is named and counted as such; its figures stay inside
    gap = float(np.expm1(finding.gap)) if told and enough_to_show and np.isfinite(finding.gap) else None
    return Check(
        f"{GAP}:{finding.attribute}",
        finding.status,
        f"{finding.attribute} {finding.group}: {finding.why}{_wanted(finding) if enough_to_show else ''}",
        component=finding.group,
        value=gap,
        reference=0.0 if gap is not None else None,
        change=gap,
        low=float(np.expm1(finding.low)) if gap is not None and np.isfinite(finding.low) else None,
        high=float(np.expm1(finding.high)) if gap is not None and np.isfinite(finding.high) else None,
        warn_at=0.005,
        page_at=0.02,
        unit="relative price",
        n=finding.rows if enough_to_show else 0,
        detail=_ratios(finding) if enough_to_show else {},
    )


def _wanted(finding: Finding) -> str:
    if finding.status is not Status.UNKNOWN or finding.needed is None:
        return ""
    if finding.needed > finding.users:
        return f": {finding.users:,} customers, about {finding.needed:,} would do if the prices are equal"
    return f": {finding.users:,} customers, enough for equal prices; a longer window tells how large the gap is"


def _ratios(finding: Finding) -> dict[str, Any]:
    named = {"access": finding.access, "surplus": finding.surplus, "equal_cost": finding.equal_cost}
    figures = {name: list(ratio) for name, ratio in named.items() if ratio is not None and np.isfinite(ratio).all()}
    needed = {} if finding.needed is None else {"needed": finding.needed}
    return {**figures, "adjusted_p": finding.adjusted_p, "users": finding.users, **needed}


def _questions(
    report: AuditReport, fresh: pd.DataFrame | None, groups: pd.DataFrame, limits: AuditLimits
) -> list[Question]:
    """The gap of each finding over the quotes that the detectors have not seen."""
    sides: dict[str, AuditSample] = {}
    if fresh is not None:
        known = fresh[fresh[schema.USER_KEY].notna()]
        tables = dict(iter(groups.groupby(schema.ATTRIBUTE, observed=True)))
        found = {
            str(name): known[known[schema.USER_KEY].isin(table[schema.USER_KEY])] for name, table in tables.items()
        }
        sides = {name: AuditSample.of(rows, tables[name]) for name, rows in found.items() if len(rows)}
    return [_question(finding, sides.get(finding.attribute), limits) for finding in report.findings]


def _question(finding: Finding, side: AuditSample | None, limits: AuditLimits) -> Question:
    window = _change(finding.gap, finding.standard_error, finding.users)
    fresh = None if side is None else gap_of(side, finding.group)
    return gap_question(finding.attribute, finding.group, window, fresh, finding.rows, finding.why, limits)


def gap_of(side: AuditSample, group: str) -> Change:
    """The gap of a group over the quotes of a side, with the customers behind it."""
    estimate = fixed_effects.gap(side.prices, side.member == group)
    return _change(estimate.value, estimate.standard_error, int(np.count_nonzero(estimate.weight)))


def gap_question(
    attribute: str, group: str, window: Change, fresh: Change | None, rows: int, why: str, limits: AuditLimits
) -> Question:
    """Whether a group pays another price than all others, beyond the audit's limits."""
    one = np.ones(1)
    return Question(
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


def _peeked(look: Check, detected: Check, finding: Finding) -> Check:
    """The audit's answer with the evidence of hourly looks.

    The audit's own warnings hold for one look; looked at every hour they would be wrong soon, so that warnings and
    pages come from the detectors, which keep their rate of false alarms. What only the audit sees is not yet known.
    A ratio of access pages by itself when its whole interval lies below four fifths.
    """
    detail = {**look.detail, **detected.detail}
    if finding.access.high < AuditLimits().access and look.status is Status.URGENT:
        return replace(look, detail=detail)
    if detected.status in (Status.WARN, Status.URGENT):
        return replace(look, status=detected.status, detail=detail)
    if look.status in (Status.WARN, Status.URGENT):
        summary = f"{look.summary}; the evidence of hourly looks is not yet enough"
        return replace(look, status=Status.UNKNOWN, summary=summary, detail=detail)
    return replace(look, detail=detail)
