"""Operations: today's verdicts and findings, the trigger's ledger, the quote log, and who did what in the console."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.responses import Response

from console.audit import AuditEntry
from console.frame import Page, Visit
from console.quotes import LogState
from fairtag.base.errors import DataError, RequestError, UnavailableError
from fairtag.base.files import read_json
from fairtag.base.types import SEVERITY, Status

JOBS = {
    "drift": "Have prices, demand, queries or the catalogue moved away from training?",
    "performance": "Do customers buy as the model predicts?",
    "fairness": "Are all price promises kept, and do groups pay the same for the same item?",
    "quality": "Is the quote log complete, in range, on time and disclosed?",
    "stock": "Which items are about to run out, and which do not sell?",
}
STALE_HOURS = 26  # a day and two hours: a daily job that did not run
ENTRIES = 20  # of ledger and audit log that are shown
LEDGER_FILE = "ledger.jsonl"
# Reports bring styles and scripts of their own. In a sandbox they have an origin of their own as well, from which they
# reach neither this console nor the network.
SANDBOX = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "img-src data: blob:; font-src data:"
)


def job_reports(folder: Path | None) -> list[dict[str, Any]]:
    """The newest report of each job, with what did not pass first; jobs without one have the status None."""
    found: list[dict[str, Any]] = []
    for job, question in JOBS.items():
        path = None if folder is None else folder / f"{job}.json"
        if path is None or not path.is_file():
            found.append({"job": job, "question": question, "status": None, "checks": [], "open": []})
            continue
        try:
            report = read_json(path)
        except ValueError as error:
            raise DataError(f"{path}: not a readable report ({error}); run the job again") from error
        found.append({**report, "question": question, "open": _open(report), "late": _late(report)})
    return found


def _open(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The checks that did not pass and count, the most severe first."""
    failing = [each for each in report["checks"] if each.get("decides", True) and each["status"] != Status.PASS]
    return sorted(failing, key=lambda each: SEVERITY.index(Status(each["status"])))


def _late(report: Mapping[str, Any]) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(report["window"]["end"])).total_seconds() > STALE_HOURS * 3600


def ledger_entries(folder: Path | None) -> list[dict[str, Any]]:
    """The last entries of the trigger's ledger, newest first; ``python -m monitoring ledger`` checks its chain."""
    path = None if folder is None else folder / LEDGER_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.is_file() else []
    found: list[dict[str, Any]] = []
    for line in reversed(lines[-ENTRIES:]):
        try:
            found.append(json.loads(line))
        except ValueError:  # cut off by a crash; its append never returned
            continue
    return found


async def show(visit: Visit) -> Response:
    """The state of everything at a glance."""
    settings, work = visit.work.settings, visit.work
    state: LogState | None = None
    log_trouble = ""
    try:
        state = await visit.blocking(work.quotes.state, 24.0) if work.quotes is not None else None
    except UnavailableError as error:
        log_trouble = str(error)
    metrics = await work.endpoint.metrics()
    reports = await visit.blocking(job_reports, settings.reports)
    actions: Sequence[AuditEntry] = ()
    trouble = ""
    try:
        actions = await visit.blocking(work.audit.newest, ENTRIES)
    except DataError as error:
        trouble = str(error)
    pages = sorted(settings.reports.glob("*.html")) if settings.reports is not None else []
    return await visit.render(
        "operations.html",
        reports=reports,
        log=state,
        log_trouble=log_trouble,
        endpoint={"ready": await work.endpoint.ready(), "url": work.endpoint.url, "metrics": metrics},
        ledger=await visit.blocking(ledger_entries, settings.ledger),
        actions=actions,
        actions_trouble=trouble,
        links=[page.name for page in pages],
    )


async def report(visit: Visit) -> Response:
    """One report page of monitoring, in a sandbox."""
    name, folder = visit.asked("name"), visit.work.settings.reports
    path = None if folder is None else folder / name
    if path is None or Path(name).name != name or path.suffix != ".html" or not path.is_file():
        raise RequestError("name", name, "is no report", status=404)
    content = await visit.blocking(path.read_bytes)
    return Response(content, media_type="text/html", headers={"content-security-policy": SANDBOX})


PAGE = Page(
    "operations",
    "/operations",
    "Operations",
    "verdicts, findings, ledger, quote log",
    show,
    views={"report": report},
)
