"""The whole loop on one machine: pipeline, endpoint, priced pages, reports.

A finished run is not repeated for the same data, code and settings. A run that was killed goes on: steps that it
finished are taken over (:mod:`pipelines.steps`), and training resumes from its checkpoint.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from components.adapters.kserve import deployments
from fairtag.base.errors import ConfigError, DecisionRejected, FairtagError
from fairtag.base.files import read_json, write_json, write_text
from fairtag.model.decision import read_decision, require_accepted
from fairtag.model.manifest import DECISION, read_manifest, verify_files
from monitoring.runner import JOBS
from pipelines.endpoint import MODEL, serve
from pipelines.local import run_pipeline
from pipelines.preflight import require_startable
from pipelines.processes import attached, ending_on_sigterm
from pipelines.results_page import write_results_page
from pipelines.run_folder import RunFolder, code_version, data_fingerprint
from pipelines.settings import RunSettings
from pipelines.traffic import (
    catalogue_requests,
    held_out_requests,
    outcome_options,
    replay,
    search_request,
    simulate_purchases,
)
from serving.protocol.client import RestClient

Progress = Callable[[str, str], None]

SCHEMA = "fairtag.run/2"
STARTED = re.compile(r"\.\. (.*)")  # a line of monitoring's progress
AUDIT = "audit_groups.parquet"
UNCHANGED = "nothing changed since the last run, so it was not run again; --force runs it anyway"


@dataclass(frozen=True)
class LoopReport:
    """What a loop did.

    Args:
        again: Why the pipeline was not run, because the same run had finished before; empty where it ran.
        request: Request of the page that is shown.
        page: That page.
        reports: Reports of the monitoring jobs.
    """

    again: str
    request: dict[str, Any]
    page: dict[str, Any]
    reports: list[dict[str, Any]]


def run_loop(
    settings: RunSettings, progress: Progress, *, force: bool = False, train_only: bool = False
) -> LoopReport | None:
    """Run the pipeline, serve the accepted model, price held-out pages and monitor the quotes.

    Args:
        settings: What is asked for.
        progress: Called with (step, line).
        force: Run the pipeline even when nothing changed.
        train_only: Stop when the model is live; a running endpoint takes it up by itself.

    Returns:
        What was priced and reported; None with ``train_only``.

    Raises:
        FairtagError: A step's own error; DecisionRejected when the model is not good enough to serve.
    """
    require_startable(settings)
    folder = settings.folder
    with _alone(folder), ending_on_sigterm():
        again = train_and_decide(settings, progress, force=force)
        return None if train_only else serve_and_monitor(folder, settings.local.jurisdiction, progress, again=again)


def train_and_decide(settings: RunSettings, progress: Progress, *, force: bool = False) -> str:
    """Run the pipeline unless it finished before on the same data, code and settings.

    Returns:
        Why it was not run; empty where it ran.
    """
    folder = settings.folder
    progress("fingerprint", "source files and code")
    data, code = data_fingerprint(settings.data.dataset, settings.data.path, settings.seed), code_version()
    key = settings.key(data, code)
    if not force and (why := _finished(folder, key)):
        progress("fingerprint", why)
        return why
    folder.state.unlink(missing_ok=True)
    started = time.time()
    try:
        run_pipeline(settings.arguments(data, code), folder.root, progress, settings.local.runner, repeat=force)
        end = "accepted"
    except DecisionRejected:
        end = "rejected"
        raise
    except FairtagError:
        end = "failed"
        raise
    finally:
        if sys.exc_info()[0] is None or isinstance(sys.exc_info()[1], FairtagError):
            _note(settings, key, end, time.time() - started, data, code)
    return ""


def serve_and_monitor(folder: RunFolder, jurisdiction: str, progress: Progress, *, again: str) -> LoopReport:
    """Price held-out pages at a real endpoint and run monitoring over the quotes."""
    requests = held_out_requests(folder.training_set, jurisdiction)
    kind = "held-out pages" if requests else "searches for titles of the catalogue"
    requests = requests or catalogue_requests(folder.live, jurisdiction)
    progress("serve", "starting the endpoint")
    began = time.time()
    with (
        serve(folder.live, folder.features, folder.serving) as address,
        RestClient(address, MODEL, timeout=60) as client,
    ):
        progress("quote", f"0 of {len(requests)} {kind} priced")
        asked = time.monotonic()
        pages = replay(client, requests, lambda n, of: progress("quote", f"{n} of {of} {kind} priced"))
        rate = len(pages) / (time.monotonic() - asked)
        progress("quote", f"{len(pages)} {kind} priced, {rate:.0f} a second")
        best = max(range(len(pages)), key=lambda n: _variety(pages[n]))
        search = search_request([requests[best]])
        request, page = (search, client.pages([search])[0]) if search else (requests[best], pages[best])
    write_results_page(folder.results_page, request, page, read_decision(folder.live / DECISION))
    if purchases := simulate_purchases(folder, datetime.fromtimestamp(began, UTC)):
        progress("purchases", f"{purchases} by simulated customers")
    return LoopReport(again, request, page, monitor(folder, time.time() - began, progress))


def monitor(folder: RunFolder, seconds: float, progress: Progress) -> list[dict[str, Any]]:
    """Run every monitoring job over the quotes of the last seconds; returns their reports.

    Raises:
        FairtagError: No job wrote a report.
    """
    progress("monitor", "reading the quote log")
    minutes = int(seconds / 60) + 2  # a whole minute on each side, for rounding and the flush of the log
    files = [folder.reports / f"{job}.json" for job in JOBS]
    for file in files:
        file.unlink(missing_ok=True)
    line = [sys.executable, "-m", "monitoring", "all", "--progress", *monitoring_options(folder, "all", f"{minutes}m")]
    said: list[str] = []
    with attached(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1) as process:
        for text in process.stdout or ():
            said.append(text)
            if shown := STARTED.match(text):
                progress("monitor", shown.group(1))
        process.wait()
    reports = [read_json(file) for file in files if file.is_file()]
    if not reports:
        raise FairtagError(f"monitoring wrote no report: {''.join(said).strip()[-300:]}")
    progress("monitor", ", ".join(f"{report['job']} {report['status']}" for report in reports))
    return reports


def monitoring_options(folder: RunFolder, job: str, window: str) -> list[str]:
    """Options of ``python -m monitoring`` for the quotes and the live model of a run."""
    options = {
        "--quotes": folder.serving / "quotes",
        "--model-folder": folder.live,
        "--out": folder.reports,
        "--workspace": folder.workspace,
        "--window": window,
    }
    if job in ("fairness", "all") and (folder.tables / AUDIT).is_file():
        options |= {"--audit": folder.tables / AUDIT, "--secret": folder.serving / "secrets" / "user_key"}
    if job in ("stock", "all"):
        options["--tables"] = folder.tables
    options["--policy-store"] = folder.serving / "policy"
    options |= outcome_options(folder)
    return [str(part) for option in options.items() for part in option]


def _variety(page: dict[str, Any]) -> tuple[bool, int]:
    """How much a page shows of what the product does: personal prices first, then the number of different reasons."""
    return page["personalised"], len({reason for item in page["items"] for reason in item["reasons"]})


def _finished(folder: RunFolder, key: str) -> str:
    """Why the same run need not be run again: it finished, and its results are intact; empty where it did not finish.

    A model that was rolled back since stays so: only a person who says ``--force`` lets it be judged again.

    Raises:
        DecisionRejected: It finished with a rejected model.
        DigestMismatch: A file of the model was altered since.
        DecisionMismatch: Another model is live than the run or a rollback made live.
    """
    state = read_json(folder.state) if folder.state.is_file() else {}
    if state.get("key") != key or state.get("end") not in ("accepted", "rejected"):
        return ""
    decision = read_decision(folder.decision)
    require_accepted(decision, folder.model_folder)
    verify_files(folder.live, read_manifest(folder.live))
    back = deployments(folder.root)[-1:]
    if back and back[0].get("rolled_back") == decision["challenger"]["version"]:
        require_accepted(read_decision(folder.live / DECISION), folder.live)
        return _stays_back(back[0])
    require_accepted(decision, folder.live)
    return UNCHANGED


def _stays_back(entry: dict[str, str]) -> str:
    why = f": {entry['why']}" if entry.get("why") else ""
    return (
        f"nothing changed since the last run, whose model {entry['rolled_back']} was rolled back by {entry['who']} on "
        f"{entry['at'][:10]}{why}; {entry['version']} serves, and --force runs and judges it again"
    )


def _note(settings: RunSettings, key: str, end: str, seconds: float, data: str, code: str) -> None:
    source = settings.data.path
    facts = {
        "dataset": settings.data.dataset,
        "data": str(source.absolute()) if source else "",
        "key": key,
        "end": end,
        "seconds": round(seconds, 1),
        "data_fingerprint": data,
        "code_version": code,
    }
    write_json(settings.folder.state, {"schema": SCHEMA, **facts})


@contextmanager
def _alone(folder: RunFolder) -> Iterator[None]:
    """Let no other run work in the folder. The system frees the lock of a run that was killed."""
    folder.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        owner = folder.owner.read_text().strip() if folder.owner.is_file() else "its process is not known"
        raise ConfigError(
            f"--out {folder.root}: another run works there ({owner}); wait until it ends, or choose another folder"
        ) from error
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_text(folder.owner, f"process {os.getpid()} on {platform.node()}, since {now}\n")
        yield
    finally:
        folder.owner.unlink(missing_ok=True)
        lock.release()
