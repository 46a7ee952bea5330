"""A priced page as rows of the quote log: the one builder for the endpoint, evaluation and the monitors.

>>> record = quote_record(page, quote_id="q1", ts=moment, task="search")  # doctest: +SKIP
>>> frame = quote_frame([record])  # doctest: +SKIP

A record holds a page column by column, which is how the endpoint journals it; a frame holds one row an item.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import pyarrow as pa

from fairtag.base import schema
from fairtag.base.tables import coerce
from fairtag.base.types import Reason
from fairtag.page.priced_page import PricedPage

Record = dict[str, Any]  # column -> one value for the page, or a list with one value an item

_KINDS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "category": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "share": pa.float64(),
    "flag": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
    "ids": pa.list_(pa.string()),
}
SCHEMA = pa.schema([pa.field(c.name, _KINDS[c.kind], nullable=c.nullable) for c in schema.QUOTES.columns])


def quote_record(
    page: PricedPage,
    *,
    quote_id: str,
    ts: int,
    task: str,
    user_key: str | None = None,
    query: str | None = None,
    degraded: str | None = None,
    feature_age_seconds: float | None = None,
    policy_version: int = 0,
    experiment: str | None = None,
    arm: str | None = None,
    guest_key: str | None = None,
) -> Record:
    """A page with the columns of ``schema.QUOTES``.

    An item carries the disclosure only if its own price is personal: that is what the law asks to be disclosed.

    Args:
        page: The priced page.
        quote_id: Id of the page's quote.
        ts: When it was quoted, microseconds since 1970, UTC.
        task: ``search`` or ``price``.
        user_key: Keyed hash of the customer, None for a guest.
        query: What was asked, None where nothing was.
        degraded: Why the page is at list prices, None when it is whole.
        feature_age_seconds: Age of the oldest feature used.
        policy_version: Version of the live policy; 0 where there was none.
        experiment: The experiment that runs; None for none.
        arm: The customer's arm of it.
        guest_key: Keyed hash of a guest's session; None outside of an experiment.
    """
    items = page.items
    return {
        schema.QUOTE_ID: quote_id,
        schema.TS: ts,
        schema.MODEL_VERSION: page.model_version,
        schema.TASK: task,
        schema.USER_KEY: user_key,
        schema.QUERY: query,
        schema.ITEM_ID: [item.item_id for item in items],
        schema.CATEGORY: [item.category for item in items],
        schema.RANK: [item.rank for item in items],
        schema.SIMILARITY: [item.similarity for item in items],
        schema.LIST_PRICE_MINOR: [item.list_price_minor for item in items],
        schema.PRICE_MINOR: [item.price_minor for item in items],
        schema.REFERENCE_PRICE_MINOR: [item.reference_price_minor for item in items],
        schema.UNIT_COST_MINOR: [item.unit_cost_minor for item in items],
        schema.LOW_MINOR: [item.low_minor for item in items],
        schema.HIGH_MINOR: [item.high_minor for item in items],
        schema.PURCHASE_PROBABILITY: [item.purchase_probability for item in items],
        schema.PERSONALISED: [item.personalised for item in items],
        schema.REASONS: [reason_codes(item.reasons) for item in items],
        schema.PROPENSITY: [item.propensity for item in items],
        schema.JURISDICTION: page.jurisdiction,
        schema.DISCLOSURE: [page.disclosure if item.personalised else None for item in items],
        schema.DEGRADED: degraded,
        schema.CURRENCY: page.currency,
        schema.EPOCH: page.epoch,
        schema.FEATURE_AGE_SECONDS: feature_age_seconds,
        schema.POLICY_VERSION: policy_version,
        schema.EXPERIMENT: experiment,
        schema.ARM: arm,
        schema.GUEST_KEY: guest_key,
    }


def quote_table(records: Sequence[Record]) -> pa.Table:
    """Records as rows of :data:`SCHEMA`, one an item; a value of the page is repeated for each of its items."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for record in records:
        count = len(record[schema.ITEM_ID])
        for name, column in columns.items():
            value = record.get(name)  # a journal of an older endpoint lacks the newest columns
            column.extend(value if isinstance(value, list) else [value] * count)
    return pa.table({name: pa.array(column, SCHEMA.field(name).type) for name, column in columns.items()}, SCHEMA)


def quote_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Records as a typed frame, one row an item, with every column of ``schema.QUOTES`` also when there are none."""
    return coerce(quote_table(records).to_pandas(), schema.QUOTES)


@lru_cache(maxsize=4_096)
def reason_codes(reasons: tuple[Reason, ...]) -> list[str]:
    """The codes as plain texts; few combinations ever occur, and an enumeration's value is slow to read."""
    return [reason.value for reason in reasons]
