"""Job reports as Prometheus metrics, by text file or push gateway, and the alert rules over them."""

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
from monitoring.runbook import check_names, runbook_entry

PUSH_SECONDS = 10.0
STALE_HOURS = 3  # an hourly job that has not ended for this long is a problem in itself
CODES = "0 pass, 1 warn, 2 urgent, 3 cannot tell"
SEVERITIES = ((Status.URGENT, "urgent"), (Status.UNKNOWN, "ticket"), (Status.WARN, "ticket"))


def registry(reports: Sequence[JobReport], now: datetime) -> CollectorRegistry:
    """A registry with the statuses, changes with intervals, rows and window ends of one run."""
    metrics = CollectorRegistry()
    by_check = ["job", "check", "component"]
    status = Gauge("fairtag_monitoring_status", f"Status of a job: {CODES}", ["job"], registry=metrics)
    check = Gauge("fairtag_monitoring_check", f"Status of a check: {CODES}", by_check, registry=metrics)
    change = Gauge(
        "fairtag_monitoring_change", "Change of a check, with its 90 % interval", [*by_check, "bound"], registry=metrics
    )
    undecided = Gauge(
        "fairtag_monitoring_not_judged", "Checks that are listed but do not decide", ["job"], registry=metrics
    )
    rows = Gauge("fairtag_monitoring_rows", "Rows of the window, by kind", ["job", "kind"], registry=metrics)
    ended = Gauge("fairtag_monitoring_last_run_timestamp_seconds", "End of the last window", ["job"], registry=metrics)
    for report in reports:
        status.labels(report.job).set(exit_code(report.status))
        # the end of the window, not the time of this call: a job that stopped running must not look alive
        ended.labels(report.job).set(min(now, datetime.fromisoformat(report.end)).timestamp())
        for kind in ("rows", "kept", "duplicates", "late", "future"):
            rows.labels(report.job, kind).set(report.intake.get(kind, 0))
        undecided.labels(report.job).set(len(report.not_judged))
        for each in report.checks:
            labels = (report.job, each.name, each.component)
            if each.decides:
                check.labels(*labels).set(exit_code(each.status))
            for bound, value in (("value", each.change), ("low", each.low), ("high", each.high)):
                if value is not None:
                    change.labels(*labels, bound).set(value)
    return metrics


def write_metrics(reports: Sequence[JobReport], path: Path, now: datetime) -> Path:
    """Write the metrics for node exporter's text-file collector, atomically."""
    return write_text(path, generate_latest(registry(reports, now)).decode())


def push_metrics(reports: Sequence[JobReport], gateway: str, now: datetime) -> None:
    """Push the metrics to a gateway, one group for each job, so that a job that did not run keeps its last figures.

    Raises:
        UnavailableError: The gateway did not answer.
    """
    for report in reports:
        try:
            push_to_gateway(gateway, f"fairtag-{report.job}", registry([report], now), timeout=PUSH_SECONDS)
        except OSError as error:
            raise UnavailableError(f"the push gateway {gateway} did not accept the metrics: {error}") from error


def alert_rules(runbook: str) -> dict[str, Any]:
    """Prometheus alert rules: three for each check of the runbook table, with a link to its section.

    A rule selects a check by the part of its name before a colon, as :func:`monitoring.runbook.runbook_entry` does.
    """
    rules = [rule for check in check_names() for rule in _rules(check, runbook)]
    silent = {
        "alert": "FairtagMonitoringSilent",
        "expr": f"time() - fairtag_monitoring_last_run_timestamp_seconds > {STALE_HOURS * 3600}",
        "labels": {"severity": "urgent"},
        "annotations": {
            "summary": f"The monitoring job {{{{ $labels.job }}}} has not ended for {STALE_HOURS} hours",
            "description": "Read the log of the job's last pod. Until the job runs again, its checks are not watched.",
            "runbook_url": f"{runbook}#monitoring-silent",
        },
    }
    return {"groups": [{"name": "fairtag-monitoring", "rules": [*rules, silent]}]}


def write_rules(path: Path, runbook: str) -> Path:
    """Write the rules as YAML."""
    return write_text(path, yaml.safe_dump(alert_rules(runbook), sort_keys=False, width=120))


def _rules(check: str, runbook: str) -> list[dict[str, Any]]:
    entry = runbook_entry(check)
    unsure = "Cannot tell: "
    camel = "".join(part.capitalize() for part in check.split("_"))
    return [
        {
            "alert": f"Fairtag{camel}{status.value.title()}",
            "expr": f'max by (job, check) (fairtag_monitoring_check{{check=~"{check}(:.*)?"}} == {exit_code(status)})',
            "labels": {"severity": severity},
            "annotations": {
                "summary": f"{unsure * (status is Status.UNKNOWN)}{entry.heading()} ({{{{ $labels.job }}}})",
                "description": entry.action,
                "runbook_url": f"{runbook}#{entry.section}",
            },
        }
        for status, severity in SEVERITIES
    ]
