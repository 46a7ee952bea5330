"""Alerts out of verdicts: each problem told once, again when it gets worse or stays, and when it ends.

The state is a JSON file; the caller sends what :func:`tell` returns. The Prometheus rules are made from the same
table of checks, so that every alert has its runbook entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.files import read_json, write_json
from fairtag.base.types import Status
from monitoring.job_report import SEVERITY, Check, JobReport
from monitoring.report.knowledge import knowledge

SCHEMA = "fairtag.alerts/1"
REPEAT = timedelta(hours=24)  # an alert that stays is told again once a day
LOCK_SECONDS = 60.0
QUIET_WINDOWS = 3  # windows without the finding after which it has ended: one good hour is no recovery


@dataclass(frozen=True)
class Alert:
    """One problem over its life.

    Args:
        key: job/check, the identity over windows.
        status: Present severity.
        summary: The latest sentence about it.
        since: When it was first seen (ISO).
        told: When it was last told (ISO).
        quiet: Windows in a row without it.
        runbook: Entry of the runbook.
    """

    key: str
    status: Status
    summary: str
    since: str
    told: str
    quiet: int = 0
    runbook: str = ""


@dataclass(frozen=True)
class Update:
    """What is to be told now: ``event`` is ``new``, ``worse``, ``still`` or ``ended``."""

    event: str
    alert: Alert


def read_alerts(path: Path) -> dict[str, Alert]:
    """Open alerts by key; none when there is no file.

    Raises:
        DataError: The file is of another schema or damaged.
    """
    if not path.is_file():
        return {}
    try:
        document = read_json(path)
        if document["schema"] != SCHEMA:
            raise DataError(f"{path}: schema {document['schema']!r}; this version reads {SCHEMA}")
        alerts = [Alert(**{**entry, "status": Status(entry["status"])}) for entry in document["alerts"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the open alerts cannot be read ({error}); remove the file to start afresh") from error
    return {alert.key: alert for alert in alerts}


def write_alerts(alerts: dict[str, Alert], path: Path) -> Path:
    """Write the open alerts."""
    entries: list[dict[str, Any]] = [asdict(alert) for _, alert in sorted(alerts.items())]
    return write_json(path, {"schema": SCHEMA, "alerts": entries})


def tell(path: Path, verdicts: Sequence[JobReport], now: datetime) -> list[Update]:
    """Bring the open alerts of a file up to date and return what is to be told; jobs that end at once take turns.

    Args:
        path: The file of the open alerts.
        verdicts: The verdicts of this run.
        now: The present, aware.

    Raises:
        DataError: The file is of another schema or damaged.
        UnavailableError: Another run holds it for a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            alerts, told = update(read_alerts(path), verdicts, now)
            write_alerts(alerts, path)
    except Timeout as error:
        raise UnavailableError(f"{path}: another run holds the open alerts for {LOCK_SECONDS:.0f} s") from error
    return told


def update(
    open_alerts: dict[str, Alert], verdicts: Sequence[JobReport], now: datetime
) -> tuple[dict[str, Alert], list[Update]]:
    """The alerts after one more run of the jobs, and what is to be told.

    An alert of a job that did not run is left as it is.

    Args:
        open_alerts: Alerts before.
        verdicts: The verdicts of this run.
        now: The present, aware.
    """
    after = dict(open_alerts)
    told: list[Update] = []
    for verdict in verdicts:
        found = _worst_by_key(verdict)
        for key, check in found.items():
            alert, event = _seen(open_alerts.get(key), key, check, now)
            after[key] = alert
            if event:
                told.append(Update(event, alert))
        for key in [key for key in open_alerts if key.startswith(f"{verdict.job}/") and key not in found]:
            alert = _unseen(open_alerts[key])
            after[key] = alert
            if alert.quiet >= QUIET_WINDOWS:
                del after[key]
                told.append(Update("ended", alert))
    return after, told


def _worst_by_key(verdict: JobReport) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for check in verdict.failing:  # worst first
        found.setdefault(f"{verdict.job}/{check.name}", check)
    return found


def _seen(known: Alert | None, key: str, check: Check, now: datetime) -> tuple[Alert, str]:
    entry = knowledge(check.name).entry
    if known is None:
        return Alert(key, check.status, check.summary, now.isoformat(), now.isoformat(), 0, entry), "new"
    worse = SEVERITY.index(check.status) < SEVERITY.index(known.status)
    due = now - datetime.fromisoformat(known.told) >= REPEAT
    told = now.isoformat() if worse or due else known.told
    # within its life an alert keeps its worst severity, so that a flapping one is not new each time
    status = check.status if worse else known.status
    return Alert(key, status, check.summary, known.since, told, 0, entry), "worse" if worse else "still" if due else ""


def _unseen(known: Alert) -> Alert:
    return Alert(known.key, known.status, known.summary, known.since, known.told, known.quiet + 1, known.runbook)
