"""A simulated shop may list products twice; the two listings share demand as planted."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.errors import ConfigError
from fairtag.simulator.planted_demand import nested_utilities
from fairtag.simulator.simulation import TINY, ShopDesign, simulate_shop
from fairtag.solver.cells import Cells


@pytest.fixture(scope="module")
def shop():
    return simulate_shop(TINY, seed=2, design=ShopDesign(twins=0.4, dissimilarity=0.5))


def test_a_share_of_the_products_is_listed_twice_with_one_text_cost_and_list_price(shop):
    items, copy_of = shop.tables.latest_items(), shop.planted.catalogue.copy_of
    second = np.flatnonzero(copy_of != np.arange(copy_of.size))
    assert len(second) == int(0.4 * TINY.items / 2)
    for name in ("title", "description", "category", "list_price", "unit_cost", "map_price"):
        one, two = (items[name].iloc[rows].tolist() for rows in (copy_of[second], second))
        assert one == pytest.approx(two, nan_ok=True) if name.endswith(("price", "cost")) else one == two
    assert items["item_id"].is_unique


def test_two_listings_together_sell_as_planted(shop):
    copy_of = shop.planted.catalogue.copy_of
    two = int(np.flatnonzero(copy_of != np.arange(copy_of.size))[0])
    one = int(copy_of[two])
    page, similarity, ratio = np.array([[one, two]]), np.full((1, 2), 0.6), np.full((1, 2), 0.9)
    both = shop.planted.demand(page, similarity, None, ratio).sum()
    alone = shop.planted.demand(page, similarity, None, ratio, in_stock=np.array([[True, False]])).sum()
    assert both / (1 - both) == pytest.approx(2**0.5 * alone / (1 - alone))
    plain = replace(shop.planted, dissimilarity=1.0).demand(page, similarity, None, ratio).sum()
    assert plain / (1 - plain) == pytest.approx(2 * alone / (1 - alone))


def test_the_planted_demand_is_that_of_the_estimator():
    rng = np.random.default_rng(0)
    page, nest, utility = np.repeat(np.arange(30), 8), rng.integers(0, 4, 240), 3 * rng.normal(size=240)
    utility[rng.random(240) < 0.2] = -np.inf
    cells = Cells.of(page, nest, np.full(240, 0.3))
    np.testing.assert_allclose(nested_utilities(utility, page, nest, 0.3), cells.adjust(utility), rtol=1e-9)


def test_a_shop_without_twins_is_the_same_whatever_the_dissimilarity():
    plain, other = (simulate_shop(TINY, seed=4, design=ShopDesign(dissimilarity=zeta)) for zeta in (1.0, 0.2))
    assert plain.tables.impressions.equals(other.tables.impressions)


@pytest.mark.parametrize("setting", [{"twins": 1.5}, {"twins": -0.1}, {"dissimilarity": 0.0}, {"dissimilarity": 1.2}])
def test_shares_and_dissimilarities_outside_their_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        ShopDesign(**setting)
