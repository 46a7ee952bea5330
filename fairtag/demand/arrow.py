"""The linear algebra of a penalised Hessian in arrow form: factors, solves, conjugate gradients around them.

Knows matrices alone; nothing of choices, utilities or what a coefficient means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import LinearOperator, cg

from fairtag.base.errors import NotConverged
from fairtag.demand.choices import Flags, Floats, Information

NO_OPTIMUM = "the data are separated or two features are collinear: drop one, or give the coefficients a prior"
Product = Callable[[Floats], Floats]


def penalised(data: Information, precision: Floats, effects: Floats, bound: Flags) -> Information:
    """Add a prior's precisions, (K,) and (M,), and take the coefficients at their bound out of the system."""
    shared = data.shared + np.diag(precision)
    shared[bound] = 0.0
    shared[:, bound] = 0.0
    shared[bound, bound] = 1.0
    border = np.where(bound, 0.0, data.border)
    ridge = np.diag(effects)
    return replace(data, shared=shared, border=border, blocks=data.blocks + ridge, majorant=data.majorant + ridge)


class Arrow:
    """Solver of the arrow system [[A, B'], [B, D]] with D block-diagonal, positive definite by construction."""

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
    """Solve ``A x = right`` from products with A and with an approximate inverse of it."""
    operator = LinearOperator((right.size, right.size), matvec=times, dtype=np.float64)
    approximate = LinearOperator((right.size, right.size), matvec=precondition, dtype=np.float64)
    solution, _ = cg(operator, right, rtol=tolerance, atol=0.0, maxiter=200, M=approximate)
    return cast(Floats, solution)


def cholesky(matrix: Floats) -> tuple[Floats, bool]:
    """Factor for :func:`scipy.linalg.cho_solve`; NotConverged for a matrix that is not positive definite."""
    try:
        return cast(tuple[Floats, bool], cho_factor(matrix))
    except (LinAlgError, ValueError) as error:
        raise NotConverged(
            f"conditional logit: the Hessian of size {matrix.shape[0]} is singular; {NO_OPTIMUM}"
        ) from error


def inverse(matrix: Floats) -> Floats:
    """Inverse of a positive definite matrix; NotConverged for another."""
    return cast(Floats, cho_solve(cholesky(matrix), np.eye(matrix.shape[0])))
