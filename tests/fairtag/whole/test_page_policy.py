"""Pages under a live policy: pins, exclusions, promotions, personal prices, tightened limits, and promises kept."""

import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from fairtag.base.types import Reason
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.page.day_corridor import own_corridor, terms_of
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import explain_page, price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.shop_policy import ShopPolicy

EPOCH = 20_620  # 2026-06-16
SALE = {"name": "sale", "starts": "2026-06-16", "ends": "2026-06-20"}


def policy(**changes):
    return ShopPolicy().changed(**changes)


@pytest.fixture(scope="module")
def sure(model, certain):
    return certain(model)


@pytest.fixture(scope="module")
def page(sure, rows, customer):
    """Prices the page of a customer, or with a policy and locks."""

    def price(document=None, model=None, **given):
        user = given.pop("user", customer(sure))
        return price_page(model or sure, PageInputs(rows, None, user, EPOCH, policy=document, **given))

    return price


def by_item(priced):
    return {item.item_id: item for item in priced.items}


def test_an_empty_policy_changes_nothing(page):
    assert page(ShopPolicy()) == page(None)


def test_a_pin_is_one_price_for_everybody_inside_the_limits(page, sure, rows, customer):
    free = by_item(page())
    item = next(item for item in free.values() if item.high_minor - item.low_minor > 100)
    middle = (item.low_minor + item.high_minor) // 2
    for wanted, price in ((middle, middle), (1, item.low_minor), (10 * item.high_minor, item.high_minor)):
        pinned = policy(pins=[{"item": item.item_id, "price": wanted / 100}])
        seen = [
            by_item(page(pinned, user=user))[item.item_id] for user in (customer(sure), customer(sure, opted_out=True))
        ]
        assert {one.price_minor for one in seen} == {seen[0].price_minor}
        if wanted == middle:
            assert seen[0].price_minor == price
        assert seen[0].reasons == (Reason.PINNED,)
        assert not any(one.personalised for one in seen)
        assert seen[0].low_minor == seen[0].high_minor == seen[0].price_minor
        assert 0.7 * item.list_price_minor - 1 <= seen[0].price_minor <= item.list_price_minor
        others = by_item(page(pinned))
        assert {i: o.price_minor for i, o in others.items() if i != item.item_id} == {
            i: o.price_minor for i, o in free.items() if i != item.item_id
        }


def test_a_pin_holds_from_its_first_day_to_its_last(page):
    item = page().items[0]
    pin = {"item": item.item_id, "price": item.list_price_minor * 0.9 / 100}
    for days, holds in (
        ({"starts": "2026-06-16"}, True),
        ({"starts": "2026-06-17"}, False),
        ({"ends": "2026-06-16"}, True),
        ({"ends": "2026-06-15"}, False),
    ):
        found = by_item(page(policy(pins=[{**pin, **days}])))[item.item_id]
        assert (Reason.PINNED in found.reasons) == holds


def test_what_is_excluded_stays_at_list(page):
    free = page()
    item = free.items[0]
    for exclusions in ({"items": [item.item_id]}, {"categories": [item.category]}):
        found = by_item(page(policy(exclusions=exclusions)))[item.item_id]
        assert (found.price_minor, found.reasons) == (found.list_price_minor, (Reason.EXCLUDED,))
        assert not found.personalised


def test_a_promotion_is_the_most_that_anybody_pays(page):
    items = [item.item_id for item in page().items]
    found = page(policy(promotions=[{**SALE, "cut": 0.2, "items": items}]))
    for item in found.items:
        assert item.price_minor <= int(0.8 * item.list_price_minor + 1e-6)
        assert item.list_price_minor == by_item(page())[item.item_id].list_price_minor, "list is what it was"
    listed = page(policy(promotions=[{**SALE, "cut": 0.2, "items": items}]), list_only=True)
    assert all(item.price_minor == int(0.8 * item.list_price_minor + 1e-6) for item in listed.items)
    assert all(Reason.PROMOTION in item.reasons for item in listed.items)
    assert (
        page(policy(promotions=[{**SALE, "cut": 0.2, "items": items, "ends": "2026-06-16", "starts": "2026-06-01"}]))
        == found
    )


def test_an_accepted_promotion_may_cut_deeper_than_any_other_discount(page):
    items = [item.item_id for item in page().items]
    deep = page(policy(promotions=[{**SALE, "cut": 0.4, "items": items}]))
    for item in deep.items:
        cut = int(0.6 * item.list_price_minor + 1e-6)
        assert item.price_minor >= cut
        assert item.price_minor == cut or {Reason.COST_FLOOR, Reason.MAP_FLOOR} & set(item.reasons)
    assert sum(item.price_minor == int(0.6 * item.list_price_minor + 1e-6) for item in deep.items) > 3


def test_personal_prices_can_be_off_in_a_category_or_a_place(page, sure, rows):
    free = page()
    assert free.personalised
    category = next(item.category for item in free.items if item.personalised)
    found = page(policy(personal_prices={"categories_off": [category]}))
    public = by_item(page(policy(personal_prices={"allowed": False})))
    for item in found.items:
        if item.category == category:
            assert not item.personalised
            assert item.reasons[0] is Reason.PERSONAL_STOPPED
            assert item.price_minor == public[item.item_id].price_minor
    nowhere = page(policy(personal_prices={"places_off": ["US-NY"]}))
    assert [item.price_minor for item in nowhere.items] == [item.price_minor for item in public.values()]
    assert not nowhere.personalised
    assert page(policy(personal_prices={"places_off": ["DE"]})) == free


def test_a_tightened_limit_counts_at_once(page):
    tight = page(policy(limits={"max_discount": 0.1, "corridor_ratio": 1.05}))
    lower = {Reason.FAIRNESS_CORRIDOR, Reason.INFEASIBLE}  # where the corridor ends below a tenth off
    assert all(item.price_minor >= 0.9 * item.list_price_minor - 1 or lower & set(item.reasons) for item in tight.items)
    assert [item.price_minor for item in tight.items] != [item.price_minor for item in page().items]


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"min_margin": 0.6}},
        {"limits": {"max_discount": 0.0}},
        {"limits": {"corridor_ratio": 1.02}},
        {"exclusions": "all"},
        {"pins": "high"},
        {"pins": "low"},
        {"promotions": 0.25},
    ],
)
def test_a_promised_price_is_kept_and_only_ever_lowered(page, sure, changes):
    free = page()
    locks = np.array([item.price_minor / 100 for item in free.items])
    names = [item.item_id for item in free.items]
    if changes.get("exclusions"):
        changes = {"exclusions": {"items": names}}
    elif changes.get("pins"):
        share = 1.0 if changes["pins"] == "high" else 0.7
        changes = {"pins": [{"item": i.item_id, "price": share * i.list_price_minor / 100} for i in free.items]}
    elif changes.get("promotions"):
        changes = {"promotions": [{**SALE, "cut": changes["promotions"], "items": names}]}
    corridor = own_corridor(sure, np.array([sure.row_of[name] for name in names]))  # that of the day began before
    changed = page(policy(**changes), locked_price=locks, corridor=corridor)
    for item, before in zip(changed.items, free.items, strict=True):
        assert item.price_minor <= before.price_minor


def test_everything_at_list_means_pins_and_promotions_too(page):
    free = page()
    named = {
        "pins": [{"item": free.items[0].item_id, "price": free.items[0].low_minor / 100}],
        "promotions": [{**SALE, "cut": 0.2, "items": [item.item_id for item in free.items[1:]]}],
    }
    stopped = page(policy(at_list=True, **named), list_only=True)
    assert [item.price_minor for item in stopped.items] == [
        item.price_minor for item in page(policy(at_list=True), list_only=True).items
    ]


def test_every_promise_is_kept_under_a_policy(page, sure, customer):
    items = [item.item_id for item in page().items]
    document = policy(
        pins=[{"item": items[0], "price": 1.0}, {"item": items[1], "price": 1e6}],
        exclusions={"items": [items[2]]},
        promotions=[{**SALE, "cut": 0.15, "items": items[3:6]}],
        limits={"corridor_ratio": 1.15},
    )
    users = [customer(sure), customer(sure, opted_out=True), customer(sure, jurisdiction=None)]
    pages = [page(document, user=user) for user in users]
    records = [
        quote_record(priced, quote_id=str(n), ts=1_781_600_000_000_000, task="price", user_key=f"u{n}")
        for n, priced in enumerate(pages)
    ]
    found = check_invariants(quote_frame(records), rho=1.15, disclosures=read_disclosures())
    assert violations(found) == ()


def test_the_corridor_of_the_day_holds_what_the_policy_names(sure, rows):
    item = sure.item_ids[rows[0]]
    listed = sure.market.list_price[rows[0]]
    free = own_corridor(sure, rows)
    for document in (policy(exclusions={"items": [item]}), policy(pins=[{"item": item, "price": listed}])):
        moved = own_corridor(sure, rows, terms_of(sure, rows, EPOCH, document))
        assert moved.low[0] <= listed <= moved.high[0] + 0.01
        np.testing.assert_array_equal(moved.low[1:], free.low[1:])
    assert moved.high[0] / moved.low[0] <= sure.policy.limits.corridor_ratio


def test_an_explanation_adds_up_under_a_policy(sure, rows, customer):
    items = [sure.item_ids[row] for row in rows]
    document = policy(pins=[{"item": items[0], "price": 20.0}], exclusions={"items": items[1:3]})
    inputs = PageInputs(rows, None, customer(sure), EPOCH, policy=document)
    prices = {item.item_id: item.price_minor for item in price_page(sure, inputs).items}
    for told in explain_page(sure, inputs):
        assert told["price_minor"] == prices[told["item_id"]]
        if told["contributions_minor"]:
            assert told["base_minor"] + sum(told["contributions_minor"].values()) == told["price_minor"]


def test_a_model_under_a_policy_is_made_once_and_keeps_the_models_own_parts(sure):
    document = policy(limits={"max_discount": 0.1})
    changed = sure.under(document)
    assert changed is sure.under(policy(limits={"max_discount": 0.1}))
    assert changed.row_of is sure.row_of
    assert changed.estimates is sure.estimates
    assert (changed.policy.limits.max_discount, sure.policy.limits.max_discount) == (0.1, 0.3)
    assert sure.under(None) is sure


def test_a_policy_travels_to_a_worker_and_is_parsed_there_once():
    document = policy(pins=[{"item": f"item-{n}", "price": 10.0, "starts": date(2026, 1, 1)} for n in range(50)])
    one, two = (pickle.loads(pickle.dumps(document)) for _ in range(2))
    assert one == document
    assert one is two


def test_random_prices_leave_out_what_the_policy_names(sure, page):
    curious = replace(sure, policy=replace(sure.policy, exploration=1.0))
    items = [item.item_id for item in page().items]
    found = page(policy(exclusions={"items": items[:3]}), model=curious)
    for item in found.items:
        assert (item.propensity == 1.0) or item.item_id not in items[:3]
