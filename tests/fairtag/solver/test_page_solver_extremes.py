"""Broken, contradictory and extreme numbers: each has a defined outcome, and none raises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.solver.page_solver import MAX_ITERATIONS, page_value, solve_pages

INF, NAN = np.inf, np.nan
quick = settings(max_examples=150, deadline=None, derandomize=True)

BROKEN = (0.0, 1.0, -1.0, NAN, INF, -INF, 1e308, -1e308, 1e-308, 1e99, -1e99, 700.0, 1e5, 5e8)


def check_defined(terms, options):
    """Whatever goes in, prices that come out are numbers inside their bounds and on their menu."""
    got = solve_pages(*terms, **options)
    lo, hi = (np.broadcast_to(x, got.y.shape)[got.priced] for x in terms[4:])
    y = got.y[got.priced]
    assert np.isfinite(y).all()
    assert np.isnan(got.y[~got.priced]).all()
    assert ((y >= lo) & (y <= hi)).all()
    if options.get("menu") is not None:
        assert (options["menu"][got.priced] == y[:, None]).any(-1).all()
    assert np.isfinite(got.q).all()
    assert (got.q >= 0).all()
    assert got.q.sum() <= 1 + 1e-12
    assert np.isfinite(got.value)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.slow
def test_no_mixture_of_broken_numbers_raises_warns_or_gives_a_price_that_is_not_one(seed):
    rng = np.random.default_rng(seed)

    def numbers(*shape):
        return np.where(rng.random(shape) < 0.4, rng.choice(BROKEN, shape), rng.uniform(0, 2, shape))

    for _ in range(500):
        n = int(rng.integers(0, 5))
        w, lam = numbers(2)
        options = {"shadow": numbers(n), "margin_weight": w, "anchor_weight": lam}
        options["menu"] = numbers(n, 3) if rng.random() < 0.4 else None
        check_defined([numbers(n) for _ in range(6)], options)


@quick
@given(st.lists(st.floats(), min_size=14, max_size=14), st.booleans())
def test_no_float_at_all_raises_or_warns(values, on_menu):
    first, second, (w, lam) = values[:6], values[6:12], values[12:]
    menu = np.array([values[:4], values[4:8]]) if on_menu else None
    terms = [np.array(pair) for pair in zip(first, second, strict=True)]
    check_defined(terms, {"margin_weight": w, "anchor_weight": lam, "menu": menu})


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e10, -1e10])
@pytest.mark.parametrize("argument", range(4))
def test_an_item_with_a_broken_number_is_set_aside_and_the_rest_is_priced_as_if_it_were_absent(
    argument, value, draw_pages
):
    terms = draw_pages(11, 5)
    spoiled = [x.copy() for x in terms]
    if argument == 1 and value == 1e10:
        value = 1e60  # slopes may be that large
    spoiled[argument][2] = value
    got = solve_pages(*spoiled, anchor_weight=0.5)
    rest = solve_pages(*(np.delete(x, 2) for x in terms), anchor_weight=0.5)
    assert got.priced.tolist() == [True, True, False, True, True]
    assert np.isnan(got.y[2])
    assert got.q[2] == 0
    np.testing.assert_allclose(np.delete(got.y, 2), rest.y, rtol=1e-14)


@pytest.mark.parametrize(("lo", "hi"), [(1.0, 0.9), (NAN, 1.0), (0.5, NAN), (INF, INF), (-INF, -INF)])
def test_contradictory_bounds_set_the_item_aside(lo, hi):
    got = solve_pages([1.0, 1.0], 3.0, 0.5, 1.0, [lo, 0.5], [hi, 1.0])
    assert got.priced.tolist() == [False, True]


def test_the_anchor_is_not_read_without_an_anchor_weight(draw_pages):
    terms = draw_pages(12, 5)
    assert (solve_pages(*terms[:3], NAN, *terms[4:]).y == solve_pages(*terms).y).all()


def test_masked_items_take_no_part(draw_pages):
    terms = draw_pages(13, 5)
    mask = np.array([True, False, True, True, False])
    got, rest = solve_pages(*terms, mask=mask), solve_pages(*(x[mask] for x in terms))
    np.testing.assert_allclose(got.y[mask], rest.y, rtol=1e-14)
    assert got.value == pytest.approx(float(rest.value), abs=1e-15)


@pytest.mark.parametrize("menu", [None, np.full((3, 4), NAN), np.zeros((3, 0))])
def test_a_page_on_which_nothing_can_be_priced_is_worth_nothing(menu):
    mask = None if menu is not None else np.zeros(3, bool)
    got = solve_pages(np.zeros(3), 2.0, 0.5, 1.0, 0.6, 1.2, menu=menu, mask=mask)
    assert not got.priced.any()
    assert (got.value, got.q.sum()) == (0, 0)
    assert got.converged


@pytest.mark.parametrize("shape", [(0,), (0, 24), (3, 0)])
@pytest.mark.parametrize("on_menu", [False, True])
def test_empty_pages_and_no_pages_have_empty_prices(shape, on_menu):
    got = solve_pages(np.zeros(shape), 2.0, 0.5, 1.0, 0.6, 1.2, menu=np.ones((*shape, 4)) if on_menu else None)
    assert got.y.shape == shape
    assert got.value.shape == shape[:-1]
    assert got.converged.all()


def test_a_page_of_one_item_and_a_page_of_ten_thousand(draw_pages):
    one = solve_pages(0.0, 2.0, 0.5, 1.0, 0.0, 9.0)
    assert one.y.shape == (1,)
    many = solve_pages(*draw_pages(14, 10_000))
    assert many.converged
    assert many.q.sum() < 1


def test_prices_at_or_below_zero_are_ordinary_numbers():
    got = solve_pages([1.0, 1.0], 3.0, [0.0, -0.5], 1.0, -2.0, [0.0, -0.1])
    assert got.y.tolist() == [0.0, -0.1]


def test_a_cost_above_every_allowed_price_sells_as_little_as_it_may():
    got = solve_pages(1.0, 3.0, 5.0, 1.0, 0.5, 1.5)
    assert got.y == [1.5]
    assert got.value < 0


@pytest.mark.parametrize("slope", [1e-30, 1e-8, 1e3, 1e8, 1e50])
def test_extreme_slopes_neither_overflow_nor_leave_the_bounds(slope):
    for lam in (0.0, 0.5):
        got = solve_pages([1.0, 0.0, -1.0], slope, 0.5, 1.0, 0.6, 1.4, anchor_weight=lam)
        assert got.converged
        assert ((got.y >= 0.6) & (got.y <= 1.4)).all()
    flat = solve_pages([1.0, 0.0], 0.0, 0.5, 1.0, 0.6, 1.4)
    assert (flat.y == 1.4).all()  # demand that does not move takes the highest price


def test_demand_that_no_price_stops_has_no_best_price():
    assert not solve_pages(1.0, 0.0, 0.5, 1.0, 0.6, INF).priced.any()


@pytest.mark.parametrize("utility", [30.0, 100.0, 700.0, 5e4, 9e8])
def test_pages_that_nearly_everyone_buys_from_do_not_crawl(utility):
    """Plain Dinkelbach steps gain 1/b each and would need about ``utility`` of them."""
    a, cost = np.array([1.0, 0.7, 0.2]) * utility, np.array([0.5, 0.4, 0.6])
    got = solve_pages(a, 3.0, cost, 1.0, -INF, INF)
    assert got.converged
    assert got.iterations < 20
    # First-order conditions: every margin is 1/b + R.
    np.testing.assert_allclose(got.y - cost, 1 / 3.0 + got.value, rtol=1e-9)


@pytest.mark.parametrize("utility", [700.0, 5e4])
def test_crawling_pages_with_an_anchor_or_a_menu_find_the_best_price(utility):
    terms = (np.array([utility]), np.array([7.0]), np.array([0.2]), np.array([0.3]), np.array([0.5]), np.array([1e5]))
    got = solve_pages(*terms, anchor_weight=0.01)
    grid = np.linspace(0.5, 300, 3_000_00)
    value, _ = page_value(grid[:, None], *terms[:4], anchor_weight=0.01)
    assert got.converged
    assert got.value >= value.max() - 1e-9
    menu = np.linspace(0.5, 300, 2_000)[None]
    on_menu = solve_pages(*terms, anchor_weight=0.01, menu=menu)
    best, _ = page_value(menu[0][:, None], *terms[:4], anchor_weight=0.01)
    assert on_menu.converged
    assert on_menu.value == pytest.approx(best.max(), rel=1e-12)


def test_iterations_stay_few_on_ordinary_pages(draw_pages):
    terms = draw_pages(15, 2_000, 24)
    for lam in (0.0, 0.5):
        got = solve_pages(*terms, anchor_weight=lam)
        assert got.converged.all()
        assert got.iterations.max() <= 8 < MAX_ITERATIONS
