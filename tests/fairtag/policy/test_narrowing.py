"""What narrows and what widens, field by field; and that a narrower policy forbids whatever the wider one forbade."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairtag.policy.guardrails import close_empty_menus, price_bounds, price_menu
from fairtag.policy.narrowing import differences, widenings
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy

ACCEPTED = PricingPolicy()
PIN = {"item": "a", "price": 10.0}
SALE = {"name": "sale", "cut": 0.2, "items": ["a"], "starts": "2026-12-01", "ends": "2026-12-24"}


def policy(**changes):
    return ShopPolicy().changed(**changes)


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ({"at_list": True}, {}),
        ({"personal_prices": {"allowed": False}}, {}),
        ({"personal_prices": {"places_off": ["DE"]}}, {}),
        ({"personal_prices": {"categories_off": ["toys"]}}, {}),
        ({"limits": {"min_margin": 0.1}}, {}),
        ({"limits": {"max_discount": 0.2}}, {}),
        ({}, {"limits": {"max_discount": 0.4}}),
        ({}, {"limits": {"discount_only": False}}),
        ({"limits": {"discount_only": False}}, {"limits": {"discount_only": False, "max_markup": 0.2}}),
        ({"limits": {"max_increase": 0.1}}, {}),
        ({"limits": {"max_decrease": 0.1}}, {"limits": {"max_decrease": 0.2}}),
        ({"limits": {"competitor_above": 0.0}}, {}),
        ({"limits": {"competitor_below": 0.1}}, {"limits": {"competitor_below": None}}),
        ({"limits": {"corridor_ratio": 1.1}}, {}),
        ({"limits": {"endings": [99], "ending_period": 100}}, {"limits": {"endings": [9], "ending_period": 10}}),
        ({"limits": {"endings": [99], "ending_period": 100}}, {"limits": {"endings": []}}),
        ({"exploration": 0.0}, {}),
        ({"confidence": 0.9}, {}),
        ({"pins": [PIN]}, {}),
        ({"exclusions": {"items": ["a"]}}, {}),
        ({"exclusions": {"categories": ["toys"]}}, {}),
        ({"promotions": [SALE]}, {}),
        ({"approval": {"widen": ["ada"]}}, {}),
        ({"approval": {"narrow": ["ada"]}}, {"approval": {"narrow": ["ada", "bo"]}}),
        ({"approval": {"second_person": "widening"}}, {}),
    ],
)  # fmt: skip
def test_each_field_narrows_one_way_and_widens_the_other(narrow, wide):
    a, b = policy(**narrow), policy(**wide)
    assert widenings(b, a, ACCEPTED) == ()
    assert differences(b, a, ACCEPTED)
    assert widenings(a, b, ACCEPTED)
    assert differences(a, a, ACCEPTED) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"endings": [49], "ending_period": 100}},
        {"limits": {"menu_size": 16}},
        {"exploration_method": "thompson"},
        {"promotions": [{**SALE, "cut": 0.31}]},
        {"limits": {"min_margin": 0.1, "competitor_above": 0.1}},
    ],
)
def test_what_cannot_be_shown_to_be_narrower_is_wider(changes):
    assert widenings(ShopPolicy(), policy(**changes), ACCEPTED)


def test_how_prices_are_drawn_is_no_matter_where_none_are():
    assert not widenings(policy(exploration=0.0), policy(exploration=0.0, exploration_method="thompson"), ACCEPTED)


def test_a_change_of_one_pin_takes_one_away_and_adds_another():
    found = differences(policy(pins=[PIN]), policy(pins=[{**PIN, "price": 11.0}]), ACCEPTED)
    assert [(each.before, each.after, each.effect) for each in found] == [
        ("none", "a at 11", "narrows"),
        ("a at 10", "none", "widens"),
    ]


def share(most):
    return st.integers(0, round(most * 20)).map(lambda step: step / 20)


def optional(values):
    return st.none() | values


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "min_margin": share(0.6),
        "max_discount": share(1.0),
        "discount_only": st.just(False),
        "max_markup": share(0.5),
        "competitor_below": optional(share(1.0)),
        "competitor_above": optional(share(0.5)),
        "corridor_ratio": share(1.0).map(lambda x: 1 + x),
        "endings": st.sampled_from([[9], [5, 9], []]),
    },
)


@st.composite
def policies(draw):
    limits = draw(LIMITS)
    if "max_markup" in limits:
        limits["discount_only"] = False
    return policy(limits=limits)


ITEM = st.fixed_dictionaries(
    {
        "list_price": st.floats(1.0, 200.0).map(lambda x: round(x, 2)),
        "cost": share(1.4),
        "map_price": optional(share(1.2)),
        "msrp": optional(share(1.4)),
        "competitor_price": optional(share(1.6)),
        "corridor_low": optional(share(1.2)),
    }
)


def allowed(limits, item):
    """The bounds of an item, and the prices that may be chosen for it."""
    listed = item["list_price"]
    money = {
        name: np.array([np.nan if item[name] is None else listed * item[name]])
        for name in ("map_price", "msrp", "competitor_price", "corridor_low")
    }
    bounds = price_bounds(limits, list_price=[listed], unit_cost=[listed * item["cost"]], **money)
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, limits))
    return bounds, {*menu[~np.isnan(menu)].tolist(), float(bounds.fallback[0])}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(policies(), policies(), ITEM)
def test_a_narrower_policy_lets_no_price_occur_that_the_wider_one_forbade(one, other, item):
    assume(not widenings(one, other, ACCEPTED))
    wide, _ = allowed(one.over(ACCEPTED).limits, item)
    narrow, prices = allowed(other.over(ACCEPTED).limits, item)
    half, listed = 0.005, {round(item["list_price"], 2), float(wide.fallback[0])}
    for price in prices:
        if min(abs(price - each) for each in listed) < half:
            continue  # the list price is what anyone may pay: no policy forbids it
        assert wide.floor[0] - half <= price <= wide.ceiling[0] + half, "inside the wider legal bounds"
        inside = wide.lo[0] - half <= price <= wide.hi[0] + half
        # A tightened legal bound may leave nothing of the wider commercial ones: then the price lies on it.
        forced = min(abs(price - narrow.floor[0]), abs(price - narrow.ceiling[0])) < half
        assert inside or forced
