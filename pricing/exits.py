"""Exit codes of the command line, so that scripts can tell failures apart. Shows nothing."""

from __future__ import annotations

from pricing.errors import (
    BundleError,
    ConfigError,
    DataError,
    DecisionError,
    FairtagError,
    QuoteError,
    RequestError,
    TrainingError,
    UnavailableError,
)

UNEXPECTED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count it
# The first kind that fits counts; 2 is the code of a command line that cannot be read.
CODES: tuple[tuple[type[FairtagError], int, str], ...] = (
    (ConfigError, 2, "a setting is wrong"),
    (DataError, 3, "the data are missing or break the contract"),
    (TrainingError, 4, "training could not go on"),
    (DecisionError, 5, "the model was rejected, or the decision does not fit it"),
    (BundleError, 6, "a model bundle is missing or was altered"),
    (UnavailableError, 7, "something outside did not answer"),
    (RequestError, 8, "the endpoint refused the request"),
    (QuoteError, 9, "the quote is not honoured"),
)


def exit_code(error: Exception) -> int:
    """The code of an error; 1 for one that nobody foresaw."""
    return next((code for kind, code, _ in CODES if isinstance(error, kind)), UNEXPECTED)


def legend() -> str:
    """The codes in one line, for the help text."""
    return "; ".join(["0 done", f"{UNEXPECTED} unexpected", *(f"{code} {meaning}" for _, code, meaning in CODES)])
