"""Shows a run while it goes and sums it up at its end. Computes no figure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

from fairtag.base.text import figure

VERDICTS = {
    "pass": "green",
    "warn": "yellow",
    "warning": "yellow",
    "quarantined": "yellow",
    "not applicable": "dim",
    "could not tell": "magenta",
    "blocked": "red",
    "page": "red",
    "fail": "red",
}
SHOWN_ITEMS = 10


class Display:
    """Steps as they go: a line a finished step, and on a terminal the newest line of the one at work."""

    def __init__(self, console: Console) -> None:
        # Bound to the stream of this moment: while steps run, the standard output goes to the run's log.
        self.console = Console(file=console.file, width=console.width)
        self._status: Status | None = self.console.status("starting") if console.is_terminal else None
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
        """Take note of a line of a step; a new step's name finishes the one before."""
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


def validation_table(report: Mapping[str, Any]) -> Table:
    """What was validated."""
    table = _table("Validated", "table", "verdict", "rows", "set aside", "rules", "broken rules")
    for row in report["tables"]:
        broken = "; ".join(f"{f['column']} {f['rule']} ({f['count']:,})" for f in row["findings"]) or "none"
        table.add_row(
            row["table"],
            _verdict(row["verdict"]),
            f"{row['rows']:,}",
            f"{row['quarantined']:,}",
            str(row["checks"]),
            broken,
        )
    return table


def training_table(report: Mapping[str, Any]) -> Table:
    """Losses and held-out scores of the encoder, first and last."""
    title = f"Encoder: {report['steps']} steps on {report['device']} in {report['seconds']:.0f} s"
    table = _table(title, "figure", "first", "last", numbers=("first", "last"))
    for rows in (report["losses"], report["evaluations"]):
        for name in (name for name in (rows[-1] if rows else {}) if name not in ("step", "rate")):
            table.add_row(name, _number(rows[0].get(name)), _number(rows[-1][name]))
    return table


def gates_table(decision: Mapping[str, Any]) -> Table:
    """The gates of a decision."""
    word = "[green]accepted[/]" if decision["accepted"] else "[red]rejected[/]"
    held = decision["champion"]["version"] if decision["champion"] else "no champion yet"
    title = f"Decision: {word} ({decision['challenger']['version']} against {held})"
    table = _table(title, "gate", "verdict", "value", "interval", numbers=("value", "interval"))
    for gate in decision["gates"]:
        interval = f"{_number(gate['low'])} to {_number(gate['high'])}" if gate["low"] is not None else ""
        table.add_row(gate["name"], _verdict(gate["status"]), _number(gate["value"]), interval)
    open_gates = (gate for gate in decision["gates"] if gate["status"] not in ("pass", "not applicable"))
    table.caption = "\n".join(f"{gate['name']} wants: {gate['rule']}" for gate in open_gates) or None
    return table


def page_table(request: Mapping[str, Any], page: Mapping[str, Any], titles: Mapping[str, str]) -> Table:
    """A priced page as a customer's shop would show it, with the reasons."""
    asked = request.get("query") or f"{len(request.get('item_ids', ()))} items of the shop's own search"
    title = f"Priced page: {asked!r} for {request.get('user_id') or 'an unknown customer'}"
    if request.get("jurisdiction"):
        title += f" in {request['jurisdiction']}"
    table = _table(title, "#", "item", "list price", "price", "reasons", numbers=("#", "list price", "price"))
    for item in page["items"][:SHOWN_ITEMS]:
        name = titles.get(item["item_id"], item["item_id"])
        listed, price = (_money(item[key], item["currency"]) for key in ("list_price_minor", "price_minor"))
        table.add_row(str(item["rank"]), name, listed, price, ", ".join(item["reasons"]))
    notes = [page["disclosure"] or "no disclosure is due: no price on this page is personal"]
    if page["degraded"]:
        notes.append(f"degraded: {page['degraded']}")
    table.caption = f"{'; '.join(notes)}\nmodel {page['model_version']}, valid until {page['expires_at']}"
    return table


def monitoring_table(verdicts: Sequence[Mapping[str, Any]]) -> Table:
    """What monitoring concluded of the quotes just given."""
    table = _table("Monitoring", "job", "verdict", "checks", "what did not pass")
    for verdict in verdicts:
        failing = [check for check in verdict["checks"] if check["status"] != "pass" and check.get("decides", True)]
        shown = "; ".join(f"{check['name']} ({check['status']})" for check in failing[:4])
        more = f" and {len(failing) - 4} more" if len(failing) > 4 else ""
        table.add_row(verdict["job"], _verdict(verdict["status"]), str(len(verdict["checks"])), shown + more)
    return table


def _table(title: str, *columns: str, numbers: Sequence[str] = ("rows", "set aside", "rules", "checks")) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _verdict(verdict: str) -> str:
    return f"[{VERDICTS.get(verdict.replace('_', ' '), 'white')}]{verdict}[/]"


def _number(value: float | None) -> str:
    return "" if value is None else figure(value)


def _money(minor: int, currency: str) -> str:
    return f"{minor / 100:,.2f} {currency}"
