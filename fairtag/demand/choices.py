"""Choices on pages with an outside option, and their conditional-logit likelihood.

A row is an alternative, a page is a set of rows of which some were chosen, and a utility is linear in shared
coefficients and in the effects of the row's group (in the demand model, its item). Rows of a page that share a nest
make it a nested logit (:mod:`fairtag.solver.cells`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fairtag.base.errors import DataError
from fairtag.solver.cells import Cells

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BLOCK_ROWS = 1 << 15  # rows in a block of pages; with 64 columns 16 MB, which stays near the cache


@dataclass(frozen=True)
class Choices:
    """Alternatives sorted by page, with how often each was chosen.

    The utility of row i is ``x_i' theta + z_i' effect[group_i]``; the outside option has utility 0.

    Args:
        X: (N, K) shared features.
        starts: (P,) first row of each page, increasing, the first is 0; no page is empty.
        bought: (N,) times the alternative was chosen, at least 0.
        outside: (P,) times the outside option was chosen, at least 0.
        group: (N,) group of the row in ``range(n_groups)``, None when there are no group effects.
        Z: (N, M) features that the group effects multiply, None when there are none.
        n_groups: Number of groups.
        cells: Rows that share page and nest; without any it is the plain logit.

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
    cells: Cells = field(default_factory=Cells.none)

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

    def adjusted(self, theta: Floats, effects: Floats) -> Floats:
        """(N,) utilities of the logit that the nests amount to; the utilities themselves without nests."""
        return self.cells.adjust(self.utility(theta, effects))

    def with_cells(self, cells: Cells) -> Choices:
        """The same choices with other nests."""
        return replace(self, cells=cells)

    def pull_back(self, rows: Floats) -> tuple[Floats, Floats]:
        """Transpose of :meth:`utility`: ``X' rows`` (K,) and the sums of ``Z rows`` by group (n_groups, M)."""
        shared: Floats = self.X.T @ rows
        if self.Z is None or self.group is None:
            return shared, np.zeros((self.n_groups, 0))
        return shared, group_sums(self.group, self.Z * rows[:, None], self.n_groups)

    def pages(self, keep: Flags) -> Choices:
        """The pages where ``keep`` (P,) is true, with the same groups.

        Raises:
            DataError: None is kept.
        """
        rows = keep[self.page]
        sizes = np.diff(self.starts, append=self.n_rows)[keep]
        return Choices(
            self.X[rows],
            np.cumsum(sizes) - sizes,
            self.bought[rows],
            self.outside[keep],
            None if self.group is None else self.group[rows],
            None if self.Z is None else self.Z[rows],
            self.n_groups,
            self.cells.rows(rows),
        )

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Blocks of whole pages: (slice of rows, slice of pages)."""
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
    """``sum_i n_i log q_i + sum_p n_p0 log q_p0`` at the given utilities, which nests have adjusted."""
    _, inclusive = probabilities(utility, choices.starts, choices.page)
    return float(choices.bought @ utility - choices.trials @ inclusive)


def score(choices: Choices, q: Floats) -> tuple[Floats, Floats]:
    """Gradient of the log-likelihood at probabilities ``q``: (K,) and (n_groups, M)."""
    return choices.pull_back(choices.cells.pull(choices.bought - choices.trials[choices.page] * q, q))


def group_sums(group: Ints, values: Floats, n_groups: int) -> Floats:
    """Sums of ``values`` (N, ...) by group: (n_groups, ...)."""
    flat = values.reshape(values.shape[0], -1)
    sums = [np.bincount(group, weights=flat[:, k], minlength=n_groups) for k in range(flat.shape[1])]
    summed: Floats = np.stack(sums, axis=1).reshape(n_groups, *values.shape[1:]).astype(np.float64)
    return summed


def _check_pages(choices: Choices) -> None:
    starts, n = choices.starts, choices.n_rows
    if n == 0 or starts.size == 0:
        raise DataError(
            "choices: there are no rows; a fit needs at least one page with one alternative", rule="not empty"
        )
    if starts[0] != 0 or bool((np.diff(starts) <= 0).any()) or starts[-1] >= n:
        raise DataError("choices: starts must begin at 0, increase, and stay below the number of rows", rule="pages")
    if choices.bought.shape != (n,) or choices.outside.shape != starts.shape:
        raise DataError("choices: bought needs one value for each row, and outside one for each page", rule="shapes")
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
