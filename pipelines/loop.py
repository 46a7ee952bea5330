"""The whole loop on one machine: pipeline, endpoint, priced pages, reports.

A run that finished is not run again for the same data, code and settings; one that was killed starts over, training
from its checkpoint.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from fairtag.base.errors import ConfigError, DecisionRejected, FairtagError
from fairtag.base.files import read_json, write_json
from fairtag.model.decision import read_decision, require_accepted
from fairtag.model.manifest import read_manifest, verify_files
from monitoring.runner import JOBS
from pipelines.answers import answer_quotes, watching_options
from pipelines.endpoint import MODEL, serve
from pipelines.fingerprint import code_version, data_fingerprint
from pipelines.local import run_pipeline
from pipelines.replay import held_out_requests, replay, search_request
from pipelines.settings import RunLayout, RunSettings
from serving.protocol.client import RestClient

Progress = Callable[[str, str], None]

SCHEMA = "fairtag.run/1"
AUDIT = "audit_groups.parquet"


@dataclass(frozen=True)
class LoopReport:
    """What a loop did.

    Args:
        again: Whether the pipeline had run before and was left alone.
        request: The page that is shown.
        page: Its answer.
        verdicts: Verdicts of the monitoring jobs.
        pages: Pages that were priced.
        pages_per_second: Their rate, one request after the other.
    """

    again: bool
    request: dict[str, Any]
    page: dict[str, Any]
    verdicts: list[dict[str, Any]]
    pages: int
    pages_per_second: float


def run_loop(
    settings: RunSettings, jurisdiction: str, progress: Progress, *, force: bool = False, train_only: bool = False
) -> LoopReport | None:
    """Run the pipeline, serve what was accepted, price held-out pages and judge the quotes.

    Args:
        settings: What is asked.
        jurisdiction: Where the replayed customers are.
        progress: Told (step, line).
        force: Run the pipeline even where nothing changed.
        train_only: End with the live model: what serves it takes it up by itself.

    Returns:
        What was priced and found; None for ``train_only``.

    Raises:
        FairtagError: A step's own error; DecisionRejected when the model is not good enough to serve.
    """
    layout = settings.layout
    with _alone(layout):
        again = train_and_decide(settings, progress, force=force)
        return None if train_only else serve_and_watch(layout, jurisdiction, progress, again=again)


def train_and_decide(settings: RunSettings, progress: Progress, *, force: bool = False) -> bool:
    """Run the pipeline unless it finished before on the same data, code and settings.

    Returns:
        Whether it had finished before.
    """
    layout = settings.layout
    progress("fingerprint", "source files and code")
    data, code = data_fingerprint(settings.dataset, settings.data, settings.seed), code_version()
    key = settings.key(data, code)
    if not force and _finished(layout, key):
        return True
    layout.state.unlink(missing_ok=True)
    started = time.time()
    try:
        run_pipeline(settings.arguments(data, code), layout.root, progress, settings.runner)
        verdict = "accepted"
    except DecisionRejected:
        verdict = "rejected"
        raise
    except FairtagError:
        verdict = "failed"
        raise
    finally:
        if sys.exc_info()[0] is None or isinstance(sys.exc_info()[1], FairtagError):
            _note(layout, key, verdict, time.time() - started, data, code)
    return False


def serve_and_watch(layout: RunLayout, jurisdiction: str, progress: Progress, *, again: bool) -> LoopReport:
    """Price held-out pages at a real endpoint and let monitoring judge the quotes."""
    requests = held_out_requests(layout.root / "training_set.parquet", jurisdiction)
    progress("serve", "starting the endpoint")
    began = time.time()
    with (
        serve(layout.live, layout.features, layout.serving) as address,
        RestClient(address, MODEL, timeout=60) as client,
    ):
        progress("quote", f"0 of {len(requests)} held-out pages priced")
        asked = time.monotonic()
        answers = replay(client, requests, lambda n, of: progress("quote", f"{n} of {of} held-out pages priced"))
        rate = len(answers) / (time.monotonic() - asked)
        progress("quote", f"{len(answers)} held-out pages priced, {rate:.0f} a second")
        telling = max(range(len(answers)), key=lambda n: _telling(answers[n]))
        search = search_request([requests[telling]])
        shown = (search, client.pages([search])[0]) if search else (requests[telling], answers[telling])
    if bought := answer_quotes(layout, datetime.fromtimestamp(began, UTC)):
        progress("answer", f"{bought} purchases by simulated customers")
    verdicts = watch(layout, time.time() - began, progress)
    return LoopReport(again, *shown, verdicts, len(answers), rate)


def watch(layout: RunLayout, seconds: float, progress: Progress) -> list[dict[str, Any]]:
    """Run every monitoring job over the quotes of the last seconds; returns their verdicts.

    Raises:
        FairtagError: No job wrote a verdict.
    """
    progress("monitor", "reading the quote log")
    minutes = int(seconds / 60) + 2  # a whole minute on each side, for rounding and the flush of the log
    found = [layout.reports / f"{job}.json" for job in JOBS]
    for verdict in found:
        verdict.unlink(missing_ok=True)
    line = [sys.executable, "-m", "monitoring", "all", *monitoring_options(layout, "all", f"{minutes}m")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 - our own module
    verdicts = [read_json(verdict) for verdict in found if verdict.is_file()]
    if not verdicts:
        raise FairtagError(f"monitoring wrote no verdict: {(done.stderr or done.stdout).strip()[-300:]}")
    progress("monitor", ", ".join(f"{verdict['job']} {verdict['status']}" for verdict in verdicts))
    return verdicts


def monitoring_options(layout: RunLayout, job: str, window: str) -> list[str]:
    """Options of ``python -m monitoring`` for the quotes and the live model of a run."""
    options = {
        "--quotes": layout.serving / "quotes",
        "--model-folder": layout.live,
        "--out": layout.reports,
        "--workspace": layout.workspace,
        "--window": window,
    }
    if job in ("fairness", "all") and (layout.tables / AUDIT).is_file():
        options |= {"--audit": layout.tables / AUDIT, "--secret": layout.serving / "secrets" / "user_key"}
    if job in ("stock", "all"):
        options["--tables"] = layout.tables
    options |= watching_options(layout)
    return [str(part) for option in options.items() for part in option]


def _telling(page: dict[str, Any]) -> tuple[bool, int]:
    """A page shows most of what the product does where its prices are personal and its reasons differ."""
    return page["personalised"], len({reason for item in page["items"] for reason in item["reasons"]})


def _finished(layout: RunLayout, key: str) -> bool:
    """Whether the same run finished, and what it made is still whole; a rejection stands as it is."""
    if not layout.state.is_file() or read_json(layout.state).get("key") != key:
        return False
    verdict = read_json(layout.state)["verdict"]
    if verdict not in ("accepted", "rejected"):
        return False
    decision = read_decision(layout.decision)
    require_accepted(decision, layout.model_folder)
    verify_files(layout.live, read_manifest(layout.live))
    require_accepted(decision, layout.live)
    return True


def _note(layout: RunLayout, key: str, verdict: str, seconds: float, data: str, code: str) -> None:
    facts = {
        "key": key,
        "verdict": verdict,
        "seconds": round(seconds, 1),
        "data_fingerprint": data,
        "code_version": code,
    }
    write_json(layout.state, {"schema": SCHEMA, **facts})


@contextmanager
def _alone(layout: RunLayout) -> Iterator[None]:
    layout.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(layout.root / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(
            f"--out {layout.root}: another run works there; wait for it or choose another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()
