"""Money in whole minor units, and the price endings inside the bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base.types import Reason
from fairtag.policy.guardrails import (
    LEAST_PERIOD,
    GuardrailLimits,
    chargeable,
    close_empty_menus,
    price_bounds,
    price_menu,
    to_minor,
)
from fairtag.solver.page_solver import solve_pages

NAN = np.nan
OPEN = GuardrailLimits(min_margin=0.0, max_discount=1.0)


def ends(limits, **given):
    """The lowest and the highest price of a single item."""
    bounds = price_bounds(limits, **given)
    return bounds.lo[0], bounds.hi[0]


def test_bounds_are_whole_minor_units_rounded_inwards():
    lo, hi = ends(GuardrailLimits(min_margin=0.3, max_discount=1.0), list_price=19.999, unit_cost=10.0)
    assert (lo, hi) == (14.29, 19.99)


@pytest.mark.parametrize("cents", [1, 7, 29, 57, 58, 113, 1999, 435, 11111111, 123456789])
def test_a_price_that_is_whole_cents_is_its_own_bound(cents):
    """19.99 * 100 is 1998.9999999999998 in float64."""
    lo, hi = ends(OPEN, list_price=cents / 100, unit_cost=cents / 100)
    assert (lo, hi) == (cents / 100, cents / 100)
    assert to_minor([lo]).tolist() == [cents]


def test_rounding_errors_of_added_up_money_do_not_cost_a_cent():
    added = sum([0.01] * 1999)
    assert added > 19.99
    assert ends(OPEN, list_price=20.0, unit_cost=added)[0] == 19.99
    assert ends(OPEN, list_price=40.0 - added, unit_cost=1.0)[1] == 20.01


def test_money_leaves_as_integers_of_the_currencys_own_minor_unit():
    assert to_minor([19.99, 0.01, 1e9]).tolist() == [1999, 1, 100_000_000_000]
    assert to_minor([1234.0], 1).tolist() == [1234]
    assert to_minor([1.2345], 1000).tolist() == [1234]
    assert to_minor([]).dtype == np.int64


def test_the_smallest_coin_is_the_least_price_of_each_currency():
    for code, least in (("JPY", 1.0), ("USD", 0.01), ("KWD", 0.001), ("CLF", 0.0001)):
        limits = GuardrailLimits(min_margin=0.0, max_discount=1.0, currency=code)
        assert ends(limits, list_price=5.0, unit_cost=0.0)[0] == least


@pytest.mark.parametrize("listed", [0.0012, 0.004])
def test_a_list_price_below_the_smallest_coin_is_never_quoted_at_nothing(listed):
    bounds = price_bounds(OPEN, list_price=listed, unit_cost=listed / 2)
    assert not bounds.feasible[0]
    assert to_minor(bounds.fallback).tolist() == [1]
    assert not chargeable(listed, 100)
    assert chargeable(listed, 1_000) == (listed >= 0.001)


@pytest.mark.parametrize(
    ("code", "listed", "dearest"),
    [
        ("USD", 0.79, ["0.59 USD", "0.69 USD", "0.79 USD"]),
        ("USD", 19.99, ["19.59 USD", "19.79 USD", "19.99 USD"]),
        ("USD", 129.0, ["126.99 USD", "127.99 USD", "128.99 USD"]),
        ("EUR", 12_999.0, ["12,799.00 EUR", "12,899.00 EUR", "12,999.00 EUR"]),
        ("JPY", 540.0, ["529 JPY", "538 JPY", "539 JPY"]),
        ("JPY", 5_398.0, ["5,290 JPY", "5,380 JPY", "5,390 JPY"]),
        ("VND", 250_000.0, ["244,900 VND", "247,800 VND", "249,900 VND"]),
        ("IDR", 1_250_000.0, ["1,229,900.00 IDR", "1,239,900.00 IDR", "1,249,900.00 IDR"]),
        ("KWD", 1.234, ["1.205 KWD", "1.219 KWD", "1.229 KWD"]),
        ("CLF", 3.2, ["3.1399 CLF", "3.1699 CLF", "3.1999 CLF"]),
    ],
)
def test_endings_that_are_not_given_are_the_currencys_at_the_scale_of_the_price(code, listed, dearest):
    limits = GuardrailLimits(currency=code)
    bounds = price_bounds(limits, list_price=listed, unit_cost=listed * 0.4)
    row = price_menu(bounds, limits)[0]
    shown = [limits.coin.text(minor) for minor in to_minor(row[~np.isnan(row)], limits.minor_per_unit).tolist()]
    assert shown[-3:] == dearest


@pytest.mark.parametrize("code", ["JPY", "USD", "KWD", "CLF"])
@given(listed=st.floats(0.01, 1e7), cost=st.floats(0.0, 1.0))
def test_a_menu_of_any_currency_lies_inside_the_bounds_and_is_empty_only_where_they_are_close(code, listed, cost):
    limits = GuardrailLimits(currency=code)
    bounds = price_bounds(limits, list_price=listed, unit_cost=cost * listed)
    row = price_menu(bounds, limits)[0]
    menu = to_minor(row[~np.isnan(row)], limits.minor_per_unit)
    lo, hi = (to_minor(x, limits.minor_per_unit)[0] for x in (bounds.lo, bounds.hi))
    assert (menu >= 1).all()
    if bounds.feasible[0]:
        assert (menu >= lo).all()
        assert (menu <= hi).all()
        assert menu.size or hi - lo < LEAST_PERIOD


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
    limits = GuardrailLimits(endings=(80,), ending_period=100, currency="JPY")
    bounds = price_bounds(
        GuardrailLimits(min_margin=0.0, max_discount=0.2, currency="JPY"), list_price=1500.0, unit_cost=1.0
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
    settled, menu = close_empty_menus(bounds, menu)
    assert settled.feasible.tolist() == [False, True]
    assert menu[0, 0] == settled.lo[0] == settled.hi[0] == 10.4
    assert np.isnan(menu[0, 1:]).all()
    assert settled.lo_reason[0] is Reason.INFEASIBLE
    assert bounds.feasible.all()  # the argument is left as it was


def test_settled_bounds_and_menus_are_always_solvable(strict):
    """What the guardrails hand over, the solver prices: nothing with a list price is set aside."""
    listed = np.array([10.4, 20.0, 5.0, 3.0])
    bounds = price_bounds(strict, list_price=listed, unit_cost=[9.7, 30.0, 2.0, NAN], map_price=[NAN, NAN, 4.0, NAN])
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, strict))
    got = solve_pages(0.5, 3.0, 0.5, 1.0, bounds.lo / listed, bounds.hi / listed, menu=menu / listed[:, None])
    assert got.priced.all()
    money = got.y * listed
    assert np.isin(to_minor(money), to_minor(np.nan_to_num(menu))).all()
    assert money[[0, 1, 3]] == pytest.approx(listed[[0, 1, 3]])
