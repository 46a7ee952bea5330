"""What the arms of an experiment show: inside every limit, beside every promise."""

import pickle
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from fairtag.base.types import Reason
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import explain_page, price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.compliance import Finding, held_to
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.experiments import Assignment
from fairtag.policy.shop_policy import ShopPolicy

EPOCH = 20_620
ARMS = {
    "list": Assignment("e", "list", "list"),
    "uniform": Assignment("e", "cut", "uniform", 0.1),
    "no-personal": Assignment("e", "same", "no-personal"),
    "learned": Assignment("e", "learned", "learned"),
}


@pytest.fixture(scope="module")
def sure(model, certain):
    return certain(model)


@pytest.fixture(scope="module")
def page(sure, rows, customer):
    def price(arm=None, model=None, **given):
        user = given.pop("user", customer(sure))
        return price_page(model or sure, PageInputs(rows, None, user, EPOCH, arm=ARMS.get(arm), **given))

    return price


def amounts(found):
    return [item.price_minor for item in found.items]


def test_a_learned_arm_sees_what_it_would_without_an_experiment(page):
    assert page("learned") == page()


def test_a_list_arm_sees_list_inside_the_bounds_and_says_why(page):
    found = page("list")
    assert amounts(found) == amounts(page(list_only=True))
    assert all(Reason.EXPERIMENT in item.reasons for item in found.items)
    assert not found.personalised


def test_an_arm_without_personal_prices_sees_those_of_nobody_in_particular(page, customer, sure):
    assert page().personalised
    found = page("no-personal")
    assert not found.personalised
    assert found.disclosure is None
    public = page(policy=ShopPolicy().changed(personal_prices={"allowed": False}))
    assert amounts(found) == amounts(public)


def test_a_uniform_arm_takes_one_cut_from_list_as_the_nearest_allowed_ending_inside_the_bounds(page, sure, customer):
    nines = ShopPolicy().changed(limits={"endings": [9], "ending_period": 10, "menu_size": 5_000})
    found, free = page("uniform", policy=nines), page(policy=nines)
    exact = 0
    for item, other in zip(found.items, free.items, strict=True):
        assert Reason.EXPERIMENT in item.reasons
        assert item.price_minor % 10 == 9
        target = 0.9 * item.list_price_minor
        if other.low_minor + 10 < target < other.high_minor - 10:
            assert abs(item.price_minor - target) <= 5
            exact += 1
        else:
            assert other.low_minor <= item.price_minor <= other.high_minor
    assert exact > len(found.items) / 2, "most items have room for the cut"
    anybody = page("uniform", policy=nines, user=customer(sure, opted_out=True))
    assert amounts(found) == amounts(anybody), "the same for everybody"


def test_a_uniform_arm_shows_list_where_the_decision_accepts_no_other_price(page, sure):
    not_yet = replace(sure, capabilities=frozenset())
    assert amounts(page("uniform", model=not_yet)) == amounts(page(model=not_yet))


@pytest.mark.parametrize("arm", ["list", "uniform", "no-personal"])
def test_an_arm_explores_nothing_that_it_names_and_logs_propensity_one(arm, sure, rows, customer, model):
    always = replace(sure, policy=replace(sure.policy, exploration=1.0))
    found = price_page(always, PageInputs(rows, None, customer(sure), EPOCH, arm=ARMS[arm], secret=b"s"))
    explored = [Reason.EXPLORATION in item.reasons for item in found.items]
    assert any(explored) == (arm == "no-personal")
    if arm != "no-personal":
        assert {item.propensity for item in found.items} == {1.0}


@pytest.mark.parametrize("arm", list(ARMS))
def test_no_arm_changes_a_promised_price(arm, page):
    before = page()
    mine = [item.personalised for item in before.items]
    money = np.array([item.price_minor / 100 for item in before.items])
    given = {
        "locked_price": np.where(mine, np.nan, money),
        "locked_personal": np.where(mine, money, np.nan),
    }
    after = page(arm, **given)
    assert amounts(after) == amounts(before)
    assert after.disclosure == before.disclosure, "a personal price that was promised stays disclosed"


@pytest.mark.parametrize("arm", list(ARMS))
def test_policy_names_come_before_arms(arm, page):
    items = [item.item_id for item in page().items]
    document = ShopPolicy().changed(
        pins=[{"item": items[0], "price": page().items[0].high_minor * 0.8 / 100}], exclusions={"items": [items[1]]}
    )
    found, without = page(arm, policy=document), page(policy=document)
    assert amounts(found)[:2] == amounts(without)[:2]
    assert [item.reasons for item in found.items[:2]] == [item.reasons for item in without.items[:2]]


def test_every_promise_of_a_day_is_kept_across_arms(page):
    records = [
        quote_record(
            page(arm), quote_id=arm, ts=1_781_600_000_000_000, task="price", user_key=arm, experiment="e", arm=arm
        )
        for arm in ARMS
    ]
    frame = quote_frame(records)
    assert violations(check_invariants(frame, rho=1.25, disclosures=read_disclosures())) == ()
    assert set(frame["arm"]) == set(ARMS)


@pytest.mark.parametrize("arm", list(ARMS))
def test_monitors_hold_every_arm_to_its_policy_without_a_finding(arm, page, sure):
    names = list(sure.item_ids)
    sale = {"name": "sale", "cut": 0.2, "items": names[::2], "starts": "2026-06-16", "ends": "2026-06-20"}
    for changes in (
        {},
        {"limits": {"max_discount": 0.12, "min_margin": 0.15}},
        {"limits": {"endings": [49, 95], "ending_period": 100}},
        {"promotions": [sale], "exclusions": {"items": names[:20]}},
        {"personal_prices": {"places_off": ["US-NY"]}},
    ):
        policy = ShopPolicy().changed(**changes)
        record = quote_record(
            page(arm, policy=policy), quote_id="q", ts=1_781_600_000_000_000, task="price", experiment="e", arm=arm
        )
        found = held_to(quote_frame([record]), policy, sure.policy, date(2026, 6, 16))
        assert max(int(findings.max()) for findings in found.values()) <= Finding.UNSEEN_BOUND, changes


@pytest.mark.parametrize("arm", list(ARMS))
def test_an_explanation_adds_up_in_every_arm(arm, sure, rows, customer):
    inputs = PageInputs(rows, None, customer(sure), EPOCH, arm=ARMS[arm])
    for item, priced in zip(explain_page(sure, inputs), price_page(sure, inputs).items, strict=True):
        assert item["base_minor"] + sum(item["contributions_minor"].values()) == priced.price_minor


def test_an_assignment_travels_to_a_worker():
    assert pickle.loads(pickle.dumps(ARMS["uniform"])) == ARMS["uniform"]
