"""Exploration: the logged propensity is the frequency, and the draw is a function of its key."""

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, DataError
from fairtag.evaluation import off_policy as ope
from fairtag.page.exploration import exploration_menu, explore, propensities


def keys(n, epoch=7, model="m1"):
    return [(f"user {k}", f"item {k % 50}", epoch, model) for k in range(n)]


def test_the_menu_spans_the_bounds_and_holds_the_chosen_price():
    menu, index = exploration_menu([0.93, 0.8, 1.0], [0.8, 0.8, 0.8], [1.0, 1.0, 1.0])
    np.testing.assert_allclose(menu[0], [0.8, 0.85, 0.9, 0.93, 1.0])
    np.testing.assert_array_equal(menu[np.arange(3), index], [0.93, 0.8, 1.0])
    np.testing.assert_array_equal(index, [3, 0, 4])
    assert (np.diff(menu, axis=1) > 0).all()


def test_bounds_that_meet_leave_one_price_of_probability_one():
    menu, index = exploration_menu([0.9], [0.9], [0.9])
    np.testing.assert_array_equal(menu, np.full((1, 5), 0.9))
    np.testing.assert_allclose(propensities(menu, index, 0.3), 1.0)


def test_propensities_are_the_mixture_and_sum_to_one_over_distinct_prices():
    menu, index = exploration_menu([0.93], [0.8], [1.0])
    np.testing.assert_allclose(propensities(menu, index, 0.2), [[0.04, 0.04, 0.04, 0.84, 0.04]])
    twins = np.array([[1.0, 1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(propensities(twins, [0], 0.5), [[0.7, 0.7, 0.1, 0.1, 0.1]])


def test_frequencies_are_the_logged_propensities():
    n = 20_000
    menu, index = exploration_menu(np.full(n, 0.93), np.full(n, 0.8), np.full(n, 1.0))
    drawn = explore(menu, index, 0.25, keys(n))
    counts = np.bincount(drawn.point, minlength=5) / n
    expected = propensities(menu[:1], index[:1], 0.25)[0]
    np.testing.assert_allclose(counts, expected, atol=4 * np.sqrt(0.25 / n))
    np.testing.assert_allclose(drawn.propensity, expected[drawn.point])
    np.testing.assert_array_equal(drawn.price, menu[np.arange(n), drawn.point])


def test_a_log_drawn_this_way_values_every_price_without_bias():
    n = 40_000
    menu, index = exploration_menu(np.full(n, 0.93), np.full(n, 0.8), np.full(n, 1.0))
    drawn = explore(menu, index, 0.5, keys(n))
    rng = np.random.default_rng(0)
    reward = 3 - 2 * drawn.price + rng.normal(size=n) * 0.1
    log = ope.bandit_log(reward, drawn.point, drawn.propensity)
    for point in range(5):
        policy = np.tile(np.eye(5)[point], (n, 1))
        estimate = ope.snips(log, policy)
        assert abs(estimate.value - (3 - 2 * menu[0, point])) < 4 * estimate.standard_error + 1e-9


def test_the_draw_is_sticky_and_depends_on_every_part_of_the_key():
    menu, index = exploration_menu(np.full(500, 0.93), np.full(500, 0.8), np.full(500, 1.0))
    base = explore(menu, index, 1.0, keys(500))
    np.testing.assert_array_equal(base.point, explore(menu, index, 1.0, keys(500)).point)
    for other in (keys(500, epoch=8), keys(500, model="m2"), keys(501)[1:]):
        assert (explore(menu, index, 1.0, other).point != base.point).mean() > 0.6


def test_rates_of_none_and_all():
    menu, index = exploration_menu(np.full(200, 0.93), np.full(200, 0.8), np.full(200, 1.0))
    never = explore(menu, index, 0.0, keys(200))
    assert not never.explored.any()
    np.testing.assert_array_equal(never.propensity, 1.0)
    assert explore(menu, index, 1.0, keys(200)).explored.all()


def test_bad_input_is_refused():
    with pytest.raises(DataError, match="outside their bounds"):
        exploration_menu([0.7], [0.8], [1.0])
    with pytest.raises(DataError, match="outside their bounds"):
        exploration_menu([np.nan], [0.8], [1.0])
    with pytest.raises(ConfigError, match="at least 2"):
        exploration_menu([0.9], [0.8], [1.0], points=1)
    with pytest.raises(ConfigError, match="rate"):
        propensities([[1.0, 2.0]], [0], 1.5)
    with pytest.raises(DataError, match="one for each"):
        explore([[1.0, 2.0]], [0], 0.5, [])
