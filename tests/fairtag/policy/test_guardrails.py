"""The interval of a price: each bound alone, their ranks, contradictions and bad input."""

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.types import Reason
from fairtag.policy.guardrails import (
    GuardrailLimits,
    binding_reasons,
    price_bounds,
    price_menu,
    to_minor,
)

NAN, INF = np.nan, np.inf
OPEN = GuardrailLimits(min_margin=0.0, max_discount=1.0)


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


def test_reasons_are_members_of_the_enumeration(strict):
    bounds = price_bounds(strict, list_price=[100.0, 5.0, NAN], unit_cost=[50.0, 9.0, 1.0])
    for reason in (*bounds.lo_reason, *bounds.hi_reason):
        assert isinstance(reason, Reason)


# --- ranks, contradictions, bad input --------------------------------------------------------------------------------


def test_legal_bounds_outrank_commercial_ones(strict):
    # The competitor cap would force 66; the maker allows nothing below 80.
    assert one(strict, map_price=80.0, competitor_price=60.0)[0] == 80.0
    assert one(strict, map_price=80.0, competitor_price=60.0)[2:] == (80.0, Reason.COMPETITOR_CAP)
    # The change limit would keep it at 90; the suggested price is 85.
    assert one(strict, msrp=85.0, previous_price=100.0)[:3] == (85.0, Reason.CHANGE_LIMIT, 85.0)
    # No customer's history pushes a price out of the corridor.
    low, _, high, _ = one(strict, corridor_low=72.0, previous_price=100.0)
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
def test_contradictory_bounds_give_the_list_price(strict, given):
    bounds = price_bounds(strict, list_price=100.0, **{"unit_cost": 10.0, **given})
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
    with pytest.raises(DataError, match="prices: 1 are not finite"):
        to_minor(bounds.fallback)


@pytest.mark.parametrize("value", [NAN, INF, -INF, 0.0, -3.0, 1e300])
@pytest.mark.parametrize("name", ["map_price", "msrp", "competitor_price", "previous_price", "corridor_low"])
def test_an_optional_price_that_is_no_positive_number_is_absent(strict, name, value):
    assert one(strict, **{name: value}) == one(strict)


def test_a_free_item_still_costs_the_smallest_coin():
    assert one(OPEN, list_price=0.05, unit_cost=0.0)[0] == 0.01


def test_no_items_have_no_bounds(strict):
    bounds = price_bounds(strict, list_price=[], unit_cost=[])
    assert bounds.lo.shape == bounds.feasible.shape == (0,)
    assert price_menu(bounds, strict).shape == (0, strict.menu_size)
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
        {"max_markup": 0.15},  # and discount_only, the default, promises list
        {"menu_size": 1},
        {"currency": "EURO"},
        {"currency": "XAU"},
        {"endings": (100,), "ending_period": 100},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(ConfigError):
        GuardrailLimits(**wrong)
