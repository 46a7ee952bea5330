"""Fairness: gaps between groups in words with their intervals, the promises, what the law asks where, downloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from starlette.responses import Response

from console.frame import Page, Visit
from fairtag.base.errors import DataError, RequestError
from fairtag.base.files import read_json
from fairtag.policy.disclosure import DEFAULT, read_disclosures

GAP = "price_gap:"
PROMISE = "promise_"
PROMISES = {  # what the job calls them
    "corridor": "nobody pays more than the corridor allows",
    "list": "nobody pays more than list and the markup allowed",
    "floor": "no price below its lower limit",
    "ceiling": "no price above its upper limit",
    "disclosure": "personal prices say so",
    "opt_out": "no personal price after opting out",
    "sticky": "a price stays through its day",
}


def gaps(report: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Each group's gap in words, by attribute; attributes that are crossed come last."""
    found: dict[str, list[dict[str, Any]]] = {}
    for check in report["checks"]:
        if check["name"].startswith(GAP):
            attribute = check["name"].removeprefix(GAP)
            found.setdefault(attribute, []).append({**check, "words": gap_words(check)})
    return dict(sorted(found.items(), key=lambda pair: (" x " in pair[0], pair[0])))


def gap_words(check: Mapping[str, Any]) -> str:
    """A gap in a sentence, with its 90 % interval.

    >>> gap_words({"component": "18-34", "change": 0.004, "low": 0.001, "high": 0.007})
    '18-34 pays 0.4 % more than everybody else for the same item, between 0.1 % more and 0.7 % more'
    >>> gap_words({"component": "65+", "change": None})
    '65+: too few customers to tell'
    """
    if check.get("change") is None or check.get("low") is None:
        return f"{check['component']}: too few customers to tell"
    middle, low, high = (_side(check[name]) for name in ("change", "low", "high"))
    return (
        f"{check['component']} pays {middle} than everybody else for the same item, between {low} and {high}".replace(
            "the same than", "the same as"
        )
    )


def _side(value: float) -> str:
    size = f"{abs(100 * value):.1f} %"
    return "the same" if size == "0.0 %" else f"{size} {'more' if value > 0 else 'less'}"


def law(on: date) -> list[dict[str, Any]]:
    """The disclosure table on a day: where personal prices are allowed, and what must be shown."""
    table = read_disclosures()
    places = sorted({rule.jurisdiction for rule in table.rules} - {DEFAULT})
    return [{**asdict(table.rule(place, on)), "place": place} for place in places]


async def show(visit: Visit) -> Response:
    """The last fairness report, and the law of today."""
    folder = visit.work.settings.reports
    path = None if folder is None else folder / "fairness.json"
    report = await visit.blocking(_report, path) if path is not None and path.is_file() else None
    promises = [each for each in report["checks"] if each["name"].startswith(PROMISE)] if report else []
    return await visit.render(
        "fairness.html",
        report=report,
        gaps=gaps(report) if report else {},
        promises=promises,
        promise_words=PROMISES,
        law=law(datetime.now(UTC).date()),
        version=read_disclosures().version,
        documents=[name for name in DOCUMENTS if _has(visit, name)],
    )


def _report(path: Any) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise DataError(f"{path}: not a readable report ({error}); run the job again") from error


DOCUMENTS = {
    "fairness.json": "the fairness report with every check",
    "DECISION.json": "the decision with every gate",
    "disclosure.json": "the disclosure table with its sources",
    "policy-history.json": "every version of the live policy: who, when, why",
    "console-audit.json": "every action in the console",
}


async def download(visit: Visit) -> Response:
    """One document for an auditor."""
    name = visit.asked("name")
    content = await _content(visit, name) if name in DOCUMENTS else None
    if content is None:
        raise RequestError("name", name, "is no document of this console", status=404)
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/json", headers=headers)


def _has(visit: Visit, name: str) -> bool:
    """Whether this console has a document."""
    if name in ("disclosure.json", "console-audit.json"):
        return True
    if name == "policy-history.json":
        return visit.work.policy is not None
    path = _path(visit, name)
    return path is not None and path.is_file()


def _path(visit: Visit, name: str) -> Path | None:
    settings = visit.work.settings
    if name == "DECISION.json":
        return settings.decision
    return None if settings.reports is None else settings.reports / name


async def _content(visit: Visit, name: str) -> str | None:
    """A document as JSON; None where this console does not have it."""
    work = visit.work
    if name == "disclosure.json":
        return json.dumps([asdict(rule) for rule in read_disclosures().rules], indent=2, default=str)
    if name == "console-audit.json":
        return json.dumps([asdict(entry) for entry in await visit.blocking(work.audit.entries)], indent=2)
    if name == "policy-history.json":
        if work.policy is None:
            return None
        return json.dumps(
            [asdict(change) for change in await visit.blocking(work.policy.history)], indent=2, default=str
        )
    path = _path(visit, name)
    return await visit.blocking(path.read_text, encoding="utf-8") if path is not None and path.is_file() else None


PAGE = Page(
    "fairness",
    "/fairness",
    "Fairness",
    "gaps between groups, promises, the law, documents for an auditor",
    show,
    views={"download": download},
)
