"""The drift, performance and fairness jobs in memory, hour by hour, as an hourly CronJob runs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from fairtag.base import schema
from fairtag.fairness.audit_limits import AuditLimits
from fairtag.fairness.group_measures import AuditSample
from fairtag.profile.builder import Profile
from monitoring.detect.checks import ChangeDetector
from monitoring.detect.scan import scan
from monitoring.detect.state import State
from monitoring.detect.window import Window
from monitoring.inputs import Inputs
from monitoring.job_report import Check
from monitoring.jobs import drift_checks, performance
from monitoring.jobs.fairness_checks import gap_comparison, gap_of
from monitoring.settings import Settings

BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class HourlyMonitors:
    """The monitors of one deployment, with the evidence that they have gathered.

    Args:
        profile: Training profile of the model.
        groups: Audit table of one attribute, with pseudonyms.
        settings: Settings of the deployment.
        jobs: Jobs that run.
        states: Evidence of each job.
        waiting: Joined quotes with too few purchases to be judged yet.
    """

    profile: Profile
    groups: pd.DataFrame
    settings: Settings = field(default_factory=Settings)
    jobs: tuple[str, ...] = ("drift", "performance", "fairness")
    states: dict[str, State] = field(default_factory=dict)
    waiting: list[pd.DataFrame] = field(default_factory=list)

    def look(self, quotes: pd.DataFrame, outcomes: pd.DataFrame) -> list[Check]:
        """The checks of every job on one more hour."""
        answers = {"drift": self._drift, "performance": self._performance, "fairness": self._fairness}
        return [check for job in self.jobs for check in answers[job](quotes, outcomes)]

    def _state(self, job: str) -> State:
        return self.states.setdefault(job, State(cursor=BEGINNING))

    def _drift(self, quotes: pd.DataFrame, outcomes: pd.DataFrame) -> list[Check]:
        del outcomes
        found = scan([quotes], self.profile, cursor=BEGINNING, sums_only=True)
        comparisons = drift_checks.comparisons(found, self.profile, self.settings, 1.0)
        detector = ChangeDetector(self.settings, len(comparisons), 1.0, self._state("drift"))
        return [detector.check(comparison) for comparison in comparisons]

    def _performance(self, quotes: pd.DataFrame, outcomes: pd.DataFrame) -> list[Check]:
        self.waiting.append(performance.join_outcomes(quotes, outcomes).frame)
        frame = pd.concat(self.waiting, ignore_index=True)
        if int((frame[schema.QUANTITY] > 0).sum()) < performance.STEP_PURCHASES:
            return []  # as the job itself waits for more
        self.waiting.clear()
        now = frame[schema.TS].max().to_pydatetime()
        window = Window(BEGINNING, now, now)
        inputs = Inputs("", window, Path(), Path(), self.settings)
        comparisons = performance.comparisons(frame, frame, self.profile, inputs)
        detector = ChangeDetector(self.settings, len(comparisons), 1.0, self._state("performance"))
        return [detector.check(comparison) for comparison in comparisons]

    def _fairness(self, quotes: pd.DataFrame, outcomes: pd.DataFrame) -> list[Check]:
        del outcomes
        side = AuditSample.of(quotes, self.groups)
        attribute = str(self.groups[schema.ATTRIBUTE].iloc[0])
        changes = {group: gap_of(side, group) for group in side.names}
        detector = ChangeDetector(self.settings, len(changes), 1.0, self._state("fairness"))
        comparisons = [
            gap_comparison(attribute, group, change, change, side.rows, group, AuditLimits())
            for group, change in changes.items()
        ]
        return [detector.check(comparison) for comparison in comparisons]
