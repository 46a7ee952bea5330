"""Behaviour features as of any moment, against the plain definition on random orders."""

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.data.point_in_time import BELOW_LIST, HISTORY, behaviour_snapshots

START = pd.Timestamp("2026-01-01", tz="UTC")


def random_lines(n=400, users=12, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            schema.ORDER_ID: rng.integers(0, n // 2, n).astype(str),
            schema.ITEM_ID: rng.integers(0, 30, n).astype(str),
            schema.USER_ID: rng.integers(0, users, n).astype(str),
            schema.TS: START + pd.to_timedelta(rng.integers(0, 200 * 24, n), unit="h"),
            schema.QUANTITY: rng.integers(1, 4, n).astype(float),
            schema.PRICE: rng.uniform(1, 9, n).round(2),
            BELOW_LIST: rng.random(n) < 0.4,
        }
    )


def plainly(lines, user, at, items):
    """The definition, one row at a time."""
    past = lines[(lines[schema.USER_ID] == user) & (lines[schema.TS] < at)].sort_values(schema.TS)
    recent = past[past[schema.TS] >= at - pd.Timedelta(days=90)]
    units = past[schema.QUANTITY].sum()
    listed = past[past[schema.ITEM_ID].isin(items)]
    return {
        schema.RECENCY_DAYS: (at - past[schema.TS].max()).total_seconds() / 86_400 if len(past) else np.nan,
        schema.SPEND_90D: round((recent[schema.QUANTITY] * recent[schema.PRICE]).sum(), 2),
        schema.PROMOTION_RESPONSE: past.loc[past[BELOW_LIST], schema.QUANTITY].sum() / units if units else 0.0,
        "ages": sorted((at - t).total_seconds() / 86_400 for t in listed[schema.TS])[:HISTORY],
    }


def test_every_snapshot_equals_the_plain_definition():
    lines, items = random_lines(), {str(i) for i in range(20)}
    moments = pd.DataFrame(
        [(str(u), START + pd.Timedelta(days=d)) for u in range(13) for d in (0, 30, 111, 250)],
        columns=[schema.USER_ID, schema.UPDATED_AT],
    )
    found = behaviour_snapshots(lines, moments, items)
    for row in found.itertuples():
        wanted = plainly(lines, row.user_id, row.updated_at, items)
        assert np.isclose(row.recency_days, wanted[schema.RECENCY_DAYS], equal_nan=True)
        assert np.isclose(row.spend_90d, wanted[schema.SPEND_90D], atol=0.011)
        assert np.isclose(row.promotion_response, wanted[schema.PROMOTION_RESPONSE])
        np.testing.assert_allclose(row.history_age_days, wanted["ages"], atol=1e-3)
        assert len(row.history_items) == len(row.history_age_days)
        assert set(row.history_items) <= items


def test_orders_are_counted_once_however_many_lines_they_have():
    lines = random_lines(n=3).assign(order_id="7", user_id="1", ts=START)
    moments = pd.DataFrame({schema.USER_ID: ["1"], schema.UPDATED_AT: [START + pd.Timedelta(days=1)]})
    assert behaviour_snapshots(lines, moments, set())[schema.ORDERS_90D].tolist() == [1.0]


def test_an_order_at_the_very_moment_is_not_yet_known():
    lines = random_lines(n=2).assign(user_id="1", ts=START)
    moments = pd.DataFrame({schema.USER_ID: ["1", "9"], schema.UPDATED_AT: [START, START]})
    found = behaviour_snapshots(lines, moments, {"0"})
    assert found[schema.ORDERS_90D].tolist() == [0.0, 0.0]
    assert found[schema.RECENCY_DAYS].isna().all()
