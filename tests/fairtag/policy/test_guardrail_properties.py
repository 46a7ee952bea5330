"""What holds for every policy and every market: guardrails as properties."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairtag.policy.guardrails import (
    GuardrailLimits,
    close_empty_menus,
    price_bounds,
    price_menu,
    project,
    snap,
    to_minor,
)
from fairtag.solver.page_solver import solve_pages

NAN = np.nan

money = st.one_of(st.just(NAN), st.floats(0.01, 500.0))
SHARES = {
    "min_margin": st.floats(0, 0.5),
    "max_discount": st.floats(0, 1),
    "max_decrease": st.none() | st.floats(0, 0.5),
    "max_increase": st.none() | st.floats(0, 0.5),
    "competitor_below": st.none() | st.floats(0, 0.5),
    "competitor_above": st.none() | st.floats(0, 0.5),
    "corridor_ratio": st.floats(1, 2),
    "endings": st.sampled_from([(), (9,), (49, 99), (0, 5)]),
    "ending_period": st.just(100),
    "menu_size": st.integers(2, 40),
}
discount_only = st.builds(GuardrailLimits, **SHARES)
marked_up = st.builds(GuardrailLimits, discount_only=st.just(False), max_markup=st.floats(0, 0.5), **SHARES)
limits = discount_only | marked_up
market = st.fixed_dictionaries(
    {
        "list_price": st.floats(0.5, 500.0),
        "unit_cost": st.floats(0, 600.0),
        "map_price": money,
        "msrp": money,
        "competitor_price": money,
        "previous_price": money,
        "corridor_low": money,
    }
)
quick = settings(max_examples=300, deadline=None, derandomize=True)


@quick
@given(limits, market, st.floats(-10, 1000), st.floats(-10, 1000))
def test_projection_is_idempotent_monotone_and_inside(limits, market, left, right):
    bounds = price_bounds(limits, **market)
    low, high = project([min(left, right)], bounds), project([max(left, right)], bounds)
    assert (project(low, bounds) == low).all()
    assert (low <= high).all()
    assert ((bounds.lo <= low) & (high <= bounds.hi)).all()
    assert project([NAN], bounds) == bounds.fallback


@quick
@given(limits, market, st.floats(-10, 1000), st.floats(-10, 1000))
def test_snapping_to_the_menu_is_idempotent_and_monotone(limits, market, left, right):
    open_bounds = price_bounds(limits, **market)
    bounds, menu = close_empty_menus(open_bounds, price_menu(open_bounds, limits))
    low, high = snap([min(left, right)], menu), snap([max(left, right)], menu)
    assert (snap(low, menu) == low).all()
    assert (low <= high).all()
    assert ((bounds.lo <= low) & (high <= bounds.hi)).all()


@quick
@given(discount_only, market)
def test_discount_only_never_exceeds_list(limits, market):
    bounds = price_bounds(limits, **market)
    listed = np.rint(market["list_price"] * 100) / 100
    assert bounds.hi[0] <= max(listed, market["list_price"]) + 1e-9
    assert bounds.fallback[0] <= max(listed, market["list_price"]) + 1e-9


@quick
@given(marked_up, market)
def test_with_a_markup_no_price_exceeds_list_and_the_markup(limits, market):
    bounds = price_bounds(limits, **market)
    most = max(market["list_price"] * (1 + limits.max_markup), np.rint(market["list_price"] * 100) / 100)
    assert bounds.hi[0] <= most + 1e-9
    assert bounds.fallback[0] <= most + 1e-9


@quick
@given(limits, market)
def test_legal_bounds_hold_wherever_they_can(limits, market):
    bounds = price_bounds(limits, **market)
    legal_lo = np.nanmax([market["unit_cost"] / (1 - limits.min_margin), market["map_price"], market["corridor_low"]])
    ceiling = market["list_price"] * (1 + limits.markup)
    legal_hi = np.nanmin([market["msrp"], ceiling, market["corridor_low"] * limits.corridor_ratio])
    if legal_lo + 0.011 <= legal_hi:  # a whole minor unit fits
        assert bounds.lo[0] >= legal_lo - 1e-6
        assert bounds.hi[0] <= legal_hi + 1e-6
    if not bounds.feasible[0]:
        assert bounds.lo[0] == bounds.hi[0] == bounds.fallback[0]


@quick
@given(limits, market, st.floats(0, 100))
def test_a_dearer_item_never_has_a_lower_floor_or_another_ceiling(limits, market, rise):
    cheap = price_bounds(limits, **market)
    dear = price_bounds(limits, **{**market, "unit_cost": market["unit_cost"] + rise})
    if cheap.feasible[0] and dear.feasible[0]:
        assert dear.lo[0] >= cheap.lo[0]
        assert dear.hi[0] >= cheap.hi[0]


@quick
@given(limits, market)
def test_the_menu_is_ascending_inside_the_bounds_and_made_of_endings(limits, market):
    bounds = price_bounds(limits, **market)
    row = price_menu(bounds, limits)[0]
    row = row[~np.isnan(row)]
    if bounds.feasible[0]:
        assert (np.diff(row) > 0).all()
        assert ((row >= bounds.lo[0]) & (row <= bounds.hi[0])).all()
        assert len(row) <= limits.menu_size
        if limits.endings:
            assert np.isin(to_minor(row) % 100, limits.endings).all()
    else:
        assert row.tolist() == [bounds.fallback[0]]


@quick
@given(limits, market, st.floats(0.1, 50), st.integers(0, 10))
def test_a_chosen_price_never_falls_when_the_cost_rises_guardrails_included(limits, market, rise, seed):
    """One item, its bounds moved by its cost too; the menu is left out, for thinning makes another menu."""
    rng = np.random.default_rng(seed)
    n, reference = 4, 100.0
    a, b, other = rng.normal(1, 1, n), rng.uniform(1, 5, n), rng.uniform(0.2, 0.6, n)
    prices = []
    for cost in (market["unit_cost"], market["unit_cost"] + rise):
        bounds = price_bounds(limits, **{**market, "unit_cost": cost})
        if not bounds.feasible[0]:
            return
        lo, hi = np.r_[bounds.lo[0] / reference, np.full(3, 0.3)], np.r_[bounds.hi[0] / reference, np.full(3, 1.5)]
        prices.append(solve_pages(a, b, np.r_[cost / reference, other[1:]], 1.0, lo, hi, anchor_weight=0.2).y[0])
    assert prices[1] >= prices[0] - 1e-9
