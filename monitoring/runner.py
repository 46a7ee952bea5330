"""Runs the jobs that were asked for and writes what they concluded. Knows no statistic, command line or clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from monitoring.inputs import Inputs
from monitoring.report import write_report
from monitoring.verdict import Verdict, read_verdict
from pricing.errors import MissingDataError

PURPOSE = {
    "drift": "Have prices, demand, queries or the catalogue left what the model saw in training?",
    "performance": "Do customers buy as the model says they will?",
    "fairness": "Is every promise about prices kept, and do groups of customers pay the same for the same item?",
    "quality": "Is the quote log whole, in range, on time and disclosed?",
    "all": "Run every job and write one report.",
}
JOBS = tuple(name for name in PURPOSE if name != "all")


def run_jobs(names: Sequence[str], inputs: Inputs) -> tuple[Verdict, ...]:
    """Run jobs one after the other; each writes ``<out>/<job>.json``, all together ``<out>/report.html``.

    Args:
        names: Jobs, of :data:`JOBS`.
        inputs: What they read and where they write.
    """
    verdicts = []
    for name in names:
        run: Callable[[Inputs], Verdict] = import_module(f"monitoring.{name}").run
        verdict = run(inputs)
        verdict.save(inputs.out / f"{name}.json")
        verdicts.append(verdict)
    write_report(verdicts, inputs.out, now=inputs.window.now, runbook=inputs.settings.runbook)
    return tuple(verdicts)


def read_verdicts(out: Path) -> tuple[Verdict, ...]:
    """The verdicts that the jobs left in a folder.

    Raises:
        MissingDataError: There is none.
        DataError: One cannot be read.
    """
    found = [out / f"{name}.json" for name in JOBS if (out / f"{name}.json").is_file()]
    if not found:
        raise MissingDataError(f"{out}: no verdict there; run a monitoring job first")
    return tuple(read_verdict(path) for path in found)
