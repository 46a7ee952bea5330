"""Which inputs of a job have never been there, and which are gone.

On a new installation nothing is live, nobody has been quoted and no shop has reported a purchase: a job that runs every
hour then waits, which is neither a failure nor an alarm. What an hourly job has once read, however, must stay: its
absence is an alarm. The job's state folder remembers it; a single look, without that folder, waits for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import fsspec

from fairtag.base.errors import UnavailableError
from fairtag.base.files import read_json, write_json
from fairtag.base.types import Status
from fairtag.model.manifest import MANIFEST
from monitoring.inputs import Inputs
from monitoring.job_report import INPUTS, TRAFFIC, Check, JobReport

SCHEMA = "fairtag.monitoring-inputs/1"
PAGES = "pages"  # enough of them in one window, for the first time
NEEDED: Mapping[str, tuple[str, ...]] = {
    "drift": ("model", "quotes"),
    "performance": ("model", "quotes", "outcomes"),
    "fairness": ("model", "quotes", "audit groups"),
    "quality": ("quotes",),
    "stock": ("tables",),
}


class FirstInputs:
    """The memory of one hourly job: since when each of its inputs has been there.

    Args:
        job: Name of the job.
        inputs: What it reads, and where its state is.
    """

    def __init__(self, job: str, inputs: Inputs) -> None:
        assert inputs.state is not None, "a single look remembers nothing"
        self._job = job
        self._inputs = inputs
        self._path = inputs.state / f"{job}-inputs.json"
        self._since: dict[str, str] = read_json(self._path)["since"] if self._path.is_file() else {}

    def missing(self) -> JobReport | None:
        """The report of a job that cannot run because an input is absent; None where all are there.

        Raises:
            UnavailableError: A store did not answer.
        """
        absent = [name for name in NEEDED[self._job] if not self._present(name)]
        if not absent:
            return None
        lost = [name for name in absent if name in self._since]
        texts = [self._gone(name) for name in lost] or [self._awaited(name) for name in absent]
        return self._report(Check(INPUTS, Status.UNKNOWN, "; ".join(texts), decides=bool(lost)))

    def after(self, report: JobReport) -> JobReport:
        """The report of a job that ran; one that had too few pages waits until there were enough for the first time."""
        traffic = next((check for check in report.checks if check.name == TRAFFIC), None)
        if traffic is None or PAGES in self._since:
            return report
        if traffic.status is Status.PASS:
            self._remember(PAGES)
        elif report.failing == (traffic,):
            waiting = Check(INPUTS, Status.UNKNOWN, f"waiting for the first pages: {traffic.summary}", decides=False)
            rest = tuple(check for check in report.checks if check is not traffic)
            return replace(report, checks=(waiting, *rest))
        return report

    def _present(self, name: str) -> bool:
        there = is_there(name, self._inputs)
        if there:
            self._remember(name)
        return there

    def _remember(self, name: str) -> None:
        if name not in self._since:
            self._since[name] = self._inputs.window.now.isoformat(timespec="seconds")
            write_json(self._path, {"schema": SCHEMA, "since": self._since})

    def _gone(self, name: str) -> str:
        since = datetime.fromisoformat(self._since[name])
        return f"the {name} at {place(name, self._inputs)} are gone; they were there since {since:%Y-%m-%d %H:%M}"

    def _awaited(self, name: str) -> str:
        return f"waiting for the first {name}: nothing is at {place(name, self._inputs)} yet"

    def _report(self, check: Check) -> JobReport:
        window = self._inputs.window
        return JobReport(self._job, window.start.isoformat(), window.end.isoformat(), (check,))


def place(name: str, inputs: Inputs) -> str:
    """Where an input should be."""
    places: Mapping[str, str | Path | None] = {
        "model": inputs.model_folder,
        "quotes": inputs.quotes,
        "outcomes": inputs.outcomes,
        "audit groups": inputs.audit,
        "tables": inputs.tables,
    }
    return str(places[name])


def is_there(name: str, inputs: Inputs) -> bool:
    """Whether anything is stored where an input should be; True for one that was not asked for, as the job says so.

    Raises:
        UnavailableError: The store did not answer.
    """
    if place(name, inputs) == "None":
        return True
    if name == "model":
        return any((inputs.model_folder / file).is_file() for file in (MANIFEST, "profile.json"))
    return has_files(place(name, inputs))


def has_files(url: str) -> bool:
    """Whether a folder holds anything, or a file exists, at any fsspec URL.

    Raises:
        UnavailableError: The store did not answer.
    """
    try:
        store, path = fsspec.url_to_fs(url)
        found: Sequence[str] = store.ls(path, detail=False)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, ImportError) as error:
        raise UnavailableError(f"{url}: cannot read it ({type(error).__name__}: {error})") from error
    return bool(found)
