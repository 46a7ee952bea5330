"""Asks a live endpoint for real pages and says whether they can be trusted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairtag.base.errors import FairtagError, QuoteError, RequestError, UnavailableError
from serving.protocol.client import RestClient

MOST_PAGES = 300  # a canary at 10 % is missed by so many pages once in 5e13 times
MOST_DEGRADED = 0.5  # share of pages on list prices above which the features are as good as gone


class SmokeFailed(UnavailableError):
    """The endpoint answers, but not as it should."""


@dataclass(frozen=True)
class Trial:
    """How an endpoint is tried.

    Args:
        url: Its address.
        api_key: Bearer key, where it asks for one.
        query: What is searched for.
        pages: Pages that must be answered, by the model in question where one is named.
        most_ms: 95th percentile of an answer's time above which it fails, milliseconds.
    """

    url: str
    api_key: str | None = None
    query: str = "drill"
    pages: int = 20
    most_ms: float = 1_000.0


@dataclass(frozen=True)
class Found:
    """What a trial measured.

    Args:
        versions: Pages by the model that answered.
        p95_ms: 95th percentile of an answer's time, milliseconds.
        degraded: Share of pages on list prices.
    """

    versions: dict[str, int]
    p95_ms: float
    degraded: float

    def __str__(self) -> str:
        """One line for a person."""
        shares = ", ".join(f"{pages} by {version}" for version, pages in sorted(self.versions.items()))
        return f"{sum(self.versions.values())} pages ({shares}), p95 {self.p95_ms:.0f} ms, {self.degraded:.0%} degraded"


def try_out(trial: Trial, version: str = "", *, clock: Callable[[], float] = time.perf_counter) -> Found:
    """Ask for pages, check each, and have the first quote of each model honoured.

    Args:
        trial: How.
        version: The model that must have answered ``trial.pages`` of them; any model where empty.
        clock: Seconds.

    Raises:
        SmokeFailed: A page is not as it must be, too slow or too often degraded, or the model never answered.
        UnavailableError: The endpoint did not answer.
        RequestError: It refused the request.
    """
    request = {"task": "search", "query": trial.query, "page_size": 3}
    versions, seconds, degraded = Counter[str](), list[float](), 0
    with RestClient(trial.url, api_key=trial.api_key, timeout=30) as client:
        while (versions[version] if version else versions.total()) < trial.pages:
            if versions.total() >= MOST_PAGES:
                raise SmokeFailed(f"model {version} answered {versions[version]} of {MOST_PAGES} pages at {trial.url}")
            began = clock()
            page = client.pages([request])[0]
            seconds.append(clock() - began)
            if page["model_version"] not in versions:
                _honour(client, _checked(page))
            versions[_checked(page)["model_version"]] += 1
            degraded += page["degraded"] is not None
    found = Found(dict(versions), 1_000 * float(np.quantile(seconds, 0.95)), degraded / len(seconds))
    if found.p95_ms > trial.most_ms:
        raise SmokeFailed(f"{found}: slower than {trial.most_ms:.0f} ms")
    if found.degraded > MOST_DEGRADED:
        raise SmokeFailed(f"{found}: more than {MOST_DEGRADED:.0%} of the pages carry list prices")
    return found


def answers(trial: Trial) -> None:
    """One page, whoever prices it: whether a trial can say anything at all.

    Raises:
        FairtagError: It cannot; the message says what to do.
    """
    try:
        try_out(Trial(trial.url, trial.api_key, trial.query, pages=1, most_ms=float("inf")))
    except (UnavailableError, RequestError) as error:
        raise UnavailableError(
            f"nothing was changed: {trial.url} gives no page now ({error}); "
            "name an address and a key that do with --url and --key-file, or go without with --no-smoke"
        ) from error


def _checked(page: dict[str, Any]) -> dict[str, Any]:
    if not page["items"]:
        raise SmokeFailed(f"model {page['model_version']} found nothing")
    bad = [item["item_id"] for item in page["items"] if item["price_minor"] <= 0]
    if bad:
        raise SmokeFailed(f"model {page['model_version']} gives {bad[0]} away")
    return page


def _honour(client: RestClient, page: dict[str, Any]) -> None:
    item = page["items"][0]
    try:
        client.verify(page["quote"], item["item_id"], price_minor=item["price_minor"])
    except QuoteError as error:
        raise SmokeFailed(f"a quote of model {page['model_version']} is not honoured: {error}") from error
    except FairtagError as error:
        raise SmokeFailed(f"a quote of model {page['model_version']} cannot be verified: {error}") from error
