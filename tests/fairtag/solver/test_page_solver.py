"""The solver against its oracles, and the shape of its answer."""

import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import lambertw

from fairtag.solver.page_solver import CHUNK_ITEMS, page_value, solve_pages

INF, NAN = np.inf, np.nan


def naive_value(y, a, b, cost, anchor, w=1.0, lam=0.0):
    attraction = np.exp(np.asarray(a) - np.asarray(b) * y)
    gain = w * (y - np.asarray(cost)) - lam * (y - np.asarray(anchor)) ** 2
    return (attraction * gain).sum() / (1 + attraction.sum())


def ascend(terms, w, lam, starts=12):
    """Multistart L-BFGS-B on the whole page with the analytic gradient."""
    a, b, cost, anchor, lo, hi = terms

    def loss(y):
        value, q = page_value(y, a, b, cost, anchor, margin_weight=w, anchor_weight=lam)
        gain = w * (y - cost) - lam * (y - anchor) ** 2
        return -float(value), -q * (w - 2 * lam * (y - anchor) - b * (gain - value))

    rng = np.random.default_rng(0)
    points = [lo, hi, (lo + hi) / 2, *rng.uniform(lo, hi, (starts - 3, len(lo)))]
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 2000}
    fits = (
        minimize(loss, x, jac=True, method="L-BFGS-B", bounds=np.c_[lo, hi].tolist(), options=options) for x in points
    )
    return max(-fit.fun for fit in fits)


@pytest.mark.parametrize("n", [1, 2, 24, 100, 10_000])
@pytest.mark.parametrize("slope", [0.3, 3.0, 40.0])
def test_equal_slopes_without_bounds_give_the_lambert_w_prices(n, slope):
    rng = np.random.default_rng(n)
    a, cost, shadow = rng.normal(0, 2, n), rng.uniform(0.2, 0.9, n), rng.uniform(0, 0.2, n)
    got = solve_pages(a, slope, cost, 1.0, -INF, INF, shadow=shadow)
    net = cost + shadow
    expected = net + (1 + lambertw(np.exp(a - 1 - slope * net).sum()).real) / slope
    np.testing.assert_allclose(got.y, expected, rtol=0, atol=1e-10)
    assert got.converged


@pytest.mark.parametrize("seed", range(40))
def test_a_menu_gives_the_best_of_all_combinations(seed):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 5)), int(rng.integers(1, 8))
    a, b, cost, anchor = rng.normal(0, 2, n), rng.uniform(0.1, 8, n), rng.uniform(0.2, 1.2, n), rng.uniform(0.5, 1.5, n)
    w, lam, shadow = rng.choice([0.0, 0.3, 1.0]), rng.choice([0.0, 0.1, 2.0, 50.0]), rng.choice([0.0, 0.2])
    menu = rng.uniform(0.3, 2.0, (n, m))
    got = solve_pages(a, b, cost, anchor, 0.0, 3.0, shadow=shadow, margin_weight=w, anchor_weight=lam, menu=menu)
    values = {y: naive_value(np.array(y), a, b, cost + shadow, anchor, w, lam) for y in itertools.product(*menu)}
    best = max(values.values())
    assert got.value == pytest.approx(best, abs=1e-12)
    assert values[tuple(got.y)] == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("w", "lam"), [(1.0, 0.0), (1.0, 0.5), (0.4, 5.0), (1.0, 60.0)])
def test_an_interval_gives_what_multistart_ascent_finds(seed, w, lam, draw_pages):
    n = 1 + seed % 6
    terms = draw_pages(seed, n)
    got = solve_pages(*terms, margin_weight=w, anchor_weight=lam)
    assert got.value == pytest.approx(ascend(terms, w, lam), abs=1e-9)
    assert got.value == pytest.approx(naive_value(got.y, *terms[:4], w, lam), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_upper_bound_is_taken_where_the_objective_rises_again(seed):
    """With a strong anchor below the bounds every sale loses; the highest price sells least."""
    rng = np.random.default_rng(seed)
    n = 3
    a, b, cost = rng.normal(0, 1, n), rng.uniform(4, 9, n), rng.uniform(0.2, 0.5, n)
    lo, hi = np.full(n, 1.0), np.full(n, 3.0)
    terms = (a, b, cost, np.full(n, 0.2), lo, hi)
    got = solve_pages(*terms, anchor_weight=4.0)
    assert (got.y == hi).any()
    grid = np.array(list(itertools.product(*np.linspace(lo, hi, 41).T)))
    value, _ = page_value(grid, *terms[:4], anchor_weight=4.0)
    assert got.value >= value.max() - 1e-12
    assert got.value == pytest.approx(ascend(terms, 1.0, 4.0), abs=1e-9)


def test_without_a_margin_weight_the_price_is_the_anchor(draw_pages):
    a, b, cost, anchor, _, _ = draw_pages(1, 24)
    got = solve_pages(a, b, cost, anchor, 0.5, 1.5, margin_weight=0.0, anchor_weight=0.7)
    np.testing.assert_allclose(got.y, anchor, rtol=0, atol=1e-15)
    assert got.value == 0


def test_an_anchor_weight_without_limit_gives_the_anchor(draw_pages):
    a, b, cost, anchor, _, _ = draw_pages(2, 24)
    distance = [
        np.abs(solve_pages(a, b, cost, anchor, 0.5, 1.5, anchor_weight=lam).y - anchor).max()
        for lam in (1e2, 1e4, 1e8, 1e12, 1e40)
    ]
    assert distance == sorted(distance, reverse=True)
    assert distance[-2] < 1e-11
    assert distance[-1] == 0


def test_a_tiny_anchor_weight_gives_the_prices_without_one(draw_pages):
    terms = draw_pages(3, 24)
    with_none, with_tiny = solve_pages(*terms), solve_pages(*terms, anchor_weight=1e-12)
    np.testing.assert_allclose(with_tiny.y, with_none.y, rtol=0, atol=1e-9)


def test_pricing_each_item_alone_loses_on_a_page_of_substitutes(draw_pages):
    a, b, cost, anchor = draw_pages(4, 24)[:4]
    together = solve_pages(a, b, cost, anchor, 0.0, 9.0)
    alone = solve_pages(a[:, None], b[:, None], cost[:, None], anchor[:, None], 0.0, 9.0).y[:, 0]
    assert page_value(alone, a, b, cost)[0] < 0.9 * together.value


def test_a_page_alone_and_in_a_batch_has_the_same_bits(draw_pages):
    terms = draw_pages(5, 60, 24)
    menu = np.sort(np.random.default_rng(0).uniform(0.7, 1.6, (60, 24, 9)), -1)
    for options in ({}, {"anchor_weight": 0.5}, {"menu": menu}):
        batch = solve_pages(*terms, **options)
        for row in range(60):
            extra = {"menu": menu[row]} if "menu" in options else options
            alone = solve_pages(*(x[row] for x in terms), **extra)
            np.testing.assert_array_equal(alone.y, batch.y[row])
            assert alone.value == batch.value[row]
            assert alone.iterations == batch.iterations[row]


def test_chunks_do_not_show(draw_pages):
    n = 24
    pages = 2 * CHUNK_ITEMS // n + 7
    terms = draw_pages(6, pages, n)
    got = solve_pages(*terms)
    assert got.converged.all()
    for row in (0, CHUNK_ITEMS // n - 1, CHUNK_ITEMS // n, pages - 1):
        assert (got.y[row] == solve_pages(*(x[row] for x in terms)).y).all()


def test_leading_axes_and_scalars_broadcast(draw_pages):
    a, _, cost = draw_pages(7, 2, 3, 5)[:3]
    got = solve_pages(a, 2.0, cost, 1.0, 0.5, 2.0, shadow=np.full(5, 0.1))
    assert got.y.shape == (2, 3, 5)
    assert got.value.shape == got.iterations.shape == got.converged.shape == (2, 3)
    assert (got.y[1, 2] == solve_pages(a[1, 2], 2.0, cost[1, 2], 1.0, 0.5, 2.0, shadow=0.1).y).all()


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match="broadcast"):
        solve_pages(np.zeros(3), np.ones(4), 0.5, 1.0, 0.5, 1.0)


def test_weights_may_differ_by_item_so_that_money_is_maximised():
    """With w = r the objective is profit in currency: the same as solving in currency itself."""
    rng = np.random.default_rng(8)
    n = 6
    reference = rng.uniform(5, 500, n)
    a, b, cost = rng.normal(1, 1, n), rng.uniform(2, 5, n), rng.uniform(0.4, 0.7, n)
    in_units = solve_pages(a, b, cost, 1.0, 0.5, 1.5, margin_weight=reference)
    in_money = solve_pages(a, b / reference, cost * reference, 1.0, 0.5 * reference, 1.5 * reference)
    np.testing.assert_allclose(in_units.y * reference, in_money.y, rtol=1e-12)
    assert in_units.value == pytest.approx(float(in_money.value), rel=1e-12)


def test_equal_menu_points_go_to_the_lower_price():
    # Flat demand and an anchor midway: both prices are worth exactly the same.
    got = solve_pages(0.0, 0.0, 0.0, 1.0, 0.0, 2.0, margin_weight=0.0, anchor_weight=1.0, menu=[[1.25, 0.75]])
    assert got.y == [0.75]


def test_prices_that_are_all_worth_nothing_go_to_the_lowest():
    got = solve_pages([0.0, 1.0], 2.0, 0.5, 1.0, [0.6, 0.7], 1.5, margin_weight=0.0)
    assert got.y.tolist() == [0.6, 0.7]
    assert got.value == 0


def test_menu_order_padding_and_points_outside_the_bounds_do_not_matter(draw_pages):
    a, b, cost, anchor, lo, hi = draw_pages(9, 4)
    menu = np.linspace(lo, hi, 7).T
    padded = np.c_[np.full(4, NAN), menu[:, ::-1], lo - 0.1, hi + 0.1, np.full(4, INF)]
    plain, messy = (
        solve_pages(a, b, cost, anchor, lo, hi, menu=menu),
        solve_pages(a, b, cost, anchor, lo, hi, menu=padded),
    )
    assert (plain.y == messy.y).all()


def test_infinite_bounds_leave_the_whole_menu_but_no_infinite_price():
    menu = np.array([[-INF, 0.7, 0.9, 800.0, INF]])
    for lam in (0.0, 2.0):
        got = solve_pages(0.0, 3.0, 0.4, 0.9, -INF, INF, menu=menu, anchor_weight=lam)
        values = {y: naive_value(np.array([y]), 0.0, 3.0, 0.4, 0.9, lam=lam) for y in (0.7, 0.9, 800.0)}
        assert got.value == pytest.approx(max(values.values()), abs=1e-15)
        assert values[got.y[0]] == max(values.values())
    only_far = solve_pages(0.0, 3.0, 0.4, 0.9, 500.0, INF, menu=menu, anchor_weight=2.0)
    assert only_far.y == [800.0]


def test_duplicates_of_an_item_get_one_price(draw_pages):
    a, b, cost, anchor, lo, hi = draw_pages(10, 5)
    twice = [np.r_[x, x[2], x[2]] for x in (a, b, cost, anchor, lo, hi)]
    y = solve_pages(*twice).y
    assert y[2] == y[5] == y[6]
