"""The parts of the uplift at a small size: the oracle's prices are the best, and every part is replaced."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import uplift_parts as study
from benchmarks.studies.plain_model import plain_shop
from fairtag.demand.demand_model import SlopeCorrection
from fairtag.simulator.shop_design import ShopSize
from fairtag.training.corridors import public_prices

SIZE = ShopSize(items=200, users=150, impressions=7_200, wishes=120)


@pytest.fixture(scope="module")
def shop():
    """A small shop, which the cross-check of its slopes would keep at list."""
    small = plain_shop(0, SIZE)
    demand = small.model.demand
    priced = demand.with_correction(SlopeCorrection.none(len(demand.categories)))
    return replace(small, model=replace(small.model, demand=priced))


def test_no_price_of_one_item_alone_earns_more_than_the_oracle(shop):
    early, _ = study.pages_of(shop)
    bounds = public_prices(shop.model)[0].bounds
    best, _, _ = early.best_prices(bounds.lo, bounds.hi)
    earned = early.profit(best)
    for item in range(0, 200, 23):
        for step in (0.97, 1.03):
            other = best.copy()
            other[item] = np.clip(best[item] * step, bounds.lo[item], bounds.hi[item])
            assert early.profit(other) <= earned * (1 + 1e-5)


def test_true_parts_come_nearer_to_the_oracle_which_a_price_for_each_page_beats(shop):
    found = study.uplifts(shop)
    assert found["oracle_page"] > found["oracle_hindsight"] > found["served"]
    assert found["oracle_hindsight"] > found["best_uniform"]
    assert found["oracle_hindsight"] > found["true_slopes_and_page_values"] > 0.0


def test_the_slopes_that_are_put_in_are_those_of_the_model(shop):
    demand = shop.model.demand
    slope = np.linspace(3, 9, demand.n_items)
    changed = study.with_slopes(demand, slope)
    rows = np.arange(demand.n_items)
    mean = np.full(demand.n_items, demand.scaling.similarity)
    np.testing.assert_allclose(changed.page(rows, mean)[1], slope)
