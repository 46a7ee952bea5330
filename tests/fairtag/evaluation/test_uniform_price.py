"""The best discount of each category against a search over all of them."""

from itertools import product

import numpy as np
import pytest

from fairtag.evaluation.page_value import predicted
from fairtag.evaluation.uniform_price import SHARES, best_discounts, uniform_price


def test_two_categories_get_the_best_pair_of_discounts(planted_pages):
    shop = planted_pages(5, pages=200)
    category = np.tile([0, 1], 800)
    b = np.where(category == 0, 4.0, 9.0)
    a = shop.a + (b - shop.b) * 0.85
    listed, floor = shop.price(1.0), shop.price(0.55)

    def worth(share):
        price = uniform_price(np.array(share), category, listed, floor)
        return float(predicted(shop.log, a, b, price).mean())

    found = best_discounts(shop.log, a, b, listed=listed, floor=floor, category=category, categories=2)
    best = max(product(SHARES[::2], repeat=2), key=worth)
    assert worth(found) >= worth(best) * (1 - 1e-4)
    assert found[0] > found[1]


def test_no_discount_goes_below_a_floor_or_above_list():
    price = uniform_price(
        np.array([0.5]), np.zeros(3, dtype=int), np.array([10.0, 10.0, 4.0]), np.array([2.0, 7.0, 5.0])
    )
    assert price.tolist() == [5.0, 7.0, 4.0]


@pytest.mark.parametrize("slope", [0.5, 30.0])
def test_extreme_demand_gives_the_ends(planted_pages, slope):
    shop = planted_pages(6, pages=100, slope=slope, cost=0.2)
    found = best_discounts(
        shop.log,
        np.full(shop.a.shape, 0.5 * slope - 6.0),
        np.full(shop.b.shape, slope),
        listed=shop.price(1.0),
        floor=shop.price(0.3),
        category=np.zeros(800, dtype=int),
        categories=1,
    )
    assert found[0] == (1.0 if slope < 1 else SHARES[0])
