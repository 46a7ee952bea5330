"""A page priced for one customer: consent, promises, bounds, reasons, and the same answer for the same question."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.types import Reason
from fairtag.page.day_corridor import own_corridor
from fairtag.page.pricing import PageInputs, explain_page, price_page, search
from fairtag.page.problem import page_problem
from fairtag.policy.context import UserContext
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.guardrails import snap
from fairtag.search.query import SearchQuery

EPOCH = 20_620  # a day in June 2026, when every rule of the disclosure table is in force
NEW_YORK = "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
BEHAVIOUR = {
    schema.RECENCY_DAYS: 3.0,
    schema.ORDERS_90D: 1.0,
    schema.SPEND_90D: 40.0,
    schema.PROMOTION_RESPONSE: 0.95,
}


def test_the_same_request_gives_the_same_page(model, rows, query, customer):
    pages = [price_page(model, PageInputs(rows, query, customer(model), EPOCH)) for _ in range(2)]
    assert pages[0] == pages[1]


def test_every_price_is_inside_its_bounds_and_never_above_list(model, rows, query, customer):
    for item in price_page(model, PageInputs(rows, query, customer(model), EPOCH)).items:
        assert item.low_minor <= item.price_minor <= item.high_minor
        assert item.price_minor <= item.list_price_minor
        assert item.reasons
        assert 0 <= item.purchase_probability <= 1


def test_behaviour_moves_prices_and_new_york_is_told_byte_for_byte(model, rows, query, customer, certain, prices):
    sure = certain(model)
    eager = price_page(sure, PageInputs(rows, query, customer(model), EPOCH))
    thrifty = price_page(
        sure, PageInputs(rows, query, customer(model, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: 0.0}), EPOCH)
    )
    assert prices(eager) != prices(thrifty)
    assert eager.personalised
    assert eager.disclosure == NEW_YORK


def test_who_opts_out_is_priced_as_a_guest_and_told_so(model, rows, query, customer, prices):
    known = price_page(model, PageInputs(rows, query, customer(model, opted_out=True), EPOCH))
    guest = price_page(model, PageInputs(rows, query, UserContext(opted_out=True, jurisdiction="US-NY"), EPOCH))
    assert prices(known) == prices(guest)
    assert all(item.reasons[0] is Reason.OPTED_OUT and not item.personalised for item in known.items)
    assert known.disclosure is None


@pytest.mark.parametrize("jurisdiction", [None, "XX", "CN"])
def test_where_personal_prices_are_not_known_to_be_lawful_they_are_off(model, rows, query, jurisdiction, customer):
    allowed = read_disclosures().rule(jurisdiction, model.policy.day_of(EPOCH)).personalisation
    page = price_page(model, PageInputs(rows, query, customer(model, jurisdiction=jurisdiction), EPOCH))
    if allowed:
        assert page.disclosure
    else:
        assert all(Reason.JURISDICTION_OFF in item.reasons for item in page.items)
        assert not page.personalised


def test_a_locked_price_is_kept(model, rows, query, customer):
    first = price_page(model, PageInputs(rows, query, customer(model), EPOCH))
    fixed = np.full(len(rows), np.nan)
    fixed[2] = first.items[2].price_minor / 100
    other = customer(model, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: 0.0})
    again = price_page(model, PageInputs(rows, query, other, EPOCH, locked_price=fixed))
    assert again.items[2].price_minor == first.items[2].price_minor


def test_a_page_asked_for_again_is_the_same_page_with_the_same_reasons_and_propensities(model, rows, query, customer):
    curious = replace(model, policy=replace(model.policy, exploration=0.5))
    inputs = PageInputs(rows, query, customer(model), EPOCH)
    first = price_page(curious, inputs)
    locked = np.array([item.price_minor for item in first.items]) / 100
    assert price_page(curious, replace(inputs, locked_price=locked)) == first
    assert price_page(curious, replace(inputs, price_ceiling=locked)) == first


@pytest.mark.parametrize("share", [0.3, 0.7, 1.0])
def test_every_lock_stands_on_another_page_and_no_price_passes_its_ceiling(model, rows, query, customer, share):
    rng = np.random.default_rng(7)
    other = customer(model, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: 0.0})
    seen = price_page(model, PageInputs(rows, query, customer(model), EPOCH))
    prices = np.array([item.price_minor for item in seen.items]) / 100
    locked = np.where(rng.random(len(rows)) < share, prices, np.nan)
    ceiling = np.where(np.isnan(locked), prices * 0.97, np.nan)
    page = price_page(model, PageInputs(rows, query, other, EPOCH, locked_price=locked, price_ceiling=ceiling))
    floor = page_problem(model, rows, query, other).bounds.floor
    for item, lock, most in zip(page.items, locked, np.fmax(ceiling, floor), strict=True):
        if np.isnan(lock):
            assert item.price_minor / 100 <= most + 0.005 + 1e-9
        else:
            assert item.price_minor == round(lock * 100)


def test_a_list_price_given_from_outside_is_held_inside_the_corridor(model, rows, query, prices):
    listed = model.market.list_price[rows]
    page = price_page(model, PageInputs(rows, query, UserContext(), EPOCH, locked_price=listed))
    top = own_corridor(model, rows).high
    assert (np.array(prices(page)) / 100 <= top + 1e-6).all()
    assert (np.array(prices(page)) / 100 <= listed + 1e-9).all()


@pytest.mark.parametrize("stored", [0.01, 1.0, 1e9])
@pytest.mark.parametrize("kind", ["locked_price", "locked_personal", "price_ceiling"])
def test_a_stored_price_outside_the_legal_bounds_of_the_moment_is_moved_inside_them(
    model, rows, query, customer, kind, stored
):
    who = customer(model)
    page = price_page(model, PageInputs(rows, query, who, EPOCH, **{kind: np.full(len(rows), stored)}))
    bounds = page_problem(model, rows, query, who).bounds
    shown = np.array([item.price_minor for item in page.items]) / 100
    assert (shown >= bounds.floor - 1e-9).all()
    assert (shown <= bounds.ceiling + 1e-9).all()
    assert (bounds.floor > 0.5 * model.market.unit_cost[rows]).all()


def test_a_page_at_list_keeps_locks_and_holds_all_else_inside_the_law(model, rows, query, customer):
    first = price_page(model, PageInputs(rows, query, customer(model), EPOCH))
    top, listed = own_corridor(model, rows).high, model.market.list_price[rows] * 0.95
    paid = np.array([item.price_minor for item in first.items]) / 100
    spot = int(np.argmin(paid / np.fmin(top, listed)))
    fixed = np.full(len(rows), np.nan)
    fixed[spot] = paid[spot]
    market = replace(model.market.rows(rows), msrp=model.market.list_price[rows] * 0.95)
    guest = UserContext(user_id="c1", jurisdiction="DE")
    page = price_page(
        model,
        PageInputs(
            rows,
            query,
            guest,
            EPOCH,
            market=market,
            locked_price=fixed,
            locked_personal=fixed,
            list_only=True,
        ),
    )
    assert page.items[spot].price_minor == first.items[spot].price_minor
    for place, item in enumerate(page.items):
        if place == spot or Reason.INFEASIBLE in item.reasons:
            continue
        assert Reason.LOW_CONFIDENCE_LIST in item.reasons
        assert item.price_minor / 100 == pytest.approx(min(market.msrp[place], top[place]), abs=0.011)
    assert [item.item_id for item in page.items if item.personalised] == [page.items[spot].item_id]
    assert page.disclosure, "a lock made from the customer's data is disclosed whenever it is shown"
    drivers = explain_page(
        model, PageInputs(rows, query, guest, EPOCH, market=market, locked_price=fixed, list_only=True)
    )
    for item, why in zip(page.items, drivers, strict=True):
        assert why["price_minor"] == pytest.approx(item.price_minor)
        if why["contributions_minor"]:
            assert sum(why["contributions_minor"].values()) == pytest.approx(why["price_minor"] - why["base_minor"])


def test_a_search_shows_what_is_in_stock_now(model, query):
    usual = search(model, SearchQuery(""), query, UserContext(), 5).rows
    stock = model.market.stock.copy()
    stock[usual[0]] = 0.0
    now = search(model, SearchQuery(""), query, UserContext(), 5, stock=stock).rows
    assert usual[0] not in now
    assert now[:4].tolist() == usual[1:].tolist()


def test_not_sure_enough_means_list_or_the_corridor_s_top_with_the_reason(model, rows, query, customer):
    doubtful = replace(model, policy=replace(model.policy, exploration=0.0, confidence=1.0))
    page = price_page(doubtful, PageInputs(rows, query, customer(model), EPOCH))
    doubted = [item for item in page.items if Reason.LOW_CONFIDENCE_LIST in item.reasons]
    assert page.confidence < 1.0
    assert doubted
    assert all(item.price_minor == item.high_minor for item in doubted)  # list, where the corridor reaches it


def test_exploration_is_logged_with_its_propensity_and_stays_in_bounds(model, rows, query, customer):
    curious = replace(model, policy=replace(model.policy, exploration=1.0, confidence=0.0))
    page = price_page(curious, PageInputs(rows, query, customer(model), EPOCH))
    explored = [item for item in page.items if Reason.EXPLORATION in item.reasons]
    assert explored
    assert all(0 < item.propensity <= 1 for item in page.items)
    assert any(item.propensity < 1 for item in explored)
    assert all(item.low_minor <= item.price_minor <= item.high_minor for item in page.items)


def test_without_similarity_and_behaviour_everybody_has_one_price(model, rows, query, customer, certain, prices):
    flat = certain(model, personalise=False)
    assert not flat.policy.similarity_in_price
    other = model.encoder.encode(["garden hose"], "query")[0]
    users = [customer(model), customer(model, behaviour=None, history_items=(), history_age_days=()), UserContext()]
    pages = [price_page(flat, PageInputs(rows, z, user, EPOCH)) for z in (query, other, None) for user in users]
    assert len({tuple(prices(page)) for page in pages}) == 1


def test_the_anchor_objective_asks_the_allowed_price_nearest_to_f_of_everybody(model, rows, query, customer, prices):
    f = model.market.list_price[rows] * np.linspace(0.3, 1.3, len(rows))  # below, inside and above the bounds
    estimates = replace(model.estimates, f=model.estimates.f.copy())
    estimates.f[rows] = f
    policy = replace(model.policy, margin_weight=0.0, anchor_weight=0.5, exploration=0.0)
    anchored = replace(model, estimates=estimates, policy=policy)
    other = model.encoder.encode(["garden hose"], "query")[0]
    pages = [
        price_page(anchored, PageInputs(rows, z, user, EPOCH))
        for z in (query, other)
        for user in (UserContext(), customer(model))
    ]
    assert len({tuple(prices(page)) for page in pages}) == 1
    demand = {Reason.DEMAND_HIGH_INTENT, Reason.DEMAND_PRICE_SENSITIVE}
    assert all(Reason.ANCHOR in item.reasons and not demand & set(item.reasons) for item in pages[1].items)
    problem = page_problem(anchored, rows, query, UserContext())
    assert prices(pages[0]) == np.rint(100 * snap(f, problem.menu)).astype(int).tolist()
    steep = replace(model.demand, b_min=40.0)  # nobody would pay more: a price nobody pays costs the objective least
    assert prices(price_page(replace(anchored, demand=steep), PageInputs(rows, query, UserContext(), EPOCH))) == prices(
        pages[0]
    )


def test_an_explanation_adds_up_to_the_price_that_was_served(model, rows, query, customer):
    user = customer(model)
    page = price_page(model, PageInputs(rows, query, user, EPOCH))
    for item, why in zip(page.items, explain_page(model, PageInputs(rows, query, user, EPOCH)), strict=True):
        assert why["item_id"] == item.item_id
        assert why["price_minor"] == pytest.approx(item.price_minor, abs=1e-9)
        total = why["base_minor"] + sum(why["contributions_minor"].values())
        assert total == pytest.approx(item.price_minor, abs=1e-6)


def test_an_opt_out_s_explanation_names_no_behaviour(model, rows, query, customer):
    for why in explain_page(model, PageInputs(rows, query, customer(model, opted_out=True), EPOCH)):
        assert why["contributions_minor"].get("behaviour", 0.0) == pytest.approx(0.0, abs=1e-9)
