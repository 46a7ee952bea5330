"""Choices from pages with an outside option: the conditional-logit likelihood and its derivatives, page-grouped.

Knows nothing of prices, priors or optimisers: a row is an alternative, a page is a set of alternatives of which some
number were chosen, and a utility is linear in shared coefficients and in sparse group effects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK_ROWS = 1 << 15  # rows of a block of pages: a block of 64 columns is 16 MB and stays near the cache


@dataclass(frozen=True)
class Choices:
    """Alternatives sorted by page, with the counts of what was chosen.

    The utility of row i is ``x_i' theta + z_i' effect[group_i]``; the outside option has utility 0.

    Args:
        X: (N, K) shared features.
        starts: (P,) first row of each page, increasing, the first is 0; no page is empty.
        bought: (N,) times the alternative was chosen, at least 0.
        outside: (P,) times the outside option was chosen, at least 0.
        group: (N,) group of the row in ``range(n_groups)``, None when there are no group effects.
        Z: (N, M) loadings of the group effects, None when there are none.
        n_groups: Number of groups.

    Raises:
        DataError: A feature is NaN or infinite, a count is negative, or the pages do not tile the rows.
    """

    X: Floats
    starts: Ints
    bought: Floats
    outside: Floats
    group: Ints | None = None
    Z: Floats | None = None
    n_groups: int = 0

    def __post_init__(self) -> None:
        _check_pages(self)
        _check_values("X", self.X)
        if self.Z is not None:
            _check_values("Z", self.Z)

    @property
    def n_rows(self) -> int:
        """N, the number of alternatives over all pages."""
        return int(self.X.shape[0])

    @property
    def n_pages(self) -> int:
        """P, the number of pages."""
        return int(self.starts.size)

    @property
    def n_loadings(self) -> int:
        """M, the number of effects of a group."""
        return 0 if self.Z is None else int(self.Z.shape[1])

    @cached_property
    def page(self) -> Ints:
        """(N,) page of each row."""
        return np.repeat(np.arange(self.n_pages), np.diff(self.starts, append=self.n_rows))

    @cached_property
    def trials(self) -> Floats:
        """(P,) choices made on the page, the outside option among them."""
        return np.add.reduceat(self.bought, self.starts) + self.outside

    def utility(self, theta: Floats, effects: Floats) -> Floats:
        """(N,) utilities under ``theta`` (K,) and ``effects`` (n_groups, M)."""
        utility: Floats = self.X @ theta
        if self.Z is not None and self.group is not None:
            utility += np.einsum("nm,nm->n", self.Z, effects[self.group])
        return utility

    def pull_back(self, rows: Floats) -> tuple[Floats, Floats]:
        """The transpose of :meth:`utility`: ``X' rows`` (K,) and the group sums of ``Z rows`` (n_groups, M)."""
        shared: Floats = self.X.T @ rows
        if self.Z is None or self.group is None:
            return shared, np.zeros((self.n_groups, 0))
        return shared, group_sums(self.group, self.Z * rows[:, None], self.n_groups)

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Slices of rows and of pages that cut the rows into blocks of whole pages."""
        edges = np.append(self.starts, self.n_rows)
        page = 0
        while page < self.n_pages:
            after = max(page + 1, int(np.searchsorted(edges, edges[page] + BLOCK_ROWS, side="right")) - 1)
            yield slice(int(edges[page]), int(edges[after])), slice(page, after)
            page = after


def probabilities(utility: Floats, starts: Ints, page: Ints) -> tuple[Floats, Floats]:
    """Choice probabilities and inclusive values with an outside option of utility 0.

    ``q_i = exp(u_i) / (1 + sum_j exp(u_j))`` over the page, shifted by the page's largest utility so that no finite
    utility overflows.

    Returns:
        (N,) probabilities and (P,) ``log(1 + sum_j exp(u_j))``.
    """
    top = np.maximum(np.maximum.reduceat(utility, starts), 0.0)
    shifted = np.exp(utility - top[page])
    total = np.exp(-top) + np.add.reduceat(shifted, starts)
    return shifted / total[page], top + np.log(total)


def log_likelihood(choices: Choices, utility: Floats) -> float:
    """``sum_i n_i log q_i + sum_p n_p0 log q_p0`` at the given utilities."""
    _, inclusive = probabilities(utility, choices.starts, choices.page)
    return float(choices.bought @ utility - choices.trials @ inclusive)


def score(choices: Choices, q: Floats) -> tuple[Floats, Floats]:
    """Gradient of the log-likelihood at probabilities ``q``: (K,) and (n_groups, M)."""
    return choices.pull_back(choices.bought - choices.trials[choices.page] * q)


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
    """(N,) ``N_p (diag(q_p) - q_p q_p')`` times a direction in utilities."""
    mean = np.add.reduceat(q * direction, choices.starts)
    return choices.trials[choices.page] * q * (direction - mean[choices.page])


@dataclass(frozen=True)
class Information:
    """Minus the Hessian in arrow form: shared block, border, and the diagonal blocks of the groups.

    Args:
        shared: (K, K), exact.
        border: (n_groups, M, K), exact.
        blocks: (n_groups, M, M): within-group part, exact when an item stands once on a page.
        majorant: (n_groups, M, M): with the page's competition left out, so that the arrow matrix made of
            ``shared``, ``border`` and ``majorant`` is never below the true one.
    """

    shared: Floats
    border: Floats
    blocks: Floats
    majorant: Floats


def information(choices: Choices, q: Floats) -> Information:
    """Minus the Hessian of the log-likelihood at probabilities ``q``, block by block of pages.

    ``X' W X`` with ``W = sum_p N_p (diag(q_p) - q_p q_p')``; the temporary of a block is ``BLOCK_ROWS`` x K.
    """
    n_features, n_groups, m = choices.X.shape[1], choices.n_groups, choices.n_loadings
    shared, border = np.zeros((n_features, n_features)), np.zeros((n_groups, m, n_features))
    weight = choices.trials[choices.page] * q
    for rows, pages in choices.blocks():
        X, starts = choices.X[rows], choices.starts[pages] - rows.start
        centred = np.add.reduceat(q[rows, None] * X, starts)[choices.page[rows] - pages.start]
        np.subtract(X, centred, out=centred)
        centred *= weight[rows, None]
        shared += X.T @ centred
        if choices.Z is not None and choices.group is not None:
            for k in range(m):
                border[:, k] += _sparse_sums(choices.group[rows], choices.Z[rows, k], centred, n_groups)
    if choices.Z is None or choices.group is None:
        empty = np.zeros((0, 0, 0))
        return Information(shared, border, empty, empty)
    blocks = group_information(choices, weight * (1.0 - q))
    majorant = group_information(choices, weight)
    return Information(shared, border, blocks, majorant)


def group_information(choices: Choices, weight: Floats) -> Floats:
    """(n_groups, M, M) sums of ``weight_i z_i z_i'`` by group."""
    assert choices.Z is not None
    assert choices.group is not None
    outer = choices.Z[:, :, None] * choices.Z[:, None, :]
    return group_sums(choices.group, weight[:, None, None] * outer, choices.n_groups)


def group_sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sums of ``values`` (N, ...) by group: (n_groups, ...)."""
    flat = values.reshape(values.shape[0], -1)
    sums = [np.bincount(group, weights=flat[:, k], minlength=n_groups) for k in range(flat.shape[1])]
    summed: Floats = np.stack(sums, axis=1).reshape(n_groups, *values.shape[1:]).astype(np.float64)
    return summed


def _sparse_sums(group: Ints, weights: Floats, rows: Floats, n_groups: int) -> Floats:
    """``sum_i weights_i rows_i`` by group as one sparse product: faster than a bincount a column."""
    from scipy.sparse import csr_array

    n = group.size
    one_hot = csr_array((weights, group, np.arange(n + 1)), shape=(n, n_groups))
    product: Floats = one_hot.T @ rows
    return product


def _check_pages(choices: Choices) -> None:
    starts, n = choices.starts, choices.n_rows
    if n == 0 or starts.size == 0:
        raise DataError("choices: no rows; a fit needs at least one page with one alternative", rule="not empty")
    if starts[0] != 0 or bool((np.diff(starts) <= 0).any()) or starts[-1] >= n:
        raise DataError("choices: starts must begin at 0, increase, and stay below the number of rows", rule="pages")
    if choices.bought.shape != (n,) or choices.outside.shape != starts.shape:
        raise DataError("choices: bought needs one value a row and outside one value a page", rule="shapes")
    for name, counts in (("bought", choices.bought), ("outside", choices.outside)):
        _check_values(name, counts)
        if bool((counts < 0).any()):
            raise DataError(f"choices: {name} has negative counts", column=name, rule="at least 0")


def _check_values(name: str, values: Floats) -> None:
    finite = np.isfinite(values)
    if not bool(finite.all()):
        count = int(finite.size - finite.sum())
        raise DataError(
            f"choices: {count} values of {name} are NaN or infinite; drop or impute the rows first",
            column=name,
            rule="finite",
            count=count,
        )
