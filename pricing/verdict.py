"""The four answers of a check that watches a running shop, and how several make one. Knows no check."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """Too little data is an answer of its own, and never a pass; the values are those of the monitoring verdicts."""

    PASS = "pass"  # noqa: S105  # a verdict, no password
    WARN = "warn"
    PAGE = "page"
    COULD_NOT_TELL = "unknown"


# From most to least pressing: not to know outranks a warning, because it may hide a page.
PRESSING = (Verdict.PAGE, Verdict.COULD_NOT_TELL, Verdict.WARN, Verdict.PASS)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most pressing of several; nothing checked is COULD_NOT_TELL."""
    return min(verdicts, key=PRESSING.index, default=Verdict.COULD_NOT_TELL)
