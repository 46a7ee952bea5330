"""Time and memory of fitting the demand's conditional logit, alone and against statsmodels on data it can handle."""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from benchmarks.result import Result, Row
from fairtag.data.point_in_time import training_set
from fairtag.demand.choices import Choices, Floats
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.fit import fit_demand
from fairtag.demand.logit import fit_logit, laplace
from fairtag.simulator.simulation import ShopSize, simulate_shop
from fairtag.solver.cells import Cells

LARGE, PARAMETERS = 1_000_000, 60
SMALL, FEW = 12_000, 10  # statsmodels recurses over every page in each evaluation: beyond this it takes minutes
PAGE = 20
PAIRS, DISSIMILARITY = 4, 0.5  # of the pages with nests: 40 % of the rows have a twin
SHOP = ShopSize()  # of the demo: 200,000 impressions of 3,000 items
TEXT = 64  # dimensions of the embeddings
CALLS = 2_000
MEGABYTE = 1e6

T = TypeVar("T")


def run() -> Result:
    """Fit a million impressions, compare with statsmodels on a few, fit the demo's demand model, evaluate one page."""
    rows = [*_large_rows(), *_statsmodels_rows(), *_shop_rows()]
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    notes = (
        f"{os.cpu_count()} cores, OMP_NUM_THREADS={threads}. A parameter is a dense float64 column.",
        f"statsmodels fits {SMALL:,} rows of {FEW} columns with its default method; both times include standard "
        "errors. Its default stops about 1e-5 short of the optimum, so the gaps are taken after further Newton steps.",
        "Memory is the peak that the fit allocates beside the data, by tracemalloc.",
        f"Rows *_nested: the same pages, {2 * PAIRS / PAGE:.0%} of the rows in pairs with a dissimilarity of "
        f"{DISSIMILARITY}.",
    )
    return Result(tuple(rows), notes)


def planted_choices(rows: int, parameters: int, *, page: int = PAGE, seed: int = 0) -> tuple[Choices, Floats]:
    """Pages of equal size with one choice each, and the coefficients they were drawn from."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, parameters))
    X[:, 0] = 1.0
    theta = 0.3 * rng.normal(size=parameters)
    theta[0] = -3.0
    starts = np.arange(0, rows, page)
    noisy = (X @ theta + rng.gumbel(size=rows)).reshape(-1, page)
    none = rng.gumbel(size=starts.size)
    best = noisy.max(axis=1, keepdims=True)
    bought = (noisy == best) & (best > none[:, None])
    return Choices(X, starts, bought.ravel().astype(float), (best[:, 0] <= none).astype(float)), theta


def with_nests(choices: Choices, *, page: int = PAGE) -> Choices:
    """The same pages with pairs of rows that share demand."""
    nest = np.arange(page)
    nest[1 : 2 * PAIRS : 2] = nest[: 2 * PAIRS : 2]
    zeta = np.where(np.arange(page) < 2 * PAIRS, DISSIMILARITY, 1.0)
    return choices.with_cells(Cells.of(choices.page, np.tile(nest, choices.n_pages), np.tile(zeta, choices.n_pages)))


def _large_rows() -> list[Row]:
    choices, theta = planted_choices(LARGE, PARAMETERS)
    seconds, fit = _timed(lambda: fit_logit(choices))
    errors_seconds, spread = _timed(lambda: laplace(choices, fit))
    worst = float(np.abs((fit.theta - theta) / spread.standard_errors).max())
    nested = with_nests(choices)
    nested_seconds, _ = _timed(lambda: _with_errors(nested))
    return [
        Row("fit_1m_impressions_60_parameters", seconds + errors_seconds, unit="s", reference="< 60"),
        Row("newton_steps", fit.iterations),
        Row("data_memory", choices.X.nbytes / MEGABYTE, unit="MB"),
        Row("memory_on_top_of_data", _memory(lambda: fit_logit(choices)) / MEGABYTE, unit="MB"),
        Row("fit_1m_impressions_60_parameters_nested", nested_seconds, unit="s", reference="< 10"),
        Row("memory_on_top_of_data_nested", _memory(lambda: fit_logit(nested)) / MEGABYTE, unit="MB"),
        Row("largest_error", worst, unit="standard errors", reference="<= 4"),
    ]


def _statsmodels_rows() -> list[Row]:
    from statsmodels.discrete.conditional_models import ConditionalLogit

    choices, _ = planted_choices(SMALL, FEW)
    with_outside = np.vstack([choices.X, np.zeros((choices.n_pages, FEW))])
    chosen = np.concatenate([choices.bought, choices.outside])
    groups = np.concatenate([choices.page, np.arange(choices.n_pages)])
    order = np.argsort(groups, kind="stable")
    reference = ConditionalLogit(chosen[order], with_outside[order], groups=groups[order])
    theirs, stopped = _timed(lambda: reference.fit(disp=False))
    found = reference.fit(start_params=stopped.params, method="newton", disp=False)
    ours, (fit, spread) = _timed(lambda: _with_errors(choices))
    return [
        Row("statsmodels_seconds", theirs, unit="s"),
        Row("fairtag_seconds", ours, unit="s"),
        Row("statsmodels_over_fairtag_time", theirs / ours, unit="times"),
        Row("largest_coefficient_gap", float(np.abs(fit.theta - found.params).max()), reference="<= 1e-6"),
        Row("largest_standard_error_gap", float(np.abs(spread.standard_errors - found.bse).max()), reference="<= 1e-4"),
    ]


def _with_errors(choices: Choices) -> tuple[Any, Any]:
    fit = fit_logit(choices)
    return fit, laplace(choices, fit)


def _shop_rows() -> list[Row]:
    market = simulate_shop(SHOP, seed=0)
    embeddings = np.random.default_rng(0).normal(size=(SHOP.items, TEXT))
    assortment = Assortment.of(market.tables.latest_items(), embeddings)
    training = training_set(market.tables)
    data = demand_data(training, assortment, similarity=market.planted.similarity)
    seconds, model = _timed(lambda: fit_demand(data))
    parameters = model.layout.size + 2 * model.n_items
    return [
        Row("fit_shop_of_3000_items_200k_impressions", seconds, unit="s", reference="< 30"),
        Row("shop_parameters", parameters),
        *(Row(f"page_of_{n}", _page_seconds(model, n) * 1e6, unit="us", reference="< 100") for n in (24, 100, 1000)),
        Row("posterior_draws_64_page_of_24", _draws_seconds(model) * 1e6, unit="us"),
    ]


def _page_seconds(model: DemandModel, n: int) -> float:
    items, similarity = np.arange(n), np.linspace(0.2, 0.9, n)
    behaviour = model.scaling.mean + 0.5
    return _each(lambda: model.page(items, similarity, behaviour))


def _draws_seconds(model: DemandModel) -> float:
    items, similarity = np.arange(24), np.linspace(0.2, 0.9, 24)
    return _each(lambda: model.draws(items, similarity, model.scaling.mean, n_draws=64))


def _each(call: Callable[[], object]) -> float:
    """Median seconds of a call; a shared machine stalls now and then."""
    call()
    return float(np.median([_timed(call)[0] for _ in range(CALLS)]))


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def _memory(call: Callable[[], object]) -> float:
    """Peak bytes that a call allocates; numpy reports its arrays to tracemalloc."""
    tracemalloc.start()
    try:
        call()
        return float(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
