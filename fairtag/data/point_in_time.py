"""The training set by a plain as-of join: each impression with its features as they were.

Feast does this on the platform; this is what its answer is held against, and what studies without a store use.
"""

from __future__ import annotations

import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import Tables

USER_FEATURES: tuple[str, ...] = (
    *schema.USER_PRICING_FEATURES,
    schema.HISTORY_ITEMS,
    schema.HISTORY_AGE_DAYS,
)
# An impression carries the list price that was shown.
ITEM_FEATURES: tuple[str, ...] = (
    *(name for name in schema.ITEM_PRICING_FEATURES if name != schema.LIST_PRICE),
    schema.CATEGORY,
)


def training_set(tables: Tables) -> pd.DataFrame:
    """Impressions in their own order, with the newest user and item snapshot at or before each.

    An impression older than the first snapshot of its user or item keeps its row, with the features missing (a
    history is then empty).
    """
    rows = tables.impressions.reset_index(drop=True)
    joined = _as_of(rows, tables.users, schema.USER_ID, USER_FEATURES)
    joined = _as_of(joined, tables.items, schema.ITEM_ID, ITEM_FEATURES)
    for name in (schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS):
        joined[name] = joined[name].map(lambda value: value if isinstance(value, list) else [])
    return joined


def _as_of(rows: pd.DataFrame, snapshots: pd.DataFrame, key: str, wanted: tuple[str, ...]) -> pd.DataFrame:
    names = [name for name in wanted if name in snapshots.columns]
    right = snapshots[[key, schema.UPDATED_AT, *names]].sort_values(schema.UPDATED_AT, kind="stable")
    left = rows.reset_index().sort_values(schema.TS, kind="stable")
    joined = pd.merge_asof(left, right, left_on=schema.TS, right_on=schema.UPDATED_AT, by=key)
    ordered: pd.DataFrame = joined.sort_values("index").drop(columns=["index", schema.UPDATED_AT])
    return ordered.reset_index(drop=True)
