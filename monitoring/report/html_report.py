"""The on-call report, ``report.html``: the status first, then each finding with its size, cause and first action.

The page is one file without scripts, fonts or images from elsewhere. It lays out any job's report::

    write_html_report(reports, out, now=now, runbook="docs/operations.md")
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from fairtag.base.files import write_text
from fairtag.base.types import SEVERITY, Status, worst
from monitoring.job_report import PRICE_LEVEL, RELATED_CHANGES, RELATED_LEVELS, Check, JobReport
from monitoring.runbook import runbook_entry
from monitoring.trigger.ledger import Entry

FILE = "report.html"
SOURCES = Path(__file__).parents[2]  # in an installed image without docs/ there is no file to lead to
MAX_FINDINGS = 5  # findings shown in full; nobody reads more in a minute
FOLLOWED = 0.5  # share of a price change that list price must show for the shop to be its likely cause
LEAST_REACH = 1.3  # the scale of a chart reaches this far past the urgent tolerance, so that its zone is always visible

HEADLINES = {
    Status.URGENT: ("Act now", "Something is wrong that cannot wait."),
    Status.UNKNOWN: ("Cannot tell", "Something needed for a result is missing. This is not a pass."),
    Status.WARN: ("Look today", "Something moved. It can wait until the morning."),
    Status.PASS: ("All quiet", "Every deciding check passed on enough data."),
}
MARKS = {Status.URGENT: "●", Status.UNKNOWN: "?", Status.WARN: "▲", Status.PASS: "✓"}
# What a check counts, if neither its unit nor "quotes" says it.
COUNTED = {
    "new_words": "query words",
    "query_words": "query words",
    "query_embedding": "pages",
    "stock_out": "items",
    "stock_ageing": "items",
    **dict.fromkeys(
        ("degraded", "stale_features", "no_customer", "duplicates", "late", "future", "broken_rows"), "rows"
    ),
}
WORDS = {Status.URGENT: "urgent", Status.UNKNOWN: "cannot tell", Status.WARN: "warn", Status.PASS: "pass"}


@dataclass(frozen=True)
class Finding:
    """One check that did not pass, with its texts.

    Args:
        job: The job of the check.
        check: The check, for its worst component.
        title: Heading.
        cause: Likely cause.
        action: First action.
        chart: The change over its zones.
        section: Section of the runbook.
        link: Address of the section; empty where there is none to lead to.
        also: Summaries of its other components and of what moved with it.
    """

    job: str
    check: Check
    title: str
    cause: str
    action: str
    chart: Markup
    section: str
    link: str
    also: tuple[str, ...] = ()


def write_html_report(
    reports: Sequence[JobReport], out: Path, *, now: datetime, runbook: str, ledger: Sequence[Entry] = ()
) -> Path:
    """Write ``report.html``.

    Args:
        reports: One report for each job.
        out: Folder of the report; it also holds Evidently's pages, which the report links to.
        now: The present, shown on the page.
        runbook: Address of the runbook: a URL, or a file, to which the links lead from where the report lies.
        ledger: Entries of the trigger's ledger, oldest first.
    """
    return write_text(out / FILE, render(reports, now=now, runbook=address_from(runbook, out), ledger=ledger))


def address_from(runbook: str, out: Path) -> str:
    """The address of the runbook for a page in a folder; empty where its file is not on this machine.

    Args:
        runbook: A URL, or a file: as seen from the working directory, or else from the source tree.
        out: Folder of the page.
    """
    if "://" in runbook:
        return runbook
    places = (Path(runbook).absolute(), SOURCES / runbook)
    file = next((place for place in places if place.is_file()), None)
    return "" if file is None else Path(os.path.relpath(file, out.absolute())).as_posix()


def render(reports: Sequence[JobReport], *, now: datetime, runbook: str, ledger: Sequence[Entry] = ()) -> str:
    """The report as HTML."""
    status = worst(report.status for report in [r for r in reports if not r.waiting] or reports)
    found = findings(reports, runbook)
    waiting = "; ".join(f"{report.job}: {report.waiting}" for report in reports if report.waiting)
    headline, meaning = HEADLINES[status]
    page = _environment().get_template("report.html.j2")
    return page.render(
        status=status,
        headline=headline,
        meaning=_lead(found) or (capitalise(waiting) if status is Status.UNKNOWN and waiting else meaning),
        findings=found[:MAX_FINDINGS],
        more=found[MAX_FINDINGS:],
        reports=reports,
        window=_window(reports),
        models=", ".join(sorted({model for report in reports for model in report.model_versions})) or "none",
        model_folder=next((str(r.detail["model_folder"]) for r in reports if "model_folder" in r.detail), ""),
        traffic=traffic_chart(next((r.detail["hours"] for r in reports if r.detail.get("hours")), {})),
        undecided=next((r.detail["not_judged"] for r in reports if r.detail.get("not_judged")), None),
        ledger=list(reversed(ledger))[:3],
        now=f"{now:%Y-%m-%d %H:%M} UTC",
        MARKS=MARKS,
        WORDS=WORDS,
    )


def findings(reports: Sequence[JobReport], runbook: str) -> list[Finding]:
    """One finding for each name of a check that did not pass, worst first.

    Components of one check share a finding, and so do the reports of several jobs on the same damaged log. List price,
    reference price and cost that moved with a price are told with it.

    Args:
        reports: One report for each job.
        runbook: Address of the runbook.
    """
    by_name: dict[str, list[tuple[str, Check]]] = {}
    for report in reports:
        for check in report.failing:
            by_name.setdefault(check.name, []).append((report.job, check))
    found = _fold_related([_finding(checks, runbook) for checks in by_name.values()])
    return sorted(found, key=lambda finding: SEVERITY.index(finding.check.status))


def _finding(checks: Sequence[tuple[str, Check]], runbook: str) -> Finding:
    ordered = sorted(checks, key=lambda pair: SEVERITY.index(pair[1].status))
    job, first = ordered[0]
    also = dict.fromkeys(check.summary for _, check in ordered[1:] if check.summary != first.summary)
    entry = runbook_entry(first.name)
    cause, action = _price_cause(first) or (entry.cause, entry.action)
    link = f"{runbook}#{entry.section}" if runbook else ""
    title = entry.heading(first.change)
    return Finding(job, first, title, cause, action, interval_chart(first), entry.section, link, tuple(also))


def _price_cause(check: Check) -> tuple[str, str] | None:
    """Likely cause and first action of a price change: the shop if the list price made half of it, else the model."""
    moved = check.detail.get(RELATED_CHANGES, {}).get("list_price_level")
    if moved is None or not check.change:
        return None
    by = figure(moved, "log ratio", signed=True)
    if moved / check.change >= FOLLOWED:
        return (
            f"the list price moved too ({by}): the shop repriced, or its feed is wrong",
            "Ask the pricing team whether this was intended. A factor of 100 or an exchange rate means a broken feed.",
        )
    return (
        f"the list price did not move with it ({by}): the model, a guardrail or a promotion changed the price",
        "See which reason codes became more frequent and which models served. Roll back if it began with a deployment.",
    )


def _fold_related(found: Sequence[Finding]) -> list[Finding]:
    """Fold related levels of the same component into the finding of the price, unless they are worse than it."""
    head = next((finding for finding in found if finding.check.name == PRICE_LEVEL), None)
    if head is None:
        return list(found)
    severity = SEVERITY.index(head.check.status)
    related = [
        finding
        for finding in found
        if finding.check.name in RELATED_LEVELS
        and finding.check.component == head.check.component
        and SEVERITY.index(finding.check.status) >= severity
    ]
    also = (*head.also, *(finding.check.summary for finding in related))
    return [replace(head, also=also) if each is head else each for each in found if each not in related]


def _lead(found: Sequence[Finding]) -> str:
    if not found:
        return ""
    more = len(found) - 1
    tail = f" {more} more finding{'s' if more > 1 else ''} below." if more else ""
    return f"{capitalise(found[0].check.summary)}.{tail}"


def _window(reports: Sequence[JobReport]) -> str:
    if not reports:
        return ""
    start = min(datetime.fromisoformat(report.start) for report in reports)
    end = max(datetime.fromisoformat(report.end) for report in reports)
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("monitoring.report"),
        autoescape=select_autoescape(["html", "j2"], default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        counted=counted, figure=figure, interval=interval, moment=moment, count=count, capitalise=capitalise
    )
    return environment


# --- figures ---------------------------------------------------------------------------------------------------------


def figure(value: float, unit: str, *, signed: bool = False) -> str:
    """A figure with its unit; shares, log ratios and relative prices in percent.

    >>> figure(0.0583, "log ratio", signed=True), figure(0.05, "share", signed=True), figure(2.0, "sd", signed=True)
    ('+6.0 %', '+5.0 points', '+2 sd')
    """
    number = _number(value, unit, signed=signed)
    suffix = _suffix(unit, signed=signed)
    return f"{number} {suffix}" if suffix else number


def interval(low: float, high: float, unit: str) -> str:
    """An interval of a change with its unit once.

    >>> interval(-0.01, 0.02, "relative price")
    '-1.0 to +2.0 %'
    """
    ends = " to ".join(_number(end, unit, signed=True) for end in (low, high))
    return f"{ends} {_suffix(unit, signed=True)}".rstrip()


def _number(value: float, unit: str, *, signed: bool) -> str:
    sign = "+" if signed else ""
    if unit in ("share", "relative price", "log ratio"):
        percent = 100 * (math.expm1(value) if unit == "log ratio" else value)
        return f"{round(percent, 1) + 0.0:{sign}.1f}"  # + 0.0 makes -0.0 positive
    rounded = round(value, 0 if abs(value) >= 100 else 2) + 0.0
    return f"{rounded:{sign},.0f}" if abs(value) >= 100 else f"{rounded:{sign}.3g}"


def _suffix(unit: str, *, signed: bool) -> str:
    if unit == "share":
        return "points" if signed else "%"
    return "%" if unit in ("log ratio", "relative price") else unit


def moment(text: str) -> str:
    """An ISO time in short form, such as ``09 Feb 14:00``."""
    return f"{datetime.fromisoformat(text):%d %b %H:%M}"


def count(number: Any) -> str:
    """A count with thousands separators."""
    return f"{int(number):,}"


def counted(check: Check) -> str:
    """How many rows a check was measured on, with their name."""
    name = COUNTED.get(check.name) or (check.unit if check.unit in ("rows", "pages", "quotes", "items") else "quotes")
    return f"{check.n:,} {name}"


def capitalise(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


# --- charts: plain elements placed in percent, so that they keep their shape from a phone to a printed page ----------


def interval_chart(check: Check) -> Markup:
    """The change with its 90 % interval over the pass, warn and urgent zones; empty without figures."""
    if check.change is None or check.low is None or check.high is None or not check.warn_at:
        return Markup("")
    urgent = check.urgent_at if check.urgent_at is not None else 3 * check.warn_at
    reach = 1.12 * max(abs(check.low), abs(check.high), LEAST_REACH * urgent)

    def x(value: float) -> float:
        return round(50 * (1 + value / reach), 2)

    def piece(kind: str, low: float, high: float) -> str:
        return f'<i class="{kind}" style="left:{x(low)}%;width:{round(x(high) - x(low), 2)}%"></i>'

    def label(value: float, text: str, align: str) -> str:
        return f'<b class="{align}" style="left:{x(value)}%">{text}</b>'

    # one label on each side of the zero line, so that they never overlap
    side, inner, outer = (1, "before", "after") if check.change >= 0 else (-1, "after", "before")
    edge, word = (urgent, "urgent") if check.urgent_at is not None else (check.warn_at, "warn")
    parts = [
        piece("zone-urgent", -reach, reach),
        piece("zone-warn", -urgent, urgent),
        piece("zone-pass", -check.warn_at, check.warn_at),
        f'<i class="zero" style="left:{x(0)}%"></i>',
        piece("span", check.low, check.high),
        f'<i class="dot" style="left:{x(check.change)}%"></i>',
        label(0, "equal" if check.unit == "relative price" else "training", inner),
        label(side * edge, word, outer),
    ]
    spoken = f"change {figure(check.change, check.unit, signed=True)}, 90 % interval " + interval(
        check.low, check.high, check.unit
    )
    # every part is a number, a unit of ours or one of the fixed words above, so that the whole is safe unescaped
    return Markup(f'<div class="scale" role="img" aria-label="{spoken}">{"".join(parts)}</div>')  # noqa: S704


def traffic_chart(hours: Mapping[str, int]) -> Markup:
    """Pages per hour as bars; empty for fewer than two hours."""
    if len(hours) < 2:
        return Markup("")
    counts = [hours[hour] for hour in sorted(hours)]
    most = max(counts)
    bars = "".join(f'<i style="height:{100 * pages / most:.1f}%"></i>' for pages in counts)
    spoken = f"pages per hour over {len(counts)} hours, from {min(counts):,} to {most:,}"
    return Markup(f'<div class="traffic" role="img" aria-label="{spoken}">{bars}</div>')  # noqa: S704  # numbers only
