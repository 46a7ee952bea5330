"""Verdicts as Prometheus metrics, by text file or push, and the alert rules over them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import CollectorRegistry, Gauge, generate_latest, push_to_gateway

from fairtag.base.errors import UnavailableError
from fairtag.base.files import write_text
from fairtag.base.types import Status
from monitoring.job_report import JobReport, exit_code
from monitoring.report.knowledge import check_names, knowledge

PUSH_SECONDS = 10.0
STALE_HOURS = 3  # an hourly job that has not ended for so long is itself a problem


def registry(verdicts: Sequence[JobReport], now: datetime) -> CollectorRegistry:
    """A registry of one run: statuses, changes with intervals, rows, and the end of the window."""
    metrics = CollectorRegistry()
    status = Gauge("fairtag_monitoring_status", "0 pass, 1 warn, 2 page, 3 could not tell", ["job"], registry=metrics)
    check = Gauge("fairtag_monitoring_check", "Status of a check", ["job", "check", "component"], registry=metrics)
    change = Gauge("fairtag_monitoring_change", "Change", ["job", "check", "component", "bound"], registry=metrics)
    left = Gauge("fairtag_monitoring_not_judged", "Checks listed that do not decide", ["job"], registry=metrics)
    rows = Gauge("fairtag_monitoring_rows", "Rows of the window", ["job", "kind"], registry=metrics)
    ended = Gauge("fairtag_monitoring_last_run_timestamp_seconds", "End of the last window", ["job"], registry=metrics)
    for verdict in verdicts:
        status.labels(verdict.job).set(exit_code(verdict.status))
        # of the window, not of this call: a job that no longer runs must fall silent beside those that do
        ended.labels(verdict.job).set(min(now, datetime.fromisoformat(verdict.end)).timestamp())
        for kind in ("rows", "kept", "duplicates", "late", "future"):
            rows.labels(verdict.job, kind).set(verdict.intake.get(kind, 0))
        left.labels(verdict.job).set(len(verdict.not_judged))
        for each in verdict.checks:
            labels = (verdict.job, each.name, each.component)
            if each.decides:
                check.labels(*labels).set(exit_code(each.status))
            for bound, value in (("value", each.change), ("low", each.low), ("high", each.high)):
                if value is not None:
                    change.labels(*labels, bound).set(value)
    return metrics


def write_metrics(verdicts: Sequence[JobReport], path: Path, now: datetime) -> Path:
    """Write the metrics for node exporter's text-file collector; the file is whole or absent."""
    return write_text(path, generate_latest(registry(verdicts, now)).decode())


def push_metrics(verdicts: Sequence[JobReport], gateway: str, now: datetime) -> None:
    """Push the metrics to a gateway, one group a job, so that a job that did not run keeps its last figures.

    Raises:
        UnavailableError: The gateway did not answer.
    """
    for verdict in verdicts:
        try:
            push_to_gateway(gateway, f"fairtag-{verdict.job}", registry([verdict], now), timeout=PUSH_SECONDS)
        except OSError as error:
            raise UnavailableError(f"the push gateway {gateway} did not take the metrics: {error}") from error


def alert_rules(runbook: str) -> dict[str, Any]:
    """Prometheus alert rules, one pair a check of the table of knowledge, each with its runbook entry.

    A check is selected by the part of its name before a colon, which :mod:`monitoring.report.knowledge` is keyed by.
    """
    rules = [rule for check in check_names() for rule in _rules(check, runbook)]
    stale = {
        "alert": "FairtagMonitoringSilent",
        "expr": f"time() - fairtag_monitoring_last_run_timestamp_seconds > {STALE_HOURS * 3600}",
        "labels": {"severity": "page"},
        "annotations": {
            "summary": "Monitoring job {{ $labels.job }} has not ended for hours",
            "runbook_url": f"{runbook}#monitoring-silent",
        },
    }
    return {"groups": [{"name": "fairtag-monitoring", "rules": [*rules, stale]}]}


def write_rules(path: Path, runbook: str) -> Path:
    """Write the rules as YAML."""
    return write_text(path, yaml.safe_dump(alert_rules(runbook), sort_keys=False, width=120))


def _rules(check: str, runbook: str) -> list[dict[str, Any]]:
    known = knowledge(check)
    levels = ((Status.URGENT, "page"), (Status.UNKNOWN, "ticket"), (Status.WARN, "ticket"))
    camel = "".join(part.capitalize() for part in check.split("_"))
    return [
        {
            "alert": f"Fairtag{camel}{status.name.title().replace('_', '')}",
            "expr": f'max by (job, check) (fairtag_monitoring_check{{check=~"{check}(:.*)?"}} == {exit_code(status)})',
            "labels": {"severity": severity},
            "annotations": {
                "summary": f"{known.heading()} ({{{{ $labels.job }}}})",
                "description": known.action,
                "runbook_url": f"{runbook}#{known.entry}",
            },
        }
        for status, severity in levels
    ]
