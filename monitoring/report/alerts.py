"""Alerts from job reports: a problem is notified once, daily while it lasts, when it gets worse, and at its end.

The open alerts are a JSON file. :func:`update_alert_file` brings it up to date and returns the notifications; the
caller sends them. The Prometheus rules in :mod:`monitoring.report.prometheus` come from the same table of checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fairtag.base.errors import DataError, UnavailableError
from fairtag.base.files import read_json, write_json
from fairtag.base.types import SEVERITY, Status
from monitoring.job_report import Check, JobReport
from monitoring.runbook import runbook_entry

SCHEMA = "fairtag.alerts/2"  # 2: status "urgent" instead of "page"; notified_at, quiet_windows, section
REPEAT = timedelta(hours=24)  # an open alert is notified again once a day
LOCK_SECONDS = 60.0
QUIET_WINDOWS = 3  # windows without the problem after which the alert ends: one good hour is not a recovery


@dataclass(frozen=True)
class Alert:
    """One problem from its first window to its last.

    Args:
        key: "job/check", the same in every window.
        status: Worst status so far.
        summary: Latest summary of the check.
        since: Time of the first window with the problem (ISO).
        notified_at: Time of the last notification (ISO).
        quiet_windows: Consecutive windows without the problem.
        section: Section of the runbook.
    """

    key: str
    status: Status
    summary: str
    since: str
    notified_at: str
    quiet_windows: int = 0
    section: str = ""


@dataclass(frozen=True)
class Notification:
    """An alert to send now; ``event`` is ``new``, ``worse``, ``still`` or ``ended``."""

    event: str
    alert: Alert


def read_alerts(path: Path) -> dict[str, Alert]:
    """Read the open alerts by key; empty if there is no file.

    Raises:
        DataError: The file has another schema or is damaged.
    """
    if not path.is_file():
        return {}
    try:
        document = read_json(path)
        if document["schema"] != SCHEMA:
            raise DataError(
                f"{path}: schema {document['schema']!r}, this version reads {SCHEMA}; remove the file to start afresh"
            )
        alerts = [Alert(**{**entry, "status": Status(entry["status"])}) for entry in document["alerts"]]
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: the open alerts are damaged ({error}); remove the file to start afresh") from error
    return {alert.key: alert for alert in alerts}


def write_alerts(alerts: dict[str, Alert], path: Path) -> Path:
    """Write the open alerts atomically."""
    entries: list[dict[str, Any]] = [asdict(alert) for _, alert in sorted(alerts.items())]
    return write_json(path, {"schema": SCHEMA, "alerts": entries})


def update_alert_file(path: Path, reports: Sequence[JobReport], now: datetime) -> list[Notification]:
    """Bring the file of open alerts up to date, under a lock, and return the notifications to send.

    Args:
        path: The file of the open alerts.
        reports: The reports of this run.
        now: The present, with a time zone.

    Raises:
        DataError: The file has another schema or is damaged.
        UnavailableError: Another run has held the file for :data:`LOCK_SECONDS`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            alerts, notifications = update_alerts(read_alerts(path), reports, now)
            write_alerts(alerts, path)
    except Timeout as error:
        raise UnavailableError(
            f"{path}: another run has held the open alerts for {LOCK_SECONDS:.0f} s; try again when it has ended"
        ) from error
    return notifications


def update_alerts(
    open_alerts: dict[str, Alert], reports: Sequence[JobReport], now: datetime
) -> tuple[dict[str, Alert], list[Notification]]:
    """The open alerts after one more run of the jobs, and the notifications to send.

    An alert of a job that did not run stays as it is.

    Args:
        open_alerts: Open alerts before the run.
        reports: The reports of this run.
        now: The present, with a time zone.
    """
    after = dict(open_alerts)
    notifications: list[Notification] = []
    for report in reports:
        failing = _worst_by_key(report)
        for key, check in failing.items():
            alert, event = _continue(open_alerts.get(key), key, check, now)
            after[key] = alert
            if event:
                notifications.append(Notification(event, alert))
        for key in [key for key in open_alerts if key.startswith(f"{report.job}/") and key not in failing]:
            alert = replace(open_alerts[key], quiet_windows=open_alerts[key].quiet_windows + 1)
            after[key] = alert
            if alert.quiet_windows >= QUIET_WINDOWS:
                del after[key]
                notifications.append(Notification("ended", alert))
    return after, notifications


def _worst_by_key(report: JobReport) -> dict[str, Check]:
    worst: dict[str, Check] = {}
    for check in report.failing:  # worst first
        worst.setdefault(f"{report.job}/{check.name}", check)
    return worst


def _continue(alert: Alert | None, key: str, check: Check, now: datetime) -> tuple[Alert, str]:
    """The alert after one more window with the problem, and the event to notify, empty for none."""
    section = runbook_entry(check.name).section
    if alert is None:
        return Alert(key, check.status, check.summary, now.isoformat(), now.isoformat(), 0, section), "new"
    worse = SEVERITY.index(check.status) < SEVERITY.index(alert.status)
    due = now - datetime.fromisoformat(alert.notified_at) >= REPEAT
    event = "worse" if worse else "still" if due else ""
    # an alert keeps its worst status to its end, so that a flapping problem is not notified each time
    status = check.status if worse else alert.status
    notified_at = now.isoformat() if event else alert.notified_at
    return Alert(key, status, check.summary, alert.since, notified_at, 0, section), event
