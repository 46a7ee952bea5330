"""Changes the live service: shows the difference, applies it, waits, asks the endpoint for pages, undoes what fails.

Rollout(service, console, timeout=600, trial=Trial(""), address=addresses(service)).promote()
"""

from __future__ import annotations

import difflib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml
from rich.console import Console

from components.adapters.inference_service import InferenceService
from components.adapters.service_state import State
from components.adapters.undo import Undo, undone_on_failure
from fairtag.base.errors import FairtagError, QuoteError, RequestError, UnavailableError
from pipelines.port_forward import Address
from serving.protocol.client import RestClient

MOST_PAGES = 300
MOST_DEGRADED = 0.5  # share of degraded pages above which the feature store is as good as down
UNLIKELY = 1e-6  # chance that a canary with its share answers none of the pages that are asked for at the gateway
ROUTE_SECONDS = 30.0  # KServe changes a route seconds after the service
TRAFFIC = {
    "none": "No gateway splits the traffic of this service, so that the canary gets no pages from customers: "
    "only an HTTPRoute of a gateway does (components/gateway).",
    "not yet": "The HTTPRoute of this service does not name the canary, so that it gets no pages from customers.",
    "unknown": "This account may not read HTTPRoutes, so that nobody can tell here whether the canary gets its share.",
}


class TrialFailed(UnavailableError):
    """The endpoint answers, but not as it should."""


@dataclass(frozen=True)
class Trial:
    """How an endpoint is tried.

    Args:
        url: Its address; empty for that of its own Service.
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


class Rollout:
    """The changes of one live service.

    Args:
        service: The service.
        console: Where differences and progress are shown.
        timeout: Longest wait for each change, seconds.
        trial: How the endpoint is tried; None for no trial. Its address, where it has one, is a gateway's.
        address: Finds an address of a Deployment's own Service.
        every: Pause between two looks at the cluster, seconds.
    """

    def __init__(
        self,
        service: InferenceService,
        console: Console,
        *,
        timeout: float,
        trial: Trial | None,
        address: Address,
        every: float = 2.0,
    ) -> None:
        self._service = service
        self._console = console
        self._timeout = timeout
        self._trial = trial
        self._address = address
        self._every = every

    def canary(self, storage_uri: str, percent: int, lineage: Mapping[str, str], *, dry_run: bool = False) -> None:
        """Start a canary dark, try it at its own Service, then give it its share of the traffic.

        Raises:
            ConfigError: The canary cannot be made.
            UnavailableError: It did not become ready, or its pages are not as they should be; it is gone again.
        """
        before = self._service.read()
        if dry_run:
            self._show(before, self._service.canary(storage_uri, percent, lineage, dry_run=True))
            self._say(f"then, when its own pages are right: trafficPercent: {percent}")
            return
        self._require_page(before)
        with self._undone() as undo:
            dark = undo.after(self._service.canary(storage_uri, percent, lineage))
            self._show(before, dark)
            self._wait(dark)
            (entry,) = dark.canaries
            self._try(dark.canary_deployment(entry), storage_uri)
            shared = self._service.share(percent)
            self._show(dark, shared)
            self._wait(shared)
            self._follow_traffic(shared, percent)

    def promote(self, *, dry_run: bool = False) -> State:
        """Move the stable pods to the canary's model, try them, then take the canary away.

        The Service stays, and so do its pods until new ones are ready: nobody who calls it meets an outage.

        Returns:
            The state that serves.

        Raises:
            ConfigError: There is no canary.
            UnavailableError: The stable pods could not serve it; the previous model and the canary are back.
        """
        before = self._service.read()
        if dry_run:
            after = self._service.promote(dry_run=True)
            self._show(before, after)
            self._say("then, when the stable pods serve it: the canary is taken away")
            return after
        if before.canaries:
            self._require_page(before)
        with self._undone() as undo:
            moved = undo.after(self._service.promote())
            self._show(before, moved)
            self._wait(moved)
            self._try_stable(moved)
            done = self._service.retire()
            self._show(moved, done)
            self._wait(done)
        self._service.record_live(done)
        return done

    def rollback(self, *, dry_run: bool = False) -> State:
        """Take the canary away, or go back to the model before; nothing is asked of the model that is left.

        Returns:
            The state that serves.

        Raises:
            ConfigError: There is nothing to go back to.
            UnavailableError: The previous model did not become ready, or its pages are not as they should be.
        """
        before = self._service.read()
        after = self._service.rollback(dry_run=dry_run)
        self._show(before, after)
        if not dry_run:
            self._wait(after)
            self._service.record_live(after)
            self._try_stable(after)
        return after

    def _undone(self) -> AbstractContextManager[Undo]:
        return undone_on_failure(self._service, self._say, timeout=self._timeout)

    def _wait(self, state: State) -> None:
        self._service.wait_ready(state, self._say, timeout=self._timeout, every=self._every)

    def _try(self, deployment: str, storage_uri: str) -> None:
        """Try pods at their own Service; every page must be the model's."""
        if self._trial:
            with self._address(deployment, storage_uri) as url:
                self._say(f"at {deployment}: {try_out(replace(self._trial, url=url), version_of(storage_uri))}")

    def _try_stable(self, state: State) -> None:
        if self._trial and self._trial.url:
            self._say(f"at {self._trial.url}: {try_out(self._trial, version_of(state.stable))}")
        else:
            self._try(state.stable_deployment, state.stable)

    def _require_page(self, state: State) -> None:
        """Ask for one page before a change: a trial that fails then could say nothing afterwards."""
        if not self._trial:
            return
        if self._trial.url:
            require_page(self._trial)
            return
        with self._address(state.stable_deployment, state.stable) as url:
            require_page(replace(self._trial, url=url))

    def _follow_traffic(self, state: State, percent: int) -> None:
        """Say whether a gateway sends the canary its share, and ask for pages there until it answers one."""
        end = time.monotonic() + ROUTE_SECONDS
        while (traffic := self._service.traffic(state)) == "not yet" and time.monotonic() < end:
            time.sleep(min(self._every, 1.0))
        if traffic != "split":
            self._say(f"{TRAFFIC[traffic]} It runs beside the stable model and can be promoted.")
            return
        self._say(f"the gateway sends the canary {percent} % of the pages")
        if self._trial and self._trial.url:
            most = math.ceil(math.log(UNLIKELY) / math.log1p(-percent / 100))
            once = replace(self._trial, pages=1)
            self._say(f"at {self._trial.url}: {try_out(once, version_of(state.newest), most=most)}")

    def _show(self, before: State, after: State) -> None:
        self._say(difference(before.service, after.service) or "nothing changes")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def version_of(storage_uri: str) -> str:
    """Version of a stored model folder: the last part of its address."""
    return storage_uri.rstrip("/").rpartition("/")[2]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Unified diff of two states of an object: its annotations and its specification."""
    old, new = (yaml.safe_dump(_own_part(state), sort_keys=True).splitlines() for state in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "live", "then", lineterm="", n=2))


def _own_part(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"annotations": state["metadata"].get("annotations", {}), "spec": state["spec"]}


def try_out(
    trial: Trial, version: str = "", *, most: int = MOST_PAGES, clock: Callable[[], float] = time.perf_counter
) -> TrialResult:
    """Ask for pages, check each of them, and verify the first quote of each model.

    Args:
        trial: How.
        version: The model that must have answered ``trial.pages`` of them; any model when empty.
        most: Pages after which one that has not answered so many is given up.
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
            if versions.total() >= most:
                raise TrialFailed(f"model {version} answered {versions[version]} of {most} pages at {trial.url}")
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
