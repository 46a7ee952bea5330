"""Pages whose customer or items cannot be read: list prices, the reason, and no promise broken."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from serving.stores.feature_reads import MemoryReader

SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}


class Moody(MemoryReader):
    """A store that may refuse to tell of users."""

    down = False

    def user(self, user_id: str) -> Any:
        if self.down:
            raise ConnectionError("refused")
        return super().user(user_id)


def test_a_store_that_is_down_means_list_prices_and_the_reason(serve: Callable[..., Any], handmade: Any) -> None:
    reader = Moody(users={"hunter": handmade.HUNTER})
    with serve(reader=reader) as running:
        whole = running.page()
        reader.down = True
        degraded = [running.page(**{**SEARCH, "query": f"drill {n}"}) for n in range(8)]
        guest = running.page(query="drill")
        reader.down = False
    assert whole["degraded"] is None
    assert {answer["degraded"] for answer in degraded} == {"user_features_down"}
    promised = {item["item_id"]: item["price_minor"] for item in whole["items"]}
    for answer in degraded:
        for item in answer["items"]:
            assert item["price_minor"] == promised.get(item["item_id"], item["list_price_minor"])
    assert guest["degraded"] is None, "nobody's features were needed"


def test_a_promise_stands_on_a_degraded_page_and_is_told_as_what_it_is(
    serve: Callable[..., Any], handmade: Any
) -> None:
    reader = Moody(users={"hunter": handmade.HUNTER})
    with serve(reader=reader) as running:
        first = running.page(task="price", item_ids=["item-010"], user_id="hunter", jurisdiction="DE")
        reader.down = True
        later = running.page(task="price", item_ids=["item-010", "item-011"], user_id="hunter", jurisdiction="DE")
    assert first["personalised"]
    assert later["degraded"] == "user_features_down"
    kept, listed = later["items"]
    assert kept["price_minor"] == first["items"][0]["price_minor"] < kept["list_price_minor"]
    assert listed["price_minor"] == listed["list_price_minor"]
    assert (kept["personalised"], listed["personalised"]) == (True, False)
    assert later["disclosure"] == first["disclosure"]


def test_a_degraded_page_promises_that_the_price_will_not_rise(
    serve: Callable[..., Any], handmade: Any, patient: Callable[..., Any], until: Callable[..., None]
) -> None:
    reader = Moody(users={"hunter": handmade.HUNTER}, market={"item-010": {"list_price": 10.0}})
    features = patient(warm_seconds=1, refresh_seconds=0.05, breaker_seconds=0.1)
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader, features=features) as running:
        reader.down = True
        degraded = running.page(**ask)
        reader.down = False
        reader.market["item-010"]["list_price"] = 30.0
        until(lambda: running.page(**{**ask, "user_id": "somebody"})["items"][0]["list_price_minor"] == 3_000)
        until(lambda: running.page(**ask)["degraded"] is None)
        whole = running.page(**ask)
        other = running.page(**{**ask, "user_id": "another"})
    assert degraded["items"][0]["price_minor"] == 1_000
    assert other["items"][0]["price_minor"] > 1_000
    assert whole["items"][0]["price_minor"] == 1_000


def test_a_promise_above_a_list_price_that_fell_becomes_that_list_price(
    serve: Callable[..., Any], handmade: Any, patient: Callable[..., Any], until: Callable[..., None]
) -> None:
    reader = Moody(users={"hunter": handmade.HUNTER}, market={"item-010": {"list_price": 100.0}})
    features = patient(warm_seconds=1, refresh_seconds=0.05)
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader, features=features) as running:
        first = running.page(**ask)["items"][0]
        reader.market["item-010"]["list_price"] = 50.0
        until(lambda: running.page(**ask)["items"][0]["list_price_minor"] == 5_000)
        later = [running.page(**{**ask, "item_ids": ["item-010", *others]}) for others in ([], ["item-011"])]
    assert first["price_minor"] > 5_000
    assert {answer["items"][0]["price_minor"] for answer in later} == {5_000}


def test_a_later_price_may_be_below_that_of_a_degraded_page(serve: Callable[..., Any], handmade: Any) -> None:
    reader = Moody(users={"hunter": handmade.HUNTER})
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader) as running:
        reader.down = True
        degraded = running.page(**ask)
        reader.down = False
        whole = running.page(**ask)
    assert degraded["items"][0]["price_minor"] == degraded["items"][0]["list_price_minor"]
    assert whole["items"][0]["price_minor"] < degraded["items"][0]["price_minor"]


def test_a_search_shows_nothing_that_is_sold_out_now(
    serve: Callable[..., Any], handmade: Any, patient: Callable[..., Any], until: Callable[..., None]
) -> None:
    reader = handmade.MemoryReader(market={f"item-{i:03d}": {"stock": 5.0} for i in range(60)})
    features = patient(warm_seconds=1, refresh_seconds=0.05)
    with serve(reader=reader, features=features) as running:
        first = running.page(query="drill")["items"][0]["item_id"]
        reader.market[first]["stock"] = 0.0
        until(lambda: first not in [item["item_id"] for item in running.page(query="drill")["items"]])
        asked = running.page(task="price", item_ids=[first])
    assert [item["item_id"] for item in asked["items"]] == [first], "what the shop itself asks for is priced"


def test_items_that_were_never_read_are_read_on_the_way(
    serve: Callable[..., Any], handmade: Any, monkeypatch: pytest.MonkeyPatch, patient: Callable[..., Any]
) -> None:
    monkeypatch.setattr("serving.page.page_endpoint.READ_THROUGH_SECONDS", 60.0)
    features = patient(warm_seconds=0, refresh_seconds=3600)
    reader = handmade.MemoryReader(market={f"item-{i:03d}": {"list_price": 50.0} for i in range(60)})
    with serve(reader=reader, features=features) as running:
        answer = running.page(task="price", item_ids=["item-003"])
    assert answer["degraded"] is None
    assert answer["items"][0]["list_price_minor"] == 5_000


def test_item_features_that_cannot_be_had_mean_list_prices(
    serve: Callable[..., Any], handmade: Any, patient: Callable[..., Any]
) -> None:
    class NoItems(handmade.MemoryReader):
        def items(self, item_ids: Any) -> Any:
            raise ConnectionError("refused")

    features = patient(warm_seconds=0.1)
    with serve(reader=NoItems(), features=features) as running:
        answer = running.page(query="drill")
    assert answer["degraded"] == "item_features_stale"
    assert all(item["price_minor"] == item["list_price_minor"] for item in answer["items"])


def test_a_store_that_hangs_on_items_holds_no_page_up(
    serve: Callable[..., Any], handmade: Any, patient: Callable[..., Any]
) -> None:
    opened = threading.Event()

    class Hanging(handmade.MemoryReader):
        def items(self, item_ids: Any) -> Any:
            assert opened.wait(60)
            return super().items(item_ids)

    with serve(reader=Hanging(), features=patient(warm_seconds=0)) as running:
        answers = [running.page(query=f"drill {n}") for n in range(4)]  # as many as would block every thread
        assert not opened.is_set()
        opened.set()
    assert {answer["degraded"] for answer in answers} == {"item_features_stale"}
