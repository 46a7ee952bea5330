"""``python -m serving.custody retain | erase``: what a job on a cluster does about the data of customers.

On one machine, ``fairtag retain RUN`` and ``fairtag erase RUN`` do the same for a run folder. Addresses and keys come
from the endpoint's own settings; ids come from a file, because others can read command lines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from fairtag.base.errors import ConfigError, FairtagError, UnavailableError, exit_code
from serving.custody.erasure import CANNOT, ErasureReport, Places, erase
from serving.custody.pseudonyms import Subjects, read_ids
from serving.custody.retention import apply_retention
from serving.keys import user_keys
from serving.settings import KeySettings, RetentionSettings


class StoreSettings(BaseSettings):
    """Where an endpoint keeps what it knows of customers; the names are the endpoint's own."""

    model_config = SettingsConfigDict(env_prefix="FAIRTAG_", frozen=True)

    quote_log: str | None = None
    price_locks_url: str | None = Field(default=None, repr=False)
    feature_repo: Path | None = None


def parser() -> argparse.ArgumentParser:
    """The options."""
    top = argparse.ArgumentParser(prog="python -m serving.custody", description=__doc__, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True)
    purpose = "Remove from the quote log what is too old (FAIRTAG_RETENTION_*)."
    retain = commands.add_parser("retain", help=purpose, description=purpose)
    purpose = "Erase the customers of a file from the quote log, outcomes, price locks and online features."
    erasing = commands.add_parser("erase", help=purpose, description=purpose)
    erasing.add_argument("--users-file", type=Path, required=True, metavar="FILE", help="ids of customers, one a line")
    erasing.add_argument("--outcomes", action="append", default=[], metavar="URL", help="outcomes that were reported")
    erasing.add_argument(
        "--if-present", action="store_true", help="end with 0, and say so, where there is no such file"
    )
    for command in (retain, erasing):
        command.add_argument("--quotes", metavar="URL", help="the quote log; FAIRTAG_QUOTE_LOG by default")
        command.add_argument("--dry-run", action="store_true", help="say what is there, and change nothing")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit code is 0, that of an error, or 7 where something could not be erased."""
    options = parser().parse_args(arguments)
    try:
        return _retain(options) if options.command == "retain" else _erase(options)
    except FairtagError as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_code(error)


def _retain(options: argparse.Namespace) -> int:
    settings, url = RetentionSettings(), _log(options)
    report = apply_retention(url, settings, datetime.now(UTC), dry_run=options.dry_run)
    print(f"{url}: {report}{' (dry run: nothing was removed)' if options.dry_run else ''}")
    return exit_code(UnavailableError()) if report.unreadable else 0


def _erase(options: argparse.Namespace) -> int:
    if options.if_present and not options.users_file.exists():
        print(f"{options.users_file}: there is no such file; nobody is erased")
        return 0
    stores, subjects = StoreSettings(), Subjects(read_ids(options.users_file))
    places = Places(
        user_keys(KeySettings()),
        quotes=_log(options),
        outcomes=tuple(options.outcomes),
        redis=stores.price_locks_url,
        features=stores.feature_repo,
    )
    report = erase(subjects, places, dry_run=options.dry_run)
    print(json.dumps(report.as_json(), indent=2))
    return 0 if report.complete else exit_code(UnavailableError())


def _log(options: argparse.Namespace) -> str:
    url: str | None = options.quotes or StoreSettings().quote_log
    if url is None:
        raise ConfigError("no quote log: name it with --quotes, or set FAIRTAG_QUOTE_LOG")
    return url


def in_words(report: ErasureReport) -> list[str]:
    """The report for a person, a line each."""
    verb = "found" if report.dry_run else "erased"
    lines = [
        f"{each.store}: {each.count:,} {each.unit} {verb} in {each.place}"
        + (f"; {each.problem}" if each.problem else "")
        for each in report.erased
    ]
    end = "a dry run: nothing was changed" if report.dry_run else ""
    end = end or ("everything that was found is erased" if report.complete else "not complete: see above")
    return [*lines, end, "What an erasure cannot reach:", *(f"- {text}" for text in CANNOT)]


if __name__ == "__main__":
    sys.exit(main())
