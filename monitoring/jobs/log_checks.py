"""Whether the log can be trusted: what is unreadable, broken, repeated, late or in the future."""

from __future__ import annotations

from fairtag.base.types import Status
from monitoring.detect.window import LATE, SKEW, Intake
from monitoring.inputs import Inputs
from monitoring.job_report import Check

TRUSTED = 0.001  # share of rows that may be lost or set aside before nothing can be told from the rest


def log_check(intake: Intake, what: str = "quotes") -> Check:
    """One check that every job carries: a statistic of a damaged log is no statistic.

    A file that cannot be read, a clock that runs ahead or more than one broken row in a thousand means that nobody can
    tell; repeated, late and single broken rows were dealt with and warn.
    """
    read = max(1, intake.rows)
    broken = sum(intake.broken.values())
    findings = [
        (len(intake.unreadable), f"{len(intake.unreadable)} unreadable files", True),
        (intake.future, f"{intake.future:,} rows more than {SKEW.seconds // 60} minutes in the future", True),
        (broken, f"{broken:,} rows break the contract", broken > TRUSTED * read),
        (intake.duplicates, f"{intake.duplicates:,} repeated rows", False),
        (intake.late, f"{intake.late:,} rows more than {LATE.seconds // 3600} h late", False),
    ]
    found = [(text, blind) for count, text, blind in findings if count]
    status = Status.PASS if not found else Status.WARN
    if any(blind for _, blind in found):
        status = Status.UNKNOWN
    examples = (*intake.unreadable[:2], *(f"{rule} (e.g. {value})" for rule, value in intake.examples.items()))
    summary = "; ".join(text for text, _ in found) or f"{intake.rows:,} rows in {intake.files} files, all good"
    return Check(f"log_of_{what}", status, summary, n=intake.rows, unit="rows", examples=examples[:3])


def traffic_check(inputs: Inputs, pages: int, rows: int) -> Check:
    """Whether there are enough pages to tell anything at all."""
    least = inputs.settings.min_pages
    known = pages >= least
    summary = f"{pages:,} pages, {rows:,} quotes" if known else f"{pages:,} pages in the window; {least:,} are needed"
    status = Status.PASS if known else Status.UNKNOWN
    return Check("traffic", status, summary, value=float(pages), reference=float(least), unit="pages", n=rows)
