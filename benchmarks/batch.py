"""Run every study and benchmark, each in a process of its own, so that one that fails or hangs stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.registry import ENTRIES, Entry, names

LIMIT_MINUTES = 15.0


@dataclass(frozen=True)
class Run:
    """One run in a process of its own.

    Args:
        name: Study or benchmark.
        code: Exit code; None when it was stopped at its time limit.
        seconds: How long it ran.
    """

    name: str
    code: int | None
    seconds: float

    @property
    def problem(self) -> str:
        """What went wrong; empty when nothing did."""
        if self.code is None:
            return f"{self.name}: stopped after {self.seconds:.0f} s, its time limit; --limit MINUTES allows more"
        return f"{self.name}: exit code {self.code} after {self.seconds:.0f} s" if self.code else ""


def run_all(
    *,
    out: Annotated[Path | None, typer.Option(help="Write NAME.json of each to this folder.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="FAIRTAG_DATA", help="Folder of the real data sets.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run the quick version of each that has one.")] = False,
    skip: Annotated[list[str] | None, typer.Option(help="Leave this NAME out; may be repeated.")] = None,
    limit: Annotated[float, typer.Option(help="Minutes after which a run is stopped.")] = LIMIT_MINUTES,
) -> None:
    """Run every study and benchmark, one after another. Exit code 1: one could not run."""
    unknown = sorted(set(skip or ()) - set(names()))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such name; there are {', '.join(names())}")
    chosen = [entry for entry in ENTRIES if entry.name not in (skip or ())]
    runs = [run_apart(arguments(entry, out, data, quick=quick), entry.name, 60.0 * limit) for entry in chosen]
    for each in runs:
        if each.problem:
            typer.echo(each.problem, err=True)
    typer.echo(f"{len(runs)} runs, {sum(each.seconds for each in runs) / 60:.0f} minutes", err=True)
    if any(each.problem for each in runs):
        raise typer.Exit(1)


def arguments(entry: Entry, out: Path | None, data: Path | None, *, quick: bool) -> list[str]:
    """The arguments of ``python -m benchmarks`` that run one entry with the options it has."""
    given = [entry.name]
    given += ["--out", str(out)] if out else []
    given += ["--data", str(data)] if data and entry.data else []
    return [*given, "--quick"] if quick and entry.quick else given


def run_apart(given: list[str], name: str, limit: float) -> Run:
    """Run ``python -m benchmarks GIVEN`` for at most ``limit`` seconds; then it and its children are killed."""
    start = time.monotonic()
    command = [sys.executable, "-m", "benchmarks", *given]
    # The command is this interpreter and names of this package; a session of its own can be killed as a whole.
    with subprocess.Popen(command, cwd=Path.cwd(), start_new_session=True) as process:  # noqa: S603
        try:
            code: int | None = process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    return Run(name, code, time.monotonic() - start)
