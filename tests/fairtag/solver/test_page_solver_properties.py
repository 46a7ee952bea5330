"""What holds for the prices of every page."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.solver.page_solver import page_value, solve_pages

INF, NAN = np.inf, np.nan

seeds = st.integers(0, 2**32 - 1)


weights = st.sampled_from([0.0, 0.05, 0.5, 4.0, 50.0])


quick = settings(max_examples=150, deadline=None, derandomize=True)


@quick
@given(seeds, st.integers(1, 30), weights, st.booleans())
def test_prices_stay_inside_their_bounds_and_no_step_of_one_price_is_better(draw_pages, seed, n, lam, on_menu):
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
def test_an_items_own_price_never_falls_when_its_cost_or_shadow_price_rises(
    draw_pages, seed, n, lam, on_menu, rise, by_shadow
):
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
def test_no_price_falls_when_all_costs_rise_together(draw_pages, seed, n, lam, on_menu, rise):
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
def test_a_wider_choice_is_never_worth_less(draw_pages, seed, n, lam):
    a, b, cost, anchor, lo, hi = draw_pages(seed, n)
    inside = np.linspace(lo, hi, 5).T
    menu = solve_pages(a, b, cost, anchor, lo, hi, anchor_weight=lam, menu=inside)
    narrow = solve_pages(a, b, cost, anchor, lo, hi, anchor_weight=lam)
    wide = solve_pages(a, b, cost, anchor, lo - 0.2, hi + 0.2, anchor_weight=lam)
    assert menu.value <= narrow.value + 1e-12
    assert narrow.value <= wide.value + 1e-12
