"""A page priced for one customer: consent, promises, bounds, reasons, and the same answer for the same question."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pricing import schema
from pricing.bundle.bundle import PricingModel
from pricing.errors import RequestError
from pricing.fairness.disclosure import read_disclosures
from pricing.fairness.invariants import breaches, check_invariants
from pricing.page.context import MarketContext, UserContext
from pricing.page.guardrails import snap
from pricing.page.page import explain_page, price_page, retrieve
from pricing.page.problem import page_problem
from pricing.page.quote_rows import quote_frame, quote_rows
from pricing.reasons import Reason

EPOCH = 20_620  # a day in June 2026, when every rule of the disclosure table is in force
NEW_YORK = "THIS PRICE WAS SET BY AN ALGORITHM USING YOUR PERSONAL DATA"
BEHAVIOUR = {
    schema.RECENCY_DAYS: 3.0,
    schema.ORDERS_90D: 1.0,
    schema.SPEND_90D: 40.0,
    schema.PROMOTION_RESPONSE: 0.95,
}


@pytest.fixture(scope="module")
def query(model):
    return model.encoder.encode(["oak bookcase white"])[0]


@pytest.fixture(scope="module")
def rows(model, query):
    return retrieve(model, query, "oak bookcase white", UserContext(), 12)


def customer(model: PricingModel, **changes) -> UserContext:
    return replace(
        UserContext("u1", BEHAVIOUR, model.item_ids[:4], (1.0, 2.0, 30.0, 90.0), jurisdiction="US-NY"), **changes
    )


def certain(model: PricingModel, **changes) -> PricingModel:
    """The model without exploration and without the fallback for want of confidence."""
    return replace(model, policy=replace(model.policy, exploration=0.0, confidence=0.0, **changes))


def prices(page):
    return [item.price_minor for item in page.items]


def test_the_same_request_gives_the_same_page(model, rows, query):
    pages = [price_page(model, rows, query, customer(model), epoch=EPOCH) for _ in range(2)]
    assert pages[0] == pages[1]


def test_every_price_is_inside_its_bounds_and_never_above_list(model, rows, query):
    for item in price_page(model, rows, query, customer(model), epoch=EPOCH).items:
        assert item.low_minor <= item.price_minor <= item.high_minor
        assert item.price_minor <= item.list_price_minor
        assert item.reasons
        assert 0 <= item.purchase_probability <= 1


def test_behaviour_moves_prices_and_new_york_is_told_byte_for_byte(model, rows, query):
    sure = certain(model)
    eager = price_page(sure, rows, query, customer(model), epoch=EPOCH)
    thrifty = price_page(
        sure, rows, query, customer(model, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: 0.0}), epoch=EPOCH
    )
    assert prices(eager) != prices(thrifty)
    assert eager.personalised
    assert eager.disclosure == NEW_YORK


def test_who_opts_out_is_priced_as_a_guest_and_told_so(model, rows, query):
    known = price_page(model, rows, query, customer(model, opted_out=True), epoch=EPOCH)
    guest = price_page(model, rows, query, UserContext(opted_out=True, jurisdiction="US-NY"), epoch=EPOCH)
    assert prices(known) == prices(guest)
    assert all(item.reasons[0] is Reason.OPTED_OUT and not item.personalised for item in known.items)
    assert known.disclosure is None


@pytest.mark.parametrize("jurisdiction", [None, "XX", "CN"])
def test_where_personal_prices_are_not_known_to_be_lawful_they_are_off(model, rows, query, jurisdiction):
    allowed = read_disclosures().rule(jurisdiction, model.policy.day_of(EPOCH)).personalisation
    page = price_page(model, rows, query, customer(model, jurisdiction=jurisdiction), epoch=EPOCH)
    if allowed:
        assert page.disclosure
    else:
        assert all(Reason.JURISDICTION_OFF in item.reasons for item in page.items)
        assert not page.personalised


def test_a_promised_price_is_kept(model, rows, query):
    first = price_page(model, rows, query, customer(model), epoch=EPOCH)
    fixed = np.full(len(rows), np.nan)
    fixed[2] = first.items[2].price_minor / 100
    other = customer(model, behaviour={**BEHAVIOUR, schema.PROMOTION_RESPONSE: 0.0})
    again = price_page(model, rows, query, other, epoch=EPOCH, fixed_price=fixed)
    assert again.items[2].price_minor == first.items[2].price_minor


def test_a_list_price_given_from_outside_is_held_inside_the_corridor(model, rows, query):
    listed = model.market.list_price[rows]
    page = price_page(model, rows, query, UserContext(), epoch=EPOCH, fixed_price=listed)
    top = model.reference.corridor_low[rows] * model.policy.limits.corridor_ratio
    assert (np.array(prices(page)) / 100 <= top + 1e-6).all()
    assert (np.array(prices(page)) / 100 <= listed + 1e-9).all()


def test_a_page_at_list_keeps_promises_and_holds_all_else_inside_the_law(model, rows, query):
    first = price_page(model, rows, query, customer(model), epoch=EPOCH)
    fixed = np.full(len(rows), np.nan)
    fixed[2] = first.items[2].price_minor / 100
    market = replace(model.market.rows(rows), msrp=model.market.list_price[rows] * 0.95)
    guest = UserContext(user_id="c1", jurisdiction="DE")
    page = price_page(
        model, rows, query, guest, epoch=EPOCH, market=market, fixed_price=fixed, fixed_personal=True, list_only=True
    )
    assert page.items[2].price_minor == first.items[2].price_minor
    top = model.reference.corridor_low[rows] * model.policy.limits.corridor_ratio
    for place, item in enumerate(page.items):
        if place == 2 or Reason.INFEASIBLE in item.reasons:
            continue
        assert Reason.LOW_CONFIDENCE_LIST in item.reasons
        assert item.price_minor / 100 == pytest.approx(min(market.msrp[place], top[place]), abs=0.011)
    assert [item.item_id for item in page.items if item.personalised] == [page.items[2].item_id]
    assert page.disclosure, "a promise made from the customer's data is told, whenever it is shown"
    drivers = explain_page(model, rows, query, guest, epoch=EPOCH, market=market, fixed_price=fixed, list_only=True)
    for item, why in zip(page.items, drivers, strict=True):
        assert why["price_minor"] == pytest.approx(item.price_minor)
        if why["contributions_minor"]:
            assert sum(why["contributions_minor"].values()) == pytest.approx(why["price_minor"] - why["base_minor"])


def test_a_search_shows_what_is_in_stock_now(model, query):
    usual = retrieve(model, query, "", UserContext(), 5)
    stock = model.market.stock.copy()
    stock[usual[0]] = 0.0
    now = retrieve(model, query, "", UserContext(), 5, stock=stock)
    assert usual[0] not in now
    assert now[:4].tolist() == usual[1:].tolist()


def test_not_sure_enough_means_list_or_the_corridor_s_top_with_the_reason(model, rows, query):
    doubtful = replace(model, policy=replace(model.policy, exploration=0.0, confidence=1.0, posterior_draws=500))
    page = price_page(doubtful, rows, query, customer(model), epoch=EPOCH)
    if page.confidence < 1.0:
        assert all(item.price_minor == item.high_minor for item in page.items)  # list, where the corridor reaches it
        assert all(Reason.LOW_CONFIDENCE_LIST in item.reasons for item in page.items)
    else:
        assert page.confidence == 1.0


def test_exploration_is_logged_with_its_propensity_and_stays_in_bounds(model, rows, query):
    curious = replace(model, policy=replace(model.policy, exploration=1.0, confidence=0.0))
    page = price_page(curious, rows, query, customer(model), epoch=EPOCH)
    explored = [item for item in page.items if Reason.EXPLORATION in item.reasons]
    assert explored
    assert all(0 < item.propensity <= 1 for item in page.items)
    assert any(item.propensity < 1 for item in explored)
    assert all(item.low_minor <= item.price_minor <= item.high_minor for item in page.items)


def test_without_similarity_and_behaviour_everybody_has_one_price(model, rows, query):
    flat = replace(certain(model, personalise=False), demand=model.demand.without_similarity())
    other = model.encoder.encode(["garden hose"])[0]
    users = [customer(model), customer(model, behaviour=None, history_items=(), history_age_days=()), UserContext()]
    pages = [price_page(flat, rows, z, user, epoch=EPOCH) for z in (query, other, None) for user in users]
    assert len({tuple(prices(page)) for page in pages}) == 1


def test_an_item_out_of_stock_keeps_its_fallback_and_takes_no_demand(model, rows, query):
    market = model.market.rows(rows)
    stock = market.stock.copy()
    stock[0] = 0.0
    page = price_page(model, rows, query, UserContext(), epoch=EPOCH, market=replace(market, stock=stock))
    assert page.items[0].purchase_probability == 0.0
    assert page.items[0].price_minor == page.items[0].high_minor


def test_a_whole_page_out_of_stock_is_served_at_the_fallback(model, rows, query):
    market = replace(model.market.rows(rows), stock=np.zeros(len(rows)))
    page = price_page(model, rows, query, customer(model), epoch=EPOCH, market=market)
    assert prices(page) == [item.high_minor for item in page.items]


def test_what_is_sold_out_carries_a_lawful_fallback_and_breaks_no_promise_about_bounds(model, rows, query):
    listed, stock = model.market.list_price[rows], np.where(np.arange(len(rows)) < 3, 0.0, 50.0)
    market = replace(model.market.rows(rows), stock=stock)
    limits = replace(model.policy.limits, max_increase=0.0)
    held = certain(model, limits=limits)
    page = price_page(
        held, rows, query, customer(model), epoch=EPOCH, market=market, previous_price=0.85 * listed
    )  # nothing was optimised for what cannot be bought, so that its price stands above the commercial bound
    for item in page.items[:3]:
        assert item.price_minor > item.high_minor
        assert item.reasons[0] is Reason.LOW_CONFIDENCE_LIST
        assert not {Reason.DEMAND_HIGH_INTENT, Reason.DEMAND_PRICE_SENSITIVE} & set(item.reasons)
        assert not item.personalised
    rows_of_log = quote_rows(page, quote_id="q", ts=pd.Timestamp("2026-06-16", tz="UTC"), task="search", user_key="k")
    assert not breaches(check_invariants(quote_frame(rows_of_log), rho=1.25, disclosures=read_disclosures()))


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, -1.0, 1e14])
@pytest.mark.parametrize("name", ["list_price", "unit_cost"])
def test_live_money_that_cannot_be_meant_is_the_catalogue_s(model, rows, query, name, broken):
    market = model.market.rows(rows)
    values = getattr(market, name).copy()
    values[0] = broken
    page = price_page(model, rows, query, customer(model), epoch=EPOCH, market=replace(market, **{name: values}))
    assert page == price_page(model, rows, query, customer(model), epoch=EPOCH)


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, -1.0, 0.0, 0.004])
def test_a_promise_that_is_no_price_is_none(model, rows, query, broken):
    fixed = np.full(len(rows), np.nan)
    fixed[0] = broken
    page = price_page(model, rows, query, customer(model), epoch=EPOCH, fixed_price=fixed)
    assert page == price_page(model, rows, query, customer(model), epoch=EPOCH)


@pytest.mark.parametrize("broken", [np.inf, -np.inf])
def test_behaviour_that_is_infinite_prices_as_unknown_behaviour(model, rows, query, broken):
    pages = [
        price_page(model, rows, query, customer(model, behaviour={**BEHAVIOUR, schema.SPEND_90D: value}), epoch=EPOCH)
        for value in (broken, np.nan)
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_an_embedding_that_is_no_number_is_no_query(model, rows, query, broken):
    vector = query.copy()
    vector[0] = broken
    guest = UserContext(user_id="u1", jurisdiction="US-NY")
    assert price_page(model, rows, vector, guest, epoch=EPOCH) == price_page(model, rows, None, guest, epoch=EPOCH)


def test_the_anchor_objective_asks_the_allowed_price_nearest_to_f_of_everybody(model, rows, query):
    f = model.market.list_price[rows] * np.linspace(0.3, 1.3, len(rows))  # below, inside and above the bounds
    reference = replace(model.reference, f=model.reference.f.copy())
    reference.f[rows] = f
    policy = replace(model.policy, margin_weight=0.0, anchor_weight=0.5, exploration=0.0)
    anchored = replace(model, reference=reference, policy=policy)
    other = model.encoder.encode(["garden hose"])[0]
    pages = [
        price_page(anchored, rows, z, user, epoch=EPOCH)
        for z in (query, other)
        for user in (UserContext(), customer(model))
    ]
    assert len({tuple(prices(page)) for page in pages}) == 1
    demand = {Reason.DEMAND_HIGH_INTENT, Reason.DEMAND_PRICE_SENSITIVE}
    assert all(Reason.ANCHOR in item.reasons and not demand & set(item.reasons) for item in pages[1].items)
    problem = page_problem(anchored, rows, query, UserContext())
    assert prices(pages[0]) == np.rint(100 * snap(f, problem.menu)).astype(int).tolist()
    steep = replace(model.demand, b_min=40.0)  # nobody would pay more: a price nobody pays costs the objective least
    assert prices(price_page(replace(anchored, demand=steep), rows, query, UserContext(), epoch=EPOCH)) == prices(
        pages[0]
    )


def test_the_same_item_twice_on_a_page_has_one_price(model, rows, query):
    page = price_page(model, rows[[3, 0, 3]], query, customer(model), epoch=EPOCH)
    assert page.items[0].price_minor == page.items[2].price_minor
    assert page.items[0].reasons == page.items[2].reasons


def test_a_page_of_ten_thousand_items_is_priced_inside_its_bounds(model, query):
    page = price_page(model, np.resize(np.arange(len(model.item_ids)), 10_000), query, customer(model), epoch=EPOCH)
    assert len(page.items) == 10_000
    assert all(item.low_minor <= item.price_minor <= item.high_minor for item in page.items)
    assert sum(item.purchase_probability for item in page.items) <= 1.0 + 1e-9


def test_a_cost_above_list_is_infeasible_and_served_at_list(model, rows, query):
    market = model.market.rows(rows)
    cost = market.unit_cost.copy()
    cost[1] = 2 * market.list_price[1]
    page = price_page(model, rows, query, UserContext(), epoch=EPOCH, market=replace(market, unit_cost=cost))
    assert Reason.INFEASIBLE in page.items[1].reasons
    assert page.items[1].price_minor == page.items[1].list_price_minor


def test_a_broken_live_price_falls_back_to_the_catalogue(model, rows, query):
    market = model.market.rows(rows)
    broken = replace(market, list_price=np.full(len(rows), np.nan), unit_cost=np.full(len(rows), np.nan))
    assert price_page(model, rows, query, UserContext(), epoch=EPOCH, market=broken) == price_page(
        model, rows, query, UserContext(), epoch=EPOCH
    )


@pytest.mark.parametrize("count", [0, 1])
def test_pages_of_no_item_and_of_one_are_priced(model, rows, query, count):
    page = price_page(model, rows[:count], query, customer(model), epoch=EPOCH)
    assert len(page.items) == count


def test_a_search_by_nothing_is_refused_and_history_alone_will_do(model):
    with pytest.raises(RequestError, match="query"):
        retrieve(model, None, "", UserContext(), 5)
    assert len(retrieve(model, None, "", customer(model), 5)) == 5


def test_what_is_sold_out_is_not_found(model, query):
    rows = retrieve(model, query, "oak bookcase white", UserContext(), len(model.item_ids))
    assert (model.market.stock[rows] > 0).all()
    assert len(rows) == int((~(model.market.stock <= 0)).sum())


def test_an_explanation_adds_up_to_the_price_that_was_served(model, rows, query):
    user = customer(model)
    page = price_page(model, rows, query, user, epoch=EPOCH)
    for item, why in zip(page.items, explain_page(model, rows, query, user, epoch=EPOCH), strict=True):
        assert why["item_id"] == item.item_id
        assert why["price_minor"] == pytest.approx(item.price_minor, abs=1e-9)
        total = why["base_minor"] + sum(why["contributions_minor"].values())
        assert total == pytest.approx(item.price_minor, abs=1e-6)


def test_an_opt_out_s_explanation_names_no_behaviour(model, rows, query):
    for why in explain_page(model, rows, query, customer(model, opted_out=True), epoch=EPOCH):
        assert why["contributions_minor"].get("behaviour", 0.0) == pytest.approx(0.0, abs=1e-9)


def test_scarce_stock_raises_a_price_and_says_why(model, rows, query):
    shadow = model.reference.shadow.copy()
    shadow[rows[0]] = 0.1 * model.market.list_price[rows[0]]
    scarce = replace(certain(model), reference=replace(model.reference, shadow=shadow))
    before = price_page(certain(model), rows, query, UserContext(), epoch=EPOCH).items[0]
    after = price_page(scarce, rows, query, UserContext(), epoch=EPOCH).items[0]
    assert after.price_minor >= before.price_minor
    assert Reason.STOCK_SCARCE in after.reasons


def test_the_market_s_arrays_follow_the_rows(model, rows):
    part = model.market.rows(rows)
    assert isinstance(part, MarketContext)
    np.testing.assert_array_equal(part.list_price, model.market.list_price[rows])


def test_stock_that_will_not_sell_in_time_is_priced_at_its_salvage_value(model, rows, query):
    sure = certain(model)
    market = model.market.rows(rows)
    today = price_page(sure, rows, query, customer(sure), epoch=EPOCH).items
    room = [item.price_minor - item.low_minor for item in today]
    place = int(np.argmax(room))  # the item whose price has the farthest to fall
    life = np.full(len(rows), np.nan)
    life[place] = 30.0
    old = replace(
        market,
        stock=np.where(np.arange(len(rows)) == place, 500.0, 9.0),
        salvage_value=np.where(np.isnan(life), np.nan, 0.1 * market.list_price),
        shelf_life_days=life,
    )
    kept = replace(old, shelf_life_days=np.full(len(rows), np.nan))
    before = price_page(sure, rows, query, customer(sure), epoch=EPOCH, market=kept)
    after = price_page(sure, rows, query, customer(sure), epoch=EPOCH, market=old)
    assert [Reason.STOCK_AGEING in item.reasons for item in after.items] == [at == place for at in range(len(rows))]
    assert after.items[place].price_minor < before.items[place].price_minor
    # What was paid for it is still recorded.
    assert after.items[place].unit_cost_minor == before.items[place].unit_cost_minor
    assert not any(Reason.STOCK_AGEING in item.reasons for item in before.items)


def test_the_explanation_of_ageing_stock_names_it(model, rows, query):
    sure = certain(model)
    market = model.market.rows(rows)
    nothing = np.zeros(len(rows))
    old = replace(market, stock=nothing + 500.0, salvage_value=nothing + 0.5, shelf_life_days=nothing + 1.0)
    parts = explain_page(sure, rows, query, customer(sure), epoch=EPOCH, market=old)
    assert min(part["contributions_minor"]["stock"] for part in parts) < 0
    for part in parts:
        assert sum(part["contributions_minor"].values()) == pytest.approx(part["price_minor"] - part["base_minor"])


def test_ageing_stock_occurs_in_the_simulated_shop(model):
    """The shop buys far too much of some items that do not keep: their code is on the pages that show them."""
    old = np.flatnonzero(np.isfinite(model.market.shelf_life_days) & (model.market.stock > 0))
    assert old.size
    items = price_page(certain(model), old, None, UserContext(), epoch=EPOCH).items
    coded = np.array([Reason.STOCK_AGEING in item.reasons for item in items])
    market, rate = model.market.rows(old), model.reference.sales_rate[old]
    due = (market.stock > rate * market.shelf_life_days) & (market.salvage_value < market.unit_cost)
    assert due.any()
    assert coded[due].all()
    assert not coded[~due].any()
