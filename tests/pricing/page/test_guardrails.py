import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.errors import ConfigError, DataError
from pricing.page.guardrails import (
    GuardrailLimits,
    binding_reasons,
    price_bounds,
    price_menu,
    project,
    settle,
    snap,
    to_minor,
)
from pricing.page.solver import solve_pages
from pricing.reasons import Reason

NAN, INF = np.nan, np.inf
OPEN = GuardrailLimits(min_margin=0.0, max_discount=1.0)
STRICT = GuardrailLimits(
    min_margin=0.1,
    max_discount=0.3,
    max_decrease=0.1,
    max_increase=0.05,
    competitor_below=0.2,
    competitor_above=0.1,
    corridor_ratio=1.1,
)


def one(limits=OPEN, *, list_price=100.0, unit_cost=10.0, **given):
    """The bounds of a single item: (lo, lo reason, hi, hi reason)."""
    bounds = price_bounds(limits, list_price=list_price, unit_cost=unit_cost, **given)
    return bounds.lo[0], bounds.lo_reason[0], bounds.hi[0], bounds.hi_reason[0]


# --- each bound, alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "given", "lo", "reason"),
    [
        (GuardrailLimits(min_margin=0.2, max_discount=1.0), {}, 12.5, Reason.COST_FLOOR),
        (OPEN, {"map_price": 80.0}, 80.0, Reason.MAP_FLOOR),
        (GuardrailLimits(max_discount=0.3), {}, 70.0, Reason.CHANGE_LIMIT),
        (GuardrailLimits(max_discount=1.0, max_decrease=0.1), {"previous_price": 90.0}, 81.0, Reason.CHANGE_LIMIT),
        (
            GuardrailLimits(max_discount=1.0, competitor_below=0.2),
            {"competitor_price": 95.0},
            76.0,
            Reason.COMPETITOR_CAP,
        ),
        (OPEN, {"corridor_low": 88.0}, 88.0, Reason.FAIRNESS_CORRIDOR),
    ],
)
def test_each_lower_bound_binds_with_its_reason(limits, given, lo, reason):
    assert one(limits, **given)[:2] == (lo, reason)


@pytest.mark.parametrize(
    ("limits", "given", "hi", "reason"),
    [
        (OPEN, {"msrp": 95.0}, 95.0, Reason.LIST_CEILING),
        (OPEN, {}, 100.0, Reason.LIST_CEILING),
        (GuardrailLimits(discount_only=False, max_markup=0.15), {}, 115.0, Reason.LIST_CEILING),
        (GuardrailLimits(max_increase=0.05), {"previous_price": 80.0}, 84.0, Reason.CHANGE_LIMIT),
        (GuardrailLimits(competitor_above=0.1), {"competitor_price": 80.0}, 88.0, Reason.COMPETITOR_CAP),
        (GuardrailLimits(corridor_ratio=1.2), {"corridor_low": 75.0}, 90.0, Reason.FAIRNESS_CORRIDOR),
    ],
)
def test_each_upper_bound_binds_with_its_reason(limits, given, hi, reason):
    assert one(limits, **given)[2:] == (hi, reason)


def test_a_limit_that_is_none_is_no_bound():
    given = {"previous_price": 50.0, "competitor_price": 50.0}
    assert one(OPEN, **given) == one(OPEN)


def test_of_equal_bounds_the_first_in_order_gives_the_reason():
    limits = GuardrailLimits(min_margin=0.0, max_discount=0.2)
    assert one(limits, unit_cost=80.0, map_price=80.0)[1] is Reason.COST_FLOOR
    assert one(limits, map_price=80.0)[1] is Reason.MAP_FLOOR


def test_reasons_are_members_of_the_enumeration():
    bounds = price_bounds(STRICT, list_price=[100.0, 5.0, NAN], unit_cost=[50.0, 9.0, 1.0])
    for reason in (*bounds.lo_reason, *bounds.hi_reason):
        assert isinstance(reason, Reason)


# --- ranks, contradictions, bad input --------------------------------------------------------------------------------


def test_legal_bounds_outrank_commercial_ones():
    # The competitor cap would force 66; the maker allows nothing below 80.
    assert one(STRICT, map_price=80.0, competitor_price=60.0)[0] == 80.0
    assert one(STRICT, map_price=80.0, competitor_price=60.0)[2:] == (80.0, Reason.COMPETITOR_CAP)
    # The change limit would keep it at 90; the suggested price is 85.
    assert one(STRICT, msrp=85.0, previous_price=100.0)[:3] == (85.0, Reason.CHANGE_LIMIT, 85.0)
    # No customer's history pushes a price out of the corridor.
    low, _, high, _ = one(STRICT, corridor_low=72.0, previous_price=100.0)
    assert 72.0 <= low <= high <= 79.2


@pytest.mark.parametrize(
    "given",
    [
        {"unit_cost": 120.0},  # cost above list
        {"unit_cost": 95.0},  # list leaves less than the smallest margin
        {"map_price": 101.0},
        {"msrp": 40.0, "unit_cost": 45.0},
        {"previous_price": 100.0, "competitor_price": 50.0},  # two commercial bounds that cannot both hold
    ],
)
def test_contradictory_bounds_give_the_list_price(given):
    bounds = price_bounds(STRICT, list_price=100.0, **{"unit_cost": 10.0, **given})
    assert not bounds.feasible[0]
    assert (bounds.lo[0], bounds.hi[0], bounds.fallback[0]) == (100.0, 100.0, 100.0)
    assert bounds.lo_reason[0] is bounds.hi_reason[0] is Reason.INFEASIBLE
    assert binding_reasons([100.0], bounds) == [(Reason.INFEASIBLE,)]


def test_the_fallback_stays_inside_the_corridor_where_commercial_bounds_contradict():
    """Otherwise one customer's history would send the list price past rho times another's price."""
    limits = GuardrailLimits(
        min_margin=0.0, max_discount=1.0, max_decrease=0.0, competitor_above=0.0, corridor_ratio=1.2
    )
    bounds = price_bounds(
        limits, list_price=100.0, unit_cost=10.0, previous_price=80.0, competitor_price=75.0, corridor_low=70.0
    )
    assert not bounds.feasible[0]
    assert bounds.fallback[0] == 84.0


@pytest.mark.parametrize("unit_cost", [NAN, INF, -1.0, 1e300])
def test_without_a_usable_cost_the_list_price_is_served(unit_cost):
    bounds = price_bounds(OPEN, list_price=20.0, unit_cost=unit_cost)
    assert (bounds.feasible[0], bounds.lo[0], bounds.hi[0]) == (False, 20.0, 20.0)


@pytest.mark.parametrize("list_price", [NAN, INF, 0.0, -5.0, 1e300])
def test_without_a_usable_list_price_nothing_can_be_served(list_price):
    bounds = price_bounds(OPEN, list_price=list_price, unit_cost=1.0)
    assert not bounds.feasible[0]
    assert np.isnan(bounds.fallback[0])
    with pytest.raises(DataError, match="1 prices are not finite"):
        to_minor(bounds.fallback)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, -3.0, 1e300])
@pytest.mark.parametrize("name", ["map_price", "msrp", "competitor_price", "previous_price", "corridor_low"])
def test_an_optional_price_that_is_no_positive_number_is_absent(name, value):
    assert one(STRICT, **{name: value}) == one(STRICT)


def test_a_free_item_still_costs_the_smallest_coin():
    assert one(OPEN, list_price=0.05, unit_cost=0.0)[0] == 0.01


def test_no_items_have_no_bounds():
    bounds = price_bounds(STRICT, list_price=[], unit_cost=[])
    assert bounds.lo.shape == bounds.feasible.shape == (0,)
    assert price_menu(bounds, STRICT).shape == (0, STRICT.menu_size)
    assert binding_reasons([], bounds) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_margin": 1.0},
        {"min_margin": NAN},
        {"max_discount": 1.5},
        {"max_discount": -0.1},
        {"max_decrease": 2.0},
        {"max_increase": -0.1},
        {"competitor_above": NAN},
        {"corridor_ratio": 0.9},
        {"menu_size": 1},
        {"minor_per_unit": 0},
        {"endings": (100,), "ending_period": 100},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ConfigError):
        GuardrailLimits(**wrong)


# --- money -----------------------------------------------------------------------------------------------------------


def test_bounds_are_whole_minor_units_rounded_inwards():
    lo, _, hi, _ = one(GuardrailLimits(min_margin=0.3, max_discount=1.0), list_price=19.999, unit_cost=10.0)
    assert (lo, hi) == (14.29, 19.99)


@pytest.mark.parametrize("cents", [1, 7, 29, 57, 58, 113, 1999, 435, 11111111, 123456789])
def test_a_price_that_is_whole_cents_is_its_own_bound(cents):
    """19.99 * 100 is 1998.9999999999998 in float64."""
    lo, _, hi, _ = one(OPEN, list_price=cents / 100, unit_cost=cents / 100)
    assert (lo, hi) == (cents / 100, cents / 100)
    assert to_minor([lo]).tolist() == [cents]


def test_rounding_errors_of_added_up_money_do_not_cost_a_cent():
    added = sum([0.01] * 1999)
    assert added > 19.99
    assert one(OPEN, list_price=20.0, unit_cost=added)[0] == 19.99
    assert one(OPEN, list_price=40.0 - added, unit_cost=1.0)[2] == 20.01


def test_money_leaves_as_integers_of_the_currencys_own_minor_unit():
    assert to_minor([19.99, 0.01, 1e9]).tolist() == [1999, 1, 100_000_000_000]
    assert to_minor([1234.0], 1).tolist() == [1234]
    assert to_minor([1.2345], 1000).tolist() == [1234]
    assert to_minor([]).dtype == np.int64


# --- price endings ---------------------------------------------------------------------------------------------------


def menu_of(lo, hi, limits):
    bounds = price_bounds(GuardrailLimits(min_margin=0.0, max_discount=1.0), list_price=hi, unit_cost=lo)
    return price_menu(bounds, limits)


def test_the_menu_holds_exactly_the_endings_inside_the_bounds():
    limits = GuardrailLimits(endings=(99, 49), ending_period=100)
    row = menu_of([9.49], [12.5], limits)[0]
    assert row[~np.isnan(row)].tolist() == [9.49, 9.99, 10.49, 10.99, 11.49, 11.99, 12.49]


def test_a_long_menu_is_thinned_evenly_and_keeps_both_ends():
    limits = GuardrailLimits(endings=(9,), ending_period=10, menu_size=32)
    row = menu_of([100.0], [300.0], limits)[0]
    assert len(row) == 32
    assert (row[0], row[-1]) == (100.09, 299.99)
    steps = np.diff(np.rint(row * 10))
    assert steps.min() >= 64
    assert steps.max() <= 65
    assert (np.rint(row * 100) % 10 == 9).all()


def test_a_currency_without_cents_ends_in_its_own_units():
    limits = GuardrailLimits(endings=(80,), ending_period=100, minor_per_unit=1)
    bounds = price_bounds(
        GuardrailLimits(min_margin=0.0, max_discount=0.2, minor_per_unit=1), list_price=1500.0, unit_cost=1.0
    )
    row = price_menu(bounds, limits)[0]
    assert row[~np.isnan(row)].tolist() == [1280.0, 1380.0, 1480.0]


def test_without_endings_every_minor_unit_will_do():
    row = menu_of([0.97], [1.02], GuardrailLimits(endings=()))[0]
    assert row[~np.isnan(row)].tolist() == [0.97, 0.98, 0.99, 1.0, 1.01, 1.02]


def test_an_item_without_an_ending_inside_its_bounds_is_served_at_list():
    limits = GuardrailLimits(endings=(99,), ending_period=100)
    bounds = price_bounds(limits, list_price=[10.4, 10.4], unit_cost=[9.7, 5.0])
    menu = price_menu(bounds, limits)
    assert np.isnan(menu[0]).all()
    settled, menu = settle(bounds, menu)
    assert settled.feasible.tolist() == [False, True]
    assert menu[0, 0] == settled.lo[0] == settled.hi[0] == 10.4
    assert np.isnan(menu[0, 1:]).all()
    assert settled.lo_reason[0] is Reason.INFEASIBLE
    assert bounds.feasible.all()  # the argument is left as it was


def test_settled_bounds_and_menus_are_always_solvable():
    """What the guardrails hand over, the solver prices: nothing with a list price is set aside."""
    listed = np.array([10.4, 20.0, 5.0, 3.0])
    bounds = price_bounds(STRICT, list_price=listed, unit_cost=[9.7, 30.0, 2.0, NAN], map_price=[NAN, NAN, 4.0, NAN])
    bounds, menu = settle(bounds, price_menu(bounds, STRICT))
    got = solve_pages(0.5, 3.0, 0.5, 1.0, bounds.lo / listed, bounds.hi / listed, menu=menu / listed[:, None])
    assert got.priced.all()
    money = got.y * listed
    assert np.isin(to_minor(money), to_minor(np.nan_to_num(menu))).all()
    assert money[[0, 1, 3]] == pytest.approx(listed[[0, 1, 3]])


# --- properties ------------------------------------------------------------------------------------------------------

money = st.one_of(st.just(NAN), st.floats(0.01, 500.0))
limits = st.builds(
    GuardrailLimits,
    min_margin=st.floats(0, 0.5),
    max_discount=st.floats(0, 1),
    max_decrease=st.none() | st.floats(0, 0.5),
    max_increase=st.none() | st.floats(0, 0.5),
    competitor_below=st.none() | st.floats(0, 0.5),
    competitor_above=st.none() | st.floats(0, 0.5),
    corridor_ratio=st.floats(1, 2),
    endings=st.sampled_from([(), (9,), (49, 99), (0, 5)]),
    ending_period=st.just(100),
    menu_size=st.integers(2, 40),
)
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
    bounds, menu = settle(open_bounds, price_menu(open_bounds, limits))
    low, high = snap([min(left, right)], menu), snap([max(left, right)], menu)
    assert (snap(low, menu) == low).all()
    assert (low <= high).all()
    assert ((bounds.lo <= low) & (high <= bounds.hi)).all()


@quick
@given(limits, market)
def test_discount_only_never_exceeds_list_and_legal_bounds_hold_wherever_they_can(limits, market):
    bounds = price_bounds(limits, **market)
    listed = np.rint(market["list_price"] * 100) / 100
    assert bounds.hi[0] <= max(listed, market["list_price"]) + 1e-9
    legal_lo = np.nanmax([market["unit_cost"] / (1 - limits.min_margin), market["map_price"], market["corridor_low"]])
    legal_hi = np.nanmin([market["msrp"], market["list_price"], market["corridor_low"] * limits.corridor_ratio])
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
