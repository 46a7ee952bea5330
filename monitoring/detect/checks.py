"""Turns comparisons into checks, in a single look or with hourly detectors, and the two checks that every job has.

A job builds one :class:`Comparison` per check and passes it to a :class:`ChangeDetector`::

    detector = ChangeDetector(settings, len(comparisons), hours, state)
    checks = [detector.check(comparison) for comparison in comparisons]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fairtag.base.types import Status
from monitoring.detect.evidence import MIN_CLUSTERS, Z90, Change, EDetector, normal_scores, p_values
from monitoring.detect.state import State
from monitoring.detect.window import LATE, SKEW, Intake
from monitoring.job_report import TRAFFIC, Check
from monitoring.settings import Settings

Float = npt.NDArray[np.float64]
Describe = Callable[[int], str]

MAX_BROKEN = 0.001  # share of broken rows above which the remaining rows are not trusted either


@dataclass(frozen=True)
class Comparison:
    """A measured change and the tolerance it is tested against, for J components; arrays are (J,).

    Args:
        name: Name of the check.
        components: Labels.
        change: Change over the window, for the report and for a single look.
        fresh: Change over the rows that the detectors have not seen; None leaves the detectors as they are.
        value: Measured value.
        reference: Value expected.
        warn: Change that warns.
        urgent: Change that is urgent; infinite if the check is never urgent.
        rows: Rows behind each component.
        unit: Unit of the figures.
        describe: Returns the sentence for a component.
    """

    name: str
    components: tuple[str, ...]
    change: Change
    fresh: Change | None
    value: Float
    reference: Float
    warn: Float
    urgent: Float
    rows: Float
    unit: str
    describe: Describe


class ChangeDetector:
    """Tests the comparisons of one job.

    Args:
        settings: Error level, and mean times between false alarms.
        checks: Number of comparisons of the job; they share the false-alarm budget.
        hours: Hours of new quotes in this run; None tests the window in a single look.
        state: The job's detectors; None tests the window in a single look.
    """

    def __init__(self, settings: Settings, checks: int, hours: float | None = None, state: State | None = None) -> None:
        self._settings = settings
        self._checks = max(1, checks)
        self._hours = hours
        self._state = state

    def check(self, comparison: Comparison) -> Check:
        """The check of a comparison, for its worst component."""
        if not comparison.change.testable.any():
            return _too_few_customers(comparison)
        if self._state is None:
            status, worst, detail = self._test_once(comparison)
        else:
            status, worst, detail = self._test_hourly(comparison, self._state)
        return _check(comparison, status, worst, detail)

    def _test_once(self, comparison: Comparison) -> tuple[Status, int, dict[str, float]]:
        factor = int(comparison.change.testable.sum()) * self._checks  # Bonferroni
        p_by_status = {
            Status.URGENT: p_values(comparison.change, comparison.urgent) * factor,
            Status.WARN: p_values(comparison.change, comparison.warn) * factor,
        }
        status = next((s for s, p in p_by_status.items() if p.min() <= self._settings.level), Status.PASS)
        # among equally clear components the largest change is the one to look at
        p = p_by_status[Status.URGENT if status is Status.URGENT else Status.WARN]
        clear = p <= self._settings.level if status is not Status.PASS else comparison.change.testable
        worst = int(np.argmax(np.where(clear, np.abs(comparison.change.value), -1.0)))
        return status, worst, {"p_value": float(min(1.0, p[worst]))}

    def _test_hourly(self, comparison: Comparison, state: State) -> tuple[Status, int, dict[str, float]]:
        status, worst = Status.PASS, _largest(comparison.change)
        detail: dict[str, float] = {}
        for level, margin, days in (
            (Status.WARN, comparison.warn, self._settings.warn_days),
            (Status.URGENT, comparison.urgent, self._settings.urgent_days),
        ):
            detector, threshold = self._step(comparison, state, level, margin, days)
            evidence = detector.evidence
            detail[f"evidence_{level}"] = round(evidence / threshold, 3)
            if evidence >= threshold:
                status, worst = level, detector.component
        return status, worst, detail

    def _step(
        self, comparison: Comparison, state: State, level: Status, margin: Float, days: float
    ) -> tuple[EDetector, float]:
        looks = days * 24 / max(self._hours or 1.0, 1e-9)  # one look an hour, or as often as the job runs
        threshold = math.log(max(looks, 2.0) * self._checks)
        key = f"{comparison.name}/{level}"
        detector = state.detector(key, comparison.components)
        if comparison.fresh is not None:
            detector = detector.update(normal_scores(comparison.fresh, margin), threshold)
            state.detectors[key] = (comparison.components, detector)
        return detector, threshold


def _too_few_customers(comparison: Comparison) -> Check:
    most = int(np.max(comparison.change.clusters, initial=0))
    summary = f"cannot tell: {most} customers in the window, {MIN_CLUSTERS} needed"
    rows = int(np.max(comparison.rows, initial=0))
    return Check(comparison.name, Status.UNKNOWN, summary, unit=comparison.unit, n=rows)


def _largest(change: Change) -> int:
    return int(np.argmax(np.where(change.testable, np.abs(change.value), -1.0)))


def _check(comparison: Comparison, status: Status, worst: int, detail: dict[str, float]) -> Check:
    change, se = float(comparison.change.value[worst]), float(comparison.change.se[worst])
    return Check(
        comparison.name,
        status,
        comparison.describe(worst),
        component=comparison.components[worst] if len(comparison.components) > 1 else "",
        value=float(comparison.value[worst]),
        reference=float(comparison.reference[worst]),
        change=change,
        low=change - Z90 * se,
        high=change + Z90 * se,
        warn_at=float(comparison.warn[worst]),
        urgent_at=float(comparison.urgent[worst]) if np.isfinite(comparison.urgent[worst]) else None,
        unit=comparison.unit,
        n=int(comparison.rows[worst]),
        detail=dict(detail),
    )


def remember_since(checks: tuple[Check, ...], start: str, state: State | None) -> tuple[Check, ...]:
    """Add to each check the time since which it has failed, and forget the checks that pass again.

    Args:
        checks: Checks of this window.
        start: Start of the window (ISO).
        state: The job's memory; None leaves the checks as they are.
    """
    if state is None:
        return checks
    failing = {check.name for check in checks if check.status is not Status.PASS}
    since = {name: state.since.get(name, start) for name in sorted(failing)}
    state.since = since
    return tuple(replace(check, since=since.get(check.name)) for check in checks)


def log_check(intake: Intake, log: str = "quotes") -> Check:
    """Whether a log can be trusted; every job that reads one has this check.

    Unknown if a file cannot be read, a row is dated in the future, or more than one row in a thousand is broken.
    Repeated, late and single broken rows have been dealt with, so that they only warn.
    """
    broken = sum(intake.broken.values())
    problems = [
        (len(intake.unreadable), _files(len(intake.unreadable), "unreadable "), True),
        (intake.future, f"{intake.future:,} rows more than {SKEW.seconds // 60} minutes in the future", True),
        (broken, f"{broken:,} rows break the contract", broken > MAX_BROKEN * max(1, intake.rows)),
        (intake.duplicates, f"{intake.duplicates:,} repeated rows", False),
        (intake.late, f"{intake.late:,} rows more than {LATE.seconds // 3600} h late", False),
    ]
    present = [(text, untrusted) for count, text, untrusted in problems if count]
    status = Status.PASS if not present else Status.WARN
    if any(untrusted for _, untrusted in present):
        status = Status.UNKNOWN
    examples = (*intake.unreadable[:2], *(f"{rule} (e.g. {value})" for rule, value in intake.examples.items()))
    summary = "; ".join(text for text, _ in present) or f"{intake.rows:,} rows in {_files(intake.files)}, all good"
    return Check(f"log_of_{log}", status, summary, n=intake.rows, unit="rows", examples=examples[:3])


def _files(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}{'file' if number == 1 else 'files'}"


def traffic_check(pages: int, rows: int, least: int) -> Check:
    """Whether the window holds enough pages to tell anything.

    Args:
        pages: Pages of the window.
        rows: Quotes of the window.
        least: Pages needed.
    """
    enough = pages >= least
    summary = f"{pages:,} pages, {rows:,} quotes" if enough else f"{pages:,} pages in the window, {least:,} needed"
    status = Status.PASS if enough else Status.UNKNOWN
    return Check(TRAFFIC, status, summary, value=float(pages), reference=float(least), unit="pages", n=rows)
