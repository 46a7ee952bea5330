"""One change of the live service: shown as a difference, made, waited for, tried, and undone when it fails."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from rich.console import Console

from components.adapters.inference_service import InferenceService
from fairtag.base.errors import RequestError, UnavailableError
from pipelines.smoke import Trial, answers, try_out

Change = Callable[[InferenceService, bool], dict[str, Any]]


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
    """Make a change, wait until it serves, and ask it for real pages.

    Args:
        make: The change; given the service and whether the cluster should only check it.
        service: The service.
        console: Where the difference and the progress are shown.
        timeout: Longest wait, seconds.
        dry_run: Show the difference alone.
        undo: Roll back when the service does not become ready or its pages cannot be trusted.
        trial: How the endpoint is tried; it is not, without.

    Raises:
        UnavailableError: It did not become ready, or the trial failed; where ``undo``, the model before is back.
    """
    if trial and undo and not dry_run:
        answers(trial)  # a trial that fails before the change could say nothing after it
    before = service.read()
    after = make(service, dry_run)
    _say(console, difference(before, after) or "nothing changes")
    if dry_run:
        return
    try:
        service.wait_ready(lambda state: _say(console, state), timeout=timeout)
        if trial:
            _say(console, str(try_out(trial, newest_model(after))))
    except (UnavailableError, RequestError) as error:
        if undo:
            service.rollback()
            _say(console, f"{error}\nrolled back; waiting for the model before")
            service.wait_ready(lambda state: _say(console, state), timeout=timeout)
        if isinstance(error, RequestError):
            raise UnavailableError(f"the endpoint refuses a plain search: {error}") from error
        raise


def newest_model(state: Mapping[str, Any]) -> str:
    """Version of the model that a change brought: the canary's, or the stable one's."""
    canaries = state["spec"].get("canary") or []
    predictor = canaries[0]["predictor"] if canaries else state["spec"]["predictor"]
    return str(predictor["model"]["storageUri"]).rstrip("/").rpartition("/")[2]


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs between two states of an object, as a unified diff of what a person wrote in it."""
    old, new = (yaml.safe_dump(_written(state), sort_keys=True).splitlines() for state in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "live", "then", lineterm="", n=2))


def _written(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"annotations": state["metadata"].get("annotations", {}), "spec": state["spec"]}


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
