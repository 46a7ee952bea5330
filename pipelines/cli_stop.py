"""``fairtag stop``: narrows what an endpoint may do, at once and without a cluster, and takes it back."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fairtag.base.errors import ConfigError, UnavailableError
from pipelines.api_key import Key, KeyFile, read_key

console = Console()
FOLLOW_SECONDS = 30.0  # within which an endpoint has looked at its live policy


def stop(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, whose endpoints follow within 30 s.", metavar="RUN")
    ] = Path("runs/demo"),
    why: Annotated[str, typer.Option(help="Why, in words; it is kept with the change.")] = "",
    who: Annotated[str, typer.Option(help="Who makes the change; your login by default.")] = "",
    personal: Annotated[
        bool, typer.Option("--personal", help="Switch personal prices off only; prices stay learned.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to what held before the last stop.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Show every change: who, when, why, what.")] = False,
    policy: Annotated[
        Path | None, typer.Option(help="Folder of the live policy (FAIRTAG_POLICY_DIR) instead of the run's.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Endpoint to wait for, until it follows the change.")] = None,
    api_key: Key = None,
    key_file: KeyFile = None,
) -> None:
    """Put everything at list price at once, or switch personal prices off; --undo takes it back.

    Where the fairness corridor of an item and day ends below list, the price is its end.

    Nothing is deployed or trained. Quotes that were signed before are honoured until they expire.
    """
    from dataclasses import replace

    from fairtag.policy.live_policy import FOLDER, LivePolicyStore, in_words
    from pipelines.run_folder import RunFolder

    folder = policy or RunFolder(run.absolute()).serving / FOLDER
    if policy is None and not run.is_dir():
        raise ConfigError(f"{run}: no such run; name the folder of a run, or the live policy's with --policy")
    store = LivePolicyStore(folder)
    if history:
        _show_history(store.history())
        return
    if not why:
        raise ConfigError("--why is missing; say in words why, for those who find prices changed")
    who = who or getpass.getuser()
    current = store.current().policy
    narrowed = replace(current, personal_prices=False) if personal else replace(current, at_list=True)
    change = store.undo(who=who, why=why) if undo else store.change(narrowed, who=who, why=why)
    console.print(
        f"live policy version {change.version}: {'; '.join(in_words(change.policy))} (by {change.who}, {change.at})",
        highlight=False,
        soft_wrap=True,
    )
    if url is not None:
        seconds = _wait(url, read_key(key_file, api_key), change.version)
        console.print(f"{url} follows it after {seconds:.0f} s", highlight=False, soft_wrap=True)
    else:
        console.print("endpoints follow within 30 s; --undo takes it back", highlight=False)


def _show_history(changes: Any) -> None:
    table = Table(title="Live policy", title_justify="left")
    for heading in ("version", "when", "who", "what", "why"):
        table.add_column(heading, overflow="fold")
    for change in changes:
        undone = f" (undoes {change.undoes})" if change.undoes else ""
        table.add_row(str(change.version), change.at, change.who, "; ".join(change.difference) + undone, change.why)
    console.print(table if changes else "no change yet: prices are as the model decides")


def _wait(url: str, key: str | None, version: int) -> float:
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
        f"{url} does not follow version {version} after {FOLLOW_SECONDS:.0f} s; does it read this folder? "
        "its setting FAIRTAG_POLICY_DIR names the folder, by default policy in its run folder"
    )


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command()(stop)
