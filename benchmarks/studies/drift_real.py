"""What the drift questions say of two real shops, month by month and week by week. Nothing is planted or priced.

A receipt line stands for a quote that was taken: price paid, list price of its time, cost by the stated margin, the
product's words as the query. The first part of each record is the training that a model would have had; every later
stretch is one look, twice: at a model that is never trained again, and at one that is trained again on the stretches
just gone whenever a check is urgent, as the trigger does. What a person would say of it is in docs/operations.md.
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
from fairtag.base.errors import MissingDataError
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
    "The cut-off of an item's move, the least effects and the tolerances were chosen with these two records in view: "
    "the figures show that what is flagged is what happened, not how another shop's record would fare."
)
GUEST = "guest-"  # how the tables name a customer without an id
OF_A_MODEL = ("similarity", "purchase_probability", "reasons")  # and there was none
# Costs are a stated share of list, the reference price is list: their flags would repeat what list says.
OF_LIST = ("reference_price_level", "unit_cost_level", "recosted_items", "margin")
# Of the online shop list is itself derived, as a high quantile of what was paid in the month.
LISTED = ("list_price_level", "price_to_list")
FLAGS = (Status.URGENT, Status.WARN)


@dataclass(frozen=True)
class Record:
    """One shop's record.

    Args:
        dataset: Name of the data set.
        training: Stretches that the reference is built from.
        stretch: Length of a stretch, as pandas names periods: M or W.
        known: Only customers with an id. Without one the online shop's lines are its own web channel, at nearly twice
            the wholesale price for the same item, and its share moves from month to month.
        recorded: Whether list prices are recorded and not derived from what was paid.
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
        """Checks that the record has no figures for."""
        return (*OF_A_MODEL, *OF_LIST, *(() if self.recorded else LISTED))


RECORDS = (
    Record("online-retail", 4, "M"),
    Record("online-retail", 4, "M", known=True),
    Record("complete-journey", 17, "W", recorded=True),
)


def run(data: Path | None) -> Result:
    """Check every stretch after training, and count what is flagged.

    Raises:
        MissingDataError: The folder of the data sets was not given.
    """
    if data is None:
        raise MissingDataError("this study reads real data; name the folder of the data sets with --data")
    rows: list[Row] = []
    notes: list[str] = [IN_SAMPLE]
    for record in RECORDS:
        quotes = receipts(load(record.dataset, data))
        if record.known:
            quotes = quotes[~quotes[schema.USER_KEY].str.startswith(GUEST)]
        for name, again in ((record.name, False), (f"{record.name}_retrained", True)):
            found = judged(quotes, record, again=again)
            rows += counts(name, record, found)
            notes += [f"{name} {when}: {said}" for when, checks in found.items() if (said := _said(checks))]
    return Result("drift-real", "fairtag study drift-real --data DIR", tuple(rows), tuple(notes))


def receipts(tables: Tables) -> pd.DataFrame:
    """Order lines as rows of schema.QUOTES; what only a model could have written is constant."""
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


def judged(quotes: pd.DataFrame, record: Record, *, again: bool = False) -> dict[str, list[Check]]:
    """Stretch -> all checks, for each stretch after training that is whole.

    Args:
        quotes: The record as quotes.
        record: How it is cut.
        again: After a stretch with an urgent check, the next is held against a model of the stretches up to it.
    """
    period = quotes[schema.TS].dt.tz_localize(None).dt.to_period(record.stretch)
    stretches = sorted(period.unique())
    whole = [
        stretch for stretch in stretches if quotes[schema.TS].max() >= stretch.end_time.tz_localize("UTC").floor("D")
    ]
    profile = _trained(quotes[period.isin(stretches[: record.training])])
    found = {}
    for k, stretch in enumerate(whole[record.training :], start=record.training + 1):
        checks = _look(quotes[period == stretch], profile, record, stretch)
        found[f"{stretch.start_time:%Y-%m-%d}"] = checks
        if again and any(check.status is Status.URGENT for check in checks):
            profile = _trained(quotes[period.isin(stretches[k - record.training : k])])
    return found


def _trained(quotes: pd.DataFrame) -> Profile:
    return build_profile(pd.DataFrame(), quotes)


def _look(window: pd.DataFrame, profile: Profile, record: Record, stretch: pd.Period) -> list[Check]:
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


def _said(checks: list[Check]) -> str:
    """Each flag in its own words, the urgent ones first."""
    told = [check for status in FLAGS for check in checks if check.status is status]
    return "; ".join(f"{check.status} {check.name}: {check.summary}" for check in told)
