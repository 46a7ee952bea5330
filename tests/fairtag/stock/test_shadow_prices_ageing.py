"""What a unit counts as: salvage only where both figures are given and the stock outlasts its life."""

import numpy as np

from fairtag.policy.context import MarketContext
from fairtag.stock.shadow_prices import counted_cost, floor_cost

NAN = np.nan


def market(salvage, life, stock):
    n = len(salvage)
    listed, absent = np.full(n, 20.0), np.full(n, NAN)
    return MarketContext(
        listed, listed / 2, absent, absent, absent, np.array(stock), np.array(salvage), np.array(life, dtype=float)
    )


def test_only_stock_that_outlasts_its_life_counts_as_salvage():
    shop = market(
        salvage=[4.0, 4.0, NAN, 4.0, 15.0, -3.0, 4.0],
        life=[30.0, 30.0, 30.0, NAN, 30.0, 30.0, 0.0],
        stock=[100.0, 20.0, 100.0, 100.0, 100.0, 100.0, 1.0],
    )
    cost, ageing = counted_cost(shop, np.full(7, 1.0))
    assert ageing.tolist() == [True, False, False, False, False, True, True]
    assert cost.tolist() == [4.0, 10.0, 10.0, 10.0, 10.0, -3.0, 4.0]
    assert floor_cost(cost, ageing).tolist() == [4.0, 10.0, 10.0, 10.0, 10.0, 0.0, 4.0]


def test_a_broken_cost_of_an_item_that_keeps_stays_broken():
    cost, ageing = counted_cost(market([NAN], [NAN], [5.0]), np.ones(1))
    assert floor_cost(np.array([-1.0]), ageing).tolist() == [-1.0]
    assert cost.tolist() == [10.0]


def test_unknown_stock_or_sales_age_nothing():
    shop = market([4.0, 4.0], [30.0, 30.0], [NAN, 100.0])
    assert not counted_cost(shop, np.array([1.0, NAN]))[1].any()
