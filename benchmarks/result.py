"""What a study or a benchmark reports: named rows with intervals, as JSON and as a table."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from fairtag.base.files import write_json
from fairtag.base.normal import Z95


@dataclass(frozen=True)
class Row:
    """One measured figure.

    Args:
        metric: Name, unique within the result.
        value: The figure.
        low: Lower end of its interval, when it has one.
        high: Upper end of its interval, when it has one.
        unit: Unit of the figure.
        reference: What it is compared with: a planted value, a published figure, a bound.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    reference: float | str | None = None

    def as_json(self) -> dict[str, Any]:
        """The row without the fields it does not have."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Result:
    """All rows of one run and the notes a reader needs.

    Args:
        rows: The figures.
        notes: How to read them.
        name: Study or benchmark; the registry fills it in.
        command: Command that makes the result; the registry fills it in.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    name: str = ""
    command: str = ""

    def as_json(self) -> dict[str, Any]:
        """``{"name", "command", "rows": [...], "notes": [...]}``."""
        return {
            "name": self.name,
            "command": self.command,
            "rows": [row.as_json() for row in self.rows],
            "notes": list(self.notes),
        }

    def save(self, path: Path) -> Path:
        """Write the JSON atomically."""
        return write_json(path, self.as_json())

    def show(self, console: Console) -> None:
        """Print the rows as a table and the notes under it."""
        table = Table(title=f"{self.name}: {self.command}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("metric", overflow="fold")
        table.add_column("value", justify="right", no_wrap=True)
        table.add_column("interval", no_wrap=True)
        table.add_column("unit", max_width=14)
        table.add_column("compared with", max_width=14)
        for row in self.rows:
            interval = "" if row.low is None and row.high is None else f"{_text(row.low)} to {_text(row.high)}"
            table.add_row(row.metric, _text(row.value), interval, row.unit or "", _text(row.reference))
        console.print(table)
        for note in self.notes:
            console.print(f"- {note}", markup=False)


def share_row(metric: str, hits: int, trials: int, reference: float | str | None = None) -> Row:
    """A share of trials with its Wilson 95 % interval."""
    z = Z95
    share = int(hits) / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    reach = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Row(metric, share, max(0.0, centre - reach), min(1.0, centre + reach), "share", reference)


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.4g}"
