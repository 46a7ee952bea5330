"""A page's numbers as clean arrays: shapes, broken inputs set aside, gain and attraction.

Everything is in units of the item's reference price r (docs/pricing-model.md, sections 4 and 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

LARGEST = 1e9  # a utility, or a price in units of r, beyond this is a broken input, as NaN is
STEEPEST = 1e50  # the same for slopes and weights; products of these stay finite
FAINTEST = 1e-50  # a weight below this is none
UNSOLD = 750.0  # exp(-750) is 0 in float64: utility this far below the outside option never sells


class Pages(NamedTuple):
    """Pages as ``(P, n)`` arrays; ``w`` and ``lam`` are ``()`` or ``(P, n)``.

    ``net`` is cost plus shadow price. ``menu`` is ``(P, n, m)``, ascending; its points from number ``first`` to number
    ``last`` lie inside the bounds. ``start``, ``pull`` and ``curve`` are what the item step reuses in every iteration;
    the solver fills them in.
    """

    a: Floats
    b: Floats
    net: Floats
    anchor: Floats
    lo: Floats
    hi: Floats
    w: Floats
    lam: Floats
    menu: Floats | None = None
    first: Counts | None = None
    last: Counts | None = None
    start: Floats | None = None
    pull: Floats | None = None
    curve: Floats | None = None

    def rows(self, index: slice | Flags) -> Pages:
        """Some of the pages."""
        return Pages._make(x if x is None or x.ndim < 2 else x[index] for x in self)


def gain(y: Floats, net: Floats, anchor: Floats, w: Floats, lam: Floats) -> Floats:
    """``g(y) = w (y - net) - lambda (y - f)^2``."""
    margin: Floats = (y - net) * w
    return margin - np.square(y - anchor) * lam if lam.any() else margin


def attraction(utility: Floats) -> tuple[Floats, Floats, Floats]:
    """``exp(u)`` of each item and ``1 + sum exp(u)`` of the page, both divided by ``exp(shift)``; the shift."""
    shift = np.maximum(utility.max(-1, keepdims=True, initial=-np.inf), 0.0)
    weight = np.exp(utility - shift)
    return weight, np.exp(-shift) + weight.sum(-1, keepdims=True), shift


def prepare(
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    shadow: ArrayLike,
    margin_weight: ArrayLike,
    anchor_weight: ArrayLike,
    menu: ArrayLike | None,
    mask: ArrayLike | None,
) -> tuple[Pages, Flags]:
    """The pages as rows, and which items take part ``(..., n)``; the others get numbers that disturb no one.

    Raises:
        ValueError: The shapes do not broadcast.
    """
    w, lam = (np.where(np.abs(x) < FAINTEST, 0.0, x) for x in (margin_weight, anchor_weight))
    net = np.asarray(cost, float) + np.asarray(shadow, float)
    pulled = bool(lam.any())
    given = [np.asarray(x, float) for x in (a, b, net, anchor if pulled else net, lo, hi)]
    grid = None if menu is None else np.asarray(menu, float)
    extra = [() if mask is None else np.shape(mask), () if grid is None else grid.shape[:-1]]
    shape = np.broadcast_shapes(*(x.shape for x in (*given, w, lam)), *extra) or (1,)
    full = [x if x.shape == shape else np.broadcast_to(x, shape) for x in given]
    priced = _usable(full, w, lam, mask)
    full[4], full[5] = np.maximum(full[4], -LARGEST), _finite_top(full, pulled and grid is None)
    if grid is not None:
        grid = _ascending(np.broadcast_to(grid, (*shape, grid.shape[-1])))
        priced = priced & (up_to(grid, full[5]) > _below(grid, full[4]))
    if not priced.all():
        full = [np.where(priced, x, neutral) for x, neutral in zip(full, (-np.inf, 1, 0, 0, 0, 0), strict=True)]
        w, lam = (np.where((x >= 0) & (x <= STEEPEST), x, 0.0) for x in (w, lam))
        grid = None if grid is None else _neutral_menu(grid, priced)
    rows = (int(np.prod(shape[:-1])), shape[-1])
    w, lam = (x if x.ndim == 0 else np.broadcast_to(x, shape).reshape(rows) for x in (w, lam))
    a, b, net, anchor, lo, hi = (x.reshape(rows) for x in full)
    pages = Pages(a, b, net, anchor, lo, hi, w, lam)
    if grid is None:
        return pages, priced
    menu = np.ascontiguousarray(grid).reshape(*rows, grid.shape[-1])
    return pages._replace(menu=menu, first=_below(menu, lo), last=up_to(menu, hi) - 1), priced


def up_to(menu: Floats, price: Floats) -> Counts:
    """How many points of each menu are at most the price; NaN never is."""
    count: Counts = np.add.reduce(menu <= price[..., None], axis=-1, dtype=np.int64)
    return count


def _below(menu: Floats, price: Floats) -> Counts:
    count: Counts = np.add.reduce(menu < price[..., None], axis=-1, dtype=np.int64)
    return count


def _usable(full: list[Floats], w: Floats, lam: Floats, mask: ArrayLike | None) -> Flags:
    a, b, net, anchor, lo, hi = full
    size = np.maximum(np.maximum(np.abs(a), np.abs(net)), np.abs(anchor))
    usable = (size <= LARGEST) & (lo <= hi) & (lo <= LARGEST) & (hi >= -LARGEST)
    usable &= (b >= 0) & (b <= STEEPEST) & (w >= 0) & (w <= STEEPEST) & (lam >= 0) & (lam <= STEEPEST)
    usable &= (b > 0) | (hi <= LARGEST)  # demand that no price stops has no best price
    return usable if mask is None else usable & np.asarray(mask, bool)


def _ascending(menu: Floats) -> Floats:
    """The menu in ascending order, NaN last; as it is where it is so already."""
    ordered = (menu[..., :-1] <= menu[..., 1:]) | np.isnan(menu[..., 1:])
    return menu if ordered.all() else np.sort(menu, axis=-1)


def _neutral_menu(grid: Floats, priced: Flags) -> Floats:
    if not grid.shape[-1]:
        return np.zeros((*priced.shape, 1))
    return np.where(priced[..., None], grid, 0.0)


def _finite_top(full: list[Floats], pulled: bool) -> Floats:
    """Upper bounds without infinities; past them the item sells with probability 0 in float64."""
    a, b, net, anchor, lo, hi = full
    if not pulled or hi.max(initial=0.0) <= LARGEST:
        return np.minimum(hi, LARGEST)
    unsold = np.maximum(np.maximum(net, anchor), a / b) + UNSOLD / b
    return np.minimum(np.where(hi <= LARGEST, hi, np.maximum(unsold, lo)), LARGEST)
