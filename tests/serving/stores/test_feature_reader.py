from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.stores.feature_reader import (
    OUT_OF_BOUNDS,
    UNREADABLE,
    MemoryReader,
    UserFeatures,
    checked_market,
    checked_user,
)


def test_the_memory_reader_has_every_market_column() -> None:
    columns = MemoryReader(market={"a": {"stock": 3.0}}).items(["a", "b"])
    assert set(columns) == set(MARKET_COLUMNS)
    assert columns["stock"][0] == 3.0
    assert np.isnan(columns["stock"][1])


def catalogue(prices: list[float], costs: list[float]) -> MarketContext:
    absent = np.full(len(prices), np.nan)
    return MarketContext(np.array(prices), np.array(costs), absent, absent, absent, absent, absent, absent)


@pytest.mark.parametrize("poison", [1.0, 0.0, -5.0, 1e12, "abc", "1", b"\xff", True, [1], math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("name", ["list_price", "unit_cost"])
def test_an_amount_that_cannot_be_meant_is_ignored_and_counted(name: str, poison: Any) -> None:
    counted: list[str] = []
    known = catalogue([3_899.0, 20.0, 5.0], [1_500.0, 8.0, 2.0])
    found = checked_market({name: [poison, 19.0, None]}, known, 10.0, counted.append)
    np.testing.assert_array_equal(found[name], [np.nan, 19.0, np.nan])
    assert counted in ([UNREADABLE], [OUT_OF_BOUNDS])


def test_what_may_be_is_taken_as_it_is() -> None:
    columns = {
        "list_price": [15.0, math.nan],
        "map_price": [12, 3.0],
        "salvage_value": [-1.0, 0.5],
        "stock": [0, 1e6],
        "shelf_life_days": [0.0, 400.0],
    }
    found = checked_market(columns, catalogue([20.0, 5.0], [8.0, 2.0]), 10.0, _refuse)
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], np.array(values, dtype=float))


def _refuse(why: str) -> None:
    raise AssertionError(why)


def test_a_customers_values_that_are_no_numbers_are_left_out_and_the_others_stay() -> None:
    counted: list[str] = []
    odd = UserFeatures(
        {"recency_days": "abc", "orders_90d": 2, "spend_90d": math.inf, "promotion_response": 0.5},  # type: ignore[dict-item]
        ("a", "b", "c", "d"),
        (1.0, -3.0, "x", 4),  # type: ignore[arg-type]
    )
    found = checked_user(odd, counted.append)
    assert found == UserFeatures({"orders_90d": 2.0, "promotion_response": 0.5}, ("a", "d"), (1.0, 4.0))
    assert counted == [UNREADABLE] * 3
