"""Second derivatives against finite differences and written-out matrices; the solver against dense algebra."""

import numpy as np
import pytest

from fairtag.base.errors import NotConverged
from fairtag.demand.choices import probabilities, score
from fairtag.demand.hessian import (
    Arrow,
    Information,
    cholesky,
    conjugate_gradients,
    information,
    information_times,
    inverse,
    penalised,
)


@pytest.mark.parametrize("groups", [0, 12])
def test_the_hessian_equals_finite_differences_of_the_gradient(rng, groups, simulate, dense_information):
    choices, _ = simulate(rng, pages=60, groups=groups, sizes=(1, 8))
    at, h = rng.normal(size=3 + 2 * groups), 1e-5

    def gradient(point):
        effects = point[3:].reshape(groups, choices.n_loadings)
        q, _ = probabilities(choices.utility(point[:3], effects), choices.starts, choices.page)
        shared, own = score(choices, q)
        return np.concatenate([shared, own.ravel()])

    numeric = -np.array([(gradient(at + h * e) - gradient(at - h * e)) / (2 * h) for e in np.eye(at.size)])
    q, _ = probabilities(
        choices.utility(at[:3], at[3:].reshape(groups, choices.n_loadings)), choices.starts, choices.page
    )
    np.testing.assert_allclose(dense_information(choices, q), numeric, atol=1e-5)


def test_the_arrow_form_holds_the_parts_of_the_full_hessian(rng, simulate, dense_information):
    choices, _ = simulate(rng, pages=50, groups=9, sizes=(2, 8))
    q, _ = probabilities(choices.X @ np.ones(3), choices.starts, choices.page)
    full, arrow = dense_information(choices, q), information(choices, q)
    np.testing.assert_allclose(arrow.shared, full[:3, :3], atol=1e-12)
    np.testing.assert_allclose(arrow.border.reshape(18, 3), full[3:, :3], atol=1e-12)
    for g in range(9):
        block = slice(3 + 2 * g, 5 + 2 * g)
        np.testing.assert_allclose(arrow.blocks[g], full[block, block], atol=1e-12)
    majorised = full.copy()
    majorised[3:, 3:] = 0.0
    for g in range(9):
        block = slice(3 + 2 * g, 5 + 2 * g)
        majorised[block, block] = arrow.majorant[g]
    assert np.linalg.eigvalsh(majorised - full)[0] > -1e-10
    direction, own = rng.normal(size=3), rng.normal(size=(9, 2))
    shared, groups = information_times(choices, q, direction, own)
    expected = full @ np.concatenate([direction, own.ravel()])
    np.testing.assert_allclose(np.concatenate([shared, groups.ravel()]), expected, atol=1e-10)


def test_blocks_of_pages_add_up_to_the_whole(rng, monkeypatch, simulate):
    choices, _ = simulate(rng, pages=100, groups=12, sizes=(1, 8))
    q, _ = probabilities(choices.X @ np.ones(3), choices.starts, choices.page)
    whole = information(choices, q)
    monkeypatch.setattr("fairtag.demand.choices.BLOCK_ROWS", 10)
    slices = list(choices.blocks())
    assert len(slices) > 20
    assert [rows.start for rows, _ in slices[1:]] == [rows.stop for rows, _ in slices[:-1]]
    pieces = information(choices, q)
    np.testing.assert_allclose(pieces.shared, whole.shared, rtol=1e-12)
    np.testing.assert_allclose(pieces.border, whole.border, atol=1e-12)


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
