"""The shop's own quotes priced again: what was quoted to anybody is what the policy in force replays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import MissingDataError, UnavailableError
from fairtag.evaluation.policy_replay import replay_of
from fairtag.evaluation.quoted_pages import quoted_impressions, read_quotes
from fairtag.page.priced_page import PageInputs
from fairtag.page.pricing import price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import UserContext
from fairtag.policy.shop_policy import ShopPolicy

EPOCH = 20_620  # 2026-06-16
DAY = date(2026, 6, 16)
NOON = datetime(2026, 6, 16, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def steady(model):
    """A model that draws no price."""
    return replace(model, policy=replace(model.policy, exploration=0.0))


@pytest.fixture(scope="module")
def quotes(steady):
    """Twenty pages of guests, an hour apart, the newest at noon."""
    rng, records = np.random.default_rng(0), []
    for number in range(20):
        rows = rng.choice(len(steady.item_ids), 8, replace=False)
        page = price_page(steady, PageInputs(rows, None, UserContext(jurisdiction="US-NY"), EPOCH))
        ts = NOON - timedelta(hours=number)
        records.append(quote_record(page, quote_id=f"q{number}", ts=int(ts.timestamp() * 1e6), task="price"))
    return quote_frame(records)


def write(frame, folder, opened):
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / f"quotes-{opened:%Y%m%dT%H%M%S}-a.parquet", index=False, coerce_timestamps="us")


def test_the_policy_in_force_replays_the_prices_that_were_quoted(steady, quotes):
    replay = replay_of(steady, quoted_impressions(steady, quotes), vectors={}, log="pages quoted in the last 7 days")
    priced = replay.prices(ShopPolicy(), DAY)
    assert priced.price.tolist() == pytest.approx(replay.pages.rows[schema.PRICE].tolist())
    assert not priced.personal.any(), "the log holds no data of customers"


def test_a_preview_says_which_log_it_replayed_and_what_a_tighter_limit_changes(steady, quotes):
    log = "pages quoted in the last 7 days"
    replay = replay_of(steady, quoted_impressions(steady, quotes), vectors={}, log=log)
    found = replay.preview(ShopPolicy().changed(limits={"max_discount": 0.02}), ShopPolicy(), on=DAY)
    assert (found.log, found.pages, found.prices) == (log, 20, 160)
    assert found.raised > found.lowered


def test_only_the_last_days_are_read_and_other_files_are_not_opened(quotes, tmp_path):
    write(quotes, tmp_path / "20260616", NOON - timedelta(hours=20))
    old = tmp_path / "20260601" / "quotes-20260601T000000-a.parquet"
    old.parent.mkdir()
    old.write_bytes(b"never opened")
    found = read_quotes(str(tmp_path), NOON - timedelta(hours=4.5))
    assert found[schema.QUOTE_ID].nunique() == 5
    with pytest.raises(MissingDataError, match="nobody was quoted"):
        read_quotes(str(tmp_path), NOON + timedelta(hours=1))
    with pytest.raises(MissingDataError, match="nobody was quoted"):
        read_quotes(str(tmp_path / "nowhere"), NOON)
    with pytest.raises(UnavailableError, match="cannot be read"):
        read_quotes(str(tmp_path), NOON - timedelta(days=30))


def test_quotes_of_unknown_items_and_other_currencies_are_left_out(steady, quotes):
    strange = quotes.assign(**{schema.ITEM_ID: quotes[schema.ITEM_ID].where(quotes[schema.RANK] > 1, "gone")})
    assert len(quoted_impressions(steady, strange)) == len(quotes) - 20
    with pytest.raises(MissingDataError, match="in its currency"):
        quoted_impressions(steady, quotes.assign(**{schema.CURRENCY: "KWD"}))


def test_customers_are_known_by_their_key_and_each_guest_is_one(steady, quotes):
    keyed = quotes.assign(**{schema.USER_KEY: pd.Series(["anna", None] * 80)})
    pages = replay_of(steady, quoted_impressions(steady, keyed), vectors={}).pages
    assert len(set(pages.customer)) == 21
