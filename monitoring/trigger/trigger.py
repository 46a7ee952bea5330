"""Decides whether verdicts start a training run, starts it once, and forgets nothing.

One decision at a time, under a lock. A start that is decided is written down (``due``) before it is attempted, so that
a crash or a target that is down delays it and never loses it: the next call tries again. The same finding starts one
run, however often it is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from fairtag.base.errors import UnavailableError
from fairtag.base.files import canonical_json, sha256_text
from monitoring.job_report import JobReport
from monitoring.trigger.ledger import Entry, Ledger
from monitoring.trigger.targets import Request, Started, Target
from monitoring.trigger.trigger_policy import TriggerPolicy

LEDGER = "ledger.jsonl"
LOCK_SECONDS = 1.0  # a second trigger at the same time gives way: the first one decides for both
RETRY_SECONDS = 1.0


@dataclass(frozen=True)
class Decision:
    """What one call of the trigger came to.

    Args:
        event: The last ledger event of the call.
        reason: In words.
        run: The target's name of the run, when one was started.
    """

    event: str
    reason: str
    run: str = ""


class Trigger:
    """The trigger over one folder.

    Args:
        policy: When and where.
        folder: Holds the ledger, the lock and the evidence files.
        target: Where runs go.
        wait_seconds: First wait between attempts at the target; doubled each time.
    """

    def __init__(
        self, policy: TriggerPolicy, folder: Path, target: Target, *, wait_seconds: float = RETRY_SECONDS
    ) -> None:
        self._policy = policy
        self._folder = folder
        self._target = target
        self._wait = wait_seconds
        self.ledger = Ledger(folder / LEDGER)

    def call(self, verdicts: Sequence[JobReport], now: datetime) -> Decision:
        """Try what is still due, then decide on the verdicts.

        Args:
            verdicts: Verdicts of the latest runs of the jobs.
            now: The present, aware.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "trigger.lock", timeout=LOCK_SECONDS):
                return self._decide(verdicts, now)
        except Timeout:
            return Decision("busy", "another trigger is deciding; this one gave way")

    def _decide(self, verdicts: Sequence[JobReport], now: datetime) -> Decision:
        entries = self.ledger.entries()
        due = _open_request(entries) or self._judge(verdicts, entries, now)
        if isinstance(due, Decision):
            return due
        if self._policy.quiet_hours is not None and self._policy.quiet_hours.hold(now):
            return Decision("waiting", f"{due.reason}; {due.request} waits for the end of the quiet hours")
        return self._start(due, now)

    def _judge(self, verdicts: Sequence[JobReport], entries: Sequence[Entry], now: datetime) -> Entry | Decision:
        """The start that the verdicts ask for, written down; or why there is none."""
        recent = [verdict for verdict in verdicts if self._policy.recent(verdict, now)]
        calls = {verdict.job: list(checks) for verdict in recent if (checks := self._policy.calls(verdict))}
        if not calls:
            return Decision("nothing", "no verdict asks for a run")
        calling = [verdict for verdict in verdicts if verdict.job in calls]
        fingerprints = tuple(sorted(verdict.fingerprint for verdict in calling))
        name = "retrain-" + sha256_text(canonical_json([now.isoformat(), *fingerprints]))[:12]
        entry = Entry(now.isoformat(), "due", name, _reason(calls, calling), fingerprints, calls)
        refusal = self._refusal(entries, fingerprints, now)
        if refusal is not None:
            self.ledger.append(replace(entry, event="skipped", reason=f"{refusal}; {entry.reason}"))
            return Decision("skipped", refusal)
        evidence = {"verdicts": [_evidence(verdict, calls[verdict.job]) for verdict in calling]}
        entry = replace(entry, detail=evidence, event="would_start" if self._policy.dry_run else "due")
        self.ledger.append(entry)
        return Decision("would_start", entry.reason) if self._policy.dry_run else entry

    def _refusal(self, entries: Sequence[Entry], fingerprints: tuple[str, ...], now: datetime) -> str | None:
        starts = [entry for entry in entries if entry.event in ("started", "would_start")]
        policy = self._policy
        repeats = [e for e in starts if e.fingerprints == fingerprints]
        if repeats and now - repeats[-1].time < timedelta(hours=policy.repeat_after_hours):
            return f"this finding already started {repeats[-1].request} at {repeats[-1].at}"
        if starts and now - starts[-1].time < timedelta(hours=policy.cooldown_hours):
            return f"cooldown of {policy.cooldown_hours:g} h since {starts[-1].request} at {starts[-1].at}"
        today = [entry for entry in starts if now - entry.time < timedelta(hours=24)]
        if len(today) >= policy.max_per_day:
            return f"{len(today)} runs in 24 h, the cap is {policy.max_per_day}"
        return None

    def _start(self, due: Entry, now: datetime) -> Decision:
        evidence = {"request": due.request, "reason": due.reason, "checks": due.checks, "at": due.at, **due.detail}
        request = Request(due.request, due.reason, evidence, self._folder / "evidence")
        try:
            started = self._attempt(request)
        except UnavailableError as error:
            self._note(due, "failed", now, f"{due.reason}; the target failed: {error}")
            return Decision("failed", f"the target failed and will be tried again: {error}")
        self._note(due, "started", now, due.reason, started.run)
        if started.outcome:
            said = "the new model was accepted" if started.outcome == "accepted" else "rejected; the champion stays"
            self._note(due, "finished", now, f"{said} {started.note}".strip(), started.run)
        return Decision("started", due.reason, started.run)

    def _attempt(self, request: Request) -> Started:
        retrying = Retrying(
            stop=stop_after_attempt(self._policy.attempts),
            wait=wait_exponential(multiplier=self._wait, max=60),
            retry=retry_if_exception_type(UnavailableError),
        )
        try:
            started: Started = retrying(self._target.start, request)
        except RetryError as error:
            raise UnavailableError(str(error.last_attempt.exception())) from error
        return started

    def _note(self, due: Entry, event: str, now: datetime, reason: str, run: str = "") -> None:
        self.ledger.append(Entry(now.isoformat(), event, due.request, reason, due.fingerprints, due.checks, run))


def _open_request(entries: Sequence[Entry]) -> Entry | None:
    """The oldest start that was decided and never happened."""
    started = {entry.request for entry in entries if entry.event == "started"}
    return next((entry for entry in entries if entry.event == "due" and entry.request not in started), None)


def _reason(calls: dict[str, list[str]], verdicts: Sequence[JobReport]) -> str:
    status = {verdict.job: verdict.status.value for verdict in verdicts}
    return "; ".join(f"{job} says {status[job]}: {', '.join(checks)}" for job, checks in sorted(calls.items()))


def _evidence(verdict: JobReport, checks: Sequence[str]) -> dict[str, Any]:
    document = verdict.as_json()
    kept = {key: document[key] for key in ("schema", "job", "status", "fingerprint", "window", "model_versions")}
    return {**kept, "checks": [check for check in document["checks"] if check["name"] in checks]}
