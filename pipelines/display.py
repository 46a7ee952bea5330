"""What a run shows on the screen: its steps as they go, then what was validated, trained, decided, priced and found."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status as Spinner
from rich.table import Table

from fairtag.base.files import read_json
from fairtag.base.money import currency
from fairtag.base.text import figure
from fairtag.base.types import Status
from fairtag.model.decision import capability_rows
from fairtag.page.explanation_words import reason_words
from pipelines.results_page import discount, question, understood
from pipelines.run_folder import RunFolder

if TYPE_CHECKING:
    from fairtag.base.tables import Tables
    from pipelines.check import CheckReport
    from pipelines.loop import LoopReport

COLOURS = {
    "pass": "green",
    "warn": "yellow",
    "quarantined": "yellow",
    "not applicable": "dim",
    "could not tell": "magenta",
    "unknown": "magenta",
    "blocked": "red",
    Status.URGENT.value: "red",
    "fail": "red",
}
SHOWN_ITEMS = 6
SHOWN_CHECKS = 4


class Display:
    """The steps as they go: one line for each finished step, and on a terminal the newest line of the current one."""

    def __init__(self, console: Console) -> None:
        # Bound to the stream of this moment: while steps run, the standard output goes to the run's log.
        self.console = Console(file=console.file, width=console.width)
        self._status: Spinner | None = self.console.status("starting") if console.is_terminal else None
        self._step = ""
        self._line = ""
        self._started = time.monotonic()

    def __enter__(self) -> Display:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        if self._status:
            self._status.stop()

    def step(self, step: str, line: str) -> None:
        """Show a line of a step; a new step's name finishes the one before."""
        if step != self._step:
            self._finish()
            self._step, self._line, self._started = step, "", time.monotonic()
        self._line = line or self._line
        if self._status:
            self._status.update(f"[bold]{step}[/] {self._line}")

    def _finish(self) -> None:
        if self._step:
            seconds = time.monotonic() - self._started
            line = f"{self._step:>14}  {seconds:5.0f} s  {self._line}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)  # one step, one line of a log
            self.console.file.flush()
        self._step = ""


def show_run(folder: RunFolder, report: LoopReport, console: Console) -> None:
    """Everything that a run made, in the order of the loop."""
    if report.again:
        console.print(f"{report.again[:1].upper()}{report.again[1:]}.", highlight=False, markup=False, soft_wrap=True)
    show_pipeline(folder, console)
    console.print(page_table(report.request, report.page))
    console.print(monitoring_table(report.reports))
    if note := _provenance(folder):
        console.print(f"[dim]{note}[/]")
    show_links(folder, console)
    console.print(f"{'the shop':>14}  fairtag console {_short(folder.root)}", highlight=False, soft_wrap=True)


def show_check(report: CheckReport, console: Console) -> None:
    """Every problem with its remedy, then the ladder."""
    counts = ", ".join(f"{rows:,} {name}" for name, rows in report.rows.items()) or "nothing"
    console.print(f"read by {report.dataset}: {counts}", highlight=False, soft_wrap=True)
    for note in report.notes:
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    for problem in report.problems:
        colour = {"refused": "red", "critical": "yellow"}.get(problem.severity, "dim")
        where = problem.table + (f".{problem.column}" if problem.column else "")
        many = f": {problem.count:,} rows" if problem.count else ""
        console.print(f"[{colour}]{problem.severity}[/] {escape(where)}: {escape(problem.rule)}{many}", highlight=False)
        for place, example in zip_longest(problem.rows, problem.examples):
            shown = ", ".join(f"{name} {value!r}" for name, value in (example or {}).items())
            line = f"    row {place}: {shown}" if place else f"    {shown}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        console.print(f"    -> {problem.remedy}", highlight=False, markup=False, soft_wrap=True)
    if not report.problems:
        console.print("[green]every rule of the contract holds[/]")
    if report.refused:
        console.print("[red]a run would stop here[/]")
        return
    table = _table("What the tables are enough for", "", "rung", "gives", "needs", numbers=())
    for rung in report.rungs:
        table.add_row("[green]✓[/]" if rung.reached else "-", rung.name, rung.gives, rung.needs)
    console.print(table)


def show_intake(tables: Tables, out: Path, console: Console) -> None:
    """What was read from exports, what was left out, and what they lack."""
    for file, how in tables.metadata["files"].items():
        console.print(f"  {file}: {how}", highlight=False, markup=False)
    counts = ", ".join(f"{len(frame):,} {name}" for name, frame in tables.frames().items() if len(frame))
    console.print(f"{counts} in {tables.metadata['currency']}, written to {out}", highlight=False, soft_wrap=True)
    for why, count in tables.metadata["left_out"].items():
        console.print(f"  left out: {count:,} {why}", highlight=False, markup=False, soft_wrap=True)
    for line in tables.metadata["lacks"]:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def show_trained(folder: RunFolder, console: Console) -> None:
    """What there is to see of a run that ended before its endpoint was started."""
    show_pipeline(folder, console)
    show_links(folder, console)


def show_pipeline(folder: RunFolder, console: Console) -> None:
    """What the steps of the pipeline left: validation, training, decision."""
    tables = (
        (folder.root / "validation" / "report.json", validation_table),
        (folder.root / "training_report.json", training_table),
        (folder.decision, gates_table),
    )
    for file, table in tables:
        if file.is_file():
            console.print(table(read_json(file)))


def show_links(folder: RunFolder, console: Console) -> None:
    """Where the pages are that a person reads."""
    pages: Sequence[tuple[str, Path]] = (
        ("results page", folder.results_page),
        ("decision", folder.root / "DECISION.html"),
        ("validation", folder.root / "validation.html"),
        ("data docs", folder.root / "validation" / "docs" / "index.html"),
        *((page.stem, page) for page in sorted(folder.reports.glob("**/*.html"))),
        ("log", folder.root / "pipeline.log"),
    )
    for name, page in pages:
        if page.is_file():
            console.print(f"{name:>14}  {page}", highlight=False, soft_wrap=True)


def _short(path: Path) -> Path:
    """A path as a person would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def validation_table(report: Mapping[str, Any]) -> Table:
    """What was validated."""
    table = _table("Validated", "table", "status", "rows", "set aside", "broken rules", numbers=("rows", "set aside"))
    for row in report["tables"]:
        broken = "; ".join(f"{f['column']} {f['rule']} ({f['count']:,})" for f in row["findings"])
        broken = broken or f"none of {row['checks']}"
        table.add_row(row["table"], _coloured(row["status"]), f"{row['rows']:,}", f"{row['quarantined']:,}", broken)
    return table


def training_table(report: Mapping[str, Any]) -> Table:
    """First and last losses and held-out scores of the encoder."""
    title = f"Encoder: {report['steps']} steps on {report['device']} in {report['seconds']:.0f} s"
    table = _table(title, "figure", "first", "last", numbers=("first", "last"))
    for rows in (report["losses"], report["evaluations"]):
        for name in (name for name in (rows[-1] if rows else {}) if name not in ("step", "rate")):
            table.add_row(name, _number(rows[0].get(name)), _number(rows[-1][name]))
    return table


def gates_table(decision: Mapping[str, Any]) -> Table:
    """The gates of a decision."""
    word = "[green]accepted[/]" if decision["accepted"] else "[red]rejected[/]"
    champion = f" against {decision['champion']['version']}" if decision["champion"] else ", the first model"
    title = f"Decision: {word} ({decision['challenger']['version']}{champion})"
    table = _table(title, "gate", "status", "value", "interval", numbers=("value", "interval"))
    for gate in decision["gates"]:
        interval = f"{_number(gate['low'])} to {_number(gate['high'])}" if gate["low"] is not None else ""
        table.add_row(gate["name"].replace("_", " "), _coloured(gate["status"]), _number(gate["value"]), interval)
    table.caption = "\n".join(_capability_lines(decision)) or None
    return table


def _capability_lines(decision: Mapping[str, Any]) -> Iterator[str]:
    """What the model may do; for what it may not, the gates that stand against it and what would be needed."""
    rules = {gate["name"]: gate["rule"] for gate in decision["gates"]}
    for name, capability in capability_rows(decision):
        words = name.replace("_", " ")
        if capability["accepted"]:
            yield f"{words}: accepted"
            continue
        gates = "; ".join(f"{gate.replace('_', ' ')} ({rules[gate]})" for gate in capability["failed"])
        yield f"{words}: not accepted" + (f": {gates}" if gates else "")
        yield from (f"  it needs {need}" for need in capability["needs"])


def page_table(
    request: Mapping[str, Any],
    page: Mapping[str, Any],
    *,
    most: int | None = SHOWN_ITEMS,
    remedy: str = "the page as HTML has them",
) -> Table:
    """The first items of a priced page, with titles, prices and reasons.

    Args:
        request: The request that it answers.
        page: A page as the endpoint returns it.
        most: Items shown; None shows all.
        remedy: Where a reader finds those that are not shown.
    """
    title = f"Priced page: {question(request)!r} for {request.get('user_id') or 'an unknown customer'}"
    if request.get("jurisdiction"):
        title += f" in {request['jurisdiction']}"
    table = _table(escape(title), "#", "item", "list", "price", "", "why", numbers=("#", "list", "price", ""))
    for item in page["items"][:most]:
        name = item["title"]
        shown = f"{escape(name)} [dim]{escape(item['item_id'])}[/]" if name else escape(item["item_id"])
        coin = currency(item["currency"])
        listed, price = (
            coin.text(item[key]).removesuffix(f" {coin.code}") for key in ("list_price_minor", "price_minor")
        )
        why = "; ".join(reason_words(code) for code in item["reasons"])
        table.add_row(str(item["rank"]), shown, listed, price, discount(item), why)
    hidden = 0 if most is None else len(page["items"]) - most
    notes = [f"and {hidden} more of {len(page['items'])} items; {remedy}"] if hidden > 0 else []
    notes += understood(page)
    notes.append(page["disclosure"] or "No price on this page is personal, so no disclosure is due.")
    if page["degraded"]:
        notes.append(f"degraded: {page['degraded']}")
    notes.append(f"prices in {page['currency']}, model {page['model_version']}, valid until {page['expires_at']}")
    table.caption = escape("\n".join(notes))
    return table


def monitoring_table(reports: Sequence[Mapping[str, Any]]) -> Table:
    """What monitoring reports about the quotes just given."""
    table = _table("Monitoring", "job", "status", "checks", "did not pass", numbers=("checks",))
    for report in reports:
        failing = [check for check in report["checks"] if check["status"] != "pass" and check.get("decides", True)]
        shown = "; ".join(f"{check['name']} ({check['status']})" for check in failing[:SHOWN_CHECKS])
        more = f" and {len(failing) - SHOWN_CHECKS} more" if len(failing) > SHOWN_CHECKS else ""
        table.add_row(report["job"], _coloured(report["status"]), str(len(report["checks"])), shown + more)
    return table


def _table(title: str, *columns: str, numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", title_style="bold")
    for column in columns:
        right = column in numbers
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=right)
    return table


def _coloured(status: str) -> str:
    return f"[{COLOURS.get(status, 'white')}]{status}[/]"


def _number(value: float | None) -> str:
    return "" if value is None else figure(value)


def _provenance(folder: RunFolder) -> str:
    """What in the data was derived or simulated: each note once, with the tables that it is about."""
    tables: dict[str, list[str]] = {}
    for table, what in read_json(folder.tables / "metadata.json").get("provenance", {}).items():
        if what != "recorded":
            tables.setdefault(what, []).append(table)
    return "; ".join(f"{', '.join(names)}: {what}" for what, names in tables.items())
