"""Erases a customer, or a guest's session, from everything that Fairtag keeps, and says what it did and what it cannot.

    report = erase(subjects, Places.of_run(Path("runs/shop"), keys), dry_run=True)

It may be stopped and run again at any point: each file and store is changed as a whole, and the quote log, by which the
other rows are found, is changed last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from fairtag.base import schema
from fairtag.base.errors import FairtagError
from serving.custody.logs import WHOSE, erase_journal, erase_rows, quotes_of
from serving.custody.pseudonyms import Names, Subjects, names_of
from serving.custody.run_files import erase_names, erase_table_rows
from serving.custody.stores import erase_features, erase_lock_file, erase_redis_locks
from serving.stores.feast_store import FILE

LOOK_SECONDS = 1.0
OUTCOMES = "outcomes"  # what the shop reported, in the endpoint's folder
CANNOT = (
    "Quotes that were signed before stay valid until they expire (FAIRTAG_QUOTE_SECONDS). They name nobody.",
    "Models were fitted on sums over all customers. Their weights name nobody and stay; the next training does not see "
    "the erased rows, once your own tables lack them.",
    "A running endpoint remembers the price locks of the day, under a keyed hash, until the day ends or it restarts.",
    "Rows of the quote log under a user key that was retired are not found: nothing can join them with anybody.",
    "Your own tables outside the run folder, backups, and the logs of a gateway are yours to erase.",
)


@dataclass(frozen=True)
class Places:
    """Where to look; what is None is not looked at.

    Args:
        keys: All user keys, the one in use first.
        run: Folder of a run, with its tables and reports.
        quotes: fsspec URL of the quote log.
        journal: Folder of the journal.
        outcomes: fsspec URLs of reported outcomes.
        locks: Folder of the price locks' file.
        redis: ``redis://`` URL of the shared price locks.
        features: Folder of feature_store.yaml.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    run: Path | None = None
    quotes: str | None = None
    journal: Path | None = None
    outcomes: tuple[str, ...] = ()
    locks: Path | None = None
    redis: str | None = field(default=None, repr=False)
    features: Path | None = None


@dataclass(frozen=True)
class Erased:
    """What was found in one place.

    Args:
        store: Kind of the place, in words.
        place: Where it is.
        count: How much was found, and erased unless it was a dry run.
        unit: What is counted.
        problem: Why it is not erased; empty where it is.
    """

    store: str
    place: str
    count: int
    unit: str
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {name: getattr(self, name) for name in ("store", "place", "count", "unit", "problem")}


@dataclass(frozen=True)
class ErasureReport:
    """What an erasure did.

    Args:
        erased: By place.
        dry_run: Whether nothing was changed.
    """

    erased: tuple[Erased, ...]
    dry_run: bool

    @property
    def complete(self) -> bool:
        """Whether nothing is left that could be erased."""
        return not any(each.problem for each in self.erased)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values; it names nobody."""
        places = [each.as_json() for each in self.erased]
        return {"dry_run": self.dry_run, "complete": self.complete, "erased": places, "cannot_erase": list(CANNOT)}


def erase(
    subjects: Subjects,
    places: Places,
    *,
    dry_run: bool = False,
    wait_seconds: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> ErasureReport:
    """Erase people from some places.

    Args:
        subjects: Who.
        places: Where.
        dry_run: Say what is there, and change nothing.
        wait_seconds: How long to wait until a running endpoint has written the pages of its journal to a file.
        sleep: Waits.

    Raises:
        UnavailableError: A store did not answer before anything was changed.
    """
    names = names_of(subjects, places.keys)
    theirs = {} if places.quotes is None else quotes_of(places.quotes, names.keys)
    quote_ids = {quote for quotes in theirs.values() for quote in quotes}
    found = list(_beside_the_log(names, places, quote_ids, dry_run=dry_run))
    found += _from_log(names, places, dry_run=dry_run, wait_seconds=wait_seconds, sleep=sleep)
    return ErasureReport(tuple(found), dry_run)


def _beside_the_log(names: Names, places: Places, quote_ids: set[str], *, dry_run: bool) -> Iterator[Erased]:
    for url in places.outcomes:
        work = partial(erase_rows, url, (schema.QUOTE_ID,), quote_ids, dry_run=dry_run)
        yield _tried("outcomes", url, "rows", work)
    if places.locks is not None:
        work = partial(erase_lock_file, places.locks, names.locks, dry_run=dry_run)
        yield _tried("price locks", str(places.locks), "claims", work)
    if places.redis is not None:
        work = partial(erase_redis_locks, places.redis, names.locks, dry_run=dry_run)
        yield _tried("price locks", "Redis", "days", work)
    if places.features is not None and names.users and (places.features / FILE).is_file():
        work = partial(erase_features, places.features, names.users, dry_run=dry_run)
        yield _tried("online features", str(places.features), "customers", work)
    if places.run is not None and names.users:
        yield from _from_run(places.run, names, quote_ids, dry_run=dry_run)


def _from_run(run: Path, names: Names, quote_ids: set[str], *, dry_run: bool) -> Iterator[Erased]:
    for file, rows in erase_table_rows(run, names.users, dry_run=dry_run).items():
        yield Erased("table", str(run / file), rows, "rows")
    hits = erase_names(run, names.users, names.keys | quote_ids, dry_run=dry_run)
    for file in hits.changed:
        yield Erased("report", str(run / file), 1, "files")
    for file in hits.left:
        yield Erased(
            "other file", str(run / file), 1, "files", "it names the customer; remove it or write over it by hand"
        )


def _from_log(
    names: Names, places: Places, *, dry_run: bool, wait_seconds: float, sleep: Callable[[float], None]
) -> Iterator[Erased]:
    """Journal and log, until a running endpoint holds nothing more."""
    url, journal = places.quotes, places.journal
    if url is None:
        return
    rows, pages, waiting, waited = 0, 0, 0, 0.0
    while True:
        if journal is not None:
            removed, waiting = erase_journal(journal, names.keys, dry_run=dry_run)
            pages += removed
        work = partial(erase_rows, url, WHOSE, names.keys, dry_run=dry_run)
        log = _tried("quote log", url, "rows", work)
        rows += log.count
        if not waiting or dry_run or log.problem or waited >= wait_seconds:
            break
        sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS
    yield replace(log, count=rows)
    if journal is not None:
        problem = "a running endpoint has not written them to a file yet; erase again in a minute" if waiting else ""
        yield Erased("journal", str(journal), pages + waiting, "pages", problem)


def _tried(store: str, place: str, unit: str, work: Callable[[], int]) -> Erased:
    """The work in one place; one that fails stops no other, and leaves the erasure incomplete."""
    try:
        return Erased(store, place, work(), unit)
    except FairtagError as error:
        return Erased(store, place, 0, unit, str(error))


def of_run(run: Path, serving: Path, keys: Sequence[bytes], **more: Any) -> Places:
    """The places of a run folder and its endpoint.

    Args:
        run: The folder.
        serving: The endpoint's own folder in it.
        keys: All user keys.
        more: Places that differ.
    """
    outcomes = (str(serving / OUTCOMES),)
    places: dict[str, Any] = {
        "run": run,
        "quotes": str(serving / "quotes"),
        "journal": serving / "journal",
        "outcomes": outcomes,
        "locks": serving / "locks",
        "features": run / "features",
    }
    return Places(tuple(keys), **{**places, **{name: value for name, value in more.items() if value is not None}})
