"""How long the exact page solver takes, and what Adam and L-BFGS-B take and lose on the same pages. Fits nothing.

Every time ratio is of two times of one run on the same pages. The rivals get the analytic gradient, and Adam the
solver's own chunking; a loss is a share of the exact value, so a negative one would mean that the solver is not exact.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from benchmarks.result import Result, Row
from pricing.anchor import adam
from pricing.page_arrays import Floats
from pricing.solver import CHUNK_ITEMS, page_value, solve_pages

COMMAND = "python -m benchmarks solver"
PAGE = 24  # items on a page, the size that is served
ANCHOR_WEIGHT = 0.5  # lambda of the anchored pages
ADAM_STEPS = 200  # what the source documents run
ADAM_RATES = (0.003, 0.01, 0.03, 0.1)  # Adam is judged at its best rate
STARTS = 8  # of L-BFGS-B


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
    """Time the solver alone, in batches and against its rivals."""
    size = size or Size()
    pages = draw_pages(size.pages, PAGE, seed=0)
    rows = [*_single_rows(size), *_batch_rows(pages, size), *_adam_rows(pages, size), *_ascent_rows(pages, size)]
    notes = (
        f"pages of {PAGE} items unless a row says otherwise; interval prices, lambda 0 unless a row says otherwise",
        f"Adam: {ADAM_STEPS} projected steps from the list price, analytic gradient, its best rate of {ADAM_RATES}",
        f"L-BFGS-B: best of {STARTS} starts, analytic gradient, on the first {size.ascent_pages} pages",
        "low and high are the fastest and slowest of the repeats; a loss is a share of the exact value",
    )
    return Result("solver", COMMAND, tuple(rows), notes)


def draw_pages(count: int, n: int, seed: int) -> Pages:
    """Pages with unequal slopes; a discount-only shop's bounds."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.4, 0.8, (count, n))
    return Pages(
        a=rng.normal(1, 1, (count, n)),
        b=rng.uniform(2, 6, (count, n)),
        cost=cost,
        anchor=rng.uniform(0.8, 1.1, (count, n)),
        lo=np.maximum(cost / 0.95, 0.6),
        hi=np.ones((count, n)),
    )


def draw_menu(pages: Pages, points: int = 32) -> Floats:
    """Evenly spaced endings inside the bounds, ``(P, n, points)``."""
    return np.linspace(pages.lo, pages.hi, points, axis=-1)


def adam_prices(pages: Pages, rate: float) -> Floats:
    """Adam on all pages, a chunk at a time."""
    step = max(1, CHUNK_ITEMS // pages.a.shape[1])
    chunks = (Pages._make(x[i : i + step] for x in pages) for i in range(0, len(pages.a), step))
    return np.concatenate([adam(_loss_slope(c), c.hi, c.lo, c.hi, steps=ADAM_STEPS, rate=rate) for c in chunks])


def ascent_prices(pages: Pages, starts: int = STARTS) -> Floats:
    """The best of several L-BFGS-B runs on each page."""
    rng = np.random.default_rng(1)
    return np.array([_ascend(Pages._make(x[i] for x in pages), starts, rng) for i in range(len(pages.a))])


def _ascend(page: Pages, starts: int, rng: np.random.Generator) -> Floats:
    slope, bounds = _loss_slope(page), np.c_[page.lo, page.hi].tolist()
    fits = (
        minimize(
            lambda y: (-float(page_value(y, page.a, page.b, page.cost)[0]), slope(y)),
            rng.uniform(page.lo, page.hi),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"ftol": 1e-14, "gtol": 1e-9},
        )
        for _ in range(starts)
    )
    return np.asarray(min(fits, key=lambda fit: fit.fun).x)


def _loss_slope(pages: Pages) -> Callable[[Floats], Floats]:
    """``-dU/dy_i = q_i (b_i (y_i - c_i - U) - 1)``."""

    def slope(y: Floats) -> Floats:
        value, q = page_value(y, pages.a, pages.b, pages.cost)
        return q * (pages.b * (y - pages.cost - value[..., None]) - 1)

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
    rate = min(ADAM_RATES, key=lambda each: _lost(sample, adam_prices(sample, each)).mean())
    start = perf_counter()
    prices = adam_prices(pages, rate)
    adam_seconds = perf_counter() - start
    exact_seconds = float(np.median(_times(lambda: solve_pages(*pages), size.repeats)))
    lost = _lost(pages, prices, exact.value)
    page = pages.first(1)
    single = np.median(_times(lambda: adam_prices(page, rate), size.repeats))
    single_exact = np.median(_times(lambda: solve_pages(*page), size.single_solves))
    return [
        Row("adam_over_exact_time", adam_seconds / exact_seconds, unit="times, batch of all pages"),
        Row("adam_over_exact_time_page", float(single / single_exact), unit="times, one page"),
        Row("adam_value_lost", float(lost.mean()), unit="share of value, mean page"),
        Row("adam_value_lost_worst", float(lost.max()), unit="share of value, worst page"),
        Row("adam_rate", rate, unit="best of the rates tried"),
        Row("adam_million_pairs", adam_seconds * 1e6 / pages.a.size, unit="s"),
    ]


def _ascent_rows(pages: Pages, size: Size) -> list[Row]:
    some = pages.first(size.ascent_pages)
    start = perf_counter()
    prices = ascent_prices(some)
    seconds = (perf_counter() - start) / len(some.a)
    single = float(np.median(_times(lambda: solve_pages(*(x[0] for x in some)), size.single_solves)))
    batch = float(np.median(_times(lambda: solve_pages(*some), size.repeats))) / len(some.a)
    lost = _lost(some, prices)
    once = _lost(some, ascent_prices(some, starts=1))
    return [
        Row("lbfgsb_over_exact_time", seconds / single, unit="times, one page"),
        Row("lbfgsb_over_exact_time_batch", seconds / batch, unit="times, a page of a batch"),
        Row("lbfgsb_value_lost", float(lost.mean()), unit="share of value, mean page"),
        Row("lbfgsb_value_lost_worst", float(lost.max()), unit="share of value, worst page"),
        Row("lbfgsb_one_start_value_lost", float(once.mean()), unit="share of value, mean page"),
        Row("lbfgsb_million_pairs", seconds * 1e6 / PAGE, unit="s, extrapolated from the pages run"),
    ]


def _lost(pages: Pages, prices: Floats, best: Floats | None = None) -> Floats:
    """Share of the exact value that given prices leave on the table, by page."""
    best = solve_pages(*pages).value if best is None else best
    return 1 - page_value(prices, pages.a, pages.b, pages.cost)[0] / best
