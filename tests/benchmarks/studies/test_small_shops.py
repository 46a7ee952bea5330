"""The study of small shops at its smallest: planted pages as the notes say, figures that mean what they are called."""

import numpy as np
import pytest

from benchmarks.studies import small_shops as study


@pytest.fixture(scope="module")
def shop():
    return study.plant(20, 800, seed=0)


def test_a_planted_shop_has_the_size_it_is_named_for(shop):
    assert shop.data.n_rows == 800
    assert shop.data.starts.size == 100
    assert shop.later.starts.size == study.HELD_OUT
    assert np.unique(np.sort(shop.items, axis=1), axis=1).shape == shop.items.shape


def test_choices_follow_the_planted_demand(shop):
    y = shop.later.y.reshape(shop.items.shape)
    pull = np.exp(shop.a - shop.b * y)
    expected = (pull.sum(axis=1) / (1 + pull.sum(axis=1))).sum()
    assert shop.later.bought.sum() == pytest.approx(expected, rel=0.06)


def test_the_oracle_beats_list_and_every_uniform_price(shop):
    oracle = shop.profit(study.best_prices(shop.a, shop.b))
    assert oracle > max(shop.profit(float(y)) for y in np.linspace(0.7, 1.0, 31))


def test_the_rows_of_a_size(shop):
    rows = list(study.size_rows(20, 800, seeds=2))
    assert [row.metric.split("_")[0] for row in rows] == ["slope", "kept", "over"]
    assert 0.3 < rows[0].value < 1.5
    assert rows[1].value <= 1.0
    assert np.isfinite(rows[2].value)
