"""The rows of the quote log, made in one place."""

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.types import Reason
from fairtag.page.priced_page import PricedItem, PricedPage
from fairtag.page.quote_rows import quote_frame, quote_record

MOMENT = 1_781_568_000_123_456  # microseconds


def item(number, *, personalised):
    return PricedItem(
        item_id=f"item-{number}",
        category="tools",
        rank=number,
        similarity=0.5,
        list_price_minor=2_000,
        price_minor=1_900 + number,
        reference_price_minor=2_000,
        unit_cost_minor=1_000,
        low_minor=1_500,
        high_minor=2_000,
        purchase_probability=0.1,
        personalised=personalised,
        reasons=(Reason.DEMAND_PRICE_SENSITIVE, Reason.PRICE_ENDING),
        propensity=0.8,
    )


@pytest.fixture
def page():
    items = (item(1, personalised=True), item(2, personalised=False))
    return PricedPage(items, True, "told", "US-NY", 1.0, 0.9, 20_620, "m1", "EUR")


def test_an_item_carries_the_disclosure_only_if_its_own_price_is_personal(page):
    frame = quote_frame([quote_record(page, quote_id="q", ts=MOMENT, task="search")])
    assert frame[schema.PERSONALISED].tolist() == [True, False]
    assert frame[schema.DISCLOSURE].fillna("").tolist() == ["told", ""]


def test_a_record_becomes_one_row_an_item_with_every_column_of_the_contract(page):
    records = [
        quote_record(page, quote_id=name, ts=MOMENT, task="price", user_key="k", query="oak", feature_age_seconds=3.0)
        for name in ("q1", "q2")
    ]
    frame = quote_frame(records)
    assert list(frame.columns) == list(schema.QUOTES.names)
    assert frame[schema.QUOTE_ID].tolist() == ["q1", "q1", "q2", "q2"]
    assert frame[schema.PRICE_MINOR].tolist() == [1_901, 1_902] * 2
    assert list(frame[schema.REASONS].iat[3]) == ["DEMAND_PRICE_SENSITIVE", "PRICE_ENDING"]
    assert set(frame[schema.TS]) == {pd.Timestamp(MOMENT, unit="us", tz="UTC")}
    assert set(frame[schema.USER_KEY]) == {"k"}
    assert set(frame[schema.FEATURE_AGE_SECONDS]) == {3.0}


def test_no_pages_are_a_frame_of_no_rows_with_every_column():
    frame = quote_frame([])
    assert frame.empty
    assert list(frame.columns) == list(schema.QUOTES.names)
