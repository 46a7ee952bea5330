"""Time of the exact page solver, and what Adam and L-BFGS-B take and lose on the same pages.

Both times of a ratio come from one run on the same pages. The other optimisers get the analytic gradient, and Adam the
solver's own chunks. A loss is a share of the exact value: a negative one would show that the solver is not exact.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.result import Result, Row
from fairtag.solver.anchor import adam
from fairtag.solver.nested_pages import solve_nested_pages
from fairtag.solver.page_arrays import Floats
from fairtag.solver.page_solver import CHUNK_ITEMS, page_value, solve_pages

PAGE = 24  # items on a page, the size that is served
ANCHOR_WEIGHT = 0.5  # lambda of the anchored pages
ADAM_STEPS = 200  # what the published descriptions of such a pricer run
ADAM_RATES = (0.003, 0.01, 0.03, 0.1)  # Adam is reported at the best of these
DEFAULT_RATE = 0.001  # default of the common libraries
STRONG_ANCHOR = 4.0  # lambda of the pages with several peaks
STARTS = 8  # of L-BFGS-B
PAIRS, DISSIMILARITY = 4, 0.5  # of the pages with near-identical items: a third of the items have a twin


@dataclass(frozen=True)
class Size:
    """How much is run: ``pages`` in the batch, ``ascent_pages`` for L-BFGS-B, ``repeats`` of each time."""

    pages: int = 41_667  # times 24: a million pairs
    ascent_pages: int = 60
    single_solves: int = 400
    repeats: int = 5


class Pages(NamedTuple):
    """Arguments of the page solver, ``(P, n)``."""

    a: Floats
    b: Floats
    cost: Floats
    anchor: Floats
    lo: Floats
    hi: Floats

    def first(self, count: int) -> Pages:
        """Some of the pages."""
        return Pages._make(x[:count] for x in self)


def run(size: Size | None = None) -> Result:
    """Time the solver on single pages and in batches, and compare it with the other optimisers."""
    size = size or Size()
    pages = draw_pages(size.pages, PAGE, seed=0)
    rows = [
        *_single_rows(size),
        *_batch_rows(pages, size),
        *_adam_rows(pages, size),
        *_ascent_rows(pages, size),
        *_anchored_rows(size),
        *_nested_rows(pages.first(max(1, size.pages // 10)), size),
    ]
    notes = (
        f"Unless a row says otherwise: pages of {PAGE} items, any price between the bounds, anchor weight 0.",
        f"Adam: {ADAM_STEPS} projected steps from the list price, analytic gradient, the best rate of {ADAM_RATES}.",
        f"L-BFGS-B: best of {STARTS} starts, analytic gradient, on the first {size.ascent_pages} pages.",
        f"Rows *_anchored_*: anchor weight {STRONG_ANCHOR}, prices above list allowed, so pages have several optima.",
        f"Rows nested_*: {PAIRS} pairs of items that share demand on each page, dissimilarity {DISSIMILARITY}.",
        f"Rows *_default_rate_*: rate {DEFAULT_RATE}. Rows *_menu_*: Adam's price rounded to the nearest of 8 endings.",
        "Intervals: fastest and slowest repeat; for the time of one page the 5 % and 95 % quantiles.",
    )
    return Result(tuple(rows), notes)


def quick() -> Result:
    """The same rows from a twentieth of the pages."""
    return run(Size(pages=2_000, ascent_pages=5, single_solves=50, repeats=2))


def draw_pages(count: int, n: int, seed: int) -> Pages:
    """Pages of a shop that only discounts, with unequal slopes; most optimal prices lie inside the bounds."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.3, 0.6, (count, n))
    return Pages(
        a=rng.normal(-0.5, 1, (count, n)),
        b=rng.uniform(2, 6, (count, n)),
        cost=cost,
        anchor=rng.uniform(0.8, 1.1, (count, n)),
        lo=np.maximum(cost / 0.95, 0.6),
        hi=np.ones((count, n)),
    )


def draw_menu(pages: Pages, points: int = 32) -> Floats:
    """Evenly spaced endings inside the bounds, ``(P, n, points)``."""
    return np.linspace(pages.lo, pages.hi, points, axis=-1)


def draw_anchored_pages(count: int, n: int, seed: int) -> Pages:
    """Pages held near f(v) by a strong anchor, prices above list allowed: the value has several local optima.

    An item whose anchor is too low to earn anything is best priced out of the market: a second optimum for each item.
    """
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.4, 0.9, (count, n))
    return draw_pages(count, n, seed)._replace(
        cost=cost, anchor=cost * rng.uniform(1.0, 1.6, (count, n)), lo=cost * 1.02, hi=np.full((count, n), 2.0)
    )


def adam_prices(pages: Pages, rate: float, lam: float = 0.0) -> Floats:
    """Adam on all pages, a chunk at a time, from the list price."""
    step = max(1, CHUNK_ITEMS // pages.a.shape[1])
    chunks = (Pages._make(x[i : i + step] for x in pages) for i in range(0, len(pages.a), step))
    return np.concatenate(
        [adam(_loss_slope(c, lam), np.ones_like(c.a), c.lo, c.hi, steps=ADAM_STEPS, rate=rate) for c in chunks]
    )


def ascent_prices(pages: Pages, starts: int = STARTS, lam: float = 0.0) -> Floats:
    """The best of several L-BFGS-B runs on each page."""
    rng = np.random.default_rng(1)
    return np.array([_ascend(Pages._make(x[i] for x in pages), starts, lam, rng) for i in range(len(pages.a))])


def _ascend(page: Pages, starts: int, lam: float, rng: np.random.Generator) -> Floats:
    slope, bounds = _loss_slope(page, lam), np.c_[page.lo, page.hi].tolist()
    fits = (
        minimize(
            lambda y: (-float(_value(page, y, lam)[0]), slope(y)),
            rng.uniform(page.lo, page.hi),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-9},
        )
        for _ in range(starts)
    )
    return np.asarray(min(fits, key=lambda fit: fit.fun).x)


def _value(pages: Pages, y: Floats, lam: float) -> tuple[Floats, Floats]:
    return page_value(y, pages.a, pages.b, pages.cost, pages.anchor, anchor_weight=lam)


def _loss_slope(pages: Pages, lam: float) -> Callable[[Floats], Floats]:
    """``-dU/dy_i = -q_i (g_i' - b_i (g_i - U))``."""

    def slope(y: Floats) -> Floats:
        value, q = _value(pages, y, lam)
        away = y - pages.anchor
        return -q * (1 - 2 * lam * away - pages.b * (y - pages.cost - lam * away**2 - value[..., None]))

    return slope


def _times(call: Callable[[], object], repeats: int) -> Floats:
    """Seconds of each repeat, the first call not counted."""
    call()
    return np.array([_seconds(call) for _ in range(repeats)])


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def _timed(metric: str, seconds: Floats, scale: float, unit: str) -> Row:
    scaled = seconds * scale
    return Row(metric, float(np.median(scaled)), float(scaled.min()), float(scaled.max()), unit)


def _single_rows(size: Size) -> list[Row]:
    """One page at a time, as the endpoint solves it."""
    rows = []
    for n in (PAGE, 100):
        many = draw_pages(1, n, seed=2)
        page, menu = Pages._make(x[0] for x in many), draw_menu(many)[0]
        kinds: dict[str, dict[str, Any]] = {
            "interval": {},
            "anchored": {"anchor_weight": ANCHOR_WEIGHT},
            "menu": {"menu": menu},
        }
        for kind, options in kinds.items():
            seconds = _times(partial(solve_pages, *page, **options), size.single_solves)
            low, middle, high = np.quantile(seconds, [0.05, 0.5, 0.95]) * 1e3
            rows.append(Row(f"page_{n}_{kind}", float(middle), float(low), float(high), "ms a page"))
    return rows


def _batch_rows(pages: Pages, size: Size) -> list[Row]:
    per_item = 1e6 / pages.a.size
    interval = _times(lambda: solve_pages(*pages), size.repeats)
    anchored = _times(lambda: solve_pages(*pages, anchor_weight=ANCHOR_WEIGHT), size.repeats)
    part = pages.first(max(1, size.pages // 10))  # a menu of 32 takes 32 times the memory
    menu = draw_menu(part)
    on_menu = _times(lambda: solve_pages(*part, menu=menu), size.repeats)
    solution = solve_pages(*pages)
    return [
        _timed("batch_interval", interval, per_item, "µs an item"),
        _timed("batch_anchored", anchored, per_item, "µs an item"),
        _timed("batch_menu_32", on_menu, 1e6 / part.a.size, "µs an item"),
        _timed("million_pairs", interval, 1e6 / pages.a.size, "s"),
        Row("iterations_most", float(solution.iterations.max()), unit="Dinkelbach steps", reference=60),
        Row("unconverged", float((~solution.converged).sum()), unit="pages", reference=0),
        Row("batch_peak_memory", _peak_bytes(lambda: solve_pages(*pages)) / 2**20, unit="MiB over the inputs"),
    ]


def _peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def _adam_rows(pages: Pages, size: Size) -> list[Row]:
    exact = solve_pages(*pages)
    sample = pages.first(max(1, size.pages // 20))
    rate = _best_rate(sample, 0.0)
    start = perf_counter()
    prices = adam_prices(pages, rate)
    adam_seconds = perf_counter() - start
    exact_seconds = float(np.median(_times(lambda: solve_pages(*pages), size.repeats)))
    lost = _lost(pages, prices, exact.value)
    page = pages.first(1)
    single = np.median(_times(lambda: adam_prices(page, rate), size.repeats))
    single_exact = np.median(_times(lambda: solve_pages(*page), size.single_solves))
    slow = _lost(sample, adam_prices(sample, DEFAULT_RATE))
    return [
        Row("adam_over_exact_time", adam_seconds / exact_seconds, unit="times, batch of all pages"),
        Row("adam_over_exact_time_page", float(single / single_exact), unit="times, one page"),
        Row("adam_million_pairs", adam_seconds * 1e6 / pages.a.size, unit="s"),
        Row("adam_rate", rate, unit="best of the rates tried"),
        *_loss_rows("adam", lost),
        Row("adam_default_rate_value_lost", float(slow.mean()), unit="share of value, mean page"),
        Row("adam_menu_value_lost", float(_menu_lost(sample, rate).mean()), unit="share of value, mean page"),
    ]


def _anchored_rows(size: Size) -> list[Row]:
    pages = draw_anchored_pages(max(1, size.pages // 20), PAGE, seed=3)
    few = pages.first(size.ascent_pages)
    rate = _best_rate(pages, STRONG_ANCHOR)
    return [
        *_loss_rows("adam_anchored", _lost(pages, adam_prices(pages, rate, STRONG_ANCHOR), lam=STRONG_ANCHOR)),
        *_loss_rows("lbfgsb_anchored", _lost(few, ascent_prices(few, lam=STRONG_ANCHOR), lam=STRONG_ANCHOR)),
        *_loss_rows("lbfgsb_anchored_one_start", _lost(few, ascent_prices(few, 1, STRONG_ANCHOR), lam=STRONG_ANCHOR)),
    ]


def draw_nests(pages: Pages) -> tuple[Pages, NDArray[np.int64]]:
    """The same pages with pairs of near-identical items, which have one slope, and the nest of each item."""
    nest = np.tile(np.arange(pages.a.shape[1]), (len(pages.a), 1))
    slope, paired = pages.b.copy(), slice(1, 2 * PAIRS, 2)
    nest[:, paired], slope[:, paired] = nest[:, : 2 * PAIRS : 2], slope[:, : 2 * PAIRS : 2]
    return pages._replace(b=slope), nest


def _nested_rows(pages: Pages, size: Size) -> list[Row]:
    """The solver where items share demand, over the plain one on the same pages; the fastest repeat of each."""
    pages, nest = draw_nests(pages)
    nested = partial(solve_nested_pages, nest=nest, dissimilarity=DISSIMILARITY)
    plain = float(_times(lambda: solve_pages(*pages), size.repeats).min())
    seconds = float(_times(lambda: nested(*pages), size.repeats).min())
    solution = nested(*pages)
    return [
        Row("nested_over_plain_time", seconds / plain, unit="times, batch"),
        Row("nested_batch", seconds * 1e6 / pages.a.size, unit="µs an item"),
        Row("nested_unconverged", float((~solution.converged).sum()), unit="pages", reference=0),
    ]


def _best_rate(pages: Pages, lam: float) -> float:
    return min(ADAM_RATES, key=lambda rate: _lost(pages, adam_prices(pages, rate, lam), lam=lam).mean())


def _menu_lost(pages: Pages, rate: float) -> Floats:
    """What rounding Adam's prices to the nearest of eight price endings loses against choosing among them."""
    menu = draw_menu(pages, 8)
    nearest = np.abs(menu - adam_prices(pages, rate)[..., None]).argmin(-1, keepdims=True)
    return _lost(pages, np.take_along_axis(menu, nearest, -1)[..., 0], solve_pages(*pages, menu=menu).value)


def _loss_rows(name: str, lost: Floats) -> list[Row]:
    return [
        Row(f"{name}_value_lost", float(lost.mean()), unit="share of value, mean page"),
        Row(f"{name}_value_lost_worst", float(lost.max()), unit="share of value, worst page"),
    ]


def _ascent_rows(pages: Pages, size: Size) -> list[Row]:
    some = pages.first(size.ascent_pages)
    start = perf_counter()
    prices = ascent_prices(some)
    seconds = (perf_counter() - start) / len(some.a)
    single = float(np.median(_times(lambda: solve_pages(*(x[0] for x in some)), size.single_solves)))
    batch = float(np.median(_times(lambda: solve_pages(*some), size.repeats))) / len(some.a)
    lost = _lost(some, prices)
    return [
        Row("lbfgsb_over_exact_time", seconds / single, unit="times, one page"),
        Row("lbfgsb_over_exact_time_batch", seconds / batch, unit="times, a page of a batch"),
        *_loss_rows("lbfgsb", lost),
        Row("lbfgsb_million_pairs", seconds * 1e6 / PAGE, unit="s, extrapolated from the pages run"),
    ]


def _lost(pages: Pages, prices: Floats, best: Floats | None = None, lam: float = 0.0) -> Floats:
    """Share of the exact value that given prices leave on the table, by page."""
    best = solve_pages(*pages, anchor_weight=lam).value if best is None else best
    return 1 - _value(pages, prices, lam)[0] / best
