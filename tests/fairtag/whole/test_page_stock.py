"""Stock on a page: sold out, scarce, ageing."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.types import Reason
from fairtag.fairness.invariants import check_invariants, violations
from fairtag.page.pricing import PageInputs, explain_page, price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.disclosure import read_disclosures

MOMENT = 1_781_568_000_000_000  # 16 June 2026, microseconds
EPOCH = 20_620  # a day in June 2026, when every rule of the disclosure table is in force


def test_an_item_out_of_stock_keeps_its_fallback_and_takes_no_demand(model, rows, query):
    market = model.market.rows(rows)
    stock = market.stock.copy()
    stock[0] = 0.0
    page = price_page(model, PageInputs(rows, query, UserContext(), EPOCH, market=replace(market, stock=stock)))
    assert page.items[0].purchase_probability == 0.0
    assert page.items[0].price_minor == page.items[0].high_minor


def test_a_whole_page_out_of_stock_is_served_at_the_fallback(model, rows, query, customer, prices):
    market = replace(model.market.rows(rows), stock=np.zeros(len(rows)))
    page = price_page(model, PageInputs(rows, query, customer(model), EPOCH, market=market))
    assert prices(page) == [item.high_minor for item in page.items]


def test_what_is_sold_out_carries_a_lawful_fallback_and_breaks_no_promise_about_bounds(
    model, rows, query, customer, certain
):
    listed, stock = model.market.list_price[rows], np.where(np.arange(len(rows)) < 3, 0.0, 50.0)
    market = replace(model.market.rows(rows), stock=stock)
    limits = replace(model.policy.limits, max_increase=0.0)
    held = certain(model, limits=limits)
    # Nothing was optimised for what cannot be bought, so that its price stands above the commercial bound.
    page = price_page(
        held, PageInputs(rows, query, customer(model), EPOCH, market=market, previous_price=0.85 * listed)
    )
    for item in page.items[:3]:
        assert item.price_minor > item.high_minor
        assert item.reasons[0] is Reason.LOW_CONFIDENCE_LIST
        assert not {Reason.DEMAND_HIGH_INTENT, Reason.DEMAND_PRICE_SENSITIVE} & set(item.reasons)
        assert not item.personalised
    quoted = quote_record(page, quote_id="q", ts=MOMENT, task="search", user_key="k")
    assert not violations(check_invariants(quote_frame([quoted]), rho=1.25, disclosures=read_disclosures()))


def test_scarce_stock_raises_a_price_and_says_why(model, rows, query, certain):
    shadow = model.estimates.shadow.copy()
    shadow[rows[0]] = 0.1 * model.market.list_price[rows[0]]
    scarce = replace(certain(model), estimates=replace(model.estimates, shadow=shadow))
    before = price_page(certain(model), PageInputs(rows, query, UserContext(), EPOCH)).items[0]
    after = price_page(scarce, PageInputs(rows, query, UserContext(), EPOCH)).items[0]
    assert after.price_minor >= before.price_minor
    assert Reason.STOCK_SCARCE in after.reasons


def test_the_market_s_arrays_follow_the_rows(model, rows):
    part = model.market.rows(rows)
    assert isinstance(part, MarketContext)
    np.testing.assert_array_equal(part.list_price, model.market.list_price[rows])


def test_stock_that_will_not_sell_in_time_is_priced_at_its_salvage_value(model, rows, query, customer, certain):
    sure = certain(model)
    market = model.market.rows(rows)
    today = price_page(sure, PageInputs(rows, query, customer(sure), EPOCH)).items
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
    before = price_page(sure, PageInputs(rows, query, customer(sure), EPOCH, market=kept))
    after = price_page(sure, PageInputs(rows, query, customer(sure), EPOCH, market=old))
    assert [Reason.STOCK_AGEING in item.reasons for item in after.items] == [at == place for at in range(len(rows))]
    assert after.items[place].price_minor < before.items[place].price_minor
    # What was paid for it is still recorded.
    assert after.items[place].unit_cost_minor == before.items[place].unit_cost_minor
    assert not any(Reason.STOCK_AGEING in item.reasons for item in before.items)


def test_the_explanation_of_ageing_stock_names_it(model, rows, query, customer, certain):
    sure = certain(model)
    market = model.market.rows(rows)
    nothing = np.zeros(len(rows))
    old = replace(market, stock=nothing + 500.0, salvage_value=nothing + 0.5, shelf_life_days=nothing + 1.0)
    parts = explain_page(sure, PageInputs(rows, query, customer(sure), EPOCH, market=old))
    assert min(part["contributions_minor"]["stock"] for part in parts) < 0
    for part in parts:
        assert sum(part["contributions_minor"].values()) == pytest.approx(part["price_minor"] - part["base_minor"])


def test_ageing_stock_occurs_in_the_simulated_shop(model, certain):
    """The shop buys far too much of some items that do not keep: their code is on the pages that show them."""
    old = np.flatnonzero(np.isfinite(model.market.shelf_life_days) & (model.market.stock > 0))
    assert old.size
    items = price_page(certain(model), PageInputs(old, None, UserContext(), EPOCH)).items
    coded = np.array([Reason.STOCK_AGEING in item.reasons for item in items])
    market, rate = model.market.rows(old), model.estimates.sales_rate[old]
    due = (market.stock > rate * market.shelf_life_days) & (market.salvage_value < market.unit_cost)
    due &= model.demand.priceable(old)  # the others show list
    assert due.any()
    assert coded[due].all()
    assert not coded[~due].any()
