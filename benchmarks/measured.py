"""Write the measured tables of README.md and docs/benchmarks.md from the committed results.

``python -m benchmarks.measured`` rewrites both; ``--check`` writes nothing and exits with 1 when one is out of date. No
figure is typed by hand: :mod:`benchmarks.claims` names the result and the row of each, and a missing one is an error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import typer

from benchmarks.claims import GROUPS, HEADLINES, Claim, Group
from fairtag.base.errors import DataError, FairtagError, MissingDataError
from fairtag.base.files import read_json, write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
WIDTH = 120
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
FIGURE = re.compile(r"\{(?P<metric>[\w.]+)(?P<interval>\[\])?(?::(?P<format>[^}]*))?\}")
INTRODUCTION = """\
# Benchmarks

Every figure of this page comes from a file in `benchmarks/results`, written by the command in its row on a machine with
two shared cores. `python -m benchmarks --list` shows every study and benchmark with its needs and its usual time;
`--data DIR` names the folder of the real data sets, which are not part of this repository.

Square brackets hold an interval: 95 %, unless the row says otherwise. Both times of a ratio come
from one run on one machine, so ratios carry over to other machines; seconds and milliseconds do not.

This page is generated. Change `benchmarks/claims.py`, then run `python -m benchmarks.measured`.
"""
app = typer.Typer(add_completion=False)


def headline_table(results: Path = RESULTS, claims: Sequence[Claim] = HEADLINES) -> str:
    """The README's table: what was measured and on what, the figure, what it is compared with.

    Raises:
        MissingDataError: A result, or a row of one, that a claim names is absent.
    """
    rows = []
    for claim in claims:
        found = _Result(results, claim.result)
        data, figure, against = found.texts(claim)
        rows.append((f"{claim.what} ({data})", figure, against))
    return _table(("measured", "figure", "compared with"), rows)


def page(results: Path = RESULTS, groups: Sequence[Group] = GROUPS) -> str:
    """The whole of docs/benchmarks.md.

    Raises:
        MissingDataError: A result, or a row of one, that a claim names is absent.
    """
    parts = [INTRODUCTION]
    for group in groups:
        rows = []
        for claim in group.claims:
            found = _Result(results, claim.result)
            rows.append((claim.what, *found.texts(claim), f"`{found.command}`"))
        table = _table(("measured", "on", "figure", "compared with", "command"), rows)
        parts.append(f"## {group.title}\n\n{fill(group.reading, WIDTH)}\n\n{table}\n")
    return "\n".join(parts)


class _Result:
    """One committed result, whose figures fill the placeholders of a claim."""

    def __init__(self, folder: Path, name: str) -> None:
        self.file = folder / f"{name}.json"
        if not self.file.is_file():
            raise MissingDataError(f"{self.file}: no such result; make it with python -m benchmarks {name} --out DIR")
        content = read_json(self.file)
        self.command: str = content["command"]
        self.rows: dict[str, dict[str, Any]] = {row["metric"]: row for row in content["rows"]}

    def texts(self, claim: Claim) -> tuple[str, str, str]:
        """Data, figure and comparison of a claim, each ``{metric:format}`` replaced by its figure."""
        return self._filled(claim.data), self._filled(claim.figure), self._filled(claim.against)

    def _filled(self, text: str) -> str:
        return FIGURE.sub(self._figure, text)

    def _figure(self, found: re.Match[str]) -> str:
        row = self.rows.get(found["metric"])
        if row is None:
            raise MissingDataError(f"{self.file}: no row {found['metric']}; it holds {', '.join(self.rows)}")
        shown = found["format"] or ".3g"
        if not found["interval"]:
            return _number(row["value"], shown)
        return f"{_number(row['value'], shown)} [{_number(row['low'], shown)}, {_number(row['high'], shown)}]"


def _number(value: float, shown: str) -> str:
    return format(value, shown).replace("%", " %")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replace_table(text: str, content: str) -> str:
    """A document with the content between the markers.

    Raises:
        DataError: The document has not exactly one pair of markers, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before + after:
        raise DataError(f"the document needs exactly one line {BEGIN} and, below it, one line {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


@app.command()
def main(
    *, check: bool = typer.Option(False, help="Write nothing; exit with 1 when a document is out of date.")
) -> None:
    """Bring README.md and docs/benchmarks.md up to the committed results."""
    try:
        wanted = {README: replace_table(README.read_text(encoding="utf-8"), headline_table()), PAGE: page()}
    except FairtagError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    stale = [file for file, text in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != text]
    if check and stale:
        names = " and ".join(str(file.relative_to(ROOT)) for file in stale)
        typer.echo(f"{names}: differs from benchmarks/results; run python -m benchmarks.measured")
        raise typer.Exit(1)
    for file in () if check else stale:
        write_text(file, wanted[file])


if __name__ == "__main__":
    sys.exit(app())
