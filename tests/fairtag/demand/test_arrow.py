import numpy as np
import pytest

from fairtag.base.errors import NotConverged
from fairtag.demand.arrow import Arrow, cholesky, conjugate_gradients, inverse, penalised
from fairtag.demand.choices import Information


@pytest.fixture
def arrow():
    """An arrow matrix of 3 shared coefficients and 4 groups of 2, and the same matrix written out."""
    rng = np.random.default_rng(0)
    groups = [np.cov(rng.normal(size=(2, 9))) + np.eye(2) for _ in range(4)]
    border = 0.2 * rng.normal(size=(4, 2, 3))
    shared = np.cov(rng.normal(size=(3, 9))) + 2 * np.eye(3)
    full = np.zeros((11, 11))
    full[:3, :3] = shared
    for g in range(4):
        rows = slice(3 + 2 * g, 5 + 2 * g)
        full[rows, rows] = groups[g]
        full[rows, :3] = border[g]
        full[:3, rows] = border[g].T
    return Information(shared, border, np.array(groups), np.array(groups)), full


def test_the_arrow_solver_equals_a_dense_solve(arrow):
    parts, full = arrow
    right = np.random.default_rng(1).normal(size=11)
    theta, effects = Arrow(parts).solve(right[:3], right[3:].reshape(4, 2))
    np.testing.assert_allclose(np.concatenate([theta, effects.ravel()]), np.linalg.solve(full, right), atol=1e-12)


def test_without_groups_it_is_a_cholesky_solve(arrow):
    parts, _ = arrow
    none = np.zeros((0, 0, 0))
    theta, effects = Arrow(Information(parts.shared, none, none, none)).solve(np.ones(3), np.zeros((0, 0)))
    np.testing.assert_allclose(theta, np.linalg.solve(parts.shared, np.ones(3)), atol=1e-12)
    assert effects.size == 0


def test_conjugate_gradients_reach_the_solution(arrow):
    _, full = arrow
    found = conjugate_gradients(lambda v: full @ v, lambda v: v / np.diag(full), np.ones(11), 1e-12)
    np.testing.assert_allclose(found, np.linalg.solve(full, np.ones(11)), atol=1e-10)


def test_a_coefficient_at_its_bound_leaves_the_system(arrow):
    parts, _ = arrow
    bound = np.array([False, True, False])
    found = penalised(parts, np.ones(3), np.full(2, 0.5), bound)
    np.testing.assert_array_equal(found.shared[1], [0, 1, 0])
    assert np.all(found.border[:, :, 1] == 0)
    np.testing.assert_allclose(found.shared[0, 0], parts.shared[0, 0] + 1)
    np.testing.assert_allclose(found.blocks, parts.blocks + 0.5 * np.eye(2))


@pytest.mark.parametrize("matrix", [np.ones((2, 2)), -np.eye(2), np.full((2, 2), np.nan)])
def test_a_matrix_that_is_not_positive_definite_is_refused(matrix):
    with pytest.raises(NotConverged, match="singular"):
        cholesky(matrix)


def test_an_inverse_is_an_inverse(arrow):
    _, full = arrow
    np.testing.assert_allclose(inverse(full) @ full, np.eye(11), atol=1e-12)
