"""``fairtag stop``: narrows what an endpoint may do, at once and without a cluster, and takes it back."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError, UnavailableError
from fairtag.policy.live_policy import PolicyVersion
from pipelines.api_key import Key, KeyFile, read_key
from pipelines.policy_store import Run, Store, live_model, policy_store

console = Console()
FOLLOW_SECONDS = 30.0  # within which an endpoint has looked at its live policy


def stop(
    run: Run = None,
    why: Annotated[str, typer.Option(help="Why, in words; it is kept with the change.")] = "",
    who: Annotated[str, typer.Option(help="Who makes the change; your login by default.")] = "",
    personal: Annotated[
        bool, typer.Option("--personal", help="Switch personal prices off only; prices stay learned.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to what held before the last stop.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Show every change: who, when, why, what.")] = False,
    store: Store = None,
    approved_by: Annotated[
        str, typer.Option(help="Who approves the undo, where the policy asks for a second person.")
    ] = "",
    url: Annotated[str | None, typer.Option(help="Endpoint to wait for, until it follows the change.")] = None,
    api_key: Key = None,
    key_file: KeyFile = None,
) -> None:
    """Put everything at list price at once, or switch personal prices off; --undo takes it back.

    Where the fairness corridor of an item and day ends below list, the price is its end.

    Nothing is deployed or trained. Quotes that were signed before are honoured until they expire.
    """
    from fairtag.model.policy_change import undo_policy
    from fairtag.policy.live_policy import in_words

    versions = policy_store(run, store)
    if history:
        show_history(versions.history())
        return
    if not why:
        raise ConfigError("--why is missing; say in words why, for those who find prices changed")
    who = who or getpass.getuser()
    current, model = versions.current().policy, live_model(run) if undo else None  # a stop depends on no model
    if undo and model is not None:
        change = undo_policy(versions, model, who=who, why=why, approved_by=approved_by)
    elif undo:
        change = versions.undo(who=who, why=why)
    else:
        narrowed = {"personal_prices": {"allowed": False}} if personal else {"at_list": True}
        change = versions.change(current.changed(**narrowed), who=who, why=why)
    show_change(change, in_words(change.policy), versions.missed)
    follow(url, read_key(key_file, api_key), change.version)


def follow(url: str | None, key: str | None, version: int) -> None:
    """Wait until an endpoint follows a version; without one, say how long it takes and how to go back."""
    if url is None:
        console.print(
            "endpoints follow within 30 s; fairtag stop --undo, or fairtag policy undo, takes it back", highlight=False
        )
        return
    seconds = wait_for_version(url, key, version)
    console.print(f"{url} follows it after {seconds:.0f} s", highlight=False, soft_wrap=True)


def show_change(change: PolicyVersion, words: Sequence[str], missed: Sequence[str]) -> None:
    """Say what holds now, and where it could not be written."""
    said = f"live policy version {change.version}: {'; '.join(words)} (by {change.who}, {change.at})"
    console.print(said, highlight=False, soft_wrap=True)
    for place in missed:
        console.print(
            f"not written everywhere: {place}; the next change brings it there", highlight=False, soft_wrap=True
        )


def show_history(changes: Sequence[PolicyVersion]) -> None:
    """Every version as a table."""
    table = Table(title="Live policy", title_justify="left")
    for heading in ("version", "when", "who", "what", "why"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        undone = f" (undoes {change.undoes})" if change.undoes else ""
        table.add_row(str(change.version), change.at, change.who, "; ".join(change.difference) + undone, change.why)
    console.print(table if changes else "no change yet: prices are as the model decides")


def wait_for_version(url: str, key: str | None, version: int) -> float:
    """Ask an endpoint for pages until it follows a version of the live policy; seconds that it took.

    Raises:
        UnavailableError: It does not follow in time.
    """
    from pipelines.endpoint import MODEL, reachable
    from serving.protocol.client import RestClient

    started = time.monotonic()
    with reachable(url), RestClient(url, MODEL, api_key=key) as client:
        while (waited := time.monotonic() - started) < FOLLOW_SECONDS + 5:
            if client.pages([{"query": "a", "page_size": 1}])[0]["policy_version"] >= version:
                return waited
            time.sleep(0.5)
    raise UnavailableError(
        f"{url} does not follow version {version} after {FOLLOW_SECONDS:.0f} s; does it read this store? "
        "its setting FAIRTAG_POLICY_STORE names it, by default policy in its run folder"
    )


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command()(stop)
