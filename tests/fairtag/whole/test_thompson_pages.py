"""Pages whose prices are drawn by Thompson sampling: inside every limit, one price a day, with propensities."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.types import Reason
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import price_page

EPOCH = 20_620


@pytest.fixture(scope="module")
def thompson(model):
    return replace(model, policy=replace(model.policy, exploration=1.0, exploration_method="thompson", confidence=0.0))


@pytest.fixture(scope="module")
def price(rows, customer, thompson):
    def priced(name="u1", model=None, epoch=EPOCH):
        user = customer(model or thompson, user_id=name)
        return price_page(model or thompson, PageInputs(rows, None, user, epoch, secret=b"secret"))

    return priced


def test_a_customer_sees_one_price_a_day_and_others_another(price):
    assert price() == price()
    several = {tuple(item.price_minor for item in price(f"u{k}").items) for k in range(20)}
    assert len(several) > 5
    assert [item.price_minor for item in price(epoch=EPOCH + 1).items] != [item.price_minor for item in price().items]


def test_prices_stay_inside_the_bounds_and_carry_reason_and_propensity(price):
    for item in price().items:
        assert item.low_minor <= item.price_minor <= item.high_minor
        if Reason.EXPLORATION in item.reasons:
            assert 0 < item.propensity < 1


def test_the_propensity_is_how_often_the_price_comes(price):
    n = 400
    pages = [price(f"u{k}") for k in range(n)]
    checked = 0
    for place in range(len(pages[0].items)):
        items = [page.items[place] for page in pages]
        for money in {item.price_minor for item in items}:
            mine = [item.propensity for item in items if item.price_minor == money]
            assert max(mine) - min(mine) < 1e-9, "the same for every customer: their data take no part"
            assert len(mine) / n == pytest.approx(mine[0], abs=4.5 * np.sqrt(mine[0] * (1 - mine[0]) / n) + 1e-9)
            checked += 1
    assert checked > 20


def test_what_is_believed_is_drawn_more_often_than_evenly(price, thompson, rows):
    sure = replace(thompson, policy=replace(thompson.policy, exploration=0.0))
    best = [item.price_minor for item in price(model=sure).items]
    hits = [
        [item.price_minor == money for item, money in zip(price(f"u{k}").items, best, strict=True)] for k in range(60)
    ]
    assert np.mean(hits) > 1.5 / 5


def test_a_policy_that_follows_f_draws_evenly(thompson, price):
    anchored = replace(thompson, policy=replace(thompson.policy, margin_weight=0.0, anchor_weight=1.0))
    explored = [item for item in price(model=anchored).items if Reason.EXPLORATION in item.reasons]
    assert explored
    assert {round(item.propensity * 5, 9) % 1 for item in explored} == {0.0}
