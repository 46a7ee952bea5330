"""``fairtag erase`` and ``fairtag retain``: what is kept of customers in a run folder, and how it goes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fairtag.base.errors import ConfigError, UnavailableError, exit_code

console = Console()
Run = Annotated[Path, typer.Argument(help="Folder of a run, as given to `fairtag run --out`.", metavar="RUN")]
Quotes = Annotated[
    str | None, typer.Option(help="Quote log elsewhere (FAIRTAG_QUOTE_LOG), any fsspec URL.", metavar="URL")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what is there, and change nothing.")]
EXAMPLE = Path("runs/demo")


def erase(
    run: Run = EXAMPLE,
    user: Annotated[list[str] | None, typer.Option(help="Customer to erase; repeat it for several.")] = None,
    session: Annotated[list[str] | None, typer.Option(help="Guest's session to erase; repeat it.")] = None,
    users_file: Annotated[
        Path | None, typer.Option(help="Customers to erase, one id a line: others can read command lines.")
    ] = None,
    quotes: Quotes = None,
    outcomes: Annotated[list[str] | None, typer.Option(help="Reported outcomes elsewhere; repeat it.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Folder of feature_store.yaml, where it is not the run's.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Erase a customer from everything that is kept: quotes, journal, outcomes, price locks, features, tables, reports.

    Price locks in Redis are those of FAIRTAG_PRICE_LOCKS_URL. Exit code 7: something could not be erased; run it again.
    """
    from serving.custody.__main__ import StoreSettings, in_words
    from serving.custody.erasure import erase as erase_everywhere
    from serving.custody.erasure import of_run
    from serving.custody.pseudonyms import Subjects, read_ids
    from serving.keys import USER_KEY, user_keys
    from serving.settings import KeySettings

    folder = _folder(run)
    users = frozenset(user or ()) | (read_ids(users_file) if users_file else frozenset())
    own = folder / "serving"
    keys = user_keys(KeySettings(), own if (own / USER_KEY).is_file() else None)
    stores = StoreSettings()
    places = of_run(
        folder,
        own,
        keys,
        quotes=quotes or stores.quote_log,
        outcomes=tuple(outcomes) if outcomes else None,
        features=features or stores.feature_repo,
        redis=stores.price_locks_url,
    )
    report = erase_everywhere(Subjects(users, frozenset(session or ())), places, dry_run=dry_run)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        for line in in_words(report):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if not report.complete and not dry_run:
        raise typer.Exit(exit_code(UnavailableError()))


def retain(run: Run = EXAMPLE, quotes: Quotes = None, dry_run: DryRun = False) -> None:
    """Remove from a run's quote log what is too old: queries after 30 days, quotes after 400.

    A running endpoint does the same every six hours. FAIRTAG_RETENTION_QUERY_DAYS, FAIRTAG_RETENTION_QUOTE_DAYS and
    FAIRTAG_RETENTION_CHECK_HOURS change that.
    """
    from serving.custody.__main__ import StoreSettings
    from serving.custody.retention import apply_retention
    from serving.settings import RetentionSettings

    url = quotes or StoreSettings().quote_log or str(_folder(run) / "serving" / "quotes")
    report = apply_retention(url, RetentionSettings(), datetime.now(UTC), dry_run=dry_run)
    end = " (dry run: nothing was removed)" if dry_run else ""
    console.print(f"{url}: {report}{end}", highlight=False, soft_wrap=True, markup=False)
    if report.unreadable:
        raise typer.Exit(exit_code(UnavailableError()))


def _folder(run: Path) -> Path:
    if not run.is_dir():
        raise ConfigError(f"{run}: no such run; name the folder of a run")
    return run.absolute()


def add_commands(app: typer.Typer) -> None:
    """Put the commands on a command line."""
    app.command()(erase)
    app.command()(retain)
