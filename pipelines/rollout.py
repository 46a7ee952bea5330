"""One change of the live service: shown as a difference, made, waited for, and undone when it fails. Knows no model."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from rich.console import Console

from components.adapters.inference_service import InferenceService
from pricing.errors import UnavailableError

Change = Callable[[InferenceService, bool], dict[str, Any]]


def change(
    make: Change,
    namespace: str,
    name: str,
    console: Console,
    timeout: float,
    dry_run: bool,
    *,
    undo: bool = True,
    service: InferenceService | None = None,
) -> None:
    """Make a change and wait until it serves.

    Args:
        make: The change; given the service and whether the cluster should only check it.
        namespace: Namespace of the service.
        name: Name of the service.
        console: Where the difference is shown.
        timeout: Longest wait, seconds.
        dry_run: Show the difference alone.
        undo: Roll back when the service does not become ready.
        service: The service, where it is at hand.

    Raises:
        UnavailableError: It did not become ready.
    """
    live = service or InferenceService(namespace, name)
    before = live.read()
    after = make(live, dry_run)
    console.print(difference(before, after) or "nothing changes", highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        return
    try:
        live.wait_ready(lambda state: console.print(state, highlight=False, markup=False), timeout=timeout)
    except UnavailableError:
        if undo:
            live.rollback()
            console.print("not ready: rolled back")
        raise


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What differs between two states of an object, as a unified diff of what a person wrote in it."""
    old, new = (yaml.safe_dump(_written(state), sort_keys=True).splitlines() for state in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "live", "then", lineterm="", n=2))


def _written(state: Mapping[str, Any]) -> dict[str, Any]:
    return {"annotations": state["metadata"].get("annotations", {}), "spec": state["spec"]}
