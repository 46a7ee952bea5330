import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import lambertw

from pricing.page.solver import CHUNK_ITEMS, MAX_ITERATIONS, page_value, solve_pages

INF, NAN = np.inf, np.nan


def draw_pages(seed, *shape):
    """Random but plausible pages: a, b, cost, anchor, lo, hi."""
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.4, 0.8, shape)
    return (
        rng.normal(1, 1.5, shape),
        rng.uniform(1, 6, shape),
        cost,
        rng.uniform(0.8, 1.1, shape),
        np.maximum(cost / 0.95, 0.7),
        rng.uniform(1.0, 1.6, shape),
    )


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


# --- oracles ---------------------------------------------------------------------------------------------------------


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
def test_an_interval_gives_what_multistart_ascent_finds(seed, w, lam):
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


def test_without_a_margin_weight_the_price_is_the_anchor():
    a, b, cost, anchor, _, _ = draw_pages(1, 24)
    got = solve_pages(a, b, cost, anchor, 0.5, 1.5, margin_weight=0.0, anchor_weight=0.7)
    np.testing.assert_allclose(got.y, anchor, rtol=0, atol=1e-15)
    assert got.value == 0


def test_an_anchor_weight_without_limit_gives_the_anchor():
    a, b, cost, anchor, _, _ = draw_pages(2, 24)
    distance = [
        np.abs(solve_pages(a, b, cost, anchor, 0.5, 1.5, anchor_weight=lam).y - anchor).max()
        for lam in (1e2, 1e4, 1e8, 1e12, 1e40)
    ]
    assert distance == sorted(distance, reverse=True)
    assert distance[-2] < 1e-11
    assert distance[-1] == 0


def test_a_tiny_anchor_weight_gives_the_prices_without_one():
    terms = draw_pages(3, 24)
    with_none, with_tiny = solve_pages(*terms), solve_pages(*terms, anchor_weight=1e-12)
    np.testing.assert_allclose(with_tiny.y, with_none.y, rtol=0, atol=1e-9)


def test_pricing_each_item_alone_loses_on_a_page_of_substitutes():
    a, b, cost, anchor = draw_pages(4, 24)[:4]
    together = solve_pages(a, b, cost, anchor, 0.0, 9.0)
    alone = solve_pages(a[:, None], b[:, None], cost[:, None], anchor[:, None], 0.0, 9.0).y[:, 0]
    assert page_value(alone, a, b, cost)[0] < 0.9 * together.value


# --- shape of the answer ---------------------------------------------------------------------------------------------


def test_a_page_alone_and_in_a_batch_has_the_same_bits():
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


def test_chunks_do_not_show():
    n = 24
    pages = 2 * CHUNK_ITEMS // n + 7
    terms = draw_pages(6, pages, n)
    got = solve_pages(*terms)
    assert got.converged.all()
    for row in (0, CHUNK_ITEMS // n - 1, CHUNK_ITEMS // n, pages - 1):
        assert (got.y[row] == solve_pages(*(x[row] for x in terms)).y).all()


def test_leading_axes_and_scalars_broadcast():
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


def test_menu_order_padding_and_points_outside_the_bounds_do_not_matter():
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


def test_duplicates_of_an_item_get_one_price():
    a, b, cost, anchor, lo, hi = draw_pages(10, 5)
    twice = [np.r_[x, x[2], x[2]] for x in (a, b, cost, anchor, lo, hi)]
    y = solve_pages(*twice).y
    assert y[2] == y[5] == y[6]


# --- properties ------------------------------------------------------------------------------------------------------

seeds = st.integers(0, 2**32 - 1)
weights = st.sampled_from([0.0, 0.05, 0.5, 4.0, 50.0])
quick = settings(max_examples=150, deadline=None, derandomize=True)


@quick
@given(seeds, st.integers(1, 30), weights, st.booleans())
def test_prices_stay_inside_their_bounds_and_no_step_of_one_price_is_better(seed, n, lam, on_menu):
    terms = draw_pages(seed, n)
    menu = np.random.default_rng(seed).uniform(0.5, 1.8, (n, 6)) if on_menu else None
    got = solve_pages(*terms, anchor_weight=lam, menu=menu)
    y, lo, hi = got.y[got.priced], terms[4][got.priced], terms[5][got.priced]
    assert ((y >= lo) & (y <= hi)).all()
    if not got.priced.all() or on_menu:
        return
    for i in range(n):
        line = np.tile(got.y, (9, 1))
        line[:, i] = np.linspace(terms[4][i], terms[5][i], 9)
        assert page_value(line, *terms[:4], anchor_weight=lam)[0].max() <= got.value + 1e-12


@quick
@given(seeds, st.integers(1, 20), weights, st.booleans(), st.floats(0, 0.5), st.booleans())
def test_an_items_own_price_never_falls_when_its_cost_or_shadow_price_rises(seed, n, lam, on_menu, rise, by_shadow):
    """A theorem, interval or menu: ``K = w c + R`` rises by ``w (1 - q)`` and the argmax is monotone in K."""
    a, b, cost, anchor, lo, hi = draw_pages(seed, n)
    menu = np.random.default_rng(seed).uniform(0.7, 1.6, (n, 8)) if on_menu else None
    shadow, bump = np.zeros(n), np.zeros(n)
    bump[seed % n] = rise
    before = solve_pages(a, b, cost, anchor, lo, hi, shadow=shadow, anchor_weight=lam, menu=menu)
    extra = {"shadow": bump} if by_shadow else {"shadow": shadow}
    after = solve_pages(a, b, cost if by_shadow else cost + bump, anchor, lo, hi, anchor_weight=lam, menu=menu, **extra)
    i = seed % n
    if before.priced[i]:
        assert after.y[i] >= before.y[i] - 1e-9
        assert after.q[i] <= before.q[i] + 1e-9  # demand for it falls: the page's value is convex in the cost
    assert after.value <= before.value + 1e-12


@quick
@given(seeds, st.integers(1, 20), weights, st.booleans(), st.floats(0, 0.5))
def test_no_price_falls_when_all_costs_rise_together(seed, n, lam, on_menu, rise):
    """With one w a common rise moves every K by ``w (1 - sum q)``, which is not negative."""
    a, b, cost, anchor, lo, hi = draw_pages(seed, n)
    menu = np.random.default_rng(seed).uniform(0.7, 1.6, (n, 8)) if on_menu else None
    before = solve_pages(a, b, cost, anchor, lo, hi, anchor_weight=lam, menu=menu)
    after = solve_pages(a, b, cost, anchor, lo, hi, shadow=rise, anchor_weight=lam, menu=menu)
    assert (after.y >= before.y - 1e-9)[before.priced].all()


def test_the_other_prices_may_fall_when_one_cost_rises():
    """Not a theorem for the page: a dearer item makes the page worth less, so the rest is priced to sell."""
    a, b, cost = np.array([3.0, 1.0]), np.array([3.0, 3.0]), np.array([0.3, 0.3])
    before = solve_pages(a, b, cost, 1.0, 0.0, 5.0)
    after = solve_pages(a, b, cost + np.array([0.3, 0.0]), 1.0, 0.0, 5.0)
    assert after.y[0] > before.y[0]
    assert after.y[1] < before.y[1] - 0.01


@quick
@given(seeds, st.integers(1, 20), weights)
def test_a_wider_choice_is_never_worth_less(seed, n, lam):
    a, b, cost, anchor, lo, hi = draw_pages(seed, n)
    inside = np.linspace(lo, hi, 5).T
    menu = solve_pages(a, b, cost, anchor, lo, hi, anchor_weight=lam, menu=inside)
    narrow = solve_pages(a, b, cost, anchor, lo, hi, anchor_weight=lam)
    wide = solve_pages(a, b, cost, anchor, lo - 0.2, hi + 0.2, anchor_weight=lam)
    assert menu.value <= narrow.value + 1e-12
    assert narrow.value <= wide.value + 1e-12


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


# --- bad and extreme input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e10, -1e10])
@pytest.mark.parametrize("argument", range(4))
def test_an_item_with_a_broken_number_is_set_aside_and_the_rest_is_priced_as_if_it_were_absent(argument, value):
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


def test_the_anchor_is_not_read_without_an_anchor_weight():
    terms = draw_pages(12, 5)
    assert (solve_pages(*terms[:3], NAN, *terms[4:]).y == solve_pages(*terms).y).all()


def test_masked_items_take_no_part():
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


def test_a_page_of_one_item_and_a_page_of_ten_thousand():
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


def test_iterations_stay_few_on_ordinary_pages():
    terms = draw_pages(15, 2_000, 24)
    for lam in (0.0, 0.5):
        got = solve_pages(*terms, anchor_weight=lam)
        assert got.converged.all()
        assert got.iterations.max() <= 8 < MAX_ITERATIONS
