"""Requests and markets that cannot be meant: each has a page, or one refusal."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.errors import RequestError
from fairtag.base.types import Reason
from fairtag.page.pricing import PageInputs, explain_page, price_page, search
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery

EPOCH = 20_620  # a day in June 2026, when every rule of the disclosure table is in force
BEHAVIOUR = {
    schema.RECENCY_DAYS: 3.0,
    schema.ORDERS_90D: 1.0,
    schema.SPEND_90D: 40.0,
    schema.PROMOTION_RESPONSE: 0.95,
}


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, -1.0, 1e14])
@pytest.mark.parametrize("name", ["list_price", "unit_cost"])
def test_live_money_that_cannot_be_meant_is_the_catalogue_s(model, rows, query, name, broken, customer):
    market = model.market.rows(rows)
    values = getattr(market, name).copy()
    values[0] = broken
    page = price_page(model, PageInputs(rows, query, customer(model), EPOCH, market=replace(market, **{name: values})))
    assert page == price_page(model, PageInputs(rows, query, customer(model), EPOCH))


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan, -1.0, 0.0, 0.004])
def test_a_lock_that_is_no_price_is_ignored(model, rows, query, broken, customer):
    fixed = np.full(len(rows), np.nan)
    fixed[0] = broken
    page = price_page(model, PageInputs(rows, query, customer(model), EPOCH, locked_price=fixed))
    assert page == price_page(model, PageInputs(rows, query, customer(model), EPOCH))


@pytest.mark.parametrize("broken", [np.inf, -np.inf])
def test_behaviour_that_is_infinite_prices_as_unknown_behaviour(model, rows, query, broken, customer):
    pages = [
        price_page(
            model, PageInputs(rows, query, customer(model, behaviour={**BEHAVIOUR, schema.SPEND_90D: value}), EPOCH)
        )
        for value in (broken, np.nan)
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("broken", [np.inf, np.nan])
def test_an_embedding_that_is_no_number_is_no_query(model, rows, query, broken):
    vector = query.copy()
    vector[0] = broken
    guest = UserContext(user_id="u1", jurisdiction="US-NY")
    assert price_page(model, PageInputs(rows, vector, guest, EPOCH)) == price_page(
        model, PageInputs(rows, None, guest, EPOCH)
    )


def test_the_same_item_twice_on_a_page_has_one_price(model, rows, query, customer):
    page = price_page(model, PageInputs(rows[[3, 0, 3]], query, customer(model), EPOCH))
    assert page.items[0].price_minor == page.items[2].price_minor
    assert page.items[0].reasons == page.items[2].reasons


def test_a_page_of_ten_thousand_items_is_priced_inside_its_bounds(model, query, customer):
    page = price_page(
        model, PageInputs(np.resize(np.arange(len(model.item_ids)), 10_000), query, customer(model), EPOCH)
    )
    assert len(page.items) == 10_000
    assert all(item.low_minor <= item.price_minor <= item.high_minor for item in page.items)
    assert sum(item.purchase_probability for item in page.items) <= 1.0 + 1e-9


def test_a_cost_above_list_is_infeasible_and_served_at_list(model, rows, query):
    market = model.market.rows(rows)
    cost = market.unit_cost.copy()
    cost[1] = 2 * market.list_price[1]
    page = price_page(model, PageInputs(rows, query, UserContext(), EPOCH, market=replace(market, unit_cost=cost)))
    assert Reason.INFEASIBLE in page.items[1].reasons
    assert page.items[1].price_minor == page.items[1].list_price_minor


def test_a_broken_live_price_falls_back_to_the_catalogue(model, rows, query):
    market = model.market.rows(rows)
    broken = replace(market, list_price=np.full(len(rows), np.nan), unit_cost=np.full(len(rows), np.nan))
    assert price_page(model, PageInputs(rows, query, UserContext(), EPOCH, market=broken)) == price_page(
        model, PageInputs(rows, query, UserContext(), EPOCH)
    )


@pytest.mark.parametrize("count", [0, 1])
def test_pages_of_no_item_and_of_one_are_priced(model, rows, query, count, customer):
    page = price_page(model, PageInputs(rows[:count], query, customer(model), EPOCH))
    assert len(page.items) == count


def test_a_search_by_nothing_is_refused_and_history_alone_will_do(model, customer):
    with pytest.raises(RequestError, match="query"):
        search(model, SearchQuery(""), None, UserContext(), 5)
    assert len(search(model, SearchQuery(""), None, customer(model), 5).rows) == 5


def test_what_is_sold_out_is_not_found(model, query):
    rows = search(model, SearchQuery("oak bookcase white"), query, UserContext(), len(model.item_ids)).rows
    assert (model.market.stock[rows] > 0).all()
    assert len(rows) == int((~(model.market.stock <= 0)).sum())


@pytest.mark.parametrize("listed", [0.0, 0.004, 0.0099])
def test_an_item_whose_list_price_is_below_the_smallest_coin_leaves_the_page_and_is_named(
    model, rows, query, listed, customer
):
    market = model.market.rows(rows)
    values = market.list_price.copy()
    values[2] = listed
    locked = np.full(len(rows), np.nan)
    locked[3] = market.list_price[3]
    inputs = PageInputs(
        rows, query, customer(model), EPOCH, market=replace(market, list_price=values), locked_price=locked
    )
    page = price_page(model, inputs)
    assert page.unpriced == (model.item_ids[rows[2]],)
    assert [item.item_id for item in page.items] == [model.item_ids[row] for row in np.delete(rows, 2)]
    assert [item.rank for item in page.items] == list(range(1, len(rows)))
    assert min(item.price_minor for item in page.items) >= 1
    kept = replace(inputs, rows=np.delete(rows, 2), market=None, locked_price=np.delete(locked, 2))
    assert page.items == price_page(model, kept).items  # the others are priced as if it were not there
    assert [row["item_id"] for row in explain_page(model, inputs)] == [item.item_id for item in page.items]


def test_a_page_of_which_nothing_can_be_charged_is_empty_and_names_all(model, rows, query, customer):
    market = replace(model.market.rows(rows), list_price=np.full(len(rows), 0.001))
    page = price_page(model, PageInputs(rows, query, customer(model), EPOCH, market=market))
    assert page.items == ()
    assert len(page.unpriced) == len(rows)


def test_a_free_good_is_priced_by_its_demand_and_never_below_a_coin(model, rows, query, customer):
    market = replace(model.market.rows(rows), unit_cost=np.zeros(len(rows)))
    page = price_page(model, PageInputs(rows, query, customer(model), EPOCH, market=market))
    assert all(item.unit_cost_minor == 0 < item.low_minor <= item.price_minor for item in page.items)
    assert not any(Reason.COST_FLOOR in item.reasons for item in page.items)


@pytest.mark.parametrize(("code", "unit"), [("JPY", 1), ("USD", 100), ("KWD", 1_000)])
def test_the_same_shop_in_another_currency_is_priced_in_its_own_coins(model, rows, query, customer, code, unit):
    here = replace(model, policy=model.policy.in_currency(code))
    listed = np.maximum(np.rint(model.market.rows(rows).list_price * unit), 1) / unit
    market = replace(model.market.rows(rows), list_price=listed, unit_cost=np.floor(listed * unit * 0.5) / unit)
    page = price_page(here, PageInputs(rows, query, customer(model), EPOCH, market=market))
    assert page.currency == code
    for item, price in zip(page.items, listed, strict=True):
        assert item.list_price_minor == round(price * unit)
        assert item.low_minor <= item.price_minor <= item.high_minor <= item.list_price_minor
    explained = explain_page(here, PageInputs(rows, query, customer(model), EPOCH, market=market))
    for row, item in zip(explained, page.items, strict=True):
        assert row["price_minor"] == item.price_minor
