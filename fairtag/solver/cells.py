"""The nested logit: near-identical items of a page share their demand instead of doubling it.

A logit takes two listings of one mug for two separate attractions. In a nested logit (McFadden 1978; Train, Discrete
Choice Methods, section 4.2) items of a nest k compete with each other more than with the rest of the page. With the
dissimilarity ``zeta`` in (0, 1] of their category,

    q_i = exp(v_i) / (1 + sum_j exp(v_j)),   v_i = u_i / zeta - (1 - zeta) log W_k,   W_k = sum_{j in k} exp(u_j / zeta)

so it is a logit of *adjusted* utilities ``v``, and :meth:`Cells.adjust` is all that anybody needs who has utilities. At
``zeta = 1``, and for an item without a twin on its page, ``v = u``. Two equal items together attract ``2^zeta`` times
what one does: twice at 1, hardly more than one near 0 (docs/pricing-model.md, section 4).

>>> page, nest = np.zeros(3, dtype=np.int64), np.array([0, 0, 1])
>>> cells = Cells.of(page, nest, np.full(3, 0.5))
>>> np.exp(cells.adjust(np.zeros(3))).round(3).tolist()    # two twins attract 1.414 together
[0.707, 0.707, 1.0]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

FAINTEST = 1e-300  # a nest without any attraction: its items are not on sale


@dataclass(frozen=True)
class Cells:
    """Rows that share a page and a nest with another row. All other rows need no correction.

    Args:
        row: (T,) rows, cell by cell, in the order of the pages.
        starts: (C,) first place of each cell in ``row``.
        dissimilarity: (C,) zeta of each cell, above 0.
    """

    row: Ints
    starts: Ints
    dissimilarity: Floats

    @classmethod
    def none(cls) -> Cells:
        """No two rows share a nest: the plain logit."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))

    @classmethod
    def of(cls, page: Ints, nest: Ints, dissimilarity: Floats, *, with_plain: bool = False) -> Cells:
        """Find the cells of many rows.

        Args:
            page: (N,) page of each row, at least 0.
            nest: (N,) nest of its item, at least 0.
            dissimilarity: (N,) zeta of its item's category.
            with_plain: Also those whose zeta is 1, which change nothing.
        """
        rows = np.arange(page.size) if with_plain else np.flatnonzero(dissimilarity < 1.0)
        if not rows.size:
            return cls.none()
        key = page[rows] * (int(nest.max()) + 1) + nest[rows]
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order], prepend=-1))
        sizes = np.diff(edges, append=rows.size)
        shared = sizes > 1
        kept = rows[order[np.repeat(shared, sizes)]]
        starts = np.cumsum(sizes[shared]) - sizes[shared]
        return cls(kept, starts, np.asarray(dissimilarity[kept[starts]], dtype=np.float64))

    @cached_property
    def cell(self) -> Ints:
        """(T,) cell of each place in ``row``."""
        return np.repeat(np.arange(self.starts.size), np.diff(self.starts, append=self.row.size))

    @cached_property
    def zeta(self) -> Floats:
        """(T,) dissimilarity of each place's cell."""
        return np.asarray(self.dissimilarity[self.cell])

    def pairs(self) -> tuple[Ints, Ints]:
        """Places of every two different rows of a cell, in both orders, (p,) each."""
        sizes = np.diff(self.starts, append=self.row.size)[self.cell]
        first = np.repeat(np.arange(self.row.size), sizes)
        within = np.arange(first.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        second = self.starts[self.cell[first]] + within
        apart = first != second
        return first[apart], second[apart]

    def with_dissimilarity(self, dissimilarity: Floats) -> Cells:
        """The same cells at another zeta (C,)."""
        return replace(self, dissimilarity=dissimilarity)

    def within(self, rows: slice) -> Cells:
        """The cells of a block of whole pages, their rows counted from its first."""
        first, last = np.searchsorted(self.row[self.starts], [rows.start, rows.stop])  # cells are in order of pages
        ends = np.append(self.starts, self.row.size)
        places = slice(ends[first], ends[last])
        return Cells(
            self.row[places] - rows.start, self.starts[first:last] - ends[first], self.dissimilarity[first:last]
        )

    def rows(self, keep: Flags) -> Cells:
        """The cells of the rows that are kept (N,), which are whole pages."""
        place = np.cumsum(keep) - 1
        return self._some(keep[self.row[self.starts]], lambda row: place[row])

    def pick(self, keep: Flags) -> Cells:
        """Some of the cells (C,)."""
        return self._some(keep, lambda row: row)

    def _some(self, keep: Flags, moved: Callable[[Ints], Ints]) -> Cells:
        if not self.row.size:
            return self
        sizes = np.diff(self.starts, append=self.row.size)
        kept = sizes[keep]
        return Cells(moved(self.row[np.repeat(keep, sizes)]), np.cumsum(kept) - kept, self.dissimilarity[keep])

    def adjust(self, utility: Floats) -> Floats:
        """Adjusted utilities ``v`` (..., N) of utilities ``u`` (..., N); minus infinity for what is not on sale."""
        if not self.row.size:
            return utility
        away, top, inside = self._inclusive(utility[..., self.row])
        zeta, cell = self.dissimilarity, self.cell
        adjusted = utility.copy()
        adjusted[..., self.row] = away + (top - (1.0 - zeta) * np.log(inside))[..., cell]
        return adjusted

    def _inclusive(self, u: Floats) -> tuple[Floats, Floats, Floats]:
        """``(u - top) / zeta`` (..., T), the largest utility ``top`` (..., C) and ``W exp(-top / zeta)`` (..., C)."""
        top = self.reduced(np.maximum, u)
        top = np.where(np.isfinite(top), top, 0.0)
        away = (u - top[..., self.cell]) / self.zeta
        inside = np.maximum(self.reduced(np.add, np.exp(away)), FAINTEST)
        return away, top, inside

    def inclusive(self, utility: Floats) -> tuple[Floats, Floats]:
        """What cells attract, from utilities of their places (..., T).

        Returns:
            Share of each place in its cell's purchases (..., T), and utility of each cell as one alternative (..., C),
            ``zeta log W``.
        """
        away, top, inside = self._inclusive(utility)
        whole = np.where(inside > FAINTEST, top + self.dissimilarity * np.log(inside), -np.inf)
        return np.exp(away) / inside[..., self.cell], whole

    def reduced(self, ufunc: np.ufunc, values: Floats) -> Floats:
        """(..., C) sum or largest of the values of the places (..., T) of each cell; fast for pairs, the usual."""
        if self.row.size == 2 * self.starts.size:
            return np.asarray(ufunc(values[..., ::2], values[..., 1::2]), dtype=np.float64)
        return np.asarray(ufunc.reduceat(values, self.starts, axis=-1), dtype=np.float64)

    def shares(self, q: Floats) -> Floats:
        """(T,) share of each row in its cell's purchases, from purchase probabilities or attractions (N,)."""
        own = q[self.row]
        whole = np.maximum(self.reduced(np.add, own), FAINTEST)
        return np.asarray(own / whole[self.cell], dtype=np.float64)

    def push(self, change: Floats, q: Floats) -> Floats:
        """Change of the adjusted utilities (N, ...) under a small change of the utilities, at probabilities ``q`` (N,).

        ``J = I / zeta + (1 - 1 / zeta) 1 s'`` in each cell, with ``s`` the shares in it.
        """
        return self._mix(change, lambda own, s: (1.0 - 1.0 / self._each(own)) * self.sums(s * own), q, invert=False)

    def pull(self, rows: Floats, q: Floats) -> Floats:
        """The transpose of :meth:`push`: a gradient in adjusted utilities (N, ...) as one in utilities."""
        return self._mix(rows, lambda own, s: (1.0 - 1.0 / self._each(own)) * s * self.sums(own), q, invert=False)

    def unpush(self, change: Floats, q: Floats) -> Floats:
        """The inverse of :meth:`push`: ``zeta I + (1 - zeta) 1 s'``."""
        return self._mix(change, lambda own, s: (1.0 - self._each(own)) * self.sums(s * own), q, invert=True)

    def contrasts(self, root: Floats) -> tuple[csr_array, Floats]:
        """Sparse D (R, N), of which ``|D x|^2`` is the sum of the weighted squares of x (N,) around its cells' means.

        Args:
            root: (N,) square roots of the weights, which are as purchase probabilities to each other in a cell.

        Returns:
            D, and ``zeta^-2 - 1`` of each of its rows.
        """
        own, more = root[self.row], self.dissimilarity**-2.0 - 1.0
        if self.row.size == 2 * self.starts.size:  # the usual pairs: one row each
            scale = own[::2] * own[1::2] / np.sqrt(np.maximum(own[::2] ** 2 + own[1::2] ** 2, FAINTEST))
            entries = np.repeat(scale, 2) * np.tile([1.0, -1.0], scale.size)
            return csr_array((entries, self.row, 2 * np.arange(scale.size + 1)), shape=(scale.size, root.size)), more
        share, (first, second), place = self.shares(root**2), self.pairs(), np.arange(self.row.size)
        entries = np.r_[own * (1.0 - share), -own[first] * share[second]]
        at = np.r_[place, first], self.row[np.r_[place, second]]
        return csr_array((entries, at), shape=(place.size, root.size)), more[self.cell]

    def _mix(self, values: Floats, rest: Callable[[Floats, Floats], Floats], q: Floats, *, invert: bool) -> Floats:
        """``values / zeta + rest`` (or ``values zeta + rest``) in the rows of cells."""
        if not self.row.size:
            return values
        own = values[self.row]
        share = self.shares(q).reshape(-1, *[1] * (own.ndim - 1))
        zeta = self._each(own)
        mixed = values.copy()
        mixed[self.row] = (own * zeta if invert else own / zeta) + rest(own, share)
        return mixed

    def _each(self, like: Floats) -> Floats:
        """(T, 1, ...) zeta of each place."""
        return self.zeta.reshape(-1, *[1] * (like.ndim - 1))

    def sums(self, own: Floats) -> Floats:
        """Sums of values of the places (T, ...) over the cell of each, (T, ...)."""
        return np.asarray(np.add.reduceat(own, self.starts, axis=0)[self.cell], dtype=np.float64)

    def move_one(self, pull: Floats, change: Floats) -> tuple[Floats, Floats]:
        """What happens where a row's utility moves by ``change`` (N, ...) and no other's on its page.

        Args:
            pull: (N,) attractions ``exp(v)``.
            change: Minus infinity takes the row off the page.

        Returns:
            The row's own attraction, and the change of the attraction of the rest of its page; each like ``change``.
        """
        across = (-1, *[1] * (change.ndim - 1))
        own, rest = pull.reshape(across) * np.exp(change), np.zeros_like(change)
        if self.row.size:
            held = pull[self.row].reshape(across)
            share, zeta = self.shares(pull).reshape(across), self._each(change)
            ratio = np.exp(change[self.row] / zeta)
            grown = np.maximum((1.0 - share) + share * ratio, FAINTEST)  # of W, as a share of what it was
            own[self.row] = held * ratio * grown ** (zeta - 1.0)
            whole = self.sums(held)
            rest[self.row] = whole * grown**zeta - own[self.row] - (whole - held)
        return own, rest

    def mean_of_others(self, values: Floats, pull: Floats) -> Floats:
        """(N,) mean of values (N,) over the other rows of each row's cell, weighted by attraction; 0 without any."""
        mean = np.zeros_like(values)
        if self.row.size:
            own, value = pull[self.row], values[self.row]
            others = np.maximum(self.sums(own) - own, FAINTEST)
            mean[self.row] = (self.sums(own * value) - own * value) / others
        return mean

    def means(self, values: Floats, weight: Floats | None = None) -> Floats:
        """(..., C) mean of values of the places (..., T) over each cell, weighted where weights (..., T) are given."""
        if not self.row.size:
            return np.zeros(0)
        each = np.ones_like(values) if weight is None else weight
        whole = np.maximum(self.reduced(np.add, each), FAINTEST)
        return np.asarray(self.reduced(np.add, each * values) / whole, dtype=np.float64)

    def curvature(self, q: Floats, trials: Floats) -> tuple[Floats, Floats]:
        """Fisher information of each row's own utility (N,), and an upper bound of it without competition (N,).

        Args:
            q: (N,) purchase probabilities.
            trials: (N,) choices made on the row's page.
        """
        own, bound = trials * q * (1.0 - q), trials * q
        if self.row.size:
            s, zeta, at = self.shares(q), self.dissimilarity[self.cell], self.row
            own[at] = trials[at] * q[at] * ((1.0 - s) / zeta**2 + s - q[at])
            bound[at] = bound[at] / zeta**2
        return own, bound

    def log_slope(self, utility: Floats) -> Floats:
        """(N,) derivative of the adjusted utilities with respect to ``log zeta``; 0 outside the cells."""
        slope = np.zeros_like(utility)
        if self.row.size:
            away, _, inside = self._inclusive(utility[self.row])
            zeta, cell = self.dissimilarity[self.cell], self.cell
            mean = self.reduced(np.add, np.exp(away) * away) / inside  # of (u - top) / zeta
            slope[self.row] = -away + mean[cell] * (1.0 - zeta) + zeta * np.log(inside)[cell]
        return slope
