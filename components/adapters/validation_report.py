"""The report of a validation: as an object, as JSON and as one HTML page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.files import write_json, write_text
from fairtag.base.schema import Severity

TableStatus = Literal["pass", "warn", "quarantined", "blocked"]


@dataclass(frozen=True)
class Finding:
    """One broken rule.

    Args:
        table: Name of the table.
        column: Name of the column, or several joined by ", ".
        rule: The rule, in words.
        severity: ``critical`` sets rows aside or refuses the table; ``warning`` is only reported.
        count: Rows that break the rule; 0 for a rule about the whole table.
        examples: At most three of those rows, with their key and the columns of the rule.
        rows: Where they stand in the table, counted from 1.
    """

    table: str
    column: str
    rule: str
    severity: Severity
    count: int
    examples: tuple[dict[str, Any], ...] = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class TableReport:
    """The outcome of one table.

    Args:
        table: Name of the table.
        rows: Rows read.
        checks: Rules checked.
        quarantined: Rows that are set aside because they break a critical rule.
        findings: The broken rules.
        block: Why the whole table is refused; empty when it is not.
    """

    table: str
    rows: int
    checks: int
    quarantined: int
    findings: tuple[Finding, ...]
    block: str = ""

    @property
    def accepted(self) -> int:
        """Rows that go on."""
        return 0 if self.block else self.rows - self.quarantined

    @property
    def status(self) -> TableStatus:
        """The worst that happened to the table."""
        if self.block:
            return "blocked"
        if self.quarantined:
            return "quarantined"
        return "warn" if self.findings else "pass"


@dataclass(frozen=True)
class ValidationReport:
    """The outcomes of all tables, and the share of broken rows above which a table is refused."""

    tables: tuple[TableReport, ...]
    max_quarantined: float

    @property
    def blocked(self) -> tuple[TableReport, ...]:
        """The tables that are refused."""
        return tuple(table for table in self.tables if table.block)

    def table(self, name: str) -> TableReport:
        """The outcome of the table; KeyError when it was not checked."""
        for table in self.tables:
            if table.table == name:
                return table
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values, with each table's status and number of accepted rows."""
        tables = [{**asdict(t), "accepted": t.accepted, "status": t.status} for t in self.tables]
        return {"max_quarantined": self.max_quarantined, "blocked": bool(self.blocked), "tables": tables}

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` and ``report.html``; the page needs no network.

        Returns:
            The path of the page.
        """
        write_json(folder / "report.json", self.as_json())
        template = _environment().get_template("validation.html")
        return write_text(folder / "report.html", template.render(report=self))

    def require_accepted(self) -> None:
        """Raise for the first refused table, with its table, column, rule, count and examples.

        Raises:
            MissingDataError: The table is empty or lacks a column.
            DataError: Too many rows break critical rules, or a column is outside the contract.
        """
        for table in self.blocked:
            critical = [finding for finding in table.findings if finding.severity == "critical"]
            worst = max(critical or table.findings, key=lambda f: f.count)
            error = MissingDataError if worst.rule in (REQUIRED_COLUMN, NOT_EMPTY) else DataError
            raise error(
                table.block,
                table=worst.table,
                column=worst.column,
                rule=worst.rule,
                count=worst.count,
                examples=worst.examples,
            )


REQUIRED_COLUMN = "required column"
KNOWN_COLUMN = "column of the contract"
NOT_EMPTY = "at least one row"


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("components.adapters"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
