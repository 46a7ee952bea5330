"""What a shop lacks is derived from what it has: point in time, without leakage, and labelled."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.tables import coerce
from fairtag.data.derived_tables import DERIVED_PAGES, DERIVED_USERS, complete_tables, impressions_derived
from fairtag.data.point_in_time import training_set

START = pd.Timestamp("2026-01-05", tz="UTC")  # a Monday


def items(**columns):
    rows = {"item_id": ["a", "b", "c"], "title": ["mug", "bowl", "lamp"], "list_price": [10.0, 20.0, 30.0], **columns}
    return coerce(pd.DataFrame(rows), schema.ITEMS)


def orders(*lines):
    names = ("order_id", "item_id", "ts", "user_id", "quantity", "price")
    rows = [(order, item, START + pd.Timedelta(days=day), user, 1, price) for order, item, day, user, price in lines]
    return coerce(pd.DataFrame(rows, columns=names), schema.ORDERS)


LINES = (
    ("o1", "a", 0.5, "u1", 10.0),
    ("o2", "a", 1.5, "u2", 9.0),
    ("o2", "b", 1.5, "u2", 20.0),
    ("o3", "b", 2.5, "u1", 18.0),
    ("o4", "a", 9.5, "u1", 10.0),
)


@pytest.fixture
def completed():
    frames = {"items": items(category=["kitchen", "kitchen", "home"]), "orders": orders(*LINES)}
    return complete_tables(frames, {"provenance": {"items": "recorded", "orders": "recorded"}})


def test_items_alone_are_completed_and_every_assumption_is_named():
    shop = complete_tables({"items": items()}, {"as_of": "2026-02-01"})
    assert shop.items[schema.UPDATED_AT].tolist() == [pd.Timestamp("2026-02-01", tz="UTC")] * 3
    assert shop.items[schema.CATEGORY].unique().tolist() == ["all items"]
    assert shop.items[[schema.UNIT_COST, schema.STOCK]].isna().all(axis=None)
    assert len(shop.users) == len(shop.impressions) == len(shop.orders) == 0
    for words in ("taken to hold", "no unit cost", "no stock", "without a category"):
        assert words in shop.metadata["provenance"]["items"]


def test_a_whole_catalogue_is_left_as_it_is():
    whole = items(
        updated_at=START, category="x", description="d", brand="b", unit_cost=[0.0, 1.0, 2.0], stock=[1.0, 2.0, 3.0]
    )
    shop = complete_tables({"items": whole}, {"provenance": {"items": "recorded"}})
    pd.testing.assert_frame_equal(shop.items, whole)
    assert shop.metadata["provenance"] == {"items": "recorded"}


def test_a_catalogue_without_times_holds_from_the_first_order_to_the_last(completed):
    times = completed.items.groupby(schema.ITEM_ID)[schema.UPDATED_AT].agg(["min", "max"])
    assert (times["min"] == START + pd.Timedelta(days=0.5)).all()
    assert (times["max"] == START + pd.Timedelta(days=9.5)).all()


def test_behaviour_is_that_of_the_orders_before_the_day_and_never_of_the_day_itself(completed):
    assert completed.metadata["provenance"]["users"] == DERIVED_USERS
    first = completed.users.set_index([schema.USER_ID, schema.UPDATED_AT])
    day = first.loc[("u1", START)]
    assert (day[schema.ORDERS_90D], day[schema.HISTORY_ITEMS]) == (0, [])
    assert np.isnan(day[schema.RECENCY_DAYS])
    later = first.loc[("u1", START + pd.Timedelta(days=9))]
    assert later[schema.ORDERS_90D] == 2
    assert later[schema.SPEND_90D] == 28.0
    assert later[schema.RECENCY_DAYS] == pytest.approx(6.5)
    assert later[schema.PROMOTION_RESPONSE] == 0.5  # b was bought at 18 of 20
    assert later[schema.HISTORY_ITEMS] == ["b", "a"]
    newest = completed.latest_users().set_index(schema.USER_ID)
    assert newest.loc["u1", schema.ORDERS_90D] == 3  # the closing snapshot knows every order


def test_no_feature_of_a_derived_page_knows_what_was_bought_on_it(completed):
    joined = training_set(completed)
    mine = joined[joined[schema.PURCHASED]]
    assert len(mine)
    for row in mine.itertuples():
        past = completed.orders[(completed.orders.user_id == row.user_id) & (completed.orders.ts < row.ts.floor("D"))]
        assert row.orders_90d == past.order_id.nunique()


def test_pages_show_what_other_orders_of_the_week_show_and_are_labelled_observational(completed):
    pages = completed.impressions
    assert impressions_derived(completed.metadata)
    assert completed.metadata["provenance"]["impressions"] == DERIVED_PAGES
    assert completed.metadata["observational"] is True
    assert set(pages[schema.QUERY]) == {"kitchen"}  # nobody bought a lamp
    page = pages[pages[schema.PAGE_ID].str.startswith("o1-")].set_index(schema.ITEM_ID)
    assert page[schema.PURCHASED].to_dict() == {"a": True, "b": False}
    assert page.loc["a", schema.PRICE] == pytest.approx(9.0)  # what the other order of the week paid
    assert page.loc["a", schema.LIST_PRICE] == 10.0
    assert not pages[schema.PAGE_ID].str.startswith("o4-").any()  # no other order of that week shows an item


def test_tables_that_are_there_are_never_replaced(completed):
    users = completed.users.iloc[:1]
    shop = complete_tables(
        {"items": items(), "orders": orders(*LINES), "users": users, "impressions": completed.impressions}, {}
    )
    pd.testing.assert_frame_equal(shop.users, users)
    pd.testing.assert_frame_equal(shop.impressions, completed.impressions)
    assert not impressions_derived(shop.metadata)
