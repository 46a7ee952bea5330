"""Every error that Fairtag raises on purpose.

FairtagError
├── ConfigError            a setting, option or settings file is wrong
│   └── FeaturesMissing    nothing was materialised into the feature store yet
├── DataError              a table breaks its contract (table, column, rule, count, examples)
│   └── MissingDataError   a required table, column or file is absent
├── TrainingError          a fit cannot continue
│   ├── NonFiniteLoss      the loss became NaN or infinite
│   └── NotConverged       an optimiser stopped before its tolerance
├── ModelFolderError       a model folder cannot be used
│   ├── ModelFolderMissing there is no model folder at the path
│   └── DigestMismatch     a file differs from its digest in the manifest
├── DecisionError          a model may not be registered, deployed or served
│   ├── DecisionRejected   the decision document says rejected
│   └── DecisionMismatch   the decision document is about another model
├── RequestError           a request breaks the payload contract (field, value, rule)
│   ├── ForbiddenAttribute the request contains a protected attribute
│   └── RequestRefused     an endpoint refused the request, in its own words
├── QuoteError             a price quote is not honoured
│   ├── QuoteTampered      not signed by us, or altered since
│   ├── QuoteKeyUnknown    signed with a key that is not in the key set
│   ├── QuoteExpired       its time has passed
│   ├── QuoteNotYetValid   issued in the future, beyond the allowed clock skew
│   ├── QuoteWrongUser     issued to another customer
│   ├── QuoteWrongItem     does not cover this item
│   └── QuoteWrongPrice    promises another price
└── UnavailableError       something outside (feature store, registry, cluster) did not answer

A message says what is wrong, the value, the rule, and what to do next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class FairtagError(Exception):
    """Root of the tree; catching it catches every error that Fairtag raises on purpose."""


class ConfigError(FairtagError, ValueError):
    """A setting, option or settings file is wrong."""


class FeaturesMissing(ConfigError):
    """Nothing was materialised into the feature store yet."""


class DataError(FairtagError, ValueError):
    """A table breaks its contract.

    Args:
        message: What is wrong, and what to do next.
        table: Name of the table.
        column: Name of the column; empty if the rule spans several.
        rule: The broken rule, in words.
        count: Number of rows that break it.
        examples: Values or rows that break it; the first three are kept.
    """

    def __init__(
        self,
        message: str,
        *,
        table: str = "",
        column: str = "",
        rule: str = "",
        count: int = 0,
        examples: Sequence[object] = (),
    ) -> None:
        super().__init__(message)
        self.table = table
        self.column = column
        self.rule = rule
        self.count = count
        self.examples = tuple(examples[:3])


class MissingDataError(DataError):
    """A required table, column or file is absent."""


class TrainingError(FairtagError):
    """A fit cannot continue."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""


class NotConverged(TrainingError):
    """An optimiser stopped before it reached its tolerance."""


class ModelFolderError(FairtagError):
    """A model folder cannot be used."""


class ModelFolderMissing(ModelFolderError):
    """There is no model folder at the path."""


class DigestMismatch(ModelFolderError):
    """A file of the model folder differs from its digest in the manifest."""


class DecisionError(FairtagError):
    """A model may not be registered, deployed or served."""


class DecisionRejected(DecisionError):
    """The decision document says rejected."""


class DecisionMismatch(DecisionError):
    """The decision document is about another model, or was altered."""


class RequestError(FairtagError, ValueError):
    """A request breaks the payload contract.

    Args:
        field: Path of the field, for example ``instances[0].page_size``.
        value: The value that was sent; the message shows at most 120 characters of it.
        rule: What the value must be.
        status: HTTP status of the refusal.
    """

    def __init__(self, field: str, value: object, rule: str, *, status: int = 400) -> None:
        shown = repr(value)
        if len(shown) > 120:
            shown = shown[:117] + "..."
        super().__init__(f"{field}: {shown} is refused; {rule}")
        self.field = field
        self.value = value
        self.rule = rule
        self.status = status


class ForbiddenAttribute(RequestError):
    """The request contains a protected attribute; it is refused, not ignored."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        super().__init__(field, value, rule, status=422)


class RequestRefused(RequestError):
    """An endpoint refused a request; raised by the client.

    Args:
        text: The endpoint's own words, which name field, value and rule.
        field: Path of the field.
        rule: What the value must be.
        status: HTTP status of the response.
    """

    def __init__(self, text: str, *, field: str = "request", rule: str = "", status: int = 400) -> None:
        Exception.__init__(self, text)
        self.field = field
        self.value = None
        self.rule = rule
        self.status = status


class QuoteError(FairtagError):
    """A price quote is not honoured."""


class QuoteTampered(QuoteError):
    """The quote was not signed by us, or was altered afterwards."""


class QuoteKeyUnknown(QuoteError):
    """The quote names a signing key that is not in the key set."""


class QuoteExpired(QuoteError):
    """The quote has expired."""


class QuoteNotYetValid(QuoteError):
    """The quote was issued in the future, beyond the allowed clock skew."""


class QuoteWrongUser(QuoteError):
    """The quote was issued to another customer."""


class QuoteWrongItem(QuoteError):
    """The quote does not cover this item."""


class QuoteWrongPrice(QuoteError):
    """The quote promises another price."""


class UnavailableError(FairtagError):
    """Something outside the process did not answer."""


SERVER_ERROR, NOT_IMPLEMENTED = 500, 501  # HTTP: from here on the server failed, but for one that it does not offer


def error_of_answer(status: int, reason: str, body: Mapping[str, Any]) -> FairtagError:
    """The error that an endpoint's refusal stands for, for its clients.

    Args:
        status: HTTP status.
        reason: The status in words, where the body says nothing.
        body: The JSON of the answer; empty where it was none.

    >>> error_of_answer(409, "Conflict", {"error": "the quote has expired", "code": "QuoteExpired"})
    QuoteExpired('the quote has expired')
    """
    text = str(body.get("error", reason))
    for kind in QuoteError.__subclasses__():
        if kind.__name__ == body.get("code"):
            return kind(text)
    if status >= SERVER_ERROR and status != NOT_IMPLEMENTED:
        return UnavailableError(f"the endpoint answered {status}: {text}")
    return RequestRefused(text, field=str(body.get("field", "request")), rule=str(body.get("rule", "")), status=status)


UNEXPECTED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells count it
# The first matching kind counts. 2 is also the code of a command line that cannot be read.
CODES: tuple[tuple[type[FairtagError], int, str], ...] = (
    (ConfigError, 2, "a setting is wrong"),
    (DataError, 3, "the data are missing or break the contract"),
    (TrainingError, 4, "training could not go on"),
    (DecisionError, 5, "the model was rejected, or the decision does not fit it"),
    (ModelFolderError, 6, "a model folder is missing or was altered"),
    (UnavailableError, 7, "something outside did not answer"),
    (RequestError, 8, "the endpoint refused the request"),
    (QuoteError, 9, "the quote is not honoured"),
)


def exit_code(error: Exception) -> int:
    """The exit code of an error; 1 for an unexpected one."""
    return next((code for kind, code, _ in CODES if isinstance(error, kind)), UNEXPECTED)


def legend() -> str:
    """All exit codes in one line, for the help text."""
    return "; ".join(["0 done", f"{UNEXPECTED} unexpected", *(f"{code} {meaning}" for _, code, meaning in CODES)])
