"""Runs monitoring jobs and writes their reports, the HTML report, the metrics and the alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from fairtag.base.errors import FairtagError, MissingDataError
from fairtag.base.types import Status
from monitoring.first_inputs import FirstInputs
from monitoring.inputs import Inputs
from monitoring.job_report import Check, JobReport, read_report
from monitoring.report.alerts import Notification, update_alert_file
from monitoring.report.html_report import write_html_report
from monitoring.report.prometheus import push_metrics, write_metrics
from monitoring.trigger.ledger import Ledger
from monitoring.trigger.trigger import LEDGER

PURPOSE = {
    "drift": "Have prices, demand, queries or the catalogue moved away from training?",
    "performance": "Do customers buy as the model predicts?",
    "fairness": "Are all price promises kept, and do groups of customers pay the same for the same item?",
    "quality": "Is the quote log complete, in range, on time and disclosed?",
    "stock": "Which items are about to run out, and which do not sell?",
    "all": "Run every job whose inputs are given and write one report.",
}
JOBS = tuple(name for name in PURPOSE if name != "all")


def jobs_for(inputs: Inputs) -> tuple[str, ...]:
    """The jobs that ``all`` runs: every job whose inputs are given."""
    needed = {"performance": inputs.outcomes, "fairness": inputs.audit, "stock": inputs.tables}
    return tuple(name for name in JOBS if needed.get(name, "given") is not None)


def run_jobs(
    names: Sequence[str], inputs: Inputs, progress: Callable[[str], None] = lambda _: None
) -> tuple[JobReport, ...]:
    """Run jobs in order and write the report of each to ``<out>/<job>.json``.

    A job that cannot run (a missing table, a damaged file) does not stop the others: its report has the status unknown,
    with the reason. An hourly job that has nothing to read yet waits (:mod:`monitoring.first_inputs`).

    Args:
        names: Jobs, of :data:`JOBS`.
        inputs: What they read and where they write.
        progress: Called with a line as each job begins, and within one where a part takes long.

    Raises:
        FairtagError: Only one job was named, and it could not run.
    """
    reports = []
    for number, name in enumerate(names, start=1):
        progress(f"{name}, job {number} of {len(names)}")
        reports.append(_run(name, replace(inputs, say=progress), alone=len(names) == 1))
    for report in reports:
        report.save(inputs.out / f"{report.job}.json")
    return tuple(reports)


def publish(
    reports: Sequence[JobReport], inputs: Inputs, *, ledger: Path | None = None, push: str | None = None
) -> list[Notification]:
    """Write ``report.html``, ``metrics.prom`` and the open alerts; return the notifications to send.

    Jobs that run one at a time share the folder, so that the HTML report and the metrics show the latest report of
    every job in it.

    Args:
        reports: Reports of this run.
        inputs: Where to write.
        ledger: Folder of the trigger's ledger, shown on the HTML report.
        push: Address of a Prometheus push gateway.

    Raises:
        UnavailableError: The gateway did not answer; all files are written by then.
    """
    now, out = inputs.window.now, inputs.out
    entries = Ledger(ledger / LEDGER).entries() if ledger is not None else ()
    latest = with_earlier_reports(reports, out)
    write_html_report(latest, out, now=now, runbook=inputs.settings.runbook, ledger=entries)
    write_metrics(latest, out / "metrics.prom", now)
    notifications = update_alert_file((inputs.state or out) / "alerts.json", reports, now)
    if push is not None:
        push_metrics(reports, push, now)
    return notifications


def _run(name: str, inputs: Inputs, *, alone: bool) -> JobReport:
    run: Callable[[Inputs], JobReport] = import_module(f"monitoring.jobs.{name}").run
    try:
        if inputs.state is None:
            return run(inputs)
        first = FirstInputs(name, inputs)
        return first.missing() or first.after(run(inputs))
    except FairtagError as error:
        if alone:
            raise
        check = Check("job_failed", Status.UNKNOWN, str(error), detail={"error": type(error).__name__})
        return JobReport(name, inputs.window.start.isoformat(), inputs.window.end.isoformat(), (check,))


def with_earlier_reports(reports: Sequence[JobReport], out: Path) -> tuple[JobReport, ...]:
    """The reports of this run and, for every other job, its last report in the folder."""
    by_job = {report.job: report for report in reports}
    for name in JOBS:
        if name not in by_job and (out / f"{name}.json").is_file():
            by_job[name] = read_report(out / f"{name}.json")
    return tuple(by_job[name] for name in JOBS if name in by_job)


def has_reports(out: Path) -> bool:
    """Whether any job has left its report in a folder."""
    return any((out / f"{name}.json").is_file() for name in JOBS)


def read_reports(out: Path) -> tuple[JobReport, ...]:
    """Read the reports that the jobs left in a folder.

    Raises:
        MissingDataError: The folder holds no report.
        DataError: A report cannot be read.
    """
    files = [out / f"{name}.json" for name in JOBS if (out / f"{name}.json").is_file()]
    if not files:
        raise MissingDataError(f"{out}: no job report here; run `python -m monitoring all --out {out} ...` first")
    return tuple(read_report(path) for path in files)
