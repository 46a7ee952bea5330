"""Requests and markets that cannot be meant: each has a page, or one refusal."""

from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.errors import RequestError
from fairtag.base.types import Reason
from fairtag.page.pricing import PageInputs, price_page, search
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
