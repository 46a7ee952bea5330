"""Checks tables against their contract with Great Expectations: broken rows are named, set aside or refused.

There is one suite for each table, generated from ``fairtag.base.schema``. Tables are checked in the order of
``schema.TABLES``, and a reference must point to an accepted row: with a broken item its impressions are set aside too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
from great_expectations.data_context.types.base import ProgressBarsConfig

from components.adapters.remedies import remedy
from components.adapters.suites import (
    CHARGED,
    IN_ONE_UNIT,
    REFERENCE,
    ROW,
    UNIQUE_KEY,
    WHOLE_COINS,
    Suite,
    are_whole_coins,
    make_suite,
)
from components.adapters.validation_report import (
    KNOWN_COLUMN,
    NOT_EMPTY,
    REQUIRED_COLUMN,
    Finding,
    TableReport,
    ValidationReport,
)
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.files import directory_atomic, read_json, write_atomic
from fairtag.base.money import Currency
from fairtag.base.tables import METADATA
from fairtag.base.values import read_numbers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

BROKEN_RULES = "broken_rules"  # the column added to rows that are set aside
SEPARATOR = "\x1f"
MAX_QUARANTINED = 0.05  # share of a table's rows; more means a broken export rather than a few broken rows
# Fewer broken rows refuse a table too, where they are no noise: one kind of mistake all over the table.
SYSTEMATIC_ROWS = 10  # fewer are a few broken rows, whatever they have in common
SYSTEMATIC_SHARE = 0.01  # of the rows broken by one rule ...
SYSTEMATIC_KIND = 0.9  # ... that breaks nearly all rows that are broken at all
SYSTEMATIC_GROUPS = 0.5  # of the pages, orders or items hit by one rule, where they have several rows each
UNKNOWN_REFERENCES = 0.9  # of the rows pointing at nothing: the two tables name things differently
OTHER_UNIT = 30.0  # times list, at the median: no discount and no mark-up is so large, but 100 cents are a euro
OTHER_EXPONENTS = (0, 2, 3)  # decimal places of nearly all currencies
OTHER_COINS = 0.5  # of the list prices with decimals that the currency lacks and another one has: the currency is wrong

logging.getLogger("great_expectations").setLevel(logging.WARNING)


@dataclass(frozen=True)
class TableCheck:
    """A table after its check: the rows that go on, the rows that are set aside, and the report."""

    accepted: pd.DataFrame
    quarantine: pd.DataFrame
    report: TableReport


def validate_tables(
    frames: Mapping[str, pd.DataFrame],
    out: Path,
    *,
    max_quarantined: float = MAX_QUARANTINED,
    coin: Currency | None = None,
    spark: SparkSession | None = None,
    pages: bool = True,
) -> tuple[dict[str, pd.DataFrame], ValidationReport]:
    """Check raw tables against the contract and write the findings to ``out``.

    Args:
        frames: Raw tables by name; types need not be set yet.
        out: Folder, replaced whole: ``report.html``, ``report.json``, ``quarantine/<table>.parquet`` and ``docs/``
            (Great Expectations' own pages).
        max_quarantined: A table is refused when a greater share of its rows breaks a critical rule, and with fewer
            rows where they show one mistake made throughout.
        coin: Currency of the shop, whose smallest coin every charged price must reach.
        spark: Session that runs the suites; None for this process. Values are read in this process in both cases.
        pages: Whether to write Great Expectations' own pages, which take longer than the checks of a small shop.

    Returns:
        The rows that go on by table, and the report; the caller decides with ``report.require_accepted()``.
    """
    accepted: dict[str, pd.DataFrame] = {}
    reports: list[TableReport] = []
    with directory_atomic(out) as folder:
        context = _context(folder / "docs", spark)
        for table in schema.TABLES:
            frame = frames.get(table.name)
            if (frame is None or frame.empty) and not table.required:
                continue
            checked = _check(context, table, _raw(frame, table), accepted, max_quarantined, coin, spark)
            accepted[table.name] = checked.accepted
            reports.append(checked.report)
            if len(checked.quarantine):
                _write_quarantine(checked.quarantine, folder / "quarantine" / f"{table.name}.parquet")
        if pages:
            context.build_data_docs()
        report = ValidationReport(tuple(reports), max_quarantined)
        report.save(folder)
    return accepted, report


def read_raw(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Tables of a folder as they lie there, and their metadata; types are checked, not trusted.

    Raises:
        MissingDataError: There is no folder of tables at the path.
    """
    if not (folder / METADATA).is_file():
        raise MissingDataError(f"{folder}: no {METADATA} there; the ingest step makes a folder of tables")
    present = [table.name for table in schema.TABLES if (folder / f"{table.name}.parquet").is_file()]
    return {name: pd.read_parquet(folder / f"{name}.parquet") for name in present}, read_json(folder / METADATA)


def _context(docs: Path, spark: SparkSession | None) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    context.add_data_docs_site(
        "docs", {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
    )
    if spark is None:
        context.data_sources.add_pandas("tables")
    else:
        context.data_sources.add_spark("tables")
    return context


def _raw(frame: pd.DataFrame | None, table: schema.Table) -> pd.DataFrame:
    if frame is None:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in table.names})
    return frame.reset_index(drop=True)


def _check(
    context: Any,
    table: schema.Table,
    raw: pd.DataFrame,
    accepted: Mapping[str, pd.DataFrame],
    max_quarantined: float,
    coin: Currency | None,
    spark: SparkSession | None,
) -> TableCheck:
    ours = make_suite(table, raw, accepted, numbered=spark is not None, coin=coin)
    results = _run(context, table.name, ours, spark).results
    broken: dict[int, list[str]] = {}
    findings: list[Finding] = []
    systematic = ""
    for outcome in results:
        if outcome.success:
            continue
        rows = _rows(outcome)
        finding = _finding(table, raw, outcome, rows)
        findings.append(finding)
        if finding.severity == "critical":
            for row in _without_first_copy(raw, rows, _key(table, raw)) if finding.rule == UNIQUE_KEY else rows:
                broken.setdefault(row, []).append(f"{finding.column}: {finding.rule}")
            systematic = systematic or _everywhere(table, raw, finding, rows)
        elif finding.rule.startswith(REFERENCE) and finding.count > UNKNOWN_REFERENCES * len(raw):
            systematic = systematic or _mistake(table, finding, f"{finding.count:,} of {len(raw):,} rows")
        elif coin is not None and finding.rule.startswith(WHOLE_COINS) and finding.column == schema.LIST_PRICE:
            systematic = systematic or _other_currency(table, raw, finding, coin)
    block = _block(table.name, findings, len(broken), len(raw), max_quarantined)
    block = block or systematic or _one_kind(table, findings, len(broken), len(raw))
    if unit := _other_unit(table, raw, accepted.get(schema.ITEMS.name)):
        findings.append(unit)
        block = block or _unit_words(unit)
    report = TableReport(table.name, len(raw), len(results), len(broken), tuple(findings), block)
    good = raw.drop(index=list(broken)).reset_index(drop=True)
    return TableCheck(good, _labelled(raw, broken), report)


def _run(context: Any, name: str, ours: Suite, spark: SparkSession | None) -> ExpectationSuiteValidationResult:
    suite = context.suites.add(gx.ExpectationSuite(name, expectations=ours.expectations))
    asset = context.data_sources.get("tables").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name)
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    # From Arrow, so that an absent number stays absent: from pandas it would become NaN.
    frame = ours.frame if spark is None else spark.createDataFrame(pa.Table.from_pandas(ours.frame))
    named = {} if spark is None else {"unexpected_index_column_names": [ROW]}
    result: ExpectationSuiteValidationResult = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "COMPLETE", "partial_unexpected_count": 3, **named},
    )
    return result


def _rows(outcome: ExpectationValidationResult) -> list[int]:
    raised = outcome.exception_info or {}
    if raised.get("raised_exception", any(isinstance(v, dict) for v in raised.values())):
        raise RuntimeError(f"{outcome.expectation_config}: the check itself failed: {raised}")
    listed = outcome.result.get("unexpected_index_list") or []
    return sorted({row[ROW] if isinstance(row, dict) else row for row in listed})


def _finding(table: schema.Table, raw: pd.DataFrame, outcome: ExpectationValidationResult, rows: list[int]) -> Finding:
    assert outcome.expectation_config is not None  # typed optional; a result of a run has it
    meta = outcome.expectation_config.meta
    columns = list(dict.fromkeys([*table.key, *meta["columns"]]))
    shown = raw.loc[rows[:3], [name for name in columns if name in raw.columns]]
    examples = tuple({str(k): _plain(v) for k, v in row.items()} for row in shown.to_dict("records"))
    severity: schema.Severity = "critical" if outcome.expectation_config.severity.value == "critical" else "warning"
    places = tuple(int(row) + 1 for row in rows[:3])
    return Finding(table.name, ", ".join(meta["columns"]), meta["rule"], severity, len(rows), examples, places)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float) and np.isfinite(value):
        return float(value)
    return None if value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)) else str(value)


def _without_first_copy(raw: pd.DataFrame, rows: list[int], key: tuple[str, ...]) -> list[int]:
    """The first of several exact copies stays; rows that share a key and differ are all set aside."""
    copies = raw.loc[rows].map(str)
    keys = copies[list(key)].agg(SEPARATOR.join, axis=1)
    whole = copies.agg(SEPARATOR.join, axis=1)
    kept = (whole.groupby(keys).transform("nunique") == 1) & ~keys.duplicated()
    return [row for row in rows if not kept[row]]


def _key(table: schema.Table, raw: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in table.key if name in raw)


def _block(table: str, findings: list[Finding], bad: int, rows: int, max_quarantined: float) -> str:
    for finding in findings:
        if finding.rule == NOT_EMPTY:
            return f"{table}: the table is empty; it needs {NOT_EMPTY}"
        if finding.rule == REQUIRED_COLUMN:
            needed = ", ".join(schema.table(table).required_names)
            return f"{table}: column {finding.column} is missing; the table needs {needed}"
        if finding.rule == KNOWN_COLUMN:
            return f"{table}: column {finding.column} is not in the contract; {remedy(finding)}"
    if bad > max_quarantined * rows:
        worst = max((f for f in findings if f.severity == "critical"), key=lambda f: f.count)
        return (
            f"{table}: {bad:,} of {rows:,} rows break a critical rule, more than {max_quarantined:.3g} of the table; "
            f"most of them ({worst.count:,}) break '{worst.rule}' of {worst.column}, such as {list(worst.examples)}"
        )
    return ""


def _everywhere(table: schema.Table, raw: pd.DataFrame, finding: Finding, rows: list[int]) -> str:
    """Why a critical rule that is broken on most pages, orders or items refuses the table; empty where it does not."""
    group = table.key[0]
    if finding.rule == UNIQUE_KEY or len(rows) < SYSTEMATIC_ROWS or group not in raw:
        return ""
    groups, hit = raw[group].nunique(), raw.loc[rows, group].nunique()
    if groups == len(raw) or hit <= SYSTEMATIC_GROUPS * groups:
        return ""
    return _mistake(table, finding, f"{hit:,} of {groups:,} values of {group}")


def _one_kind(table: schema.Table, findings: list[Finding], bad: int, rows: int) -> str:
    """Why broken rows of nearly one kind refuse the table; empty where they are few or of several kinds."""
    kinds = [f for f in findings if f.severity == "critical" and f.rule != UNIQUE_KEY]
    worst = max(kinds, key=lambda f: f.count, default=None)
    if worst is None or worst.count < max(SYSTEMATIC_ROWS, SYSTEMATIC_SHARE * rows, SYSTEMATIC_KIND * bad):
        return ""
    return _mistake(table, worst, f"{worst.count:,} of {rows:,} rows")


def _mistake(table: schema.Table, finding: Finding, where: str) -> str:
    return (
        f"{table.name}: {finding.column} breaks '{finding.rule}' in {where}, such as {list(finding.examples)}: "
        "one mistake made throughout, not a few broken rows; correct the export"
    )


def _other_currency(table: schema.Table, raw: pd.DataFrame, finding: Finding, coin: Currency) -> str:
    """Why list prices with the decimals of another currency refuse the table; empty where they are a few, or finer."""
    prices = read_numbers(raw[schema.LIST_PRICE]).dropna()
    if finding.count <= OTHER_COINS * len(prices):
        return ""
    decimals = next((places for places in OTHER_EXPONENTS if are_whole_coins(prices, places).all()), None)
    if decimals is None or decimals <= coin.exponent:
        return ""
    return (
        f"{table.name}: {finding.column}: {finding.count:,} of {len(prices):,} prices have up to {decimals} decimal "
        f"places, such as {list(finding.examples)}, and {coin.code} has {coin.exponent or 'none'}; name the currency "
        'that they are in: {"currency": "..."} in metadata.json, or export whole coins'
    )


def _other_unit(table: schema.Table, raw: pd.DataFrame, items: pd.DataFrame | None) -> Finding | None:
    """Prices in cents where the catalogue's are not, which refuses the table; None where they are of one kind."""
    if table is schema.ITEMS or items is None or not {schema.ITEM_ID, schema.LIST_PRICE} <= set(items):
        return None
    listed = read_numbers(items[schema.LIST_PRICE]).groupby(items[schema.ITEM_ID].map(str)).median()
    for name in (name for name in CHARGED if name in raw and schema.ITEM_ID in raw):
        share = (read_numbers(raw[name]) / raw[schema.ITEM_ID].map(str).map(listed)).median()
        if share > OTHER_UNIT or 0 < share < 1 / OTHER_UNIT:
            examples = ({name: f"{share:.3g} times the list price in {schema.ITEMS.name}, at the median"},)
            return Finding(table.name, name, IN_ONE_UNIT, "critical", 0, examples)
    return None


def _unit_words(finding: Finding) -> str:
    (shown,) = finding.examples
    return f"{finding.table}: {finding.column} is {shown[finding.column]}: {remedy(finding)}"


def _labelled(raw: pd.DataFrame, broken: dict[int, list[str]]) -> pd.DataFrame:
    quarantine = raw.loc[sorted(broken)].copy()
    quarantine[BROKEN_RULES] = ["; ".join(broken[row]) for row in sorted(broken)]
    return quarantine


def _write_quarantine(rows: pd.DataFrame, path: Path) -> None:
    # A column of mixed types has no parquet type; as text nothing is lost.
    mixed = {name: rows[name].map(str, na_action="ignore") for name in rows.columns if rows[name].dtype == object}
    write_atomic(path, rows.assign(**mixed).to_parquet)
