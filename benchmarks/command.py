"""The command line of all studies and benchmarks, behind ``python -m benchmarks`` and ``fairtag study`` alike.

``NAME [OPTIONS]`` runs one, ``all`` runs every one, ``--list`` shows what there is. Each entry of the registry becomes
a command with its own options when it is asked for.
"""

from __future__ import annotations

import inspect
import logging
import os
import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from benchmarks import batch
from benchmarks.registry import ENTRIES, Entry, Kind, find, names
from fairtag.base.errors import ConfigError

WIDTH, NAME_WIDTH = 80, 20
ABOUT = "Run a study or a benchmark by its name, or all of them."
DATA = Annotated[Path | None, typer.Option(envvar="FAIRTAG_DATA", help="Folder of the real data sets.")]
JSON = Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")]
OUT = Annotated[Path | None, typer.Option(help="Write the figures to NAME.json in this folder.")]
QUICK = Annotated[bool, typer.Option("--quick", help="Do a fraction of the work.")]


class EntryGroup(TyperGroup):
    """A command group whose commands are the entries of the registry."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every entry, then ``all``."""
        return [*names(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of an entry, or ``all``.

        Raises:
            BadParameter: There is no entry of that name.
        """
        try:
            return super().get_command(ctx, cmd_name) or entry_command(find(cmd_name))
        except ConfigError as error:
            raise typer.BadParameter(str(error)) from error

    def get_help(self, ctx: Any) -> str:
        """Usage and the table of entries."""
        return f"Usage: {ctx.command_path} NAME [OPTIONS]\n\n{ABOUT}\n\n{overview(ctx.command_path)}"


app = typer.Typer(cls=EntryGroup, add_completion=False, pretty_exceptions_enable=False, help=ABOUT)
app.command("all")(batch.run_all)


@app.callback(invoke_without_command=True)
def show_entries(
    ctx: typer.Context, *, everything: Annotated[bool, typer.Option("--list", help="Show every entry.")] = False
) -> None:
    """List what can be run when no name is given."""
    if everything or ctx.invoked_subcommand is None:
        typer.echo(overview(ctx.command_path))
        raise typer.Exit


def overview(program: str) -> str:
    """A table of 80 columns: each entry with its rough minutes, what it measures and what it needs."""
    lines: list[str] = []
    for kind, title in ((Kind.STUDY, "Studies: what the models do on data"), (Kind.BENCHMARK, "Benchmarks: speed")):
        lines += [title, f"  {'NAME':{NAME_WIDTH}}{'MIN':>3}  WHAT IT MEASURES"]
        for entry in ENTRIES:
            if entry.kind is kind:
                lines += _described(entry)
        lines.append("")
    lines.append("MIN: roughly how many minutes it takes on two cores.")
    lines.append(f"Options of one: {program} NAME --help")
    return "\n".join(lines)


def _described(entry: Entry) -> list[str]:
    first, indent = f"  {entry.name:{NAME_WIDTH}}{entry.minutes:>3}  ", " " * (NAME_WIDTH + 7)
    needed = [*(f"data {folder}" for folder in entry.data), *(need.what for need in entry.needs)]
    text = entry.measures + (f" Needs {', '.join(needed)}." if needed else "")
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def entry_command(entry: Entry) -> Any:
    """The command that runs one entry."""

    def command(**given: Any) -> None:
        run(entry, **given)

    shared: dict[str, tuple[Any, Any]] = {"json": (JSON, None), "out": (OUT, None)}
    if entry.data:
        shared["data"] = (DATA, None)
    if entry.quick:
        shared["quick"] = (QUICK, False)
    own = {option.name: (_annotation(option), option.default) for option in entry.options}
    options = {**own, **shared}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # typer reads options from it
        [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
         for name, (kind, value) in options.items()]
    )  # fmt: skip
    command.__annotations__ = {name: kind for name, (kind, _) in options.items()}
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(entry.name, help=f"{entry.measures} About {entry.minutes} minutes on two cores.")(command)
    return typer.main.get_command(single)


def _annotation(option: Any) -> Any:
    described = typer.Option(help=option.help, envvar=option.environment)
    return Annotated[option.type if option.default is not None else option.type | None, described]


def run(
    entry: Entry, *, data: Path | None = None, json: Path | None = None, out: Path | None = None, **options: Any
) -> None:
    """Run one entry, show its figures and write them where asked.

    Args:
        entry: What to run.
        data: Folder of the real data sets.
        json: File for the figures.
        out: Folder for ``NAME.json``.
        options: The entry's own options, and ``quick``.

    Raises:
        FairtagError: It cannot run.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads that wait for each other make a shared machine crawl
    _log_progress()
    console = Console()
    result = entry.run(data, **options)
    result.show(console)
    for file in (json, out / f"{entry.name}.json" if out else None):
        if file is not None:
            console.print(f"written to {result.save(file)}", soft_wrap=True)


def _log_progress() -> None:
    logger = logging.getLogger("benchmarks")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
