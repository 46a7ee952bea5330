"""Decides whether job reports start a training run, starts it once, and records everything in the ledger.

Decisions are made one at a time, under a lock. A start is recorded as ``due`` before it is attempted: after a crash or
with an unavailable target, the next call tries again. The same finding starts one run, however often it is reported.

    trigger = Trigger(policy, folder, target_of(policy.target))
    decision = trigger.call(read_reports(out), now)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from fairtag.base.errors import UnavailableError
from fairtag.base.files import canonical_json, sha256_text
from monitoring.job_report import JobReport
from monitoring.trigger.ledger import Entry, Ledger
from monitoring.trigger.targets import Run, RunRequest, Target
from monitoring.trigger.trigger_policy import TriggerPolicy

LEDGER = "ledger.jsonl"
LOCK_SECONDS = 1.0  # a second trigger at the same time gives way to the first
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Decision:
    """The result of one call of the trigger.

    Args:
        event: The last ledger event of the call, or ``nothing``, ``waiting`` or ``busy``.
        reason: Reason in words.
        run: The target's name of the run, if one was started.
    """

    event: str
    reason: str
    run: str = ""


class Trigger:
    """The trigger of one folder.

    Args:
        policy: When to start a run, and where.
        folder: Folder of the ledger, the lock and the evidence files.
        target: Where runs go.
        wait_seconds: First wait between attempts at the target; it doubles each time.
        key: Signs the head of the ledger; None does not.
    """

    def __init__(
        self,
        policy: TriggerPolicy,
        folder: Path,
        target: Target,
        *,
        wait_seconds: float = RETRY_SECONDS,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        self._policy = policy
        self._folder = folder
        self._target = target
        self._wait = wait_seconds
        self.ledger = Ledger(folder / LEDGER, key)

    def call(self, reports: Sequence[JobReport], now: datetime) -> Decision:
        """Start the run that is still due; if there is none, decide on the reports.

        Args:
            reports: Latest report of each job.
            now: The present, with a time zone.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "trigger.lock", timeout=LOCK_SECONDS):
                return self._decide(reports, now)
        except Timeout:
            return Decision("busy", "another trigger is deciding now; this one did nothing")

    def _decide(self, reports: Sequence[JobReport], now: datetime) -> Decision:
        entries = self.ledger.entries()
        due = _open_request(entries) or self._decide_on(reports, entries, now)
        if isinstance(due, Decision):
            return due
        if self._policy.quiet_hours is not None and self._policy.quiet_hours.hold(now):
            return Decision("waiting", f"{due.reason}; {due.request} waits until the quiet hours end")
        return self._start(due, now)

    def _decide_on(self, reports: Sequence[JobReport], entries: Sequence[Entry], now: datetime) -> Entry | Decision:
        """The ledger entry of the start that the reports call for, or the decision to start none."""
        recent = [report for report in reports if self._policy.recent(report, now)]
        calls = {report.job: list(checks) for report in recent if (checks := self._policy.calls(report))}
        if not calls:
            return Decision("nothing", "no report calls for a run")
        calling = [report for report in reports if report.job in calls]
        fingerprints = tuple(sorted(report.fingerprint for report in calling))
        name = "retrain-" + sha256_text(canonical_json([now.isoformat(), *fingerprints]))[:12]
        entry = Entry(now.isoformat(), "due", name, _reason(calls, calling), fingerprints, calls)
        refusal = self._refusal(entries, fingerprints, now)
        if refusal is not None:
            self.ledger.append(replace(entry, event="skipped", reason=f"{refusal}; {entry.reason}"))
            return Decision("skipped", refusal)
        evidence = {"reports": [_evidence(report, calls[report.job]) for report in calling]}
        entry = replace(entry, detail=evidence, event="would_start" if self._policy.dry_run else "due")
        self.ledger.append(entry)
        return Decision("would_start", entry.reason) if self._policy.dry_run else entry

    def _refusal(self, entries: Sequence[Entry], fingerprints: tuple[str, ...], now: datetime) -> str | None:
        starts = [entry for entry in entries if entry.event in ("started", "would_start")]
        policy = self._policy
        repeats = [e for e in starts if e.fingerprints == fingerprints]
        if repeats and now - repeats[-1].time < timedelta(hours=policy.repeat_after_hours):
            return f"the same finding started {repeats[-1].request} at {repeats[-1].at}"
        if starts and now - starts[-1].time < timedelta(hours=policy.cooldown_hours):
            return f"cooldown of {policy.cooldown_hours:g} h after {starts[-1].request} at {starts[-1].at}"
        today = [entry for entry in starts if now - entry.time < timedelta(hours=24)]
        if len(today) >= policy.max_per_day:
            return f"{len(today)} runs in 24 h, the limit is {policy.max_per_day}"
        return None

    def _start(self, due: Entry, now: datetime) -> Decision:
        evidence = {"request": due.request, "reason": due.reason, "checks": due.checks, "at": due.at, **due.detail}
        request = RunRequest(due.request, due.reason, evidence, self._folder / "evidence")
        try:
            run = self._attempt(request)
        except UnavailableError as error:
            self._note(due, "failed", now, f"{due.reason}; the target failed: {error}")
            return Decision("failed", f"the target failed, the next call tries again: {error}")
        self._note(due, "started", now, due.reason, run.name)
        if run.outcome:
            text = "the new model was accepted" if run.outcome == "accepted" else "rejected; the champion stays"
            self._note(due, "finished", now, f"{text} {run.note}".strip(), run.name)
        return Decision("started", due.reason, run.name)

    def _attempt(self, request: RunRequest) -> Run:
        retrying = Retrying(
            stop=stop_after_attempt(self._policy.attempts),
            wait=wait_exponential(multiplier=self._wait, max=60),
            retry=retry_if_exception_type(UnavailableError),
        )
        try:
            run: Run = retrying(self._target.start, request)
        except RetryError as error:
            raise UnavailableError(str(error.last_attempt.exception())) from error
        return run

    def _note(self, due: Entry, event: str, now: datetime, reason: str, run: str = "") -> None:
        self.ledger.append(Entry(now.isoformat(), event, due.request, reason, due.fingerprints, due.checks, run))


def _open_request(entries: Sequence[Entry]) -> Entry | None:
    """The oldest start that is due and has not happened."""
    started = {entry.request for entry in entries if entry.event == "started"}
    return next((entry for entry in entries if entry.event == "due" and entry.request not in started), None)


def _reason(calls: dict[str, list[str]], reports: Sequence[JobReport]) -> str:
    status = {report.job: report.status.value for report in reports}
    return "; ".join(f"{job} is {status[job]}: {', '.join(checks)}" for job, checks in sorted(calls.items()))


def _evidence(report: JobReport, checks: Sequence[str]) -> dict[str, Any]:
    document = report.as_json()
    head = {key: document[key] for key in ("schema", "job", "status", "fingerprint", "window", "model_versions")}
    return {**head, "checks": [check for check in document["checks"] if check["name"] in checks]}
