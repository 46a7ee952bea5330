"""Second derivatives of the conditional logit in arrow form, and the linear algebra of a Newton step on them.

Minus the Hessian (with nests its expectation, the Fisher information) of K shared coefficients and of M effects in each
of G groups is taken as

    [[A, B'],      A (K, K) exact, B (G M, K) exact,
     [B, D ]]      D block-diagonal (G blocks of M x M), and exact products with the full matrix

so that a fit with thousands of groups never forms its dense Hessian: conjugate gradients on exact products, with the
arrow as preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

from fairtag.base.errors import NotConverged
from fairtag.demand.choices import Choices, Flags, Floats, Ints, group_sums

NO_OPTIMUM = "the data are separated or two features are collinear: drop one, or give the coefficients a prior"
Product = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Information:
    """Minus the Hessian in arrow form: the shared block, the border, and the diagonal blocks of the groups.

    Args:
        shared: (K, K), exact.
        border: (n_groups, M, K), exact.
        blocks: (n_groups, M, M), exact when a group has at most one row on a page.
        majorant: (n_groups, M, M), the blocks without competition between the rows of a page. The arrow matrix of
            ``shared``, ``border`` and ``majorant`` is an upper bound of the exact one, and so positive definite.
    """

    shared: Floats
    border: Floats
    blocks: Floats
    majorant: Floats


def information(choices: Choices, q: Floats) -> Information:
    """Minus the expected Hessian of the log-likelihood at probabilities ``q``, block by block of pages.

    ``X' J' W J X`` with ``W = sum_p N_p (diag(q_p) - q_p q_p')`` and J from utilities to adjusted ones, the identity
    without nests. It is a sum of squares: of the rows around the page's mean ``m = sum q_i x_i``, of the means for
    those who buy nothing, and, as J stretches a cell around its own mean by ``1 / zeta``, of ``zeta^-2 - 1`` times the
    rows around that. The temporary of a block is ``BLOCK_ROWS`` x K.
    """
    n_features, n_groups, m = choices.X.shape[1], choices.n_groups, choices.n_loadings
    shared, border = np.zeros((n_features, n_features)), np.zeros((n_groups, m, n_features))
    root = np.sqrt(choices.trials[choices.page] * q)
    nothing = np.sqrt(choices.trials * np.maximum(1.0 - np.add.reduceat(q, choices.starts), 0.0))
    for rows, pages in choices.blocks():
        page, X = choices.page[rows] - pages.start, choices.X[rows]
        means = _sparse_sums(page, q[rows], X, nothing[pages].size)
        away = means[page]
        np.subtract(X, away, out=away)
        away *= root[rows, None]
        means *= nothing[pages, None]
        contrasts, stretch = choices.cells.within(rows).contrasts(root[rows])
        apart = contrasts @ X
        more = stretch[:, None] * apart
        shared += away.T @ away + means.T @ means + apart.T @ more
        if choices.Z is not None and choices.group is not None:
            for k in range(m):
                loading = _one_hot(choices.group[rows], choices.Z[rows, k], n_groups)
                border[:, k] += (root[rows, None] * loading).T @ away + (contrasts @ loading).T @ more
    if choices.Z is None or choices.group is None:
        empty = np.zeros((0, 0, 0))
        return Information(shared, border, empty, empty)
    own, bound = choices.cells.curvature(q, choices.trials[choices.page])
    return Information(shared, border, group_information(choices, own), group_information(choices, bound))


def group_information(choices: Choices, weight: Floats) -> Floats:
    """(n_groups, M, M) sums of ``weight_i z_i z_i'`` by group."""
    assert choices.Z is not None
    assert choices.group is not None
    outer = choices.Z[:, :, None] * choices.Z[:, None, :]
    return group_sums(choices.group, weight[:, None, None] * outer, choices.n_groups)


def information_times(choices: Choices, q: Floats, theta: Floats, effects: Floats) -> tuple[Floats, Floats]:
    """Minus the Hessian of the log-likelihood at ``q`` times a direction, without forming the matrix."""
    return choices.pull_back(_curve(choices, q, choices.utility(theta, effects)))


def group_information_times(choices: Choices, q: Floats, effects: Floats) -> Floats:
    """The block of minus the Hessian that belongs to the group effects, times a direction (n_groups, M)."""
    assert choices.Z is not None
    assert choices.group is not None
    rows = _curve(choices, q, np.einsum("nm,nm->n", choices.Z, effects[choices.group]))
    return group_sums(choices.group, choices.Z * rows[:, None], choices.n_groups)


def _curve(choices: Choices, q: Floats, direction: Floats) -> Floats:
    """(N,) ``J' N_p (diag(q_p) - q_p q_p') J`` times a direction in utilities."""
    direction = choices.cells.push(direction, q)
    mean = np.add.reduceat(q * direction, choices.starts)
    return choices.cells.pull(choices.trials[choices.page] * q * (direction - mean[choices.page]), q)


def penalised(data: Information, precision: Floats, effects: Floats, bound: Flags) -> Information:
    """Add the prior precisions, (K,) and (M,), and fix the coefficients that lie on their bound, (K,)."""
    shared = data.shared + np.diag(precision)
    shared[bound] = 0.0
    shared[:, bound] = 0.0
    shared[bound, bound] = 1.0
    border = np.where(bound, 0.0, data.border)
    ridge = np.diag(effects)
    return replace(data, shared=shared, border=border, blocks=data.blocks + ridge, majorant=data.majorant + ridge)


class Arrow:
    """Solver of the arrow system ``[[A, B'], [B, D]]`` with block-diagonal D, by its Schur complement."""

    def __init__(self, curvature: Information) -> None:
        self._border = curvature.border
        self._inverse = np.linalg.inv(curvature.majorant) if curvature.border.size else curvature.majorant
        reduced = curvature.shared
        if curvature.border.size:
            reduced = reduced - np.einsum(
                "gmk,gml->kl", curvature.border, self._inverse @ curvature.border, optimize=True
            )
        self._factor = cholesky(reduced)

    def solve(self, shared: Floats, groups: Floats) -> tuple[Floats, Floats]:
        """The solution for right-hand sides (K,) and (n_groups, M)."""
        if not self._border.size:
            return cast(Floats, cho_solve(self._factor, shared)), groups
        inner = np.einsum("gmn,gn->gm", self._inverse, groups)
        theta: Floats = cho_solve(self._factor, shared - np.tensordot(inner, self._border, axes=2))
        return theta, inner - np.einsum("gmn,gn->gm", self._inverse, self._border @ theta)


def conjugate_gradients(times: Product, precondition: Product, right: Floats, tolerance: float) -> Floats:
    """Solve ``A x = right`` from products with A and with an approximate inverse of A."""
    operator = LinearOperator((right.size, right.size), matvec=times, dtype=np.float64)
    approximate = LinearOperator((right.size, right.size), matvec=precondition, dtype=np.float64)
    solution, _ = cg(operator, right, rtol=tolerance, atol=0.0, maxiter=200, M=approximate)
    return cast(Floats, solution)


def cholesky(matrix: Floats) -> tuple[Floats, bool]:
    """Cholesky factor for :func:`scipy.linalg.cho_solve`.

    Raises:
        NotConverged: The matrix is not positive definite.
    """
    try:
        return cast(tuple[Floats, bool], cho_factor(matrix))
    except (LinAlgError, ValueError) as error:
        raise NotConverged(
            f"conditional logit: the Hessian of size {matrix.shape[0]} is singular; {NO_OPTIMUM}"
        ) from error


def inverse(matrix: Floats) -> Floats:
    """Inverse of a positive definite matrix.

    Raises:
        NotConverged: The matrix is not positive definite.
    """
    return cast(Floats, cho_solve(cholesky(matrix), np.eye(matrix.shape[0])))


def _sparse_sums(group: Ints, weights: Floats, rows: Floats, n_groups: int) -> Floats:
    """``sum_i weights_i rows_i`` by group as one sparse product: faster than a bincount a column."""
    product: Floats = _one_hot(group, weights, n_groups).T @ rows
    return product


def _one_hot(group: Ints, weights: Floats, n_groups: int) -> csr_array:
    """(N, n_groups) weight of each row at its group."""
    return csr_array((weights, group, np.arange(group.size + 1)), shape=(group.size, n_groups))
