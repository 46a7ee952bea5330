"""Runs the jobs that were asked for and writes what they concluded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from fairtag.base.errors import FairtagError, MissingDataError
from fairtag.base.types import Status
from monitoring.inputs import Inputs
from monitoring.job_report import Check, JobReport, read_verdict
from monitoring.report.alerts import Update, tell
from monitoring.report.exporter import push_metrics, write_metrics
from monitoring.report.html_page import FILE as REPORT
from monitoring.report.html_page import write_report
from monitoring.trigger.ledger import Ledger
from monitoring.trigger.trigger import LEDGER

__all__ = ["JOBS", "PURPOSE", "REPORT", "jobs_for", "publish", "read_verdicts", "run_jobs"]

PURPOSE = {
    "drift": "Have prices, demand, queries or the catalogue left what the model saw in training?",
    "performance": "Do customers buy as the model says they will?",
    "fairness": "Is every promise about prices kept, and do groups of customers pay the same for the same item?",
    "quality": "Is the quote log whole, in range, on time and disclosed?",
    "stock": "Which items are about to run out, and which lie too long?",
    "all": "Run every job and write one report.",
}
JOBS = tuple(name for name in PURPOSE if name != "all")


def jobs_for(inputs: Inputs) -> tuple[str, ...]:
    """The jobs that ``all`` runs: every job whose inputs were given."""
    needed = {"performance": inputs.outcomes, "fairness": inputs.audit, "stock": inputs.tables}
    return tuple(name for name in JOBS if needed.get(name, "given") is not None)


def run_jobs(names: Sequence[str], inputs: Inputs) -> tuple[JobReport, ...]:
    """Run jobs one after the other; each writes ``<out>/<job>.json``, all together ``<out>/report.html``.

    A job that cannot be run (a missing table, a damaged file) does not keep the others from running: its verdict is
    that it could not tell, with the reason.

    Args:
        names: Jobs, of :data:`JOBS`.
        inputs: What they read and where they write.

    Raises:
        FairtagError: The only job that was asked for could not be run.
    """
    verdicts = tuple(_run(name, inputs, alone=len(names) == 1) for name in names)
    for verdict in verdicts:
        verdict.save(inputs.out / f"{verdict.job}.json")
    return verdicts


def publish(
    verdicts: Sequence[JobReport], inputs: Inputs, *, ledger: Path | None = None, push: str | None = None
) -> list[Update]:
    """Write the report, the metrics and the open alerts; returns what is to be told now.

    Jobs that run one by one share the folder: report and metrics show the latest verdict of every job in it.

    Args:
        verdicts: Verdicts of this run.
        inputs: Where to write.
        ledger: Folder of the trigger's ledger, shown on the report.
        push: Address of a Prometheus push gateway.

    Raises:
        UnavailableError: The gateway did not answer; everything else is written by then.
    """
    now, out = inputs.window.now, inputs.out
    entries = Ledger(ledger / LEDGER).entries() if ledger is not None else ()
    everyone = with_others(verdicts, out)
    write_report(everyone, out, now=now, runbook=inputs.settings.runbook, ledger=entries)
    write_metrics(everyone, out / "metrics.prom", now)
    told = tell((inputs.state or out) / "alerts.json", verdicts, now)
    if push is not None:
        push_metrics(verdicts, push, now)
    return told


def _run(name: str, inputs: Inputs, *, alone: bool) -> JobReport:
    run: Callable[[Inputs], JobReport] = import_module(f"monitoring.{name}").run
    try:
        return run(inputs)
    except FairtagError as error:
        if alone:
            raise
        check = Check("job_failed", Status.UNKNOWN, str(error), detail={"error": type(error).__name__})
        return JobReport(name, inputs.window.start.isoformat(), inputs.window.end.isoformat(), (check,))


def with_others(verdicts: Sequence[JobReport], out: Path) -> tuple[JobReport, ...]:
    """The verdicts of this run, and what the other jobs last left in the folder."""
    mine = {verdict.job: verdict for verdict in verdicts}
    others = {name: out / f"{name}.json" for name in JOBS if name not in mine and (out / f"{name}.json").is_file()}
    found = mine | {name: read_verdict(path) for name, path in others.items()}
    return tuple(found[name] for name in JOBS if name in found)


def read_verdicts(out: Path) -> tuple[JobReport, ...]:
    """The verdicts that the jobs left in a folder.

    Raises:
        MissingDataError: There is none.
        DataError: One cannot be read.
    """
    found = [out / f"{name}.json" for name in JOBS if (out / f"{name}.json").is_file()]
    if not found:
        raise MissingDataError(f"{out}: no verdict there; run a monitoring job first")
    return tuple(read_verdict(path) for path in found)
