"""What a monitoring job concluded, as a frozen record and as versioned JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fairtag.base.errors import DataError
from fairtag.base.files import canonical_json, read_json, sha256_text, write_json
from fairtag.base.types import SEVERITY, Status, worst

__all__ = ["EXIT_CODES", "SCHEMA", "SEVERITY", "Check", "JobReport", "Status", "exit_code", "read_verdict", "worst"]

SCHEMA = "fairtag.verdict/1"


EXIT_CODES = {Status.PASS: 0, Status.WARN: 1, Status.URGENT: 2, Status.UNKNOWN: 3}


def exit_code(status: Status) -> int:
    """0 pass, 1 warn, 2 page, 3 could not tell."""
    return EXIT_CODES[status]


@dataclass(frozen=True)
class Check:
    """One question and its answer.

    Args:
        name: The question, stable across runs: alerts and the runbook are keyed by it.
        component: Where the answer is worst (a category, an edge, a group), empty when there is one component.
        status: The answer.
        summary: The answer in one sentence for a person.
        value: What was measured.
        reference: What it is held against, in the unit of ``value``.
        change: ``value - reference``; ``low`` and ``high`` are its 90 % interval.
        low: Lower end of the interval of ``change``.
        high: Upper end.
        warn_at: Size of change that warns, 0 for an invariant.
        page_at: Size of change that pages.
        unit: Unit of the figures.
        n: Rows behind the answer.
        since: Start of the run of windows in which the check has not passed (ISO), set from the state.
        examples: Rows, items or values that show it.
        detail: Whatever else a reader may want, as JSON values.
        decides: False for an unknown that is listed and leaves the verdict to the others: a crossing of attributes
            with too few customers. Only an unknown can be left out; what is surely wrong never is.

    Raises:
        ValueError: A check that says something is left out of the verdict.
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
    page_at: float | None = None
    unit: str = ""
    n: int = 0
    since: str | None = None
    examples: tuple[str, ...] = ()
    detail: dict[str, Any] = field(default_factory=dict)
    decides: bool = True

    def __post_init__(self) -> None:
        if not self.decides and self.status is not Status.UNKNOWN:
            raise ValueError(f"{self.name}: {self.status} decides; only what is unknown can be left out of a verdict")


@dataclass(frozen=True)
class JobReport:
    """The conclusion of one job over one window.

    Args:
        job: drift, performance, fairness, quality or stock.
        start: Start of the window (ISO).
        end: End of the window (ISO).
        checks: All questions; the status is the worst of those that decide, unknown when there are none.
        model_versions: Models that priced the window, and ``model_folder`` the one it is held against.
        intake: What was found while reading (counts).
        detail: Tables and series for the report.
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
        """The worst status of the checks that decide."""
        return worst(check.status for check in self.checks if check.decides)

    @property
    def failing(self) -> tuple[Check, ...]:
        """Checks that decide and did not pass, worst first, biggest change first."""
        failing = [check for check in self.checks if check.decides and check.status is not Status.PASS]
        return tuple(sorted(failing, key=lambda c: (SEVERITY.index(c.status), -abs(c.change or 0), c.name)))

    @property
    def not_judged(self) -> tuple[Check, ...]:
        """Checks that are listed and do not decide."""
        return tuple(check for check in self.checks if not check.decides)

    @property
    def fingerprint(self) -> str:
        """Digest of what is wrong with which model: equal for the same finding in the next window."""
        found = sorted((check.name, check.status.value) for check in self.failing)
        return sha256_text(canonical_json([self.job, list(self.model_versions), found]))

    def as_json(self) -> dict[str, Any]:
        """The versioned document."""
        return {
            "schema": SCHEMA,
            "job": self.job,
            "status": self.status.value,
            "exit_code": exit_code(self.status),
            "fingerprint": self.fingerprint,
            "window": {"start": self.start, "end": self.end},
            "model_versions": list(self.model_versions),
            "intake": self.intake,
            "checks": [_check_json(check) for check in self.checks],
            "detail": self.detail,
        }

    def save(self, path: Path) -> Path:
        """Write the document atomically."""
        return write_json(path, self.as_json())


def read_verdict(path: Path) -> JobReport:
    """Read a verdict back.

    Raises:
        DataError: The file is absent, of another schema, or says a status that its checks do not bear out.
    """
    try:
        document = read_json(path)
        if document.get("schema") != SCHEMA:
            raise DataError(f"{path}: schema {document.get('schema')!r}; this version reads {SCHEMA}")
        checks = tuple(_check(entry) for entry in document["checks"])
        window = document["window"]
        verdict = JobReport(
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
        raise DataError(f"{path}: no verdict can be read ({type(error).__name__}: {error})") from error
    if verdict.status.value != document["status"]:
        raise DataError(f"{path}: it says {document['status']}, its checks say {verdict.status}; the file was altered")
    return verdict


def _check_json(check: Check) -> dict[str, Any]:
    kept = {name: value for name, value in asdict(check).items() if value not in (None, (), {})}
    return kept if not check.decides else {name: value for name, value in kept.items() if name != "decides"}


def _check(entry: dict[str, Any]) -> Check:
    return Check(**{**entry, "status": Status(entry["status"]), "examples": tuple(entry.get("examples", ()))})
