"""``python -m benchmarks NAME``: run one benchmark or study, or all of them, and keep the figures. Measures nothing.

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

from benchmarks.registry import benchmark_names, run_named, study_names
from pricing.errors import FairtagError

ALL = "all"
app = typer.Typer(add_completion=False)


@app.command()
def main(
    name: Annotated[str | None, typer.Argument(help="A benchmark, a study, or all; none to list them.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures of one NAME to this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write NAME.json for every name run to this folder.")] = None,
    data: Annotated[Path | None, typer.Option(envvar="FAIRTAG_DATA", help="Folder of real data.")] = None,
) -> None:
    """Run benchmarks and studies; exit code 1 when one could not run, 2 for a wrong call."""
    console, problems = Console(width=160), Console(stderr=True)
    known = (*benchmark_names(), *study_names())
    if name is None:
        console.print(f"benchmarks: {', '.join(benchmark_names())}\nstudies: {', '.join(study_names())}\nall")
        return
    if name not in (*known, ALL) or (name == ALL and json is not None):
        problems.print(f"{name}: there are {', '.join(known)}, and all (which takes --out DIR, not --json)")
        raise typer.Exit(2)
    failed = [
        each for each in (known if name == ALL else (name,)) if not _run(each, json, out, data, console, problems)
    ]
    if failed:
        problems.print(f"could not run: {', '.join(failed)}")
        raise typer.Exit(1)


def _run(
    name: str, json: Path | None, out: Path | None, data: Path | None, console: Console, problems: Console
) -> bool:
    """Run one name; a deliberate refusal is shown with its reason and the others still run."""
    try:
        result = run_named(name, data)
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
