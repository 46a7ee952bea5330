"""Arrays of the page solver: shapes, broken inputs, gain and attraction.

Prices are in units of the item's reference price r (docs/pricing-model.md, section 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]

LARGEST = 1e9  # a larger utility or price (in units of r) is a broken input, like NaN
STEEPEST = 1e50  # the same for slopes and weights; their products stay finite
FAINTEST = 1e-50  # a smaller weight counts as 0
UNSOLD = 750.0  # exp(-750) is 0 in float64: with a utility this low an item never sells


class Pages(NamedTuple):
    """Pages as ``(P, n)`` arrays; ``w`` and ``lam`` are ``()`` or ``(P, n)``.

    ``net`` is cost plus shadow price. ``menu`` is ``(P, n, m)``, ascending; its points ``first`` to ``last`` lie inside
    the bounds. ``start``, ``pull`` and ``curve`` are constants of the item step, which the solver fills in.
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

    def rows(self, index: slice | Flags | Counts) -> Pages:
        """Some of the pages."""
        return Pages._make(x if x is None or x.ndim < 2 else x[index] for x in self)


def gain(y: Floats, net: Floats, anchor: Floats, w: Floats, lam: Floats) -> Floats:
    """``g(y) = w (y - net) - lambda (y - f)^2``."""
    margin: Floats = (y - net) * w
    return margin - np.square(y - anchor) * lam if lam.any() else margin


def attraction(utility: Floats) -> tuple[Floats, Floats, Floats]:
    """``(exp(u), 1 + sum exp(u), shift)`` of each page, the first two divided by ``exp(shift)``."""
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
    """The pages as rows, and which items take part, ``(..., n)``; the others get neutral numbers.

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
    """Number of points of each menu that are at most the price; NaN does not count."""
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
    usable &= (b > 0) | (hi <= LARGEST)  # with slope 0 demand never falls, and no price is best
    return usable if mask is None else usable & np.asarray(mask, bool)


def _ascending(menu: Floats) -> Floats:
    """The menu in ascending order, NaN last; not copied if it is so already."""
    ordered = (menu[..., :-1] <= menu[..., 1:]) | np.isnan(menu[..., 1:])
    return menu if ordered.all() else np.sort(menu, axis=-1)


def _neutral_menu(grid: Floats, priced: Flags) -> Floats:
    if not grid.shape[-1]:
        return np.zeros((*priced.shape, 1))
    return np.where(priced[..., None], grid, 0.0)


def _finite_top(full: list[Floats], pulled: bool) -> Floats:
    """Finite upper bounds; beyond them an item sells with probability 0 in float64."""
    a, b, net, anchor, lo, hi = full
    if not pulled or hi.max(initial=0.0) <= LARGEST:
        return np.minimum(hi, LARGEST)
    unsold = np.maximum(np.maximum(net, anchor), a / b) + UNSOLD / b
    return np.minimum(np.where(hi <= LARGEST, hi, np.maximum(unsold, lo)), LARGEST)
