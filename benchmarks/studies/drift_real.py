"""What the drift job flags in two real shops, month by month and week by week; nothing is planted or priced.

A receipt line stands for an accepted quote: price paid, list price at the time, cost by the assumed margin, and the
product's words as the query. The first part of each record is the training data. Every later month or week is checked
twice: against a model that is never retrained, and against one that is retrained after each urgent alert, as the
trigger does. docs/operations.md says what happened in the flagged weeks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.result import Result, Row
from fairtag.base import schema
from fairtag.base.tables import Tables
from fairtag.base.types import Status
from fairtag.data import load
from fairtag.profile.builder import Profile, build_profile
from monitoring.detect.checks import ChangeDetector
from monitoring.detect.scan import scan
from monitoring.job_report import Check
from monitoring.jobs import drift_checks
from monitoring.settings import Settings

MINOR = 100
IN_SAMPLE = (
    "The limits of an item's move, the smallest effects and the tolerances were chosen with these two records in view: "
    "the figures show that what was flagged did happen, not how another shop's record would fare."
)
GUEST = "guest-"  # how the tables name a customer without an id
OF_A_MODEL = ("similarity", "purchase_probability", "reasons")  # constant here, as no model wrote them
# Costs are an assumed share of list and the reference price is list: their flags would repeat those of list.
OF_LIST = ("reference_price_level", "unit_cost_level", "recosted_items", "margin")
# The online shop's list price is derived: a high quantile of the prices paid in the month.
LISTED = ("list_price_level", "price_to_list")
FLAGS = (Status.URGENT, Status.WARN)


@dataclass(frozen=True)
class Record:
    """One shop's record.

    Args:
        dataset: Name of the data set.
        training: Stretches of training data.
        stretch: Length of a stretch, as pandas names periods: M or W.
        known: Keep only customers with an id. The online shop's other lines come from its own web channel, at nearly
            twice the wholesale price of the same item, and their share changes from month to month.
        recorded: Whether list prices are recorded; otherwise they are derived from prices paid.
    """

    dataset: str
    training: int
    stretch: str
    known: bool = False
    recorded: bool = False

    @property
    def name(self) -> str:
        """Prefix of its rows."""
        return self.dataset.replace("-", "_") + ("_known" if self.known else "")

    @property
    def silent(self) -> tuple[str, ...]:
        """Checks for which the record has no figures."""
        return (*OF_A_MODEL, *OF_LIST, *(() if self.recorded else LISTED))


RECORDS = (
    Record("online-retail", 4, "M"),
    Record("online-retail", 4, "M", known=True),
    Record("complete-journey", 17, "W", recorded=True),
)


def run(data: Path) -> Result:
    """Check every stretch after training, and count what is flagged.

    Raises:
        MissingDataError: ``data`` lacks one of the two data sets.
    """
    rows: list[Row] = []
    notes: list[str] = [IN_SAMPLE]
    for record in RECORDS:
        quotes = receipts(load(record.dataset, data))
        if record.known:
            quotes = quotes[~quotes[schema.USER_KEY].str.startswith(GUEST)]
        for name, again in ((record.name, False), (f"{record.name}_retrained", True)):
            found = check_stretches(quotes, record, again=again)
            rows += counts(name, record, found)
            notes += [f"{name} {when}: {words}" for when, checks in found.items() if (words := _flags_in_words(checks))]
    return Result(tuple(rows), tuple(notes))


def receipts(tables: Tables) -> pd.DataFrame:
    """Order lines as rows of ``schema.QUOTES``; what only a model could have written is constant."""
    known = [schema.LIST_PRICE, schema.UNIT_COST, schema.CATEGORY, schema.TITLE]
    items = tables.items[[schema.ITEM_ID, schema.UPDATED_AT, *known]].sort_values(schema.UPDATED_AT)
    orders = tables.orders.sort_values(schema.TS)
    lines = pd.merge_asof(
        orders, items, left_on=schema.TS, right_on=schema.UPDATED_AT, by=schema.ITEM_ID, direction="backward"
    ).dropna(subset=[schema.LIST_PRICE])
    lines = lines[lines[schema.PRICE] * MINOR >= 1]
    rank = lines.groupby(schema.ORDER_ID).cumcount() + 1
    listed = np.maximum(np.round(lines[schema.LIST_PRICE] * MINOR), 1).astype(np.int64)
    columns: dict[str, Any] = {
        schema.QUOTE_ID: lines[schema.ORDER_ID].astype(str),
        schema.TS: lines[schema.TS],
        schema.MODEL_VERSION: "none",
        schema.USER_KEY: lines[schema.USER_ID].astype(str),
        schema.QUERY: lines[schema.TITLE].where(rank == 1),
        schema.ITEM_ID: lines[schema.ITEM_ID].astype(str),
        schema.CATEGORY: lines[schema.CATEGORY].astype(str),
        schema.RANK: rank,
        schema.SIMILARITY: 1.0,
        schema.LIST_PRICE_MINOR: listed,
        schema.PRICE_MINOR: np.maximum(np.round(lines[schema.PRICE] * MINOR), 1).astype(np.int64),
        schema.REFERENCE_PRICE_MINOR: listed,
        schema.UNIT_COST_MINOR: np.maximum(np.round(lines[schema.UNIT_COST] * MINOR), 1).astype(np.int64),
        schema.PURCHASE_PROBABILITY: 1.0,
        schema.PERSONALISED: False,
        schema.REASONS: [[] for _ in range(len(lines))],
        schema.CURRENCY: str(tables.metadata["currency"]),
        schema.JURISDICTION: None,
        schema.DEGRADED: None,
        schema.FEATURE_AGE_SECONDS: np.nan,
    }
    return pd.DataFrame(columns).reset_index(drop=True)


def check_stretches(quotes: pd.DataFrame, record: Record, *, again: bool = False) -> dict[str, list[Check]]:
    """The checks of each complete stretch after training, by the date it begins.

    Args:
        quotes: The record as quotes.
        record: How it is cut.
        again: Retrain after a stretch with an urgent alert, on the stretches up to it.
    """
    period = quotes[schema.TS].dt.tz_localize(None).dt.to_period(record.stretch)
    stretches = sorted(period.unique())
    whole = [
        stretch for stretch in stretches if quotes[schema.TS].max() >= stretch.end_time.tz_localize("UTC").floor("D")
    ]
    profile = _profile_of(quotes[period.isin(stretches[: record.training])])
    found = {}
    for k, stretch in enumerate(whole[record.training :], start=record.training + 1):
        checks = _checks_of(quotes[period == stretch], profile, record, stretch)
        found[f"{stretch.start_time:%Y-%m-%d}"] = checks
        if again and any(check.status is Status.URGENT for check in checks):
            profile = _profile_of(quotes[period.isin(stretches[k - record.training : k])])
    return found


def _profile_of(quotes: pd.DataFrame) -> Profile:
    return build_profile(pd.DataFrame(), quotes)


def _checks_of(window: pd.DataFrame, profile: Profile, record: Record, stretch: pd.Period) -> list[Check]:
    settings = Settings()
    found = scan([window], profile, seed=settings.seed, sums_only=True)
    hours = (stretch.end_time - stretch.start_time).total_seconds() / 3600
    comparisons = [
        comparison
        for comparison in drift_checks.comparisons(found, profile, settings, hours)
        if comparison.name not in record.silent
    ]
    detector = ChangeDetector(settings, len(comparisons))
    return [detector.check(comparison) for comparison in comparisons]


def counts(name: str, record: Record, found: dict[str, list[Check]]) -> list[Row]:
    """How many stretches each check flagged."""
    unit = f"of {len(found)} {'months' if record.stretch == 'M' else 'weeks'}"
    flagged = {status: Counter[str]() for status in FLAGS}
    for checks in found.values():
        for check in checks:
            if check.status in flagged:
                flagged[check.status][check.name] += 1
    rows = [
        Row(f"{name}_{status}", sum(any(c.status is status for c in checks) for checks in found.values()), unit=unit)
        for status in FLAGS
    ]
    return rows + [
        Row(f"{name}_{check}_{status}", count, unit=unit)
        for status in FLAGS
        for check, count in sorted(flagged[status].items())
    ]


def _flags_in_words(checks: list[Check]) -> str:
    """Each flag in its own words, the pages first."""
    flagged = [check for status in FLAGS for check in checks if check.status is status]
    return "; ".join(f"{check.status} {check.name}: {check.summary}" for check in flagged)
