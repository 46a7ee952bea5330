"""Warnings come before the event, and orders cover what they promise."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.stock.forecast import GRID, DemandForecast, Spread
from fairtag.stock.replenishment import (
    COVER_DAYS,
    EXPECTED,
    ORDER,
    ORDER_UP_TO,
    PROBABILITY,
    WARNING,
    StockPolicy,
    StockWarning,
    stock_report,
)


@pytest.fixture
def forecast():
    """Demand of the next week: uniform from 0 to 2 (level + 0.5); the third item never sold."""
    level = np.array([9.5, 9.5, 0.0])
    ids = np.array(["a", "b", "c"], dtype=object)
    return DemandForecast(ids, level, Spread(np.zeros(0), 2.0 * GRID[None, :]), 7)


def report(forecast, a, b, c, policy=None):
    stock = pd.Series({"c": c, "b": b, "a": a})
    return stock_report(forecast, stock, policy).set_index(schema.ITEM_ID)


def test_an_alarm_rings_exactly_where_the_risk_passes_the_threshold(forecast):
    rows = report(forecast, 18.9, 19.1, 3)
    assert rows.loc["a", PROBABILITY] == pytest.approx(0.055)
    assert rows.loc["a", WARNING] == StockWarning.STOCK_OUT
    assert rows.loc["b", PROBABILITY] == pytest.approx(0.045)
    assert rows.loc["b", WARNING] is None


def test_the_order_brings_stock_up_to_the_service_level(forecast):
    rows = report(forecast, 4, 40, 0)
    assert rows.loc["a", ORDER_UP_TO] == 19
    assert rows.loc["a", ORDER] == 15
    assert rows.loc["b", ORDER] == 0
    assert rows.loc["a", EXPECTED] == pytest.approx(10)
    assert rows.loc["a", COVER_DAYS] == pytest.approx(2.8)
    after = report(forecast, 4 + 15, 40, 0)
    assert after.loc["a", PROBABILITY] == pytest.approx(0.05)
    assert after.loc["a", WARNING] is None


def test_stock_that_lasts_too_long_is_ageing_and_an_empty_shelf_is_not(forecast):
    rows = report(forecast, 10 * 180 / 7 + 1, 10 * 180 / 7 - 1, 5)
    assert rows.loc["a", WARNING] == StockWarning.AGEING
    assert rows.loc["b", WARNING] is None
    assert rows.loc["c", WARNING] == StockWarning.AGEING  # it never sells
    assert report(forecast, 1, 1, 0).loc["c", WARNING] is None


def test_the_greatest_risk_stands_first(forecast):
    stock = pd.Series({"a": 15.0, "b": 3.0, "c": 0.0})
    assert stock_report(forecast, stock)[schema.ITEM_ID].tolist() == ["b", "a", "c"]


def test_an_unknown_or_negative_stock_is_refused(forecast):
    for stock in ({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": -2.0, "c": 0.0}):
        with pytest.raises(DataError, match=r"items\.stock: 1 items"):
            stock_report(forecast, pd.Series(stock))


def test_a_policy_outside_its_range_is_refused():
    with pytest.raises(ConfigError, match="risk"):
        StockPolicy(risk=1.0)
    with pytest.raises(ConfigError, match="ageing_days"):
        StockPolicy(ageing_days=0)
