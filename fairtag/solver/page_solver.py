"""The exact prices of a whole page under logit demand, for one page or a million.

Everything is in units of the item's reference price r. The page's value is a ratio, expected gain over the total
attraction of the page, so Dinkelbach's iteration turns it into one small problem an item, each solved in closed form
(an interval) or by enumeration (a menu). The iteration is Newton's method on a convex function and stops at the global
optimum, with unequal slopes, bounds and menus (Dinkelbach, Management Science 13, 1967; docs/pricing-model.md,
section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.solver.pages import Counts, Flags, Floats, Pages, attraction, gain, prepare, up_to

TOLERANCE = 1e-12  # change of the page's value at which it is solved, relative to max(w, |value|)
MAX_ITERATIONS = 60  # it takes 3 to 8
PLAIN_STEPS = 7  # a page that is not solved after these crawls, and is helped along
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
        priced: False where an item is masked; has an input that is not a number, is beyond 1e9 (slopes and weights:
            1e50) or a negative slope or weight; ``lo > hi``; no menu point inside its bounds; or slope 0 without an
            upper bound. Such an item takes no part in the page.
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
        pages, priced = prepare(a, b, cost, anchor, lo, hi, shadow, margin_weight, anchor_weight, menu, mask)
        solved = _solve_in_chunks(pages) if priced.size else _empty(*pages.a.shape)
    lead = priced.shape[:-1]
    y = solved.y.reshape(priced.shape)
    return PageSolution(
        y=y if priced.all() else np.where(priced, y, np.nan),
        q=solved.q.reshape(priced.shape),
        value=solved.value.reshape(lead),
        iterations=solved.iterations.reshape(lead),
        converged=solved.converged.reshape(lead),
        priced=priced,
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
    y, a, b, cost, anchor, shadow, w, lam = (
        np.asarray(x, float) for x in (y, a, b, cost, anchor, shadow, margin_weight, anchor_weight)
    )
    with np.errstate(all="ignore"):  # numbers that are not finite give a value that is not
        worth, utility = gain(y, cost + shadow, anchor, w, lam), a - b * y
        if mask is not None:
            worth, utility = np.where(mask, worth, 0.0), np.where(mask, utility, -np.inf)
        weight, total, _ = attraction(utility)
        return np.asarray((weight * worth).sum(-1) / total[..., 0]), weight / total


class _Solved(NamedTuple):
    y: Floats
    q: Floats
    value: Floats
    iterations: NDArray[np.int64]
    converged: Flags


class _Step(NamedTuple):
    """One evaluation of the pages at a trial R, ``(P, n)`` and ``(P, 1)``; ``low`` and ``high`` bracket the optimum."""

    prices: Floats
    weight: Floats
    total: Floats
    shift: Floats
    rate: Floats
    reached: Floats
    low: Floats
    high: Floats


def _empty(pages: int, n: int) -> _Solved:
    """Room for a solution; as it stands, that of pages without an item."""
    return _Solved(
        np.zeros((pages, n)), np.zeros((pages, n)), np.zeros(pages), np.zeros(pages, np.int64), np.ones(pages, bool)
    )


def _solve_in_chunks(pages: Pages) -> _Solved:
    count, n = pages.a.shape
    step = max(1, CHUNK_ITEMS // n)
    if count <= step:
        return _solve(_with_constants(pages))
    parts = [_solve(_with_constants(pages.rows(slice(i, i + step)))) for i in range(0, count, step)]
    return _Solved._make(np.concatenate(part) for part in zip(*parts, strict=True))


def _solve(pages: Pages) -> _Solved:
    """Dinkelbach's iteration over pages that leave as they converge, so that none depends on its neighbours."""
    solved = _empty(*pages.a.shape)
    rows = np.arange(len(solved.y))
    rate, low, high = np.zeros((len(rows), 1)), np.full((len(rows), 1), -np.inf), np.full((len(rows), 1), np.inf)
    for iteration in range(1, MAX_ITERATIONS + 1):
        step = _evaluate(pages, rate, low, high)
        done = np.abs(step.reached - rate) <= TOLERANCE * np.maximum(_margin_scale(pages.w), np.abs(step.reached))
        last = iteration == MAX_ITERATIONS
        if last or done.any():
            leave = done[:, 0] | last
            _record(solved, rows[leave], iteration, done[leave, 0], _Step._make(x[leave] for x in step))
            if leave.all():
                break
            pages, rows, step = pages.rows(~leave), rows[~leave], _Step._make(x[~leave] for x in step)
        if iteration <= PLAIN_STEPS:
            rate, low, high = step.reached, step.low, step.high
        else:
            rate, low, high = _leap(pages, step, plain=iteration % 2 == 0)
            rate = low if iteration == MAX_ITERATIONS - 1 else rate
    return solved


def _evaluate(pages: Pages, rate: Floats, low: Floats, high: Floats) -> _Step:
    prices = _choose(pages, rate)
    weight, total, shift = attraction(pages.a - pages.b * prices)
    worth = gain(prices, pages.net, pages.anchor, pages.w, pages.lam)
    reached = (weight * worth).sum(-1, keepdims=True) / total
    return _Step(prices, weight, total, shift, rate, reached, low, high)


def _record(solved: _Solved, rows: NDArray[np.int64], iteration: int, converged: Flags, step: _Step) -> None:
    solved.y[rows], solved.q[rows] = step.prices, step.weight / step.total
    solved.value[rows], solved.iterations[rows], solved.converged[rows] = step.reached[:, 0], iteration, converged


def _margin_scale(w: Floats) -> Floats:
    return w if w.ndim == 0 else w.max(-1, keepdims=True)


def _leap(pages: Pages, step: _Step, *, plain: bool) -> tuple[Floats, Floats, Floats]:
    """The next R, and the bracket, of pages where the plain step gains only about 1/b: nearly all who see them buy.

    There ``log sum e (g - R)`` is close to linear in R, so Newton's method on its difference from ``log R`` leaps.
    Where that leaves the bracket (best value attained, least R known to be too high), or R has no logarithm and it is
    not the turn of the plain step, the bracket is halved.
    """
    above = step.reached < step.rate
    known = np.maximum(step.low, np.where(above, -np.inf, step.rate))
    high = np.where(above, np.minimum(step.high, step.rate), step.high)
    high = np.minimum(high, _highest_gain(pages)) if np.isinf(high).any() else high
    low = np.maximum(known, step.reached)
    bought = step.weight.sum(-1, keepdims=True)
    surplus = step.reached * step.total - step.rate * bought
    newton = (np.log(surplus) + step.shift - np.log(step.rate)) * surplus / (bought + surplus / step.rate)
    rate = np.fmax(step.rate + newton, step.reached if plain else np.nan)
    return np.where((rate > known) & (rate < high), rate, (low + high) / 2), low, high


def _highest_gain(pages: Pages) -> Floats:
    """The greatest g inside the bounds of a page, which no average of them exceeds."""
    peak = np.where(pages.lam > 0, pages.anchor + pages.w / (2 * pages.lam), pages.hi)
    peak = np.minimum(np.maximum(peak, pages.lo), pages.hi)
    best = gain(peak, pages.net, pages.anchor, pages.w, pages.lam)
    highest: Floats = np.where(np.isfinite(pages.a), best, 0.0).max(-1, keepdims=True)
    return np.maximum(highest, 0.0)


def _with_constants(pages: Pages) -> Pages:
    """Add what the item step reuses in every iteration."""
    if not pages.lam.any():
        # d/dy (w (y - net) - R) exp(-b y) = 0 at y = net + 1/b + R/w; w = 0: every price is worth 0, take the lowest
        start = np.where(pages.w > 0, pages.net + 1 / pages.b, -np.inf)
        return pages._replace(start=start, pull=np.where(pages.w > 0, 1 / pages.w, 0.0))
    # With x = y - f the derivative is a quadratic, A x^2 + B x + C; divided by -B it cannot overflow.
    size = pages.w * pages.b + 2 * pages.lam
    pull = pages.b / size
    start = pages.w / size - pull * pages.w * (pages.anchor - pages.net)
    return pages._replace(start=start, pull=pull, curve=4 * pages.lam * pull)


def _choose(pages: Pages, rate: Floats) -> Floats:
    """``argmax (g(y) - R) exp(-b y)`` of each item, the lowest where several are equal.

    It rises to the smaller root of its derivative, falls to the larger one and rises again. So the best of an interval
    is the point nearest to the smaller root or the upper bound, the best of a menu a point beside that root or the
    last point. Without a real root it rises throughout, and the comparison with the upper end finds that by itself.
    """
    assert pages.start is not None
    assert pages.pull is not None
    scaled = pages.start + pages.pull * rate
    if pages.curve is None:  # lambda = 0: one root, and the objective falls past it
        return _clip(pages, scaled) if pages.menu is None else _beside(pages, rate, scaled)
    root = pages.anchor + 2 * scaled / (1 + np.sqrt(np.maximum(1 - pages.curve * scaled, 0.0)))
    if pages.menu is None:
        return _better(pages, rate, _clip(pages, root), pages.hi)
    assert pages.last is not None
    return _better(pages, rate, _beside(pages, rate, root), _point(pages.menu, pages.last))


def _clip(pages: Pages, y: Floats) -> Floats:
    return np.minimum(np.maximum(y, pages.lo), pages.hi)


def _beside(pages: Pages, rate: Floats, root: Floats) -> Floats:
    """The better of the menu points on either side of the root."""
    assert pages.menu is not None
    assert pages.first is not None
    assert pages.last is not None
    below = np.minimum(np.maximum(up_to(pages.menu, root) - 1, pages.first), pages.last)
    above = np.minimum(below + 1, pages.last)
    return _better(pages, rate, _point(pages.menu, below), _point(pages.menu, above))


def _point(menu: Floats, number: Counts) -> Floats:
    start = np.arange(0, menu.size, menu.shape[-1]).reshape(number.shape)
    point: Floats = menu.reshape(-1)[start + number]  # a fifth of the time that take_along_axis needs on one page
    return point


def _better(pages: Pages, rate: Floats, low: Floats, high: Floats) -> Floats:
    """Of two prices, ``low <= high``, the one worth more; the lower where they are equal."""
    at_low = gain(low, pages.net, pages.anchor, pages.w, pages.lam) - rate
    at_high = gain(high, pages.net, pages.anchor, pages.w, pages.lam) - rate
    return np.where(at_high * np.exp(-pages.b * (high - low)) > at_low, high, low)
