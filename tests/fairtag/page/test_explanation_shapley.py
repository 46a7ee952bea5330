import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.base.errors import ConfigError
from fairtag.page.explanation import MOST_DRIVERS, coalitions, explain, shapley_values, switch


def by_permutations(worth, k):
    """The definition: mean marginal effect over all orders of arrival."""
    total = np.zeros((k, *worth.shape[1:]))
    for order in itertools.permutations(range(k)):
        present = 0
        for player in order:
            total[player] += worth[present | 1 << player] - worth[present]
            present |= 1 << player
    return total / math.factorial(k)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_values_are_the_mean_over_all_orders(k):
    worth = np.random.default_rng(k).normal(0, 50, (2**k, 3))
    np.testing.assert_allclose(shapley_values(worth), by_permutations(worth, k), rtol=0, atol=1e-11)


def test_rows_of_coalitions_share_their_bits():
    assert coalitions(3).tolist()[:4] == [
        [False, False, False],
        [True, False, False],
        [False, True, False],
        [True, True, False],
    ]
    assert coalitions(8).sum() == 8 * 128


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, MOST_DRIVERS), st.integers(0, 2**32 - 1))
def test_contributions_add_up_to_the_whole_difference(k, seed):
    worth = np.random.default_rng(seed).uniform(0, 1000, (2**k, 24))
    np.testing.assert_allclose(shapley_values(worth).sum(0), worth[-1] - worth[0], rtol=0, atol=1e-9)


def test_a_driver_without_effect_gets_nothing_and_equals_get_the_same():
    def price_of(at_work):
        first, second, idle = at_work.T
        del idle
        return (10 + 5.0 * (first & second) + 2.0 * first + 2.0 * second)[:, None]

    found = explain(price_of, ("first", "second", "idle"))
    assert found.of(0) == pytest.approx({"first": 4.5, "second": 4.5, "idle": 0.0})
    assert found.contributions[2, 0] == 0
    assert (found.base[0], found.price[0]) == (10, 19)


def test_the_values_of_a_sum_of_games_are_the_sums_of_the_values():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(2, 64))
    np.testing.assert_allclose(
        shapley_values(left + 3 * right), shapley_values(left) + 3 * shapley_values(right), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("drivers", [(), tuple("abcdefghi"), ("a", "a")])
def test_only_one_to_eight_different_drivers_can_be_explained(drivers):
    with pytest.raises(ConfigError, match="different names"):
        explain(lambda at_work: np.zeros((len(at_work), 1)), drivers)


def test_a_page_without_items_has_an_empty_explanation():
    found = explain(lambda at_work: np.zeros((len(at_work), 0)), ("a", "b"))
    assert found.contributions.shape == (2, 0)


def test_a_switch_takes_the_actual_input_only_where_its_driver_is_at_work():
    got = switch(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
    assert got.tolist() == [[1.0, 2.0], [0.0, 0.0]]
