"""The menu that logged prices were drawn from is read off the log, or its absence is named with the remedy."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.evaluation.price_menu import price_menu_of


def drawn(levels, coin, low=2.0, high=90.0, rows=4_000, odd=0):
    rng = np.random.default_rng(5)
    listed = np.round(rng.uniform(low, high, rows) / coin) * coin
    price = np.round(listed * rng.choice(levels, rows) / coin) * coin
    price[:odd] = np.round(listed[:odd] * rng.uniform(0.5, 1.0, odd) / coin) * coin
    return pd.DataFrame({schema.LIST_PRICE: listed, schema.PRICE: price, schema.PROPENSITY: 1 / len(levels)})


@pytest.mark.parametrize(
    ("coin", "low", "high"), [(0.01, 2.0, 90.0), (1.0, 300.0, 20_000.0), (0.001, 0.2, 9.0), (0.01, 5_000.0, 9e6)]
)
@pytest.mark.parametrize("levels", [(0.8, 0.9, 1.0), (0.7, 0.775, 0.85, 0.925, 1.0), (0.5, 1.0)])
def test_the_menu_is_read_off_the_log_in_any_currency(levels, coin, low, high):
    menu = price_menu_of(drawn(levels, coin, low, high), None, coin)
    np.testing.assert_allclose(menu.levels, levels, atol=2e-3)
    assert menu.source.startswith("read off the log")


def test_a_few_prices_set_by_hand_do_not_hide_the_menu():
    menu = price_menu_of(drawn((0.8, 0.9, 1.0), 0.01, odd=12), None, 0.01)
    np.testing.assert_allclose(menu.levels, (0.8, 0.9, 1.0), atol=2e-3)


def test_prices_without_a_common_menu_are_named_with_the_remedy():
    log = drawn((0.8, 0.9, 1.0), 0.01, odd=4_000)
    menu = price_menu_of(log, None, 0.01)
    assert menu.levels is None
    assert "metadata.json" in menu.source


def test_a_log_without_propensities_is_no_experiment():
    log = drawn((0.8, 0.9, 1.0), 0.01)
    for absent in (log.drop(columns=schema.PROPENSITY), log.assign(**{schema.PROPENSITY: np.nan})):
        menu = price_menu_of(absent, [0.8, 0.9, 1.0], 0.01)
        assert menu.levels is None
        assert "no propensities" in menu.source


def test_a_stated_menu_is_taken_where_it_explains_the_log():
    log = drawn((0.8, 0.9, 1.0), 0.01)
    assert price_menu_of(log, [1.0, 0.9, 0.8], 0.01).levels.tolist() == [0.8, 0.9, 1.0]
    with pytest.raises(DataError, match="explains"):
        price_menu_of(log, [0.75, 0.85], 0.01)
