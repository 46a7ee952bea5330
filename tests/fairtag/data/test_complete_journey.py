"""Derived pages of the receipts, on receipts small enough to check by eye, and on the real ones."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.data import load
from fairtag.data.complete_journey import STATED_MARGIN, _words, read_sold


@pytest.fixture
def shop(receipts):
    return read_sold(receipts)


def page(shop, basket, query):
    rows = shop.impressions[shop.impressions[schema.PAGE_ID].str.startswith(f"{basket}-")]
    return rows[rows[schema.QUERY] == query].set_index(schema.ITEM_ID)


def test_a_page_is_the_items_of_a_type_sold_in_a_store_and_week(shop):
    assert set(page(shop, "b1", "fluid milk").index) == {"1", "2"}
    assert set(page(shop, "b4", "fluid milk").index) == {"1"}  # the other milk did not sell in week 2
    assert set(page(shop, "b1", "condensed soup").index) == {"3"}


def test_a_trip_without_the_type_is_the_outside_option(shop):
    milk = page(shop, "b3", "fluid milk")
    assert len(milk) == 2
    assert not milk[schema.PURCHASED].any()
    bought = page(shop, "b1", "fluid milk")
    assert bought[schema.PURCHASED].to_dict() == {"1": True, "2": False}
    assert bought[schema.QUANTITY].to_dict() == {"1": 2, "2": 0}


def test_price_is_what_the_card_paid_and_list_is_the_shelf(shop):
    milk = page(shop, "b2", "fluid milk")
    assert milk[schema.PRICE].to_dict() == {"1": 1.5, "2": 2.5}
    assert milk[schema.LIST_PRICE].to_dict() == {"1": 2.0, "2": 2.5}
    soup = page(shop, "b1", "condensed soup").iloc[0]
    assert (soup[schema.PRICE], soup[schema.LIST_PRICE]) == (1.0, 1.25)  # the matched coupon is part of the price


def test_fuel_and_lines_without_a_quantity_are_left_out(shop):
    assert set(shop.items[schema.ITEM_ID]) == {"1", "2", "3"}
    assert "b5" not in set(shop.orders[schema.ORDER_ID])


def test_a_snapshot_knows_only_what_came_before_its_week(shop):
    users = shop.users.set_index([schema.USER_ID, schema.UPDATED_AT])
    first = users.loc[("a", pd.Timestamp("2017-01-02", tz="UTC"))]
    assert np.isnan(first[schema.RECENCY_DAYS])
    assert first[schema.ORDERS_90D] == 0
    assert first[schema.HISTORY_ITEMS] == []
    second = users.loc[("a", pd.Timestamp("2017-01-09", tz="UTC"))]
    assert second[schema.ORDERS_90D] == 1
    assert second[schema.SPEND_90D] == pytest.approx(3.0)
    assert second[schema.PROMOTION_RESPONSE] == 1.0
    assert second[schema.HISTORY_ITEMS] == ["1"]
    assert second[schema.RECENCY_DAYS] == pytest.approx(7 - 10 / 24, abs=1e-3)


def test_cost_is_a_stated_assumption_and_the_metadata_say_so(shop):
    np.testing.assert_allclose(shop.items[schema.UNIT_COST], (1 - STATED_MARGIN) * shop.items[schema.LIST_PRICE])
    assert "assumption" in shop.metadata["provenance"]["items"]
    assert "outside option" in shop.metadata["provenance"]["impressions"]
    assert shop.metadata["observational"] is True


def test_groups_go_to_the_audit_table_alone_and_unanswered_questions_are_absent(shop):
    groups = shop.audit_groups.set_index([schema.USER_ID, schema.ATTRIBUTE])[schema.GROUP].to_dict()
    assert groups[("a", "age")] == "25-34"
    assert ("b", "age") not in groups
    assert groups[("b", "household_size")] == "1"


def test_search_judgements_are_attached_when_they_stand_beside(receipts, searches):
    assert load("complete-journey", receipts).judgements is not None
    (searches / "home_depot_search" / "train.csv.gz").unlink()
    assert load("complete-journey", receipts).judgements is None


def test_receipts_without_one_usable_line_are_refused(receipts):
    file = receipts / "complete_journey" / "transactions_sample.parquet"
    pd.read_parquet(file).assign(quantity=0.0).to_parquet(file)
    with pytest.raises(DataError, match="no receipt line"):
        load("complete-journey", receipts)


def test_a_column_that_is_missing_is_named(receipts):
    file = receipts / "complete_journey" / "transactions_sample.parquet"
    pd.read_parquet(file).drop(columns="retail_disc").to_parquet(file)
    with pytest.raises(MissingDataError, match="retail_disc"):
        load("complete-journey", receipts)


@pytest.mark.parametrize(
    ("till", "words"),
    [("FLUID MILK (WHITE ONLY", "fluid milk"), ("YOGURT NOT MULTI-PACKS", "yogurt not multi packs"), ("A  B", "a b")],
)
def test_till_texts_become_words(till, words):
    assert _words(till) == words


@pytest.mark.data
@pytest.mark.slow
def test_the_real_receipts_keep_the_contract(real_data):
    shop = load("complete-journey", real_data)
    for table in schema.TABLES:
        frame = shop.frames()[table.name]
        assert not frame.duplicated(list(table.key)).any(), table.name
    impressions = shop.impressions
    assert (impressions[schema.PRICE] <= impressions[schema.LIST_PRICE]).all()
    assert impressions[schema.ITEM_ID].isin(shop.items[schema.ITEM_ID]).all()
    assert impressions[schema.USER_ID].isin(shop.users[schema.USER_ID]).all()
    pages = impressions.groupby(schema.PAGE_ID)[schema.PURCHASED].sum()
    assert 0.05 < (pages > 0).mean() < 0.15
    assert (pages > 1).mean() < 0.005
