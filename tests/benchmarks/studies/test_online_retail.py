"""The invoices study on sales whose level drifts slowly: the smoothed forecast must beat the naive one, and say so."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import online_retail as study
from fairtag.base import schema

NOW = pd.Timestamp("2011-12-05", tz="UTC")


@pytest.fixture(scope="module")
def shop():
    rng = np.random.default_rng(0)
    items, weeks = 80, 30
    rate = rng.gamma(2.0, 10.0, (items, 1)) * np.exp(np.cumsum(rng.normal(0, 0.05, (items, weeks)), axis=1))
    sold = rng.poisson(rate)
    item, week = np.nonzero(sold)
    orders = pd.DataFrame(
        {
            schema.ITEM_ID: item.astype(str),
            schema.TS: NOW - pd.to_timedelta(7 * (weeks - week) - 2, unit="D"),
            schema.QUANTITY: sold[item, week].astype(float),
        }
    )
    return orders, pd.Series(rng.uniform(1, 9, items), index=[str(i) for i in range(items)])


@pytest.mark.slow
def test_ours_is_ahead_of_both_baselines_and_its_quantiles_hold(shop):
    rows = {row.metric: row for row in study.forecast_rows(*shop, NOW)}
    assert rows["ours_over_naive_same_spread"].high < 1
    assert rows["ours_over_naive_library"].high < 1
    assert rows["items"].value == 80
    assert rows["item_weeks"].value == 80 * study.HELD_OUT_WEEKS
    for row in rows.values():
        if row.metric.startswith("coverage"):
            assert row.value == pytest.approx(row.reference, abs=0.05)
