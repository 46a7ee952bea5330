"""Changes the live service: shows the difference, applies it, waits, asks the endpoint for pages, undoes what fails.

change(lambda service, dry_run: service.promote(dry_run=dry_run), service, console, timeout=600, trial=trial)
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from components.adapters.inference_service import InferenceService
from fairtag.base.errors import FairtagError, QuoteError, RequestError, UnavailableError
from serving.protocol.client import RestClient

Change = Callable[[InferenceService, bool], dict[str, Any]]

MOST_PAGES = 300  # a canary with 10 % of the traffic gets none of so many pages once in 5e13 times
MOST_DEGRADED = 0.5  # share of degraded pages above which the feature store is as good as down


class TrialFailed(UnavailableError):
    """The endpoint answers, but not as it should."""


@dataclass(frozen=True)
class Trial:
    """How an endpoint is tried.

    Args:
        url: Its address.
        api_key: Bearer key; None when it asks for none.
        query: What is searched for.
        pages: Pages that must be answered, by the model in question when one is named.
        most_ms: Largest 95th percentile of the time to answer, milliseconds.
    """

    url: str
    api_key: str | None = None
    query: str = "drill"
    pages: int = 20
    most_ms: float = 1_000.0


@dataclass(frozen=True)
class TrialResult:
    """What a trial measured.

    Args:
        versions: Number of pages by the model that answered them.
        p95_ms: 95th percentile of the time to answer, milliseconds.
        degraded: Share of degraded pages, which carry list prices.
    """

    versions: dict[str, int]
    p95_ms: float
    degraded: float

    def __str__(self) -> str:
        """One line for a person."""
        shares = ", ".join(f"{pages} by {version}" for version, pages in sorted(self.versions.items()))
        return f"{sum(self.versions.values())} pages ({shares}), p95 {self.p95_ms:.0f} ms, {self.degraded:.0%} degraded"


def change(
    make: Change,
    service: InferenceService,
    console: Console,
    *,
    timeout: float,
    dry_run: bool = False,
    undo: bool = True,
    trial: Trial | None = None,
) -> None:
    """Make a change, wait until it serves, and ask it for pages.

    Args:
        make: The change; called with the service, and whether the cluster should only check it.
        service: The service.
        console: Where the difference and the progress are shown.
        timeout: Longest wait, seconds.
        dry_run: Only show the difference.
        undo: Roll back when the service does not become ready or the trial fails.
        trial: How the endpoint is tried; None for no trial.

    Raises:
        UnavailableError: It did not become ready, or the trial failed; with ``undo`` the previous model is back.
    """
    if trial and undo and not dry_run:
        require_page(trial)  # a trial that fails before the change could say nothing after it
    before = service.read()
    after = make(service, dry_run)
    _print(console, difference(before, after) or "nothing changes")
    if dry_run:
        return
    try:
        service.wait_ready(lambda state: _print(console, state), timeout=timeout)
        if trial:
            _print(console, str(try_out(trial, newest_model(after))))
    except (UnavailableError, RequestError) as error:
        if undo:
            service.rollback()
            _print(console, f"{error}\nrolled back; waiting for the previous model")
            service.wait_ready(lambda state: _print(console, state), timeout=timeout)
        if isinstance(error, RequestError):
            raise UnavailableError(f"the endpoint refuses a plain search: {error}") from error
        raise


def newest_model(state: Mapping[str, Any]) -> str:
    """Version of the model that a change brought: the canary's, or else the stable one's."""
    canaries = state["spec"].get("canary") or []
    predictor = canaries[0]["predictor"] if canaries else state["spec"]["predictor"]
    return str(predictor["model"]["storageUri"]).rstrip("/").rpartition("/")[2]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Unified diff of two states of an object: its annotations and its specification."""
    old, new = (yaml.safe_dump(_own_part(state), sort_keys=True).splitlines() for state in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "live", "then", lineterm="", n=2))


def _own_part(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"annotations": state["metadata"].get("annotations", {}), "spec": state["spec"]}


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def try_out(trial: Trial, version: str = "", *, clock: Callable[[], float] = time.perf_counter) -> TrialResult:
    """Ask for pages, check each of them, and verify the first quote of each model.

    Args:
        trial: How.
        version: The model that must have answered ``trial.pages`` of them; any model when empty.
        clock: Seconds.

    Raises:
        TrialFailed: A page is wrong, too slow or too often degraded, or the model never answered.
        UnavailableError: The endpoint did not answer.
        RequestError: It refused the request.
    """
    request = {"task": "search", "query": trial.query, "page_size": 3}
    versions, seconds, degraded = Counter[str](), list[float](), 0
    with RestClient(trial.url, api_key=trial.api_key, timeout=30) as client:
        while (versions[version] if version else versions.total()) < trial.pages:
            if versions.total() >= MOST_PAGES:
                raise TrialFailed(f"model {version} answered {versions[version]} of {MOST_PAGES} pages at {trial.url}")
            began = clock()
            page = client.pages([request])[0]
            seconds.append(clock() - began)
            _check(page)
            if page["model_version"] not in versions:
                _verify_quote(client, page)
            versions[page["model_version"]] += 1
            degraded += page["degraded"] is not None
    result = TrialResult(dict(versions), 1_000 * float(np.quantile(seconds, 0.95)), degraded / len(seconds))
    if result.p95_ms > trial.most_ms:
        raise TrialFailed(f"{result}: slower than {trial.most_ms:.0f} ms (--most-ms)")
    if result.degraded > MOST_DEGRADED:
        raise TrialFailed(f"{result}: more than {MOST_DEGRADED:.0%} of the pages carry list prices")
    return result


def require_page(trial: Trial) -> None:
    """Ask for one page, whichever model prices it.

    Raises:
        UnavailableError: There is none, so that a trial after a change would say nothing about it.
    """
    try:
        try_out(Trial(trial.url, trial.api_key, trial.query, pages=1, most_ms=float("inf")))
    except (UnavailableError, RequestError) as error:
        raise UnavailableError(
            f"nothing was changed: {trial.url} does not return a page ({error}); "
            "name a working address and key with --url and --key-file, or skip the trial with --no-smoke"
        ) from error


def _check(page: dict[str, Any]) -> None:
    if not page["items"]:
        raise TrialFailed(f"model {page['model_version']} found nothing")
    free = [item["item_id"] for item in page["items"] if item["price_minor"] <= 0]
    if free:
        raise TrialFailed(f"model {page['model_version']} gives {free[0]} away")


def _verify_quote(client: RestClient, page: dict[str, Any]) -> None:
    item = page["items"][0]
    try:
        client.verify(page["quote"], item["item_id"], price_minor=item["price_minor"])
    except QuoteError as error:
        raise TrialFailed(f"a quote of model {page['model_version']} is not honoured: {error}") from error
    except FairtagError as error:
        raise TrialFailed(f"a quote of model {page['model_version']} cannot be verified: {error}") from error
