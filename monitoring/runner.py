"""Runs the jobs that were asked for and writes what they concluded. Knows no statistic, command line or clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from monitoring.inputs import Inputs
from monitoring.verdict import Verdict

PURPOSE = {
    "drift": "Have prices, demand, queries or the catalogue left what the model saw in training?",
    "all": "Run every job and write one report.",
}
JOBS = tuple(name for name in PURPOSE if name != "all")


def run_jobs(names: Sequence[str], inputs: Inputs) -> tuple[Verdict, ...]:
    """Run jobs one after the other; each writes ``<out>/<job>.json``.

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
    return tuple(verdicts)
