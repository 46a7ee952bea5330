"""Features as they were at a moment: behaviour snapshots from receipts, and the point-in-time join of a training set.

On the platform Feast makes the join; tests compare its answer with this one, and studies without a store use it.

>>> rows = training_set(tables)                                        # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.tables import Tables, coerce

HISTORY = 20  # newest purchases in a snapshot
WINDOW_DAYS = 90.0
MONEY_DIGITS = 4  # decimal places: as many as any currency has; the rest is the error of sums
DAY = 86_400_000_000  # microseconds
BELOW_LIST = "below_list"  # an extra column of order lines: whether the unit price was below list

USER_FEATURES: tuple[str, ...] = (
    *schema.USER_PRICING_FEATURES,
    schema.HISTORY_ITEMS,
    schema.HISTORY_AGE_DAYS,
)
# The list price that was shown is a column of the impression.
ITEM_FEATURES: tuple[str, ...] = (
    *(name for name in schema.ITEM_PRICING_FEATURES if name != schema.LIST_PRICE),
    schema.CATEGORY,
)

Ints = NDArray[np.int64]


def behaviour_snapshots(lines: pd.DataFrame, moments: pd.DataFrame, items: set[str]) -> pd.DataFrame:
    """The users table at given moments, from the order lines strictly before each moment.

    Args:
        lines: Order lines with the columns of ORDERS and ``below_list``.
        moments: ``user_id`` and ``updated_at``, one row for each snapshot.
        items: Items that a history may contain (those of the catalogue).

    Returns:
        The users table. Without earlier orders, a user's recency is missing and every other feature is 0.
    """
    users = pd.Index(np.unique(np.concatenate([lines[schema.USER_ID], moments[schema.USER_ID]]).astype(str)))
    lines = lines.assign(_user=_codes(users, lines[schema.USER_ID]), _at=_micros(lines[schema.TS]))
    lines = lines.sort_values(["_user", "_at", schema.ORDER_ID], kind="stable")
    user = _codes(users, moments[schema.USER_ID])
    at = _micros(moments[schema.UPDATED_AT])
    span = _Span(lines["_user"].to_numpy(np.int64), lines["_at"].to_numpy(np.int64))
    start, past = span.before(user, np.full_like(at, span.earliest)), span.before(user, at)
    recent = span.before(user, at - int(WINDOW_DAYS * DAY))
    units = lines[schema.QUANTITY].to_numpy(float)
    below = units * lines[BELOW_LIST].to_numpy(float)
    orders = 1.0 - lines.duplicated([schema.USER_ID, schema.ORDER_ID]).to_numpy(float)
    spend = units * lines[schema.PRICE].to_numpy(float)
    last = np.where(past > start, span.at[np.maximum(past - 1, 0)], at)
    total = _between(units, start, past)
    features = {
        schema.RECENCY_DAYS: np.where(past > start, (at - last) / DAY, np.nan),
        schema.ORDERS_90D: _between(orders, recent, past),
        schema.SPEND_90D: np.maximum(np.round(_between(spend, recent, past), MONEY_DIGITS), 0.0),
        schema.PROMOTION_RESPONSE: np.clip(_between(below, start, past) / np.maximum(total, 1e-9), 0.0, 1.0),
    }
    names, ages = _histories(lines, span.at, start, past, at, items)
    frame = moments.reset_index(drop=True).assign(**features)
    frame[schema.HISTORY_ITEMS], frame[schema.HISTORY_AGE_DAYS] = names, ages
    return coerce(frame, schema.USERS)


class _Span:
    """Positions in order lines that are sorted by user and time."""

    def __init__(self, user: Ints, at: Ints) -> None:
        self.at = at
        self.earliest = int(at.min(initial=0))
        self._step = int(at.max(initial=0)) - self.earliest + 2
        self._key = user * self._step + (at - self.earliest)

    def before(self, user: Ints, at: Ints) -> Ints:
        """Number of lines before ``at`` in the order (user, time): a position for prefix sums."""
        clipped = np.clip(at - self.earliest, 0, self._step - 1)
        return np.searchsorted(self._key, user * self._step + clipped, side="left").astype(np.int64)


def _between(values: NDArray[np.float64], start: Ints, end: Ints) -> NDArray[np.float64]:
    total = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(total[end] - total[start], dtype=np.float64)


def _histories(
    lines: pd.DataFrame, bought_at: Ints, start: Ints, past: Ints, at: Ints, items: set[str]
) -> tuple[list[list[str]], list[list[float]]]:
    item = lines[schema.ITEM_ID].astype(str).to_numpy(object)
    listed = np.fromiter((name in items for name in item), dtype=bool, count=len(item))
    kept = np.flatnonzero(listed)
    position = np.concatenate([[0], np.cumsum(listed)])  # lines of the catalogue before each line
    names: list[list[str]] = []
    ages: list[list[float]] = []
    for begin, end, now in zip(position[start], position[past], at, strict=True):
        rows = kept[max(begin, end - HISTORY) : end][::-1]
        names.append(item[rows].tolist())
        ages.append(((now - bought_at[rows]) / DAY).round(4).tolist())
    return names, ages


def _codes(users: pd.Index[Any], names: pd.Series[Any]) -> Ints:
    codes: Ints = np.array(users.get_indexer(pd.Index(names.astype(str))), dtype=np.int64)
    return codes


def _micros(times: pd.Series[Any]) -> Ints:
    micros: Ints = np.array(
        pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]").astype("int64"), dtype=np.int64
    )
    return micros


def training_set(tables: Tables) -> pd.DataFrame:
    """The impressions in their order, each with the newest snapshot of its user and item at or before it.

    An impression older than the first snapshot of its user or item stays, with missing features and an empty history.
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
