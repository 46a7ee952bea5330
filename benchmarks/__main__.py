"""``python -m benchmarks NAME``: run one benchmark or study, or all of them, and keep the figures.

Numerical libraries get one thread unless OMP_NUM_THREADS says otherwise: two threads that wait for each other made a
fit of six seconds take a hundred while other programs had the cores.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by BLAS when numpy loads, hence before the other imports

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.apart import run_apart
from benchmarks.registry import benchmark_names, run_named, study_names
from fairtag.base.errors import FairtagError

ALL = "all"
LIMIT_MINUTES = 15.0
app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[str | None, typer.Argument(help="A benchmark, a study, or all; none to list them.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures of one NAME to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write NAME.json for every name run to this folder.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="FAIRTAG_DATA", help="Folder of real data.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A fraction of the work where there is such a preset.")
    ] = False,
    skip: Annotated[list[str] | None, typer.Option(help="Leave this NAME out of all; may be repeated.")] = None,
    limit: Annotated[float, typer.Option(help="Minutes after which a NAME of all is ended.")] = LIMIT_MINUTES,
) -> None:
    """Run benchmarks and studies; exit code 1 when one could not run, 2 for a wrong call."""
    console, problems = Console(width=160), Console(stderr=True, width=160)
    known = (*benchmark_names(), *study_names())
    if name is None:
        console.print(f"benchmarks: {', '.join(benchmark_names())}\nstudies: {', '.join(study_names())}\nall")
        return
    unknown = [each for each in (name, *(skip or ())) if each not in (*known, ALL)]
    if unknown or (name == ALL and json is not None):
        problems.print(
            f"{' '.join(unknown) or ALL}: there are {', '.join(known)}, and all (with --out DIR, not --json)"
        )
        raise typer.Exit(2)
    if name != ALL:
        if not _run(name, json, out, data, console, problems, quick=quick):
            raise typer.Exit(1)
        return
    options = [*_option("--out", out), *_option("--data", data), *(["--quick"] if quick else [])]
    wanted = [each for each in known if each not in (skip or ())]
    if not _run_all(wanted, options, 60.0 * limit, problems):
        raise typer.Exit(1)


def _run_all(names: list[str], options: list[str], limit: float, problems: Console) -> bool:
    """Run each name in a process of its own, and say at the end what could not be run and how long all took."""
    ended = [run_apart([name, *options], name, limit) for name in names]
    for each in ended:
        if each.problem:
            problems.print(each.problem)
    problems.print(f"{len(ended)} runs, {sum(each.seconds for each in ended) / 60:.0f} minutes")
    return not any(each.problem for each in ended)


def _option(name: str, path: Path | None) -> list[str]:
    return [] if path is None else [name, str(path)]


def _run(
    name: str,
    json: Path | None,
    out: Path | None,
    data: Path | None,
    console: Console,
    problems: Console,
    *,
    quick: bool,
) -> bool:
    """Run one name; a deliberate refusal is shown with its reason."""
    try:
        result = run_named(name, data, quick=quick)
    except FairtagError as error:
        problems.print(f"{name}: {error}")
        return False
    result.show(console)
    if json is not None:
        result.save(json)
    if out is not None:
        result.save(out / f"{name}.json")
    return True


if __name__ == "__main__":
    app()
