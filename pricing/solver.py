"""The exact prices of a whole page under logit demand, for one page or a million. Knows nothing of money or guardrails.

Everything is in units of the item's reference price r. The page's value is a ratio, expected gain over the total
attraction of the page, so Dinkelbach's iteration turns it into one small problem an item, each solved in closed form
(an interval) or by enumeration (a menu). The iteration is Newton's method on a convex function and stops at the global
optimum, with unequal slopes, bounds and menus (PRICING.md section 5; Dinkelbach, Management Science 13, 1967).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TOLERANCE = 1e-12  # change of the page's value at which it is solved, relative to max(w, |value|)
MAX_ITERATIONS = 60  # it takes 3 to 8
LOG_STEPS_FROM = 8  # from here on a page counts as crawling
LARGEST = 1e100  # a larger magnitude is a broken input, as NaN is; squares of this stay finite
UNSOLD = 750.0  # exp(-750) is 0 in float64: utility this far below the outside option never sells
CHUNK_ITEMS = 16_384  # items solved at a time: the dozen working arrays of a chunk fit a core's cache


@dataclass(frozen=True)
class PageSolution:
    """Optimal prices of one page ``(n,)`` or many ``(..., n)``.

    Args:
        y: Prices in units of r; NaN where ``priced`` is false.
        q: Purchase probabilities at ``y``; 0 where ``priced`` is false.
        value: ``sum_i q_i g_i(y_i)`` of each page, shape ``(...)``.
        iterations: Dinkelbach steps of each page.
        converged: Whether each page reached the tolerance.
        priced: False where an item is masked, has an input that is not a number or beyond 1e100, a negative slope or
            weight, ``lo > hi``, or no menu point inside its bounds. Such an item takes no part in the page.
    """

    y: Floats
    q: Floats
    value: Floats
    iterations: NDArray[np.int64]
    converged: Flags
    priced: Flags


def solve_pages(
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    *,
    shadow: ArrayLike = 0.0,
    margin_weight: ArrayLike = 1.0,
    anchor_weight: ArrayLike = 0.0,
    menu: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> PageSolution:
    """Maximise ``U(y) = sum_i q_i g_i(y_i)`` over ``y_i`` in ``[lo_i, hi_i]`` or the menu points inside it.

    ``q_i = exp(a_i - b_i y_i) / (1 + sum_j exp(a_j - b_j y_j))`` and
    ``g_i(y) = w (y - cost_i - shadow_i) - lambda (y - anchor_i)^2``. Equal values go to the lower price. A page solved
    alone and in a batch gives the same bits. Never raises on numbers: see ``PageSolution.priced``.

    Args:
        a: Utilities at price zero, ``(..., n)``; every other argument broadcasts with it.
        b: Price slopes, >= 0.
        cost: Unit costs.
        anchor: f, the price the anchor term pulls to; not read where ``anchor_weight`` is 0 throughout.
        lo: Lower bounds; ``-inf`` for none.
        hi: Upper bounds; ``inf`` for none, read as the price at which the item no longer sells.
        shadow: mu, shadow price of stock, added to the cost.
        margin_weight: w >= 0.
        anchor_weight: lambda >= 0. With w = 0, or lambda without limit, y = f wherever f is inside its bounds.
        menu: Allowed prices, ``(..., n, m)`` padded with NaN, in any order; points outside [lo, hi] do not count.
        mask: True where an item is on the page.

    Raises:
        ValueError: The shapes do not broadcast.
    """
    with np.errstate(all="ignore"):  # overflow and 0/0 of broken inputs end in ``priced``, not in a warning
        pages, priced = _prepare(a, b, cost, anchor, lo, hi, shadow, margin_weight, anchor_weight, menu, mask)
        lead, n = priced.shape[:-1], priced.shape[-1]
        solved = _solve_in_chunks(pages, n) if priced.size else _empty(len(pages.a), n)
    y, q, value, iterations, converged = solved
    y = y.reshape(priced.shape)
    if not priced.all():
        y = np.where(priced, y, np.nan)
    return PageSolution(
        y, q.reshape(priced.shape), value.reshape(lead), iterations.reshape(lead), converged.reshape(lead), priced
    )


def page_value(
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike = 0.0,
    *,
    shadow: ArrayLike = 0.0,
    margin_weight: ArrayLike = 1.0,
    anchor_weight: ArrayLike = 0.0,
    mask: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Value ``(...)`` and purchase probabilities ``(..., n)`` of given prices; arguments as in :func:`solve_pages`."""
    y, a, b = np.asarray(y, float), np.asarray(a, float), np.asarray(b, float)
    net, pull = np.asarray(cost, float) + np.asarray(shadow, float), np.asarray(anchor, float)
    gain = _gain(y, net, pull, np.asarray(margin_weight, float), np.asarray(anchor_weight, float))
    utility = a - b * y
    if mask is not None:
        gain, utility = np.where(mask, gain, 0.0), np.where(mask, utility, -np.inf)
    weight, total, _ = _attraction(utility)
    return np.asarray((weight * gain).sum(-1) / total[..., 0]), weight / total


class _Pages(NamedTuple):
    """Pages as ``(P, n)`` arrays, ``w`` and ``lam`` ``()`` or ``(P, n)``, with the constants of the step."""

    a: Floats
    b: Floats
    net: Floats  # cost + shadow
    anchor: Floats
    lo: Floats
    hi: Floats
    w: Floats
    lam: Floats
    scale: Floats  # w, ``()`` or ``(P, 1)``: what the tolerance is relative to
    start: Floats | None = None
    pull: Floats | None = None
    curve: Floats | None = None
    menu: Floats | None = None
    menu_gain: Floats | None = None
    menu_weight: Floats | None = None

    def rows(self, index: slice | Flags) -> _Pages:
        return _Pages._make(x if x is None or x.ndim < 2 else x[index] for x in self)


_Solved = tuple[Floats, Floats, Floats, NDArray[np.int64], Flags]


def _prepare(
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
) -> tuple[_Pages, Flags]:
    """The pages as rows, and which items take part; the others get numbers that cannot disturb the page."""
    w, lam = np.asarray(margin_weight, float), np.asarray(anchor_weight, float)
    net = np.asarray(cost, float) + np.asarray(shadow, float)
    pulled = bool(lam.any())
    given = [np.asarray(x, float) for x in (a, b, net, anchor if pulled else net, lo, hi)]
    grid = None if menu is None else np.asarray(menu, float)
    shape = np.broadcast_shapes(
        *(x.shape for x in (*given, w, lam)),
        () if grid is None else grid.shape[:-1],
        () if mask is None else np.shape(mask),
    )
    shape = shape or (1,)
    full = [x if x.shape == shape else np.broadcast_to(x, shape) for x in given]
    priced = _usable(full, w, lam, mask)
    if grid is not None:
        grid = np.broadcast_to(grid, (*shape, grid.shape[-1]))
        inside = (grid >= full[4][..., None]) & (grid <= full[5][..., None]) & (np.abs(grid) <= LARGEST)
        grid = np.sort(np.where(inside, grid, np.nan), axis=-1)
        priced = priced & np.isfinite(grid).any(-1)
    full[4], full[5] = np.maximum(full[4], -LARGEST), _finite_top(full, pulled)
    if not priced.all():
        neutral = (-np.inf, 1.0, 0.0, 0.0, 0.0, 0.0)
        full = [np.where(priced, x, value) for x, value in zip(full, neutral, strict=True)]
        w, lam = (np.where((x >= 0) & (x <= LARGEST), x, 0.0) for x in (w, lam))
    wide = (-1, shape[-1]) if shape[-1] else (int(np.prod(shape[:-1])), 0)
    a, b, net, anchor, lo, hi = (x.reshape(wide) for x in full)
    w, lam = (x if x.ndim == 0 else np.broadcast_to(x, shape).reshape(wide) for x in (w, lam))
    scale = w if w.ndim == 0 or not w.size else w.max(-1, keepdims=True)
    pages = _Pages(a, b, net, anchor, lo, hi, w, lam, scale)
    if grid is None:
        return pages, priced
    if not priced.all():
        grid = np.where(priced[..., None], grid, 0.0) if grid.shape[-1] else np.zeros((*shape, 1))
    return pages._replace(menu=grid.reshape(*a.shape, grid.shape[-1])), priced


def _usable(full: list[Floats], w: Floats, lam: Floats, mask: ArrayLike | None) -> Flags:
    a, b, net, anchor, lo, hi = full
    size = np.abs(a) + np.abs(b) + np.abs(net) + np.abs(anchor) + np.abs(w) + np.abs(lam)
    usable = (size <= LARGEST) & (b >= 0) & (lo <= hi) & (w >= 0) & (lam >= 0) & (lo <= LARGEST) & (hi >= -LARGEST)
    usable &= (b > 0) | (hi <= LARGEST)  # demand that no price stops has no best price
    return usable if mask is None else usable & np.asarray(mask, bool)


def _finite_top(full: list[Floats], pulled: bool) -> Floats:
    """Upper bounds without infinities; past them the item sells with probability 0 in float64."""
    a, b, net, anchor, lo, hi = full
    if not pulled or hi.max(initial=0.0) <= LARGEST:
        return np.minimum(hi, LARGEST)
    unsold = np.maximum(np.maximum(net, anchor), a / b) + UNSOLD / b
    return np.minimum(np.where(hi <= LARGEST, hi, np.maximum(unsold, lo)), LARGEST)


def _solve_in_chunks(pages: _Pages, n: int) -> _Solved:
    count, step = len(pages.a), max(1, CHUNK_ITEMS // n)
    if count <= step:
        return _solve(_with_constants(pages))
    parts = [_solve(_with_constants(pages.rows(slice(i, i + step)))) for i in range(0, count, step)]
    y, q, value, iterations, converged = (np.concatenate(part) for part in zip(*parts, strict=True))
    return y, q, value, iterations, converged


def _solve(pages: _Pages) -> _Solved:
    """Dinkelbach's iteration over pages that leave as they converge, so that none depends on its neighbours."""
    y, q, value, iterations, converged = solved = _empty(*pages.a.shape)
    open_rows = np.arange(len(y))
    rate = np.zeros((len(y), 1))
    bracket = np.tile([-np.inf, np.inf], (len(y), 1))
    for iteration in range(1, MAX_ITERATIONS + 1):
        prices = _choose(pages, rate)
        gain = _gain(prices, pages.net, pages.anchor, pages.w, pages.lam)
        weight, total, shift = _attraction(pages.a - pages.b * prices)
        reached = (weight * gain).sum(-1, keepdims=True) / total
        done = np.abs(reached - rate) <= TOLERANCE * np.maximum(pages.scale, np.abs(reached))
        stop = iteration == MAX_ITERATIONS
        if stop or done.any():
            leave = np.ones(len(rate), bool) if stop else done[:, 0]
            rows = open_rows[leave]
            y[rows], q[rows], value[rows] = prices[leave], (weight / total)[leave], reached[leave, 0]
            iterations[rows], converged[rows] = iteration, done[leave, 0]
            if leave.all():
                break
            pages, open_rows = pages.rows(~leave), open_rows[~leave]
            rate, reached, weight, total, shift, bracket = (
                x[~leave] for x in (rate, reached, weight, total, shift, bracket)
            )
        rate = reached if iteration < LOG_STEPS_FROM else _log_step(rate, reached, weight, total, shift, bracket)
    return solved


def _log_step(rate: Floats, reached: Floats, weight: Floats, total: Floats, shift: Floats, bracket: Floats) -> Floats:
    """The next R for pages on which the plain step crawls: it gains about 1/b a step while almost all who see it buy.

    There ``log sum e (g - R)`` is close to linear in R, so Newton's method on its difference from ``log R`` leaps.
    It may overshoot; the bracket (best value attained, least R known to be too high) then halves.
    """
    above = reached < rate
    low = np.maximum(bracket[:, :1], np.where(above, -np.inf, rate))
    high = bracket[:, 1:] = np.where(above, np.minimum(bracket[:, 1:], rate), bracket[:, 1:])
    bracket[:, :1] = np.maximum(low, reached)
    bought = weight.sum(-1, keepdims=True)
    surplus = reached * total - rate * bought
    gap = np.log(surplus) + shift - np.log(rate)
    leap = np.fmax(reached, rate + gap * surplus * rate / (bought * rate + surplus))
    halved = np.where(np.isfinite(high), (bracket[:, :1] + high) / 2, reached)
    return np.where((leap > low) & (leap < high), leap, halved)


def _empty(pages: int, n: int) -> _Solved:
    """Room for a solution; as it stands, that of pages without an item."""
    return np.zeros((pages, n)), np.zeros((pages, n)), np.zeros(pages), np.zeros(pages, np.int64), np.ones(pages, bool)


def _gain(y: Floats, net: Floats, anchor: Floats, w: Floats, lam: Floats) -> Floats:
    """``g(y) = w (y - net) - lambda (y - f)^2``; 0 * inf of an absent term is left out."""
    gain: Floats = (y - net) * w
    return gain - np.square(y - anchor) * lam if lam.any() else gain


def _attraction(utility: Floats) -> tuple[Floats, Floats, Floats]:
    """``exp(u)`` of each item and ``1 + sum exp(u)`` of the page, both divided by ``exp(shift)``; the shift."""
    shift = np.maximum(utility.max(-1, keepdims=True, initial=-np.inf), 0.0)
    weight = np.exp(utility - shift)
    return weight, np.exp(-shift) + weight.sum(-1, keepdims=True), shift


def _with_constants(pages: _Pages) -> _Pages:
    """Add what the step reuses in every iteration."""
    if pages.menu is not None:
        gain = _gain(pages.menu, pages.net[..., None], pages.anchor[..., None], _thin(pages.w), _thin(pages.lam))
        fall = np.exp(-pages.b[..., None] * (pages.menu - pages.menu[..., :1]))
        return pages._replace(menu_gain=gain, menu_weight=fall)
    if not pages.lam.any():
        # d/dy (w (y - net) - R) exp(-b y) = 0 at y = net + 1/b + R/w; w = 0: every price is worth 0, take the lowest
        start = np.where(pages.w > 0, pages.net + 1 / pages.b, -np.inf)
        return pages._replace(start=start, pull=np.where(pages.w > 0, 1 / pages.w, 0.0))
    # With x = y - f the derivative is a quadratic, A x^2 + B x + C; divided by -B it cannot overflow.
    size = pages.w * pages.b + 2 * pages.lam
    pull = pages.b / size
    start = pages.w / size - pull * pages.w * (pages.anchor - pages.net)
    return pages._replace(start=start, pull=pull, curve=4 * pages.lam * pull)


def _thin(x: Floats) -> Floats:
    return x if x.ndim == 0 else x[..., None]


def _choose(pages: _Pages, rate: Floats) -> Floats:
    """``argmax (g(y) - R) exp(-b y)`` of each item, the lowest where several are equal."""
    if pages.menu is not None:
        return _menu_step(pages, rate)
    assert pages.start is not None
    assert pages.pull is not None
    x = pages.start + pages.pull * rate
    if pages.curve is None:
        return np.minimum(np.maximum(x, pages.lo), pages.hi)
    return _anchored_step(pages, rate, x, pages.curve)


def _anchored_step(pages: _Pages, rate: Floats, scaled: Floats, curve: Floats) -> Floats:
    """The smaller root of the quadratic, or the upper bound: the objective rises again past the larger root.

    Without a real root it rises throughout, and the comparison below takes the upper bound by itself.
    """
    x = 2 * scaled / (1 + np.sqrt(np.maximum(1 - curve * scaled, 0.0)))
    y = np.minimum(np.maximum(pages.anchor + x, pages.lo), pages.hi)
    here = _gain(y, pages.net, pages.anchor, pages.w, pages.lam) - rate
    top = _gain(pages.hi, pages.net, pages.anchor, pages.w, pages.lam) - rate
    return np.where(top * np.exp(-pages.b * (pages.hi - y)) > here, pages.hi, y)


def _menu_step(pages: _Pages, rate: Floats) -> Floats:
    assert pages.menu is not None
    assert pages.menu_gain is not None
    assert pages.menu_weight is not None
    worth = (pages.menu_gain - rate[..., None]) * pages.menu_weight
    best = np.nan_to_num(worth, copy=False, nan=-np.inf).argmax(-1, keepdims=True)
    return np.take_along_axis(pages.menu, best, -1)[..., 0]
