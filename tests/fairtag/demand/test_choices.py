"""The likelihood of choices and its gradient, against finite differences and written-out forms."""

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.demand.choices import (
    BLOCK_ROWS,
    Choices,
    log_likelihood,
    probabilities,
    score,
)


@pytest.mark.parametrize("groups", [0, 12])
def test_the_gradient_equals_finite_differences(rng, groups, simulate):
    choices, _ = simulate(rng, pages=60, groups=groups, sizes=(1, 8))
    theta, effects = rng.normal(size=3), rng.normal(size=(groups, choices.n_loadings))
    q, _ = probabilities(choices.utility(theta, effects), choices.starts, choices.page)
    shared, own = score(choices, q)
    analytic = np.concatenate([shared, own.ravel()])

    def value(point):
        return log_likelihood(choices, choices.utility(point[:3], point[3:].reshape(effects.shape)))

    at, h = np.concatenate([theta, effects.ravel()]), 1e-5
    numeric = [(value(at + h * e) - value(at - h * e)) / (2 * h) for e in np.eye(at.size)]
    np.testing.assert_allclose(analytic, numeric, atol=2e-6)


def test_a_page_larger_than_a_block_is_kept_whole():
    n = BLOCK_ROWS + 5
    choices = Choices(np.zeros((n, 1)), np.array([0]), np.zeros(n), np.ones(1))
    assert [(rows.start, rows.stop) for rows, _ in choices.blocks()] == [(0, n)]


@pytest.mark.parametrize("utility", [1e-300, 50.0, 800.0, 1e6, 1e300])
def test_probabilities_stay_finite_at_utilities_of_any_size(utility):
    starts, page = np.array([0, 2]), np.array([0, 0, 1])
    q, inclusive = probabilities(np.array([utility, 0.0, -utility]), starts, page)
    assert np.isfinite(q).all()
    assert np.isfinite(inclusive).all()
    assert q[:2].sum() <= 1 + 1e-12
    assert q[2] <= 0.5


def test_probabilities_equal_the_naive_form(rng):
    utility, starts = rng.normal(size=7), np.array([0, 3, 4])
    page = np.array([0, 0, 0, 1, 2, 2, 2])
    q, inclusive = probabilities(utility, starts, page)
    for p in range(3):
        weights = np.exp(utility[page == p])
        np.testing.assert_allclose(q[page == p], weights / (1 + weights.sum()), rtol=1e-14)
        assert inclusive[p] == pytest.approx(np.log(1 + weights.sum()), rel=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_with_their_count(rng, bad, simulate):
    choices, _ = simulate(rng, pages=20)
    X = choices.X.copy()
    X[[1, 5], 0] = bad
    with pytest.raises(DataError, match="2 values of X") as refusal:
        Choices(X, choices.starts, choices.bought, choices.outside)
    assert refusal.value.count == 2


@pytest.mark.parametrize(
    ("X", "starts", "bought", "outside"),
    [
        (np.zeros((0, 1)), [], [], []),
        (np.zeros((2, 1)), [1], [0, 0], [1]),
        (np.zeros((2, 1)), [0, 0], [0, 0], [1, 1]),
        (np.zeros((2, 1)), [0, 2], [0, 0], [1, 1]),
        (np.zeros((2, 1)), [0], [0], [1]),
        (np.zeros((2, 1)), [0], [-1, 0], [1]),
    ],
    ids=["empty", "late start", "empty page", "start past the end", "short counts", "negative count"],
)
def test_pages_that_do_not_tile_the_rows_are_refused(X, starts, bought, outside):
    with pytest.raises(DataError):
        Choices(X, np.array(starts, dtype=np.int64), np.array(bought, dtype=float), np.array(outside, dtype=float))
