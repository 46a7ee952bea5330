"""The nested page solver against exhaustive menus, multistart ascent and the plain solver."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize

from fairtag.solver.cells import Cells
from fairtag.solver.nested_pages import solve_nested_pages
from fairtag.solver.page_solver import solve_pages


@pytest.fixture
def rng():
    return np.random.default_rng(17)


def worth(y, page):
    """Value of one page by the definition of the nested logit."""
    a, b, cost, nest, zeta, anchor, lam = page
    utility, gain = a - b * y, y - cost - lam * (y - anchor) ** 2
    above, below = 0.0, 1.0
    for k in np.unique(nest):
        at = nest == k
        weight = np.exp(utility[at] / zeta[at])
        attraction = weight.sum() ** zeta[at][0]
        above += attraction * (weight @ gain[at]) / weight.sum()
        below += attraction
    return above / below


def draw(rng, n, same_slope, lam=0.0):
    nest = rng.integers(0, 2, n)
    slope = np.full(n, rng.uniform(2, 8)) if same_slope else rng.uniform(2, 8, n)
    zeta = rng.uniform(0.1, 1.0, 2)[nest]
    return rng.normal(2, 2, n), slope, rng.uniform(0.2, 0.8, n), nest, zeta, rng.uniform(0.6, 1.2, n), lam


def solve(page, lo=0.0, hi=2.0, menu=None):
    a, b, cost, nest, zeta, anchor, lam = page
    return solve_nested_pages(a, b, cost, anchor, lo, hi, nest=nest, dissimilarity=zeta, anchor_weight=lam, menu=menu)


@pytest.mark.parametrize("lam", [0.0, 0.5])
@pytest.mark.parametrize("same_slope", [True, False])
def test_on_menus_the_value_equals_that_of_an_exhaustive_search(rng, same_slope, lam):
    for _ in range(60):
        page = draw(rng, rng.integers(2, 5), same_slope, lam)
        menu = np.sort(rng.uniform(0.3, 1.5, (page[0].size, 5)), axis=1)
        found = solve(page, menu=menu)
        assert bool(found.converged)
        best = max(worth(np.array(prices), page) for prices in product(*menu))
        assert float(found.value) == pytest.approx(best, abs=1e-10)
        assert worth(found.y, page) == pytest.approx(float(found.value), abs=1e-12)


@pytest.mark.parametrize("same_slope", [True, False])
def test_between_bounds_no_ascent_from_many_starts_finds_more(rng, same_slope):
    for _ in range(12):
        page = draw(rng, 5, same_slope)
        lo = page[2] + rng.uniform(0, 0.2, 5)
        hi = lo + rng.uniform(0.05, 0.6, 5)
        found = solve(page, lo, hi)
        fits = [
            minimize(lambda y, page=page: -worth(y, page), rng.uniform(lo, hi), bounds=np.c_[lo, hi], tol=1e-13)
            for _ in range(8)
        ]
        assert float(found.value) >= -min(fit.fun for fit in fits) - 1e-9
        assert bool(found.converged)


def test_where_only_ceilings_hold_a_nest_has_one_optimum(rng):
    held = 0
    for _ in range(12):
        page = draw(rng, 5, same_slope=True)
        hi = page[2] + rng.uniform(0.1, 0.5, 5)
        found, lo = solve(page, 0.0, hi), np.zeros(5)
        fits = [
            minimize(lambda y, page=page: -worth(y, page), rng.uniform(lo, hi), bounds=np.c_[lo, hi], tol=1e-13)
            for _ in range(8)
        ]
        held += bool((found.y == hi).any())
        assert float(found.value) >= -min(fit.fun for fit in fits) - 1e-9
    assert held > 3


def test_inside_the_bounds_the_gradient_is_zero(rng):
    page = draw(rng, 6, same_slope=True)
    found = solve(page, -5.0, 50.0)
    for item in range(6):
        step = 1e-5 * np.eye(6)[item]
        slope = (worth(found.y + step, page) - worth(found.y - step, page)) / 2e-5
        assert abs(slope) < 1e-7
    assert found.y - page[2] == pytest.approx(np.full(6, 1 / page[1][0] + float(found.value)), abs=1e-8)


def test_without_nests_it_is_the_plain_solver(rng):
    a, b, cost = rng.normal(0, 1, (7, 6)), rng.uniform(2, 6, (7, 6)), rng.uniform(0.3, 0.6, (7, 6))
    plain = solve_pages(a, b, cost, 1.0, cost, 1.0)
    for nest, zeta in ((np.tile(np.arange(6), (7, 1)), 0.3), (np.zeros((7, 6), dtype=int), 1.0)):
        found = solve_nested_pages(a, b, cost, 1.0, cost, 1.0, nest=nest, dissimilarity=zeta)
        np.testing.assert_allclose(found.y, plain.y, atol=1e-9)
        np.testing.assert_allclose(found.value, plain.value, atol=1e-12)


def test_equal_items_of_a_nest_get_equal_prices_and_more_of_them_change_little(rng):
    a, nest = np.full(4, 1.5), np.zeros(4, dtype=int)
    values = []
    for n in (1, 2, 4):
        found = solve_nested_pages(a[:n], 4.0, 0.5, 1.0, 0.0, 2.0, nest=nest[:n], dissimilarity=0.05)
        assert np.ptp(found.y) < 1e-12
        values.append(float(found.value))
    assert values[2] < 1.1 * values[0]


def test_a_page_gets_the_same_prices_alone_and_in_a_batch_and_what_is_not_on_it_takes_no_part(rng):
    pages = [draw(rng, 6, same_slope=False) for _ in range(30)]
    a, b, cost, nest, zeta, anchor = (np.stack([page[k] for page in pages]) for k in range(6))
    mask = rng.random((30, 6)) < 0.8
    whole = solve_nested_pages(a, b, cost, anchor, cost, 1.2, nest=nest, dissimilarity=zeta, mask=mask)
    for row in range(30):
        at = mask[row]
        if not at.any():
            continue
        alone = solve_nested_pages(
            *(x[row][at] for x in (a, b, cost, anchor, cost)), 1.2, nest=nest[row][at], dissimilarity=zeta[row][at]
        )
        np.testing.assert_allclose(whole.y[row][at], alone.y, atol=1e-9)
        assert np.isnan(whole.y[row][~at]).all()
        assert whole.value[row] == pytest.approx(float(alone.value), abs=1e-11)


def test_probabilities_are_those_of_the_nests(rng):
    page = draw(rng, 6, same_slope=False)
    found = solve(page)
    a, b, _, nest, zeta, *_ = page
    pull = np.exp(Cells.of(np.zeros(6, dtype=int), nest, zeta).adjust(a - b * found.y))
    np.testing.assert_allclose(found.q, pull / (1 + pull.sum()), rtol=1e-9)


def test_nothing_on_sale_is_worth_nothing():
    found = solve_nested_pages(
        [1.0, 1.0], 4.0, 0.5, 1.0, 0.0, 2.0, nest=np.zeros(2, dtype=int), dissimilarity=0.5, mask=[False, False]
    )
    assert float(found.value) == 0
    assert not found.priced.any()
    empty = np.zeros((0, 3))
    assert solve_nested_pages(
        empty, empty, empty, empty, empty, empty, nest=np.zeros((0, 3), dtype=int), dissimilarity=0.5
    ).y.shape == (0, 3)
