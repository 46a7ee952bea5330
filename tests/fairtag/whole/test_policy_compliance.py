"""Pages that are really priced under a policy are held to it without a finding; under another policy they are found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.compliance import RULES, Finding, held_to
from fairtag.policy.live_policy import FAIL_SAFE, STOPPED
from fairtag.policy.shop_policy import ShopPolicy

EPOCH = 20_620  # 2026-06-16
DAY = date(2026, 6, 16)
SALE = {"name": "sale", "starts": "2026-06-16", "ends": "2026-06-20"}


@pytest.fixture(scope="module")
def shop(model):
    """A model that explores often, so that prices lie everywhere inside the bounds."""
    return replace(model, policy=replace(model.policy, exploration=0.5, confidence=0.0))


def quotes_of(shop, policy, customer, *, locks=None, cause=None, seed=0):
    """Ten pages of twelve items for known customers and guests, as the quote log holds them."""
    rng, records = np.random.default_rng(seed), []
    for number in range(10):
        rows = rng.choice(len(shop.item_ids), 12, replace=False)
        user = customer(shop, user_id=f"u{number}") if number % 2 else customer(shop, user_id=None, behaviour=None)
        given = {} if locks is None else {"locked_price": locks(rows), "locked_personal": locks(rows) - 0.03}
        listed = cause is not None
        page = price_page(
            shop, PageInputs(rows, None, user, EPOCH, policy=policy, list_only=listed, secret=b"s", **given)
        )
        records.append(quote_record(page, quote_id=f"q{number}", ts=number, task="price", degraded=cause))
    return quote_frame(records)


def policies(shop):
    """One policy of each kind, and all at once."""
    items, categories = list(shop.item_ids), [str(each) for each in shop.categories]
    listed = shop.market.list_price
    pins = [{"item": item, "price": round(0.9 * float(listed[row]), 2)} for row, item in enumerate(items[:40])]
    everything = {
        "limits": {"max_discount": 0.12, "min_margin": 0.15},
        "pins": pins[:15],
        "exclusions": {"items": items[20:30], "categories": categories[:1]},
        "promotions": [{**SALE, "cut": 0.1, "items": items[40:]}],
        "personal_prices": {"categories_off": categories[5:6], "places_off": ["US-NY"]},
    }
    return {
        "nothing": {},
        "limits": {"limits": {"max_discount": 0.1, "min_margin": 0.2}},
        "markup": {"limits": {"discount_only": False, "max_markup": 0.1, "corridor_ratio": 2.0}},
        "endings": {"limits": {"endings": [49, 95], "ending_period": 100}},
        "pins": {"pins": pins},
        "exclusions": {"exclusions": {"items": items[:20], "categories": categories[3:4]}},
        "promotions": {"promotions": [{**SALE, "cut": 0.2, "items": items[::2]}]},
        "deep promotions": {"promotions": [{**SALE, "cut": 0.4, "items": items}]},
        "personal off": {"personal_prices": {"allowed": False}},
        "places": {"personal_prices": {"places_off": ["US-NY"], "categories_off": categories[:1]}},
        "at list": {"at_list": True},
        "everything": everything,
    }


NAMES = (
    "nothing", "limits", "markup", "endings", "pins", "exclusions", "promotions", "deep promotions", "personal off",
    "places", "at list", "everything",
)  # fmt: skip


def worst(quotes, policy, shop):
    found = held_to(quotes, policy, shop.policy, DAY)
    assert set(found) == set(RULES)
    return {rule: int(findings.max()) for rule, findings in found.items()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cause", [None, "features_down", STOPPED])
def test_what_the_engine_prices_is_held_to_its_policy(shop, customer, name, cause):
    policy = ShopPolicy().changed(**policies(shop)[name])
    served = policy
    if cause == STOPPED and not policy.at_list:  # the endpoint could not read the policy that it names
        served = FAIL_SAFE
    elif policy.at_list:
        cause = STOPPED
    quotes = quotes_of(shop, served, customer, cause=cause)
    found = worst(quotes, policy, shop)
    assert max(found.values()) <= Finding.UNSEEN_BOUND, found


@pytest.mark.parametrize("name", NAMES[:-2])
@pytest.mark.parametrize("share", [0.62, 0.85, 0.97, 1.0])
def test_a_price_that_was_promised_before_is_no_breach(shop, customer, name, share):
    policy = ShopPolicy().changed(**policies(shop)[name])

    def locks(rows):
        return np.round(share * shop.market.list_price[rows], 2)

    found = worst(quotes_of(shop, policy, customer, locks=locks), policy, shop)
    assert max(found.values()) <= Finding.PROMISE, found


@pytest.mark.parametrize(
    ("version", "served", "rule"),
    [
        ("limits", "nothing", "discount"),
        ("nothing", "markup", "ceiling"),
        ("endings", "nothing", "ending"),
        ("pins", "nothing", "pin"),
        ("exclusions", "nothing", "exclusion"),
        ("promotions", "nothing", "promotion"),
        ("nothing", "deep promotions", "discount"),
        ("personal off", "nothing", "personal"),
        ("places", "nothing", "personal"),
        ("at list", "nothing", "list"),
    ],
)
def test_an_endpoint_that_names_one_version_and_prices_by_another_is_found(shop, customer, version, served, rule):
    all_of_them = policies(shop)
    quotes = quotes_of(shop, ShopPolicy().changed(**all_of_them[served]), customer)
    policy = ShopPolicy().changed(**all_of_them[version])
    assert worst(quotes, policy, shop)[rule] >= (Finding.PROMISE if rule == "ending" else Finding.BROKEN)


def test_a_margin_that_is_too_small_is_found(shop, customer):
    quotes = quotes_of(replace(shop, policy=replace(shop.policy, exploration=0.0)), None, customer)
    costly = quotes.assign(unit_cost_minor=(quotes["price_minor"] * 0.99).round().astype("int64"), low_minor=1)
    assert worst(costly, ShopPolicy(), shop)["margin"] == Finding.BROKEN
    assert worst(quotes.assign(unit_cost_minor=pd.NA), ShopPolicy(), shop)["margin"] == Finding.KEPT
