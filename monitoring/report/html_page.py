"""One page that a tired person reads in a minute: the verdict first, then what, how much, since when, why, what to do.

It knows no job: it lays out verdicts. The page is one file, without scripts, fonts or images from anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fairtag.base.files import write_text
from fairtag.base.types import Status, worst
from monitoring.job_report import SEVERITY, Check, JobReport
from monitoring.jobs.drift_examples import COMPANY, MOVED_WITH, PRICE_LEVEL
from monitoring.report.charts import interval_chart, traffic_chart
from monitoring.report.knowledge import knowledge
from monitoring.trigger.ledger import Entry

FILE = "report.html"
SHOWN = 5  # findings told in full; a page with more is not read in a minute
FOLLOWED = 0.5  # share of a price's change that list price must make for the shop to have made it

HEADLINES = {
    Status.URGENT: ("Act now", "Something is wrong that should not wait."),
    Status.UNKNOWN: ("Cannot tell", "Something needed for a verdict is missing. This is not a pass."),
    Status.WARN: ("Look today", "Something moved. It can wait until the morning."),
    Status.PASS: ("All quiet", "Every check that decides passed on enough data."),
}
MARKS = {Status.URGENT: "●", Status.UNKNOWN: "?", Status.WARN: "▲", Status.PASS: "✓"}
WORDS = {Status.URGENT: "page", Status.UNKNOWN: "cannot tell", Status.WARN: "warn", Status.PASS: "pass"}


@dataclass(frozen=True)
class Finding:
    """One check that did not pass, with the words for it.

    Args:
        job: The job that found it.
        check: The check, where it is worst.
        title: Heading.
        cause: The likeliest cause.
        action: The first thing to do.
        chart: The change over its zones.
        entry: Heading of the runbook entry.
        runbook: Its address.
        also: Its other components, and what moved with it, in a sentence each.
    """

    job: str
    check: Check
    title: str
    cause: str
    action: str
    chart: str
    entry: str
    runbook: str
    also: tuple[str, ...] = ()


def write_report(
    verdicts: Sequence[JobReport], out: Path, *, now: datetime, runbook: str, ledger: Sequence[Entry] = ()
) -> Path:
    """Write ``report.html`` for the verdicts of one run.

    Args:
        verdicts: One a job.
        out: Folder that also holds Evidently's pages, to which the report links.
        now: The present, shown on the page.
        runbook: Address of the runbook.
        ledger: The trigger's entries, oldest first.
    """
    return write_text(out / FILE, render(verdicts, now=now, runbook=runbook, ledger=ledger))


def render(verdicts: Sequence[JobReport], *, now: datetime, runbook: str, ledger: Sequence[Entry] = ()) -> str:
    """The page as HTML."""
    status = worst(verdict.status for verdict in verdicts)
    found = findings(verdicts, runbook)
    headline, meaning = HEADLINES[status]
    page = _environment().get_template("report.html.j2")
    return page.render(
        status=status,
        headline=headline,
        meaning=_lead(found) or meaning,
        findings=found[:SHOWN],
        more=found[SHOWN:],
        verdicts=verdicts,
        window=_window(verdicts),
        models=", ".join(sorted({model for verdict in verdicts for model in verdict.model_versions})) or "none",
        model_folder=next((str(v.detail["model_folder"]) for v in verdicts if "model_folder" in v.detail), ""),
        traffic=traffic_chart(next((v.detail["hours"] for v in verdicts if v.detail.get("hours")), {})),
        left_out=next((v.detail["not_judged"] for v in verdicts if v.detail.get("not_judged")), None),
        ledger=list(reversed(ledger))[:3],
        now=f"{now:%Y-%m-%d %H:%M} UTC",
        MARKS=MARKS,
        WORDS=WORDS,
        PASS=Status.PASS,
    )


def findings(verdicts: Sequence[JobReport], runbook: str) -> list[Finding]:
    """Checks that did not pass over all jobs, worst first; what has one name is one finding with its components.

    A damaged log that every job names is told once; list price and cost that moved with a price are told with it.
    """
    by_name: dict[str, list[tuple[str, Check]]] = {}
    for verdict in verdicts:
        for check in verdict.failing:
            by_name.setdefault(check.name, []).append((verdict.job, check))
    found = _folded([_finding(checks, runbook) for checks in by_name.values()])
    return sorted(found, key=lambda finding: SEVERITY.index(finding.check.status))


def _finding(checks: Sequence[tuple[str, Check]], runbook: str) -> Finding:
    ordered = sorted(checks, key=lambda pair: SEVERITY.index(pair[1].status))
    job, first = ordered[0]
    also = dict.fromkeys(check.summary for _, check in ordered[1:] if check.summary != first.summary)
    known = knowledge(first.name)
    cause, action = _who(first) or (known.cause, known.action)
    link = f"{runbook}#{known.entry}"
    title = known.heading(first.change)
    return Finding(job, first, title, cause, action, interval_chart(first), known.entry, link, tuple(also))


def _who(check: Check) -> tuple[str, str] | None:
    """Who moved a price and what to do: the shop, when its list price went at least half of the way; or the model."""
    moved = check.detail.get(MOVED_WITH, {}).get("list_price_level")
    if moved is None or not check.change:
        return None
    by = figure(moved, "log ratio", signed=True)
    if moved / check.change >= FOLLOWED:
        return (
            f"list price moved with it ({by}), so that the shop repriced or its feed is wrong",
            "Ask pricing whether it was meant. A factor of 100 or of an exchange rate is a broken feed.",
        )
    return (
        f"list price did not move with it ({by}), so that the model, a guardrail or a promotion did",
        "See which reason codes grew and which model versions served; roll back when it began with a deployment.",
    )


def _folded(found: Sequence[Finding]) -> list[Finding]:
    """One card for one cause: the levels that moved with a price in the same place, and no worse, go to its own."""
    head = next((finding for finding in found if finding.check.name == PRICE_LEVEL), None)
    if head is None:
        return list(found)
    severity = SEVERITY.index(head.check.status)
    company = [
        finding
        for finding in found
        if finding.check.name in COMPANY
        and finding.check.component == head.check.component
        and SEVERITY.index(finding.check.status) >= severity
    ]
    also = (*head.also, *(finding.check.summary for finding in company))
    return [replace(head, also=also) if each is head else each for each in found if each not in company]


def _lead(found: Sequence[Finding]) -> str:
    if not found:
        return ""
    more = len(found) - 1
    tail = f" {more} more finding{'s' if more > 1 else ''} below." if more else ""
    return f"{capitalise(found[0].check.summary)}.{tail}"


def _window(verdicts: Sequence[JobReport]) -> str:
    if not verdicts:
        return ""
    start = min(datetime.fromisoformat(verdict.start) for verdict in verdicts)
    end = max(datetime.fromisoformat(verdict.end) for verdict in verdicts)
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitoring.report"),
        autoescape=select_autoescape(["html", "j2"], default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, moment=moment, compact=compact, capitalise=capitalise)
    return environment


def figure(value: float, unit: str, *, signed: bool = False) -> str:
    """A figure as a person writes it: shares and log ratios as percent, the rest plainly."""
    sign = "+" if signed else ""
    if unit == "share":
        points = " points" if signed else " %"
        return f"{100 * value:{sign}.1f}{points}"
    if unit == "log ratio":
        return f"{100 * math.expm1(value):{sign}.1f} %"
    if unit == "relative price":
        return f"{100 * value:{sign}.1f} %"
    return f"{value:{sign},.3g}" + (f" {unit}" if unit else "")


def moment(text: str) -> str:
    """An ISO time, short."""
    return f"{datetime.fromisoformat(text):%d %b %H:%M}"


def compact(count: Any) -> str:
    """A count with thousands marks."""
    return f"{int(count):,}"


def capitalise(text: str) -> str:
    """The text with its first letter large and the rest as it is."""
    return text[:1].upper() + text[1:]
