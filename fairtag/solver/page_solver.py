"""The exact page solver: profit-maximising prices of a whole page under logit demand, for one page or a million.

    solution = solve_pages(a, b, cost, anchor, lo, hi, menu=menu)
    solution.y, solution.value

The value of a page is a ratio, expected gain over total attraction. Dinkelbach's iteration (Management Science 13,
1967) turns it into a small problem for each item, solved in closed form (interval) or by search (menu). It is Newton's
method on a convex function and ends at the global optimum, for unequal slopes, bounds and menus alike
(docs/pricing-model.md, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.solver.page_arrays import Counts, Flags, Floats, Pages, attraction, gain, prepare, up_to

TOLERANCE = 1e-12  # change of the value at which a page is solved, relative to max(w, |value|)
MAX_ITERATIONS = 60  # it takes 3 to 8
PLAIN_STEPS = 7  # a page that is not solved after these converges slowly and takes Newton steps
CHUNK_ITEMS = 16_384  # items solved at a time: the dozen working arrays of a chunk fit into a core's cache


@dataclass(frozen=True)
class PageSolution:
    """Optimal prices of one page ``(n,)`` or many ``(..., n)``.

    Args:
        y: Prices in units of r; NaN where ``priced`` is false.
        q: Purchase probabilities at ``y``; 0 where ``priced`` is false.
        value: ``sum_i q_i g_i(y_i)`` of each page, shape ``(...)``.
        iterations: Dinkelbach steps of each page.
        converged: Whether each page reached the tolerance.
        priced: False where an item takes no part in the page: it is masked; an input is NaN, beyond 1e9 (slopes and
            weights: 1e50), or a negative slope or weight; ``lo > hi``; no menu point lies inside the bounds; or the
            slope is 0 and there is no upper bound.
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
    ``g_i(y) = w (y - cost_i - shadow_i) - lambda (y - anchor_i)^2``. Ties go to the lower price. A page gets the same
    bits alone and in a batch. No number raises an error; see ``PageSolution.priced``.

    Args:
        a: Utilities at price zero, ``(..., n)``; every other argument broadcasts with it.
        b: Price slopes, >= 0.
        cost: Unit costs.
        anchor: f, the price that the anchor term pulls to; ignored if ``anchor_weight`` is 0 throughout.
        lo: Lower bounds; ``-inf`` for none.
        hi: Upper bounds; ``inf`` for none, which counts as the price at which the item no longer sells.
        shadow: mu, shadow price of stock, added to the cost.
        margin_weight: w >= 0.
        anchor_weight: lambda >= 0. With w = 0, or lambda without limit, y = f wherever f is inside its bounds.
        menu: Allowed prices, ``(..., n, m)``, padded with NaN, in any order; points outside [lo, hi] are ignored.
        mask: True where an item is on the page.

    Raises:
        ValueError: The shapes do not broadcast.

    Example: two items that compete; the second has a price menu and an upper bound.

        >>> nan = np.nan
        >>> menu = [[0.9, 0.95, 1.0, 1.05], [0.9, 0.95, 1.0, nan]]
        >>> free = solve_pages([4.0, 3.5], [5.0, 5.0], cost=0.6, anchor=1.0, lo=0.0, hi=[2.0, 1.0])
        >>> free.y.round(4).tolist(), round(float(free.value), 4)
        ([0.951, 0.951], 0.151)
        >>> solve_pages([4.0, 3.5], [5.0, 5.0], cost=0.6, anchor=1.0, lo=0.0, hi=[2.0, 1.0], menu=menu).y.tolist()
        [0.95, 0.95]
    """
    with np.errstate(all="ignore"):  # overflow and 0/0 of broken inputs show in ``priced``, not as warnings
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
    with np.errstate(all="ignore"):  # inputs that are not finite give a value that is not finite
        worth, utility = gain(y, cost + shadow, anchor, w, lam), a - b * y
        if mask is not None:
            worth, utility = np.where(mask, worth, 0.0), np.where(mask, utility, -np.inf)
        weight, total, _ = attraction(utility)
        return np.asarray((weight * worth).sum(-1) / total[..., 0]), weight / total


class _Batch(NamedTuple):
    y: Floats
    q: Floats
    value: Floats
    iterations: NDArray[np.int64]
    converged: Flags


class _Step(NamedTuple):
    """Pages evaluated at a trial value R; ``(P, n)`` or ``(P, 1)``; ``low`` and ``high`` bracket the optimum."""

    prices: Floats
    weight: Floats
    total: Floats
    shift: Floats
    rate: Floats
    reached: Floats
    low: Floats
    high: Floats


def _empty(pages: int, n: int) -> _Batch:
    """Arrays for a solution; unfilled, the solution of pages without items."""
    return _Batch(
        np.zeros((pages, n)), np.zeros((pages, n)), np.zeros(pages), np.zeros(pages, np.int64), np.ones(pages, bool)
    )


def _solve_in_chunks(pages: Pages) -> _Batch:
    count, n = pages.a.shape
    step = max(1, CHUNK_ITEMS // n)
    if count <= step:
        return _solve(with_constants(pages))
    parts = [_solve(with_constants(pages.rows(slice(i, i + step)))) for i in range(0, count, step)]
    return _Batch._make(np.concatenate(part) for part in zip(*parts, strict=True))


def _solve(pages: Pages) -> _Batch:
    """Dinkelbach's iteration; a page leaves when it converges, so that no page depends on the others."""
    solved = _empty(*pages.a.shape)
    rows = np.arange(len(solved.y))
    rate, low, high = np.zeros((len(rows), 1)), np.full((len(rows), 1), -np.inf), np.full((len(rows), 1), np.inf)
    for iteration in range(1, MAX_ITERATIONS + 1):
        step = _evaluate(pages, rate, low, high)
        done = np.abs(step.reached - rate) <= TOLERANCE * np.maximum(margin_scale(pages.w), np.abs(step.reached))
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
    prices = choose(pages, rate)
    weight, total, shift = attraction(pages.a - pages.b * prices)
    worth = gain(prices, pages.net, pages.anchor, pages.w, pages.lam)
    reached = (weight * worth).sum(-1, keepdims=True) / total
    return _Step(prices, weight, total, shift, rate, reached, low, high)


def _record(solved: _Batch, rows: NDArray[np.int64], iteration: int, converged: Flags, step: _Step) -> None:
    solved.y[rows], solved.q[rows] = step.prices, step.weight / step.total
    solved.value[rows], solved.iterations[rows], solved.converged[rows] = step.reached[:, 0], iteration, converged


def margin_scale(w: Floats) -> Floats:
    """The largest weight of each page, the scale of its tolerance."""
    return w if w.ndim == 0 else w.max(-1, keepdims=True)


def _leap(pages: Pages, step: _Step, *, plain: bool) -> tuple[Floats, Floats, Floats]:
    """Next R and its bracket for slowly converging pages: nearly every visitor buys, a plain step gains about 1/b.

    There ``log sum e (g - R)`` is almost linear in R, so a Newton step on its difference from ``log R`` goes far. The
    bracket (best value reached, least R known to be too high) is halved where that step leaves it, or where R has no
    logarithm and ``plain`` is false.
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
    """Largest g inside the bounds of a page's items; the value of the page cannot exceed it."""
    peak = np.where(pages.lam > 0, pages.anchor + pages.w / (2 * pages.lam), pages.hi)
    peak = np.minimum(np.maximum(peak, pages.lo), pages.hi)
    best = gain(peak, pages.net, pages.anchor, pages.w, pages.lam)
    highest: Floats = np.where(np.isfinite(pages.a), best, 0.0).max(-1, keepdims=True)
    return np.maximum(highest, 0.0)


def with_constants(pages: Pages) -> Pages:
    """Add the constants of the item step."""
    if not pages.lam.any():
        # d/dy (w (y - net) - R) exp(-b y) = 0 at y = net + 1/b + R/w; w = 0: every price is worth 0, take the lowest
        start = np.where(pages.w > 0, pages.net + 1 / pages.b, -np.inf)
        return pages._replace(start=start, pull=np.where(pages.w > 0, 1 / pages.w, 0.0))
    # With x = y - f the derivative is a quadratic, A x^2 + B x + C; divided by -B it cannot overflow.
    size = pages.w * pages.b + 2 * pages.lam
    pull = pages.b / size
    start = pages.w / size - pull * pages.w * (pages.anchor - pages.net)
    return pages._replace(start=start, pull=pull, curve=4 * pages.lam * pull)


def choose(pages: Pages, rate: Floats) -> Floats:
    """``argmax (g(y) - R) exp(-b y)`` of each item; ties go to the lower price.

    The function rises to the smaller root of its derivative, falls to the larger root, and rises again. The optimum on
    an interval is the point nearest to the smaller root, or the upper bound; on a menu it is a neighbour of that root,
    or the last point. Without a real root the function rises throughout, so the upper bound wins the comparison.
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
    """The better of the two menu points around the root."""
    assert pages.menu is not None
    assert pages.first is not None
    assert pages.last is not None
    below = np.minimum(np.maximum(up_to(pages.menu, root) - 1, pages.first), pages.last)
    above = np.minimum(below + 1, pages.last)
    return _better(pages, rate, _point(pages.menu, below), _point(pages.menu, above))


def _point(menu: Floats, number: Counts) -> Floats:
    start = np.arange(0, menu.size, menu.shape[-1]).reshape(number.shape)
    point: Floats = menu.reshape(-1)[start + number]  # take_along_axis needs five times as long on one page
    return point


def _better(pages: Pages, rate: Floats, low: Floats, high: Floats) -> Floats:
    """The better of two prices, ``low <= high``; the lower one if they are equal."""
    at_low = gain(low, pages.net, pages.anchor, pages.w, pages.lam) - rate
    at_high = gain(high, pages.net, pages.anchor, pages.w, pages.lam) - rate
    return np.where(at_high * np.exp(-pages.b * (high - low)) > at_low, high, low)
