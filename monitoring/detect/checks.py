"""Turns a change and its tolerance into a check, for one look or with hourly detectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fairtag.base.types import Status
from monitoring.detect.evidence import MIN_CLUSTERS, Z90, Change, Detector, normal_scores, p_values
from monitoring.detect.state import State
from monitoring.job_report import Check
from monitoring.settings import Settings

Float = npt.NDArray[np.float64]
Say = Callable[[int], str]


@dataclass(frozen=True)
class Question:
    """One check before it is answered; arrays are (J,).

    Args:
        name: Name of the check.
        components: Labels.
        change: Change over the window, for the report and for one look.
        fresh: Change over what the detectors have not seen; None leaves them as they are.
        value: What was measured.
        reference: What it is held against.
        warn: Change that warns.
        page: Change that pages; infinite where it never does.
        rows: Rows behind each component.
        unit: Unit of the figures.
        say: Sentence about a component.
    """

    name: str
    components: tuple[str, ...]
    change: Change
    fresh: Change | None
    value: Float
    reference: Float
    warn: Float
    page: Float
    rows: Float
    unit: str
    say: Say


class Judge:
    """Answers the questions of one job.

    Args:
        settings: Levels and mean times between false alarms.
        checks: Number of questions the job asks; they share the false-alarm budget.
        hours: Hours of new quotes in this run; None judges the window as one look.
        state: The job's detectors; None judges the window as one look.
    """

    def __init__(self, settings: Settings, checks: int, hours: float | None = None, state: State | None = None) -> None:
        self._settings = settings
        self._checks = max(1, checks)
        self._hours = hours
        self._state = state

    def answer(self, question: Question) -> Check:
        """The check, with the worst component told."""
        if not question.change.judged.any():
            return self._cannot_tell(question)
        if self._state is None:
            status, worst, detail = self._one_look(question)
        else:
            status, worst, detail = self._detect(question, self._state)
        return _check(question, status, worst, detail)

    def _cannot_tell(self, question: Question) -> Check:
        most = int(np.max(question.change.clusters, initial=0))
        summary = f"cannot be told: {most} customers in the window, {MIN_CLUSTERS} are needed"
        return Check(
            question.name, Status.UNKNOWN, summary, unit=question.unit, n=int(np.max(question.rows, initial=0))
        )

    def _one_look(self, question: Question) -> tuple[Status, int, dict[str, float]]:
        factor = int(question.change.judged.sum()) * self._checks  # Bonferroni
        found = {
            Status.URGENT: p_values(question.change, question.page) * factor,
            Status.WARN: p_values(question.change, question.warn) * factor,
        }
        status = next((s for s, p in found.items() if p.min() <= self._settings.level), Status.PASS)
        # among equally clear components the biggest change is the one to look at
        p = found[Status.URGENT if status is Status.URGENT else Status.WARN]
        clear = p <= self._settings.level if status is not Status.PASS else question.change.judged
        worst = int(np.argmax(np.where(clear, np.abs(question.change.value), -1.0)))
        return status, worst, {"p_value": float(min(1.0, p[worst]))}

    def _detect(self, question: Question, state: State) -> tuple[Status, int, dict[str, float]]:
        status, worst = Status.PASS, _biggest(question.change)
        detail: dict[str, float] = {}
        for level, margin, days in (
            (Status.WARN, question.warn, self._settings.warn_days),
            (Status.URGENT, question.page, self._settings.page_days),
        ):
            detector, threshold = self._step(question, state, level, margin, days)
            evidence = detector.evidence
            detail[f"evidence_{level}"] = round(evidence / threshold, 3)
            if evidence >= threshold:
                status, worst = level, detector.component
        return status, worst, detail

    def _step(
        self, question: Question, state: State, level: Status, margin: Float, days: float
    ) -> tuple[Detector, float]:
        looks = days * 24 / max(self._hours or 1.0, 1e-9)  # one look an hour, or as often as the job runs
        threshold = math.log(max(looks, 2.0) * self._checks)
        key = f"{question.name}/{level}"
        detector = state.detector(key, question.components)
        if question.fresh is not None:
            detector = detector.update(normal_scores(question.fresh, margin), threshold)
            state.detectors[key] = (question.components, detector)
        return detector, threshold


def _biggest(change: Change) -> int:
    return int(np.argmax(np.where(change.judged, np.abs(change.value), -1.0)))


def _check(question: Question, status: Status, worst: int, detail: dict[str, float]) -> Check:
    change, se = float(question.change.value[worst]), float(question.change.se[worst])
    return Check(
        question.name,
        status,
        question.say(worst),
        component=question.components[worst] if len(question.components) > 1 else "",
        value=float(question.value[worst]),
        reference=float(question.reference[worst]),
        change=change,
        low=change - Z90 * se,
        high=change + Z90 * se,
        warn_at=float(question.warn[worst]),
        page_at=float(question.page[worst]) if np.isfinite(question.page[worst]) else None,
        unit=question.unit,
        n=int(question.rows[worst]),
        detail=dict(detail),
    )


def remember_since(checks: tuple[Check, ...], start: str, state: State | None) -> tuple[Check, ...]:
    """Set since when each check has not passed, and forget those that pass again."""
    if state is None:
        return checks
    failing = {check.name for check in checks if check.status is not Status.PASS}
    state.since = {name: state.since.get(name, start) for name in sorted(failing)}
    return tuple(_since(check, state.since.get(check.name)) for check in checks)


def _since(check: Check, since: str | None) -> Check:
    return replace(check, since=since)
