"""What an answered page leaves behind is what evaluation would have made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.testing import assert_frame_equal

from fairtag.base import schema
from fairtag.base.pseudonym import user_key
from fairtag.base.tables import coerce
from fairtag.page.held_out import ShadowPage, shadow_quotes
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery
from serving.keys import QuoteKeys
from serving.page.customers import Pseudonyms
from serving.page.page_answer import log_page, page_answer
from serving.page.page_task import PageResult, PageTask
from serving.page.quotes import QuoteBook
from serving.protocol.payload import PageRequest
from serving.stores.price_locks import PriceLocks
from serving.stores.quote_log import QuoteLog

BOOK = QuoteBook(QuoteKeys("k", {"k": bytes(32)}), lifetime=900, skew=30)
NOW = 1_781_568_000.25


def test_the_endpoints_log_and_evaluations_rows_are_equal_for_the_same_page(handmade: Any, tmp_path: Path) -> None:
    core, rows, subject = handmade.HandMadeCore(), np.array([4, 2, 9]), user_key("u1", bytes(32))
    request = PageRequest(query="drill", user_id="u1", jurisdiction="DE")
    user = UserContext("u1", {"promotion_response": 0.9}, jurisdiction="DE")
    locks = PriceLocks({"item-002": 1_000})
    task = PageTask(SearchQuery("drill"), None, 3, core.encode(["drill"])[0], user, locks, None, core.epoch_of(NOW))
    bare = PageResult(task, rows, core.market.rows(rows), None, rows[:0], None)
    page = core.price(bare.inputs(core))
    assert {item.personalised for item in page.items} == {True}
    plain = page.items[0]._replace(personalised=False)  # an item at list beside personal ones
    mixed = type(page)(**{**vars(page), "items": (plain, *page.items[1:])})
    result = PageResult(task, rows, bare.market, None, rows[:0], None, mixed)
    log = QuoteLog(str(tmp_path / "quotes"))
    log.start()
    answer = page_answer(
        result,
        request,
        BOOK,
        None,
        NOW,
        user_age=None,
        unknown=[],
        texts=core.texts([item.item_id for item in mixed.items], ["title"]),
    )
    log_page(log, mixed, answer, request, Pseudonyms([bytes(32)]).visitor(request), Pseudonyms([bytes(32)]), NOW)
    assert log.stop()
    (file,) = (tmp_path / "quotes").rglob("*.parquet")
    logged = coerce(pd.read_parquet(file), schema.QUOTES)
    moment = pd.Timestamp(int(NOW * 1_000_000), unit="us", tz="UTC")
    shadow = ShadowPage(answer["quote_id"], subject, moment, "drill", pd.DataFrame(), mixed)
    assert_frame_equal(logged, shadow_quotes([shadow], with_users=True))
    assert logged[schema.DISCLOSURE].fillna("").tolist() == ["", "told", "told"]


def test_with_a_cause_the_prices_depend_on_no_data_of_the_customer_and_on_every_lock(handmade: Any) -> None:
    core, rows = handmade.HandMadeCore(), np.array([4, 2])
    user = UserContext("u1", {"promotion_response": 0.9}, ("item-001",), (1.0,), jurisdiction="DE")
    locks = PriceLocks({"item-009": 900}, {"item-002": 1_000}, {"item-004": 1_300})
    task = PageTask(None, rows, 2, None, user, locks, "user_features_down", 3)
    inputs = PageResult(task, rows, core.market.rows(rows), None, rows[:0], None).inputs(core)
    assert isinstance(inputs, PageInputs)
    assert inputs.list_only
    assert inputs.user == UserContext(jurisdiction="DE")
    np.testing.assert_array_equal(inputs.locked_price, [np.nan, np.nan])
    np.testing.assert_array_equal(inputs.price_ceiling, [13.0, np.nan])
    np.testing.assert_array_equal(inputs.locked_personal, [np.nan, 10.0])
