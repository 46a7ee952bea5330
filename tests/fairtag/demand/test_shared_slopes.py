"""One slope for a nest: what a single fit of all its items' purchases says."""

import numpy as np
import pytest

from fairtag.demand.choices import Choices
from fairtag.demand.logit import Prior, fit_logit, laplace
from fairtag.demand.shared_slopes import alike, share_slopes

PRIOR = Prior(np.zeros(2), np.full(2, 4.0), np.array([4.0, 2.0]))


def test_the_shared_slope_is_that_of_a_fit_in_which_the_items_are_one():
    """Two items of equal appeal, each alone on its pages: fitted as one group, or apart and then joined."""
    rng = np.random.default_rng(3)
    n = 4_000
    item, x = rng.integers(0, 2, n), rng.choice([-0.2, -0.1, 0.1, 0.2], n)
    bought = (rng.random(n) < 1 / (1 + np.exp(-(-0.5 + 3.0 * x)))).astype(float)
    loadings = np.column_stack([np.ones(n), x])
    X, starts = 0.0 * loadings, np.arange(n)
    apart = Choices(X, starts, bought, 1 - bought, item, loadings, 2)
    one = Choices(X, starts, bought, 1 - bought, np.zeros(n, dtype=int), loadings, 1)
    fit = fit_logit(apart, PRIOR)
    joined, spread = share_slopes(fit, laplace(apart, fit, PRIOR), np.zeros(2, dtype=int), PRIOR.effects[1])
    whole = fit_logit(one, PRIOR)
    error = np.sqrt(laplace(one, whole, PRIOR).conditional[0, 1, 1])
    assert joined.effects[0, 1] == joined.effects[1, 1]
    assert joined.effects[0, 1] == pytest.approx(whole.effects[0, 1], abs=0.1 * error)
    assert np.sqrt(spread.conditional[0, 1, 1]) == pytest.approx(error, rel=0.03)
    assert np.linalg.eigvalsh(spread.conditional).min() > 0


def test_items_alone_keep_what_was_fitted_and_texts_of_a_nest_are_their_mean(rng, simulate):
    choices, _ = simulate(rng, pages=200, groups=6, sizes=(1, 5))
    prior = Prior(np.zeros(3), np.ones(3), np.array([4.0, 4.0]))
    fit = fit_logit(choices, prior)
    spread = laplace(choices, fit, prior)
    same, kept = share_slopes(fit, spread, np.arange(6), 4.0)
    assert same is fit
    assert kept is spread
    mixed, wider = share_slopes(fit, spread, np.array([0, 0, 2, 3, 4, 5]), 4.0)
    np.testing.assert_array_equal(mixed.effects[2:], fit.effects[2:])
    np.testing.assert_array_equal(wider.gain[2:], spread.gain[2:])
    assert alike(np.array([[1.0], [3.0], [5.0]]), np.array([0, 0, 2])).tolist() == [[2.0], [2.0], [5.0]]
