"""Thompson sampling's probabilities are exact: a large Monte Carlo finds the same, and limits are as they must be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from fairtag.page.exploration import explore, propensities
from fairtag.page.thompson import EVEN_SHARE, best_point_probabilities, thompson_weights

LEAST = 0.5  # the slope's floor


def posterior(mean, spread):
    """Pr(max(floor, b) > t) for b ~ N(mean, spread), as the demand model has it."""
    return lambda t: np.where(t < LEAST, 1.0, ndtr((mean - t) / spread))


@pytest.mark.parametrize(("mean", "spread"), [(3.0, 1.0), (1.0, 1.0), (8.0, 3.0)])
def test_probabilities_are_those_of_a_monte_carlo(mean, spread):
    rng = np.random.default_rng(0)
    price = np.sort(rng.uniform(0.6, 1.0, (20, 5)), axis=1)
    gain = price - rng.uniform(0.3, 0.75, (20, 1)) - 0.3 * (price - 0.8) ** 2
    slopes = np.maximum(rng.normal(mean, spread, 200_000), LEAST)
    found = best_point_probabilities(price, gain, posterior(mean, spread))
    for row in range(20):
        profit = gain[row] * np.exp(-slopes[:, None] * price[row])
        share = np.bincount(profit.argmax(1), minlength=5) / len(slopes)
        np.testing.assert_allclose(found[row], share, atol=4 * np.sqrt(0.25 / len(slopes)))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.floats(0.1, 2.0), st.floats(-1.0, 2.0)), min_size=2, max_size=7, unique_by=lambda p: p[0]),
    st.floats(0.0, 20.0),
    st.floats(0.01, 5.0),
)
def test_probabilities_sum_to_one_and_do_not_depend_on_the_order(points, mean, spread):
    price, gain = np.array(points).T
    found = best_point_probabilities([price], [gain], posterior(mean, spread))[0]
    assert found.sum() == pytest.approx(1.0)
    assert (found >= 0).all()
    if (gain > 0).any():
        assert not found[gain <= 0].any()
    turned = best_point_probabilities([price[::-1]], [gain[::-1]], posterior(mean, spread))[0]
    np.testing.assert_allclose(turned[::-1], found, atol=1e-9)
    scaled = best_point_probabilities([price], [3.7 * gain], posterior(mean, spread))[0]
    np.testing.assert_allclose(scaled, found, atol=1e-9)


def test_a_known_slope_leaves_one_price_and_a_vague_one_all_but_none():
    price = np.linspace(0.6, 1.0, 5)
    best = (price - 0.5) * np.exp(-4.0 * price)
    known = best_point_probabilities([price], [price - 0.5], posterior(4.0, 1e-6))[0]
    assert known[best.argmax()] == pytest.approx(1.0)
    vague = best_point_probabilities([price], [price - 0.5], posterior(4.0, 4.0))[0]
    assert (vague > 0).all()


def test_equal_prices_share_one_probability_and_where_nothing_earns_the_dearest_is_best():
    twice = best_point_probabilities([[0.7, 0.7, 1.0]], [[0.2, 0.2, 0.5]], posterior(4.0, 1.0))[0]
    once = best_point_probabilities([[0.7, 1.0]], [[0.2, 0.5]], posterior(4.0, 1.0))[0]
    np.testing.assert_allclose(twice[[0, 2]], once)
    assert twice[1] == 0.0
    losing = best_point_probabilities([[0.7, 0.9, 0.8]], [[-0.3, -0.1, -0.2]], posterior(4.0, 1.0))
    assert losing.tolist() == [[0.0, 1.0, 0.0]]


def test_every_point_has_a_propensity_and_draws_come_as_often_as_it_says():
    n = 20_000
    price = np.tile(np.linspace(0.6, 1.0, 5), (n, 1))
    weights = thompson_weights(price, price - 0.5, posterior(4.0, 1.0))
    assert weights.min() >= EVEN_SHARE / 5 - 1e-12
    chosen = np.full(n, 2)
    keys = [(f"customer {k}", "item", 20_000, "m") for k in range(n)]
    drawn = explore(price, chosen, 0.5, keys, b"secret", weights)
    planned = propensities(price[:1], chosen[:1], 0.5, weights[:1])[0]
    assert planned.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.bincount(drawn.point, minlength=5) / n, planned, atol=4 * np.sqrt(0.25 / n))
    np.testing.assert_allclose(drawn.propensity, planned[drawn.point])
    again = explore(price, chosen, 0.5, keys, b"secret", weights)
    np.testing.assert_array_equal(again.price, drawn.price)
    reward = drawn.price * 2
    assert (reward / drawn.propensity / 5).mean() == pytest.approx(2 * price[0].mean(), rel=0.03), "IPS is unbiased"


def test_a_point_without_weight_is_never_drawn():
    n = 2_000
    price, weights = np.tile([1.0, 2.0, 3.0], (n, 1)), np.tile([0.0, 1.0, 0.0], (n, 1))
    drawn = explore(price, np.zeros(n, dtype=int), 1.0, [(k,) for k in range(n)], weights=weights)
    assert set(drawn.point) == {1}
