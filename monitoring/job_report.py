"""The report of one monitoring job: its checks, its status and its versioned JSON form.

>>> report = JobReport("drift", "2026-02-09T00:00:00+00:00", "2026-02-10T00:00:00+00:00", ())
>>> report.status, exit_code(report.status)
(<Status.UNKNOWN: 'unknown'>, 3)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, read_json, sha256_text, write_json
from fairtag.base.types import SEVERITY, Status, worst

SCHEMA = "fairtag.job-report/1"
INPUTS = "inputs"  # the check of a job that has nothing to read: it decides only if there was something before
TRAFFIC = "traffic"  # the check of whether a window holds enough pages
EXIT_CODES = {Status.PASS: 0, Status.WARN: 1, Status.URGENT: 2, Status.UNKNOWN: 3}

# The drift job puts the changes of RELATED_LEVELS into the detail of a failing PRICE_LEVEL check, under RELATED_CHANGES
# (name of a level -> its change in the same component); the HTML report reads them to say who moved the price.
PRICE_LEVEL = "price_level"
RELATED_LEVELS = ("list_price_level", "reference_price_level", "unit_cost_level")
RELATED_CHANGES = "related_changes"


def exit_code(status: Status) -> int:
    """Exit code of a status: 0 pass, 1 warn, 2 urgent, 3 unknown."""
    return EXIT_CODES[status]


@dataclass(frozen=True)
class Check:
    """One check of a job and its result.

    Args:
        name: Name of the check, stable across runs: alerts and the runbook use it as a key.
        status: Result.
        summary: The result in one sentence.
        component: The component with the worst result (a category, a group), empty when there is only one component.
        value: Measured value.
        reference: Value expected, in the unit of ``value``.
        change: ``value - reference``.
        low: Lower end of the 90 % interval of ``change``.
        high: Upper end of the 90 % interval of ``change``.
        warn_at: Size of change that warns, 0 for an invariant.
        urgent_at: Size of change that is urgent.
        unit: Unit of the figures.
        n: Number of rows measured.
        since: Start of the first of the consecutive windows in which the check has failed (ISO), taken from the state.
        examples: Rows, items or values that show the problem.
        detail: Further figures as JSON values.
        decides: Whether the check counts towards the status of its job. Only an unknown check may be left out, for
            instance a crossing of attributes with too few customers; a known failure always counts.

    Raises:
        ValueError: ``decides`` is false and the status is not unknown.
    """

    name: str
    status: Status
    summary: str
    component: str = ""
    value: float | None = None
    reference: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    warn_at: float | None = None
    urgent_at: float | None = None
    unit: str = ""
    n: int = 0
    since: str | None = None
    examples: tuple[str, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)
    decides: bool = True

    def __post_init__(self) -> None:
        if not self.decides and self.status is not Status.UNKNOWN:
            raise ValueError(f"{self.name} is {self.status}: only an unknown check may be left out of the job's status")


@dataclass(frozen=True)
class JobReport:
    """The result of one job for one window.

    Args:
        job: drift, performance, fairness, quality or stock.
        start: Start of the window (ISO).
        end: End of the window (ISO).
        checks: All checks of the job.
        model_versions: Models that priced the window.
        intake: Counts of what was read and what was wrong with it.
        detail: Tables and series for the HTML report.
    """

    job: str
    start: str
    end: str
    checks: tuple[Check, ...]
    model_versions: tuple[str, ...] = ()
    intake: dict[str, Any] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The most severe status of the checks that decide; unknown if there is none, or if the job waits."""
        return Status.UNKNOWN if self.waiting else worst(check.status for check in self.checks if check.decides)

    @property
    def waiting(self) -> str:
        """What an hourly job waits for, in words, while it has never had it; empty for a job that could run."""
        return next((check.summary for check in self.checks if check.name == INPUTS and not check.decides), "")

    @property
    def exit_code(self) -> int:
        """That of the status; 0 for a job that waits, which is neither a failure nor an alarm."""
        return 0 if self.waiting else exit_code(self.status)

    @property
    def failing(self) -> tuple[Check, ...]:
        """Checks that decide and did not pass: the most severe first, then the largest change."""
        failing = [check for check in self.checks if check.decides and check.status is not Status.PASS]
        return tuple(sorted(failing, key=lambda c: (SEVERITY.index(c.status), -abs(c.change or 0), c.name)))

    @property
    def not_judged(self) -> tuple[Check, ...]:
        """Checks that are listed but do not decide."""
        return tuple(check for check in self.checks if not check.decides)

    @property
    def fingerprint(self) -> str:
        """Digest of the failing checks and the models: the same finding in the next window has the same digest."""
        failing = sorted((check.name, check.status.value) for check in self.failing)
        return sha256_text(canonical_json([self.job, list(self.model_versions), failing]))

    def as_json(self) -> dict[str, Any]:
        """The report as a versioned JSON document."""
        return {
            "schema": SCHEMA,
            "job": self.job,
            "status": self.status.value,
            "exit_code": self.exit_code,
            "fingerprint": self.fingerprint,
            "window": {"start": self.start, "end": self.end},
            "model_versions": list(self.model_versions),
            "intake": self.intake,
            "checks": [_check_json(check) for check in self.checks],
            "detail": self.detail,
        }

    def save(self, path: Path) -> Path:
        """Write the JSON document atomically."""
        return write_json(path, self.as_json())


def read_report(path: Path) -> JobReport:
    """Read a report written by :meth:`JobReport.save`.

    Raises:
        DataError: The file is absent, has another schema, or its status contradicts its checks.
    """
    try:
        document = read_json(path)
        if document.get("schema") != SCHEMA:
            raise DataError(
                f"{path}: schema {document.get('schema')!r}; this version reads {SCHEMA}: run the job again"
            )
        checks = tuple(_check(entry) for entry in document["checks"])
        window = document["window"]
        report = JobReport(
            document["job"],
            window["start"],
            window["end"],
            checks,
            tuple(document["model_versions"]),
            document["intake"],
            document["detail"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a readable job report ({type(error).__name__}: {error})") from error
    if report.status.value != document["status"]:
        raise DataError(
            f"{path}: the status is {document['status']}, but the checks give {report.status}: the file was altered"
        )
    return report


def _check_json(check: Check) -> dict[str, Any]:
    entry = {name: value for name, value in asdict(check).items() if value not in (None, (), {})}
    if check.decides:
        del entry["decides"]
    return entry


def _check(entry: dict[str, Any]) -> Check:
    return Check(**{**entry, "status": Status(entry["status"]), "examples": tuple(entry.get("examples", ()))})
