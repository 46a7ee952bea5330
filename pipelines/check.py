"""``fairtag check``: reads, types and validates every table of a shop in seconds, without training anything.

    report = check_shop("csv", Path("my-shop"))
    report.refused, [problem.line() for problem in report.problems]

It shows every problem of every table at once, where a run stops at the first table that it must refuse, and says which
rung of the ladder the tables reach.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.money import currency
from fairtag.base.tables import coerce
from fairtag.data.derived_tables import complete_tables
from fairtag.data.ladder import Rung, ladder
from fairtag.data.loading import NAMES, load
from fairtag.data.own_tables import read_each
from fairtag.demand import counts
from fairtag.search.near_titles import NEAR, near_groups
from fairtag.training.covariates import in_words, judge_covariates

NAMED = 3  # groups of titles, and items of each, that are shown
OWN = {"csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}


@dataclass(frozen=True)
class Problem:
    """One problem of a table.

    Args:
        table: Its table, or the file.
        column: Its column; empty where it is about the whole table.
        rule: The rule that is broken.
        severity: ``refused`` refuses the table, ``critical`` sets rows aside, ``warning`` only tells.
        count: Rows that break the rule; 0 for the whole table.
        rows: The first of them, counted from 1 below the header.
        examples: These rows: their key and the columns of the rule.
        remedy: What to do.
    """

    table: str
    column: str
    rule: str
    severity: str
    count: int
    rows: tuple[int, ...]
    examples: tuple[Mapping[str, Any], ...]
    remedy: str


@dataclass(frozen=True)
class CheckReport:
    """What was found.

    Args:
        dataset: Name of the reader.
        rows: Rows read, by table.
        problems: All problems, tables in the order of the contract.
        rungs: The ladder; empty where a table is refused.
        notes: What was detected or assumed.
    """

    dataset: str
    rows: Mapping[str, int]
    problems: tuple[Problem, ...]
    rungs: tuple[Rung, ...]
    notes: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether a run would stop at these tables."""
        return any(problem.severity == "refused" for problem in self.problems)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**asdict(self), "refused": self.refused, "schema": "fairtag.check/1"}


def check_shop(
    dataset: str, data: Path | None, max_quarantined: float = 0.05, near_titles: float | None = None
) -> CheckReport:
    """Read and validate every table of a data set.

    Args:
        dataset: One of :data:`fairtag.data.loading.NAMES`; empty takes csv or parquet by the files in the folder.
        data: Folder of the data set.
        max_quarantined: Largest share of a table's rows that may break a critical rule.
        near_titles: Similarity from which on two titles are named as nearly the same; by default that of evaluation.

    Raises:
        MissingDataError: There is no such folder, or it is none of tables.
        ConfigError: There is no such data set.
    """
    from components.adapters.great_expectations import validate_tables

    dataset = dataset or _by_files(data)
    problems: list[Problem] = []
    frames, metadata = _read(dataset, data, problems)
    coin = currency(metadata.get("currency"), "metadata: currency") if "currency" in metadata else None
    with tempfile.TemporaryDirectory() as folder:
        accepted, report = validate_tables(
            frames, Path(folder) / "validation", max_quarantined=max_quarantined, coin=coin, pages=False
        )
    problems += _found(report, {problem.table for problem in problems})
    problems += _near(accepted.get("items"), near_titles or NEAR)
    order = [table.name for table in schema.TABLES]
    problems.sort(key=lambda problem: order.index(problem.table) if problem.table in order else -1)
    rungs: tuple[Rung, ...] = ()
    notes = _notes(metadata)
    if not any(problem.severity == "refused" for problem in problems):
        typed = {name: coerce(frame, schema.table(name)) for name, frame in accepted.items()}
        shop = complete_tables(typed, metadata)
        used = (*in_words(judge_covariates(shop.impressions)), *counts.in_words(shop.impressions))
        rungs, notes = ladder(shop), (*_notes(shop.metadata), *used)
    rows = {name: len(frame) for name, frame in frames.items() if len(frame)}
    return CheckReport(dataset, rows, tuple(problems), rungs, notes)


def _by_files(data: Path | None) -> str:
    if data is None:
        raise MissingDataError("no folder is named; write `fairtag check TABLES` with the one that holds items.csv")
    if not data.is_dir():
        raise MissingDataError(f"{data}: there is no such folder; name the one that holds items.csv or items.parquet")
    there = {path.name.lower() for path in data.iterdir()}
    for name, suffixes in OWN.items():
        if there & {f"items{suffix}" for suffix in suffixes}:
            return name
    raise MissingDataError(
        f"{data}: it holds no items.csv, items.csv.gz or items.parquet; name the reader with --dataset, one of "
        f"{', '.join(NAMES)}"
    )


def _read(dataset: str, data: Path | None, problems: list[Problem]) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Raw tables and their metadata; a file that cannot be read becomes a problem, and the others are read on."""
    if dataset in OWN and data is not None:
        frames, metadata, errors = read_each(data, OWN[dataset], dataset)
    else:
        try:
            shop = load(dataset, data)
            frames, metadata, errors = shop.frames(), shop.metadata, []
        except DataError as error:
            frames, metadata, errors = {}, {}, [error]
    problems += [_unreadable(each) for each in errors]
    return frames, metadata


def _unreadable(error: DataError) -> Problem:
    """A file or table that could not be read, in the words of its error."""
    examples = tuple({error.column: value} for value in error.examples)
    place = error.table.split(".")[0]
    return Problem(place, error.column, error.rule, "refused", error.count, (), examples, str(error))


def _found(report: Any, unread: set[str]) -> Iterator[Problem]:
    """The findings of a validation; a table that could not be read at all is not called empty as well."""
    from components.adapters.remedies import remedy

    for table in report.tables:
        if table.table in unread:
            continue
        for finding in table.findings:
            yield Problem(
                table=finding.table,
                column=finding.column,
                rule=finding.rule,
                severity="refused" if finding.count == 0 else finding.severity,
                count=finding.count,
                rows=finding.rows,
                examples=finding.examples,
                remedy=remedy(finding),
            )
        many = table.quarantined > report.max_quarantined * table.rows
        if many or (table.block and all(finding.count for finding in table.findings)):
            yield Problem(
                table.table, "", "few broken rows", "refused", table.quarantined, (), (), _block_remedy(table)
            )


def _near(items: pd.DataFrame | None, near: float) -> Iterator[Problem]:
    """Items whose titles are nearly the same: one finding, with the first groups as examples."""
    if items is None or not {schema.ITEM_ID, schema.TITLE} <= set(items.columns):
        return
    newest = items.sort_values(schema.UPDATED_AT, kind="stable") if schema.UPDATED_AT in items else items
    newest = newest.drop_duplicates(schema.ITEM_ID, keep="last").sort_index()
    groups = near_groups(newest[schema.TITLE].tolist(), near)
    if not groups:
        return
    shown = [newest.iloc[group[:NAMED]] for group in groups[:NAMED]]
    yield Problem(
        table=schema.ITEMS.name,
        column=schema.TITLE,
        rule="titles that tell items apart",
        severity="warning",
        count=sum(map(len, groups)),
        rows=tuple(int(rows.index[0]) + 1 for rows in shown),
        examples=tuple({name: rows[name].tolist() for name in (schema.ITEM_ID, schema.TITLE)} for rows in shown),
        remedy="each is searched and priced as an item of its own: keep one of a product that is listed twice; "
        "variants may stay, best with what tells them apart in the title",
    )


def _block_remedy(table: Any) -> str:
    if all(finding.count for finding in table.findings):
        return str(table.block)
    return f"{table.quarantined:,} of {table.rows:,} rows break a critical rule: correct the export"


def _notes(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    notes = [f"{name}: {how}" for name, how in metadata.get("files", {}).items()]
    notes += [
        f"{name}: {how}"
        for name, how in metadata.get("provenance", {}).items()
        if not how.startswith("recorded:") or "assumed" in how
    ]
    notes += [f"left out: {count:,} {why}" for why, count in metadata.get("left_out", {}).items()]
    notes += [str(line) for line in metadata.get("lacks", [])]
    return tuple(notes)
