"""The exact page solver where near-identical items share their demand (:mod:`fairtag.solver.cells`).

    solution = solve_nested_pages(a, b, cost, anchor, lo, hi, nest=nest, dissimilarity=0.4)

Given the value R of the page, the nests separate. Inside one, with shares ``s`` and mean gain ``G = sum s_i g_i``, an
optimum is a point where every item does best against one *adjusted markup*, T, as if it were alone with slope
``b / zeta``:

    y_i = argmax over A_i of (g_i(y) - T) exp(-b_i y / zeta),    T = R + (1 - zeta) (G - R)

Items of one slope that no bound holds then have ``G = R + w / b``: the rule of the plain logit at the page's own R. The
outer iteration is Dinkelbach's, as in :mod:`fairtag.solver.page_solver` (docs/pricing-model.md, section 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.solver.cells import Cells, Ints
from fairtag.solver.page_arrays import Floats, Pages, gain, prepare
from fairtag.solver.page_solver import (
    CHUNK_ITEMS,
    TOLERANCE,
    PageSolution,
    choose,
    margin_scale,
    solve_pages,
    with_constants,
)

CHUNK = 2 * CHUNK_ITEMS  # items solved at a time: twice the plain solver's, as calls on the few in nests cost their own
MAX_ITERATIONS = 500  # it takes 3 to 10; nests whose bounds hold some items and not others may take hundreds
MARKUPS, ON_MENUS = 6, 64  # starts tried in each doubtful nest, from 0 to its largest gain; a menu has more optima
SCANS = 8  # how often at most
LEAST_SHARE = 0.02  # of a Newton step's divisor: keeps it finite
FALL = 1e3  # times the tolerance: how far a value must fall to count, and a markup may still move
SLACK, TINY = 1e-10, 1e-300  # relative gain of another optimum that counts


def solve_nested_pages(
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    anchor: ArrayLike,
    lo: ArrayLike,
    hi: ArrayLike,
    *,
    nest: NDArray[np.integer],
    dissimilarity: ArrayLike,
    shadow: ArrayLike = 0.0,
    margin_weight: ArrayLike = 1.0,
    anchor_weight: ArrayLike = 0.0,
    menu: ArrayLike | None = None,
    mask: ArrayLike | None = None,
) -> PageSolution:
    """Maximise ``U(y) = sum_i q_i g_i(y_i)`` where the items of a nest on a page share their demand.

    Args:
        a: Utilities at price zero, ``(..., n)``; all arguments but these two as in
            :func:`fairtag.solver.page_solver.solve_pages`.
        b: Price slopes.
        cost: Unit costs.
        anchor: f.
        lo: Lower bounds.
        hi: Upper bounds.
        nest: Number of each item's nest, ``(..., n)``, at least 0.
        dissimilarity: zeta of each item, in (0, 1], the same within a nest.
        shadow: Shadow price of stock.
        margin_weight: w.
        anchor_weight: lambda.
        menu: Allowed prices.
        mask: True where an item is on the page.

    Raises:
        ValueError: The shapes do not broadcast.

    Example: two listings of one mug. They attract less than two different mugs would, so the price rises less.

        >>> both = [[2.0, 2.0]]
        >>> apart = solve_nested_pages(both, 4.0, 0.5, 0.0, 0.0, 2.0, nest=np.array([[0, 1]]), dissimilarity=0.2)
        >>> twins = solve_nested_pages(both, 4.0, 0.5, 0.0, 0.0, 2.0, nest=np.array([[0, 0]]), dissimilarity=0.2)
        >>> apart.y.round(3).tolist(), twins.y.round(3).tolist()
        ([[0.866, 0.866]], [[0.827, 0.827]])
    """
    with np.errstate(all="ignore"):  # overflow and 0/0 of broken inputs show in ``priced``, not as warnings
        pages, priced = prepare(a, b, cost, anchor, lo, hi, shadow, margin_weight, anchor_weight, menu, mask)
        count, n = pages.a.shape
        shape = priced.shape
        groups = np.broadcast_to(nest, shape).reshape(count, n)
        zeta = np.where(priced, np.broadcast_to(np.asarray(dissimilarity, float), shape), 1.0).reshape(count, n)
        step = max(1, CHUNK // max(n, 1))
        parts = [
            _solve(pages.rows(slice(i, i + step)), groups[i : i + step], zeta[i : i + step])
            for i in range(0, count, step)
        ]
    if not parts:
        return solve_pages(a, b, cost, anchor, lo, hi, menu=menu, mask=mask)
    y, q, value, iterations, converged = (np.concatenate(part) for part in zip(*parts, strict=True))
    lead = shape[:-1]
    return PageSolution(
        y=np.where(priced, y.reshape(shape), np.nan),
        q=q.reshape(shape),
        value=value.reshape(lead),
        iterations=iterations.reshape(lead),
        converged=converged.reshape(lead),
        priced=priced,
    )


class _Nests(NamedTuple):
    """Pages, with the items of nests apart.

    Args:
        pages: All items, ``(P, n)``. Those in nests have the slope ``b / zeta``, at which their prices are chosen, and
            attract nobody here: they count by the cell.
        items: The items in nests with their own slopes, ``(T,)``, cell by cell, without their menus.
        cells: Their places among the flattened items.
        page: (C,) page of each cell.
    """

    pages: Pages
    items: Pages
    cells: Cells
    page: Ints

    @classmethod
    def of(cls, pages: Pages, nest: Ints, zeta: Floats) -> _Nests:
        """Find the nests of pages; ``(P, n)``."""
        count, n = pages.a.shape
        cells = Cells.of(np.repeat(np.arange(count), n), nest.ravel().astype(np.int64), zeta.ravel())
        utility, slope = pages.a.copy(), pages.b.copy()
        utility.reshape(-1)[cells.row] = -np.inf
        slope.reshape(-1)[cells.row] /= cells.zeta
        sharp = with_constants(pages._replace(b=slope))._replace(a=utility)
        own = _items(pages._replace(menu=None, first=None, last=None), cells.row)
        return cls(sharp, own, cells, cells.row[cells.starts] // n)

    def rows(self, keep: NDArray[np.bool_]) -> _Nests:
        """Some of the pages."""
        flat, cell = np.repeat(keep, self.pages.a.shape[1]), keep[self.page]
        place = np.cumsum(keep) - 1
        own = _some(self.items, cell[self.cells.cell])
        return _Nests(self.pages.rows(keep), own, self.cells.rows(flat), place[self.page[cell]])


class _Step(NamedTuple):
    """Pages at trial values: ``(P, n)`` or ``(P, 1)``; of the items and cells of nests ``(T,)`` and ``(C,)``.

    ``weight`` and ``pull`` are attractions of items and cells, ``inside`` is each item's part in its cell, and ``mean``
    the cell's gain G.
    """

    prices: Floats
    weight: Floats
    total: Floats
    reached: Floats
    y: Floats
    inside: Floats
    pull: Floats
    mean: Floats

    def q(self, problem: _Nests) -> Floats:
        """Purchase probabilities, ``(P, n)``."""
        q, cells = self.weight / self.total, problem.cells
        q.reshape(-1)[cells.row] = self.inside * (self.pull / self.total[problem.page, 0])[cells.cell]
        return q


def _solve(pages: Pages, nest: Ints, zeta: Floats) -> tuple[Floats, Floats, Floats, Ints, NDArray[np.bool_]]:
    """Solve a chunk: prices, probabilities, values, iterations and whether each page converged."""
    count = len(pages.a)
    problem = _Nests.of(pages, nest, zeta)
    found = _climb(problem, np.zeros((count, 1)), _usual_markup(problem))
    for _ in range(SCANS):
        better, markup = _scan(problem, found)
        again = np.zeros(count, dtype=bool)
        again[problem.page[better]] = True
        if not again.any():
            break
        part = _climb(problem.rows(again), found.rate[again], markup[again[problem.page]])
        found.put(again, again[problem.page], part)
    return found.prices, found.q, found.rate[:, 0], found.iterations, found.converged


class _Found(NamedTuple):
    """Where the climb ended: ``(P, n)`` or ``(P,)``; ``rate`` (P, 1), ``markup`` (C,)."""

    prices: Floats
    q: Floats
    rate: Floats
    markup: Floats
    iterations: Ints
    converged: NDArray[np.bool_]

    def put(self, pages: NDArray[np.bool_], cells: NDArray[np.bool_], other: _Found) -> None:
        """Take over what was found again for some of the pages."""
        for mine, theirs in zip(self, other, strict=True):
            mine[cells if mine is self.markup else pages] = theirs


def _climb(problem: _Nests, rate: Floats, markup: Floats) -> _Found:
    """Raise the values of pages until none rises.

    A nest's next markup is a Newton step on its rule, exact for items that no bound holds. A page whose value falls
    goes on from its best point with the mean gain over the R reached there, as pages on menus always do: such a step
    never falls (``c W^(1 - zeta)`` is concave, so its tangent bounds it), and takes longer.
    """
    shape, cell_count = problem.pages.a.shape, problem.cells.starts.size
    found = _Found(
        np.zeros(shape),
        np.zeros(shape),
        np.zeros((shape[0], 1)),
        np.zeros(cell_count),
        np.zeros(shape[0], np.int64),
        np.zeros(shape[0], dtype=bool),
    )
    rows, places = np.arange(shape[0]), np.arange(cell_count)
    best, held, careful = np.full((shape[0], 1), -np.inf), np.zeros(cell_count), np.zeros(shape[0], dtype=bool)
    for iteration in range(1, MAX_ITERATIONS + 1):
        step, page = _evaluate(problem, rate, markup), problem.page
        scale = TOLERANCE * np.maximum(margin_scale(problem.pages.w), np.abs(step.reached))
        falls = (step.reached < best - FALL * scale)[:, 0]
        careful |= falls
        best = np.where(falls[:, None], best, step.reached)
        held = np.where(falls[page], held, step.mean)
        following = held - best[page, 0]
        if not careful.all():
            following = np.where(careful[page], following, _newton(problem, step, rate, markup))
        done = (np.abs(step.reached - rate) <= scale)[:, 0]
        done[page[np.abs(following - markup) > FALL * scale[page, 0]]] = False
        leave = done | (iteration == MAX_ITERATIONS)
        if leave.any():
            at, ends = rows[leave], leave[page]
            found.prices[at], found.rate[at] = step.prices[leave], step.reached[leave]
            found.q[at] = step.q(problem)[leave]
            found.iterations[at], found.converged[at] = iteration, done[leave]
            found.markup[places[ends]] = following[ends]
            if leave.all():
                break
            problem, rows, places = problem.rows(~leave), rows[~leave], places[~ends]
            best, careful, held, following = best[~leave], careful[~leave], held[~ends], following[~ends]
        rate, markup = best, following
    return found


def _newton(problem: _Nests, step: _Step, rate: Floats, markup: Floats) -> Floats:
    """(C,) markup over the R just reached at which a nest's rule holds, were prices to move as they do now.

    A price between its bounds rises with T by ``1 / w``: ``dG/dT = sum s (1 - (g - G) b / (zeta w))`` over such items.
    """
    pages, items, cells, page = problem.pages, problem.items, problem.cells, problem.page
    apart, rises = 1.0 - cells.dissimilarity, np.zeros(cells.starts.size)
    if pages.menu is None and not pages.lam.any():
        y, slope = step.y, items.b / cells.zeta
        over = (y - items.net) - step.mean[cells.cell] / items.w
        rises = cells.reduced(
            np.add, np.where((items.lo < y) & (y < items.hi), step.inside * (1.0 - over * slope), 0.0)
        )
    share = np.maximum(1.0 - apart * rises, LEAST_SHARE)
    now, before = step.reached[page, 0], rate[page, 0] + apart * markup
    return np.asarray((before - now + (now + apart * (step.mean - now) - before) / share) / apart, dtype=np.float64)


def _usual_markup(problem: _Nests) -> Floats:
    """(C,) ``w / b``: the markup over R of items of one slope that no bound holds."""
    return problem.cells.means(problem.items.w / problem.items.b)


def _evaluate(problem: _Nests, rate: Floats, markup: Floats) -> _Step:
    """One step of both iterations: prices at R and the nests' markups, and the two that these prices reach."""
    pages, items, cells, page = problem.pages, problem.items, problem.cells, problem.page
    count, n = pages.a.shape
    target = np.repeat(rate, n, axis=1)
    target.reshape(-1)[cells.row] += ((1.0 - cells.dissimilarity) * markup)[cells.cell]
    prices = choose(pages, target)
    y = prices.reshape(-1)[cells.row]
    inside, utility = cells.inclusive(items.a - items.b * y)
    mean = cells.reduced(np.add, inside * gain(y, items.net, items.anchor, items.w, items.lam))
    alone = pages.a - pages.b * prices
    shift = np.maximum(alone.max(-1, initial=-np.inf), 0.0)
    np.maximum.at(shift, page, utility)
    weight, pull = np.exp(alone - shift[:, None]), np.exp(utility - shift[page])
    total = np.exp(-shift) + weight.sum(-1) + np.bincount(page, pull, count)
    worth = (weight * gain(prices, pages.net, pages.anchor, pages.w, pages.lam)).sum(-1)
    reached = (worth + np.bincount(page, pull * mean, count)) / total
    return _Step(prices, weight, total[:, None], reached[:, None], y, inside, pull, mean)


def _scan(problem: _Nests, found: _Found) -> tuple[NDArray[np.bool_], Floats]:
    """Nests that other markups serve better at the R that was found, (C,), and the best markup of each, (C,).

    A nest's value ``W^zeta (G - R)`` may have several optima where bounds hold: it can pay to price a cheap item out of
    its twin's way.
    """
    better, markup = np.zeros(found.markup.size, dtype=bool), found.markup.copy()
    doubtful = _doubtful(problem, found)
    cells = problem.cells.pick(doubtful)
    if not cells.row.size:
        return better, markup
    items, sharp = _some(problem.items, doubtful[problem.cells.cell]), _items(problem.pages, cells.row)
    rate = found.rate[problem.page[doubtful], 0]
    top = gain(items.hi, items.net, items.anchor, items.w, items.lam)
    most = cells.reduced(np.maximum, top) - rate
    count = MARKUPS if sharp.menu is None else ON_MENUS
    tried = np.linspace(0.0, 1.0, count)[:, None] * np.abs(most) + 2.0 * np.minimum(most, 0.0)
    tried = np.vstack([markup[doubtful], tried])
    y = _choose_each(sharp, (rate + (1.0 - cells.dissimilarity) * tried)[:, cells.cell])
    inside, utility = cells.inclusive(items.a - items.b * y)
    mean = cells.reduced(np.add, inside * gain(y, items.net, items.anchor, items.w, items.lam)) - rate
    worth = np.exp(utility) * mean
    best = worth.argmax(axis=0)[None]
    rises = np.take_along_axis(worth, best, axis=0)[0] > worth[0] + SLACK * np.maximum(np.abs(worth[0]), TINY)
    better[doubtful] = rises
    markup[doubtful] = np.where(rises, np.take_along_axis(mean, best, axis=0)[0], markup[doubtful])
    return better, markup


def _doubtful(problem: _Nests, found: _Found) -> NDArray[np.bool_]:
    """(C,) nests that may have another optimum.

    There is only one where items of one slope earn more than R and no lower bound holds any of them at ``T = R``, or so
    at any T above. Then those that no bound holds have the largest gain, at least G, so ``dG/dT <= 1`` and the rule
    ``T = R + (1 - zeta) (G - R)`` holds at one T alone.
    """
    pages, items, cells = problem.pages, problem.items, problem.cells
    if pages.menu is not None or pages.lam.any() or not cells.row.size:
        return np.ones(cells.starts.size, dtype=bool)
    w = np.broadcast_to(items.w, items.b.shape)
    rate = found.rate[problem.page, 0]
    above = rate[cells.cell] / w + items.net + cells.zeta / items.b - items.lo
    most = cells.reduced(np.maximum, w * (items.hi - items.net))
    one = [cells.reduced(np.maximum, x) == cells.reduced(np.minimum, x) for x in (items.b, w)]
    return np.asarray(~(one[0] & one[1] & (cells.reduced(np.minimum, above) > 0) & (most > rate)))


def _choose_each(items: Pages, target: Floats) -> Floats:
    """(K, T) best prices of items (T,) at each of K adjusted markups."""
    if items.menu is None:
        return choose(items, target)
    again = np.tile(np.arange(target.shape[1]), len(target))
    parts = {name: x if x is None or x.ndim == 0 else x[again][:, None] for name, x in items._asdict().items()}
    return choose(Pages(**parts), target.reshape(-1, 1)).reshape(target.shape)


def _items(pages: Pages, row: Ints) -> Pages:
    """Some items of the flattened pages, (T,); their menus (T, m)."""
    depth = 0 if pages.menu is None else pages.menu.shape[-1]
    parts = {
        name: x if x is None or x.ndim < 2 else (x.reshape(-1, depth) if name == "menu" else x.ravel())[row]
        for name, x in pages._asdict().items()
    }
    return Pages(**parts)


def _some(items: Pages, keep: NDArray[np.bool_]) -> Pages:
    """Some of the items (T,)."""
    return Pages._make(x if x is None or x.ndim == 0 else x[keep] for x in items)
