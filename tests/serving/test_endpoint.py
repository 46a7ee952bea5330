"""What an answer says and keeps, over plain HTTP on a server of this process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pandas as pd
import pytest

from pricing import schema
from pricing.errors import QuoteExpired, QuoteWrongItem, QuoteWrongPrice, QuoteWrongUser, RequestError
from pricing.pseudonym import user_key
from pricing.tables import coerce
from serving.client import GrpcClient, RestClient
from serving.features import MemoryReader
from serving.settings import FeatureSettings, Limits

SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}
SECRET = bytes(range(32))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def patient(**changes: float) -> FeatureSettings:
    """Settings of a store that no busy machine is too slow for."""
    return FeatureSettings(**{"repo": "unused", "deadline_ms": 60_000, **changes})


def page(running: Any, **request: Any) -> dict[str, Any]:
    with RestClient(running.http) as client:
        return client.pages([request or SEARCH])[0]


def test_a_price_once_quoted_stays_for_the_epoch_whatever_page_it_stands_on(serve: Callable[..., Any]) -> None:
    with serve() as running:
        first = page(running, task="price", item_ids=["item-010"], user_id="hunter")
        later = page(running, task="price", item_ids=["item-009", "item-010", "item-011"], user_id="hunter")
        other = page(running, task="price", item_ids=["item-009", "item-010", "item-011"], user_id="somebody")
    kept = {item["item_id"]: item["price_minor"] for item in later["items"]}
    assert kept["item-010"] == first["items"][0]["price_minor"]
    fresh = {item["item_id"]: item["price_minor"] for item in other["items"]}
    assert fresh["item-010"] != kept["item-010"], "the page moves the price, so keeping it was work"


def test_concurrent_pages_of_one_customer_agree_on_every_price(serve: Callable[..., Any]) -> None:
    with serve(core=_slow_core(), threads=8) as running:
        items = [f"item-{i:03d}" for i in range(12)]

        def ask(size: int) -> dict[str, int]:
            answer = page(running, task="price", item_ids=items[:size], user_id="hunter")
            return {item["item_id"]: item["price_minor"] for item in answer["items"]}

        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(ask, [12, 3, 7, 1, 9, 5, 11, 2]))
        final = ask(12)
    assert all(priced[item] == final[item] for priced in pages for item in priced)


def _slow_core() -> Any:
    import sys

    core = sys.modules["serving_handmade"].HandMadeCore()
    core.slow = 0.02
    return core


def test_someone_who_opts_out_gets_no_personal_price_and_is_not_read(serve: Callable[..., Any], handmade: Any) -> None:
    reader = handmade.MemoryReader(users={"hunter": handmade.HUNTER})
    asked: list[str] = []
    read = reader.user
    reader.user = lambda user_id: (asked.append(user_id), read(user_id))[1]
    with serve(reader=reader) as running:
        personal = page(running)
        asked.clear()
        plain = page(running, **SEARCH, opted_out=True)
    assert personal["personalised"]
    assert personal["disclosure"] == "told"
    assert not plain["personalised"]
    assert plain["disclosure"] is None
    assert asked == []


def test_a_store_that_is_down_means_list_prices_and_the_reason(serve: Callable[..., Any], handmade: Any) -> None:
    class Down(handmade.MemoryReader):
        down = False

        def user(self, user_id: str) -> Any:
            if self.down:
                raise ConnectionError("refused")
            return super().user(user_id)

    reader = Down(users={"hunter": handmade.HUNTER})
    with serve(reader=reader) as running:
        whole = page(running)
        reader.down = True
        degraded = [page(running, **{**SEARCH, "query": f"drill {n}"}) for n in range(8)]
        guest = page(running, query="drill")
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
    reader = _Moody(users={"hunter": handmade.HUNTER})
    with serve(reader=reader) as running:
        first = page(running, task="price", item_ids=["item-010"], user_id="hunter", jurisdiction="DE")
        reader.down = True
        later = page(running, task="price", item_ids=["item-010", "item-011"], user_id="hunter", jurisdiction="DE")
    assert first["personalised"]
    assert later["degraded"] == "user_features_down"
    kept, listed = later["items"]
    assert kept["price_minor"] == first["items"][0]["price_minor"] < kept["list_price_minor"]
    assert listed["price_minor"] == listed["list_price_minor"]
    assert (kept["personalised"], listed["personalised"]) == (True, False)
    assert later["disclosure"] == first["disclosure"]


def test_a_degraded_page_promises_that_the_price_will_not_rise(serve: Callable[..., Any], handmade: Any) -> None:
    reader = _Moody(users={"hunter": handmade.HUNTER}, market={"item-010": {"list_price": 10.0}})
    features = patient(warm_seconds=1, refresh_seconds=0.05, breaker_seconds=0.1)
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader, features=features) as running:
        reader.down = True
        degraded = page(running, **ask)
        reader.down = False
        reader.market["item-010"]["list_price"] = 30.0
        until(lambda: page(running, **{**ask, "user_id": "somebody"})["items"][0]["list_price_minor"] == 3_000)
        until(lambda: page(running, **ask)["degraded"] is None)
        whole = page(running, **ask)
        other = page(running, **{**ask, "user_id": "another"})
    assert degraded["items"][0]["price_minor"] == 1_000
    assert other["items"][0]["price_minor"] > 1_000
    assert whole["items"][0]["price_minor"] == 1_000


def test_a_promise_above_a_list_price_that_fell_becomes_that_list_price(
    serve: Callable[..., Any], handmade: Any
) -> None:
    reader = _Moody(users={"hunter": handmade.HUNTER}, market={"item-010": {"list_price": 100.0}})
    features = patient(warm_seconds=1, refresh_seconds=0.05)
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader, features=features) as running:
        first = page(running, **ask)["items"][0]
        reader.market["item-010"]["list_price"] = 50.0
        until(lambda: page(running, **ask)["items"][0]["list_price_minor"] == 5_000)
        later = [page(running, **{**ask, "item_ids": ["item-010", *others]}) for others in ([], ["item-011"])]
    assert first["price_minor"] > 5_000
    assert {answer["items"][0]["price_minor"] for answer in later} == {5_000}


def test_a_later_price_may_be_below_that_of_a_degraded_page(serve: Callable[..., Any], handmade: Any) -> None:
    reader = _Moody(users={"hunter": handmade.HUNTER})
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter", "jurisdiction": "DE"}
    with serve(reader=reader) as running:
        reader.down = True
        degraded = page(running, **ask)
        reader.down = False
        whole = page(running, **ask)
    assert degraded["items"][0]["price_minor"] == degraded["items"][0]["list_price_minor"]
    assert whole["items"][0]["price_minor"] < degraded["items"][0]["price_minor"]


class _Moody(MemoryReader):
    down = False

    def user(self, user_id: str) -> Any:
        if self.down:
            raise ConnectionError("refused")
        return super().user(user_id)


def test_a_search_shows_nothing_that_is_sold_out_now(serve: Callable[..., Any], handmade: Any) -> None:
    reader = handmade.MemoryReader(market={f"item-{i:03d}": {"stock": 5.0} for i in range(60)})
    features = patient(warm_seconds=1, refresh_seconds=0.05)
    with serve(reader=reader, features=features) as running:
        first = page(running, query="drill")["items"][0]["item_id"]
        reader.market[first]["stock"] = 0.0
        until(lambda: first not in [item["item_id"] for item in page(running, query="drill")["items"]])
        asked = page(running, task="price", item_ids=[first])
    assert [item["item_id"] for item in asked["items"]] == [first], "what the shop itself asks for is priced"


def test_items_that_were_never_read_are_read_on_the_way(
    serve: Callable[..., Any], handmade: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.endpoint.READ_THROUGH_SECONDS", 60.0)
    features = patient(warm_seconds=0, refresh_seconds=3600)
    reader = handmade.MemoryReader(market={f"item-{i:03d}": {"list_price": 500.0} for i in range(60)})
    with serve(reader=reader, features=features) as running:
        answer = page(running, task="price", item_ids=["item-003"])
    assert answer["degraded"] is None
    assert answer["items"][0]["list_price_minor"] == 50_000


def test_item_features_that_cannot_be_had_mean_list_prices(serve: Callable[..., Any], handmade: Any) -> None:
    class NoItems(handmade.MemoryReader):
        def items(self, item_ids: Any) -> Any:
            raise ConnectionError("refused")

    features = patient(warm_seconds=0.1)
    with serve(reader=NoItems(), features=features) as running:
        answer = page(running, query="drill")
    assert answer["degraded"] == "item_features_stale"
    assert all(item["price_minor"] == item["list_price_minor"] for item in answer["items"])


def test_a_store_that_hangs_on_items_holds_no_page_up(serve: Callable[..., Any], handmade: Any) -> None:
    opened = threading.Event()

    class Hanging(handmade.MemoryReader):
        def items(self, item_ids: Any) -> Any:
            assert opened.wait(60)
            return super().items(item_ids)

    with serve(reader=Hanging(), features=patient(warm_seconds=0)) as running:
        answers = [page(running, query=f"drill {n}") for n in range(4)]  # as many as would block every thread
        assert not opened.is_set()
        opened.set()
    assert {answer["degraded"] for answer in answers} == {"item_features_stale"}


def test_an_explanation_holds_no_page_up(serve: Callable[..., Any]) -> None:
    begun, opened = threading.Event(), threading.Event()
    with serve() as running, RestClient(running.http) as client, ThreadPoolExecutor(1) as pool:
        explain = running.core.explain

        def slow(*arguments: Any) -> Any:
            begun.set()
            assert opened.wait(60)
            return explain(*arguments)

        running.core.explain = slow
        explaining = pool.submit(client.explain, [SEARCH])
        assert begun.wait(60)
        assert page(running)["items"]
        assert not explaining.done()
        opened.set()
        assert explaining.result(60)


def test_unknown_items_are_listed_and_a_page_of_nothing_else_is_not_found(serve: Callable[..., Any]) -> None:
    with serve() as running:
        answer = page(running, task="price", item_ids=["item-003", "no-such"])
        with RestClient(running.http) as client, pytest.raises(RequestError) as caught:
            client.pages([{"task": "price", "item_ids": ["no-such"]}])
        with GrpcClient(running.grpc) as client, pytest.raises(RequestError, match="NOT_FOUND"):
            client.pages([{"task": "price", "item_ids": ["no-such"]}])
    assert answer["unknown_items"] == ["no-such"]
    assert [item["item_id"] for item in answer["items"]] == ["item-003"]
    assert caught.value.status == 404
    assert caught.value.field in str(caught.value)
    assert str(caught.value).count("is refused") == 1  # the endpoint's own words, not wrapped in ours


def test_the_page_is_as_long_as_asked_and_keeps_the_shops_order(serve: Callable[..., Any]) -> None:
    with serve() as running:
        assert len(page(running, query="drill", page_size=7)["items"]) == 7
        answer = page(running, task="price", item_ids=["item-009", "item-001", "item-005"], page_size=2)
    assert [(item["item_id"], item["rank"]) for item in answer["items"]] == [("item-009", 1), ("item-001", 2)]


def test_a_quote_is_honoured_at_checkout_and_nothing_else_is(serve: Callable[..., Any]) -> None:
    with serve(quote_seconds=900) as running:
        answer = page(running)
        item = answer["items"][0]
        with RestClient(running.http) as client:
            verified = client.verify(
                answer["quote"], item["item_id"], user_id="hunter", price_minor=item["price_minor"]
            )
            with pytest.raises(QuoteWrongUser):
                client.verify(answer["quote"], item["item_id"], user_id="thief")
            with pytest.raises(QuoteWrongItem):
                client.verify(answer["quote"], "item-999", user_id="hunter")
            with pytest.raises(QuoteWrongPrice):
                client.verify(answer["quote"], item["item_id"], user_id="hunter", price_minor=1)
            old = running.assembly.book.sign(
                "q", "", {"a": 1}, currency="EUR", model_version="m", now=time.time() - 10_000
            )
            with pytest.raises(QuoteExpired):
                client.verify(old, "a")
    assert (verified["price_minor"], verified["quote_id"]) == (item["price_minor"], answer["quote_id"])


def test_the_log_holds_every_quoted_item_and_no_user(serve: Callable[..., Any]) -> None:
    with serve() as running:
        answers = [page(running, **{**SEARCH, "query": f"drill {n}"}) for n in range(5)]
    files = sorted((running.run_dir / "quotes").rglob("*.parquet"))
    rows = coerce(pd.concat([pd.read_parquet(file) for file in files]), schema.QUOTES)
    logged = {(row.quote_id, row.item_id, row.price_minor) for row in rows.itertuples()}
    assert logged == {(a["quote_id"], i["item_id"], i["price_minor"]) for a in answers for i in a["items"]}
    assert set(rows[schema.USER_KEY]) == {user_key("hunter", SECRET)}
    assert all(b"hunter" not in file.read_bytes() for file in running.run_dir.rglob("*") if file.is_file())


def test_explanations_promise_and_log_nothing(serve: Callable[..., Any]) -> None:
    with serve() as running, RestClient(running.http) as client:
        (explained,) = client.explain([{**SEARCH, "page_size": 3}])
        assert len(explained["items"]) == 3
        response = httpx.post(
            f"{running.http}/v1/models/fairtag:explain",
            json={"instances": [SEARCH]},
            headers={"authorization": "Bearer secret", "x-mine": "1"},
        )
        assert "x-mine" not in response.headers
        assert "authorization" not in response.headers
    assert not list((running.run_dir / "quotes").rglob("*.parquet"))


def test_the_model_is_swapped_without_dropping_a_request(serve: Callable[..., Any], handmade: Any) -> None:
    core = handmade.HandMadeCore()
    core.slow = 0.005
    with serve(core=core) as running:
        statuses: list[int] = []
        versions: set[str] = set()
        stop = threading.Event()

        def load() -> None:
            with httpx.Client(base_url=running.http) as client:
                while not stop.is_set():
                    answer = client.post("/v1/models/fairtag:predict", json={"instances": [SEARCH]})
                    statuses.append(answer.status_code)
                    versions.add(answer.json()["predictions"][0]["model_version"])

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number, serving in enumerate(("handmade00001", "v0", "v1")):
            until(lambda serving=serving: serving in versions)
            running.assembly._load_core = lambda _settings, number=number: handmade.HandMadeCore(version=f"v{number}")
            assert running.assembly.reload()
        until(lambda: "v2" in versions)
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert versions == {"handmade00001", "v0", "v1", "v2"}


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_model_serving(serve: Callable[..., Any]) -> None:
    from pricing.errors import DigestMismatch

    def broken(_settings: Any) -> Any:
        raise DigestMismatch("altered")

    with serve() as running:
        running.assembly._load_core = broken
        assert not running.assembly.reload()
        assert page(running)["model_version"] == "handmade00001"


def test_readiness_tells_the_truth_while_draining_and_requests_are_still_served(serve: Callable[..., Any]) -> None:
    with serve(drain_seconds=3600) as running, httpx.Client(base_url=running.http) as client:
        probes = ("/v2/models/fairtag/ready", "/v2/health/ready", "/v1/models/fairtag")
        assert [client.get(probe).status_code for probe in probes] == [200, 200, 200]
        running.loop.call_soon_threadsafe(running.server.request_stop)
        until(lambda: client.get(probes[0]).status_code != 200)
        assert [client.get(probe).status_code for probe in probes] == [503, 503, 503]
        assert client.get("/v2/health/live").status_code == 200
        answer = client.post("/v1/models/fairtag:predict", json={"instances": [SEARCH]})
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"


def test_equal_queries_of_concurrent_customers_are_encoded_once(serve: Callable[..., Any]) -> None:
    with serve() as running:
        running.core.encoded.clear()

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=running.http) as client:
                body = {"instances": [{"query": "the same query"}]}
                answers = await asyncio.gather(
                    *(client.post("/v1/models/fairtag:predict", json=body) for _ in range(8))
                )
                assert {answer.status_code for answer in answers} == {200}

        asyncio.run(ask())
    assert sum(batch.count("the same query") for batch in running.core.encoded) == 1


def test_metrics_tell_what_happened(serve: Callable[..., Any]) -> None:
    from prometheus_client import generate_latest

    with serve(limits=Limits(page_size=50)) as running:
        page(running)
        page(running)
        httpx.post(f"{running.http}/v1/models/fairtag:predict", json={"instances": [{"query": "x", "page_size": 51}]})
        text = generate_latest(running.assembly.metrics.registry).decode()
    for line in (
        'fairtag_pages_total{protocol="v1",task="search"} 2.0',
        'fairtag_query_cache_total{outcome="hit"} 1.0',
        'fairtag_feature_reads_total{entity="user",outcome="read"} 2.0',
        "fairtag_personalised_pages_total 2.0",
        'fairtag_reasons_total{reason="DEMAND_PRICE_SENSITIVE"} 48.0',
        "fairtag_price_list_ratio_count 48.0",
        "fairtag_quote_log_pages_total 2.0",
        'fairtag_model_info{version="handmade00001"} 1.0',
        'fairtag_refusals_total{protocol="rest",status="400"} 1.0',
    ):
        assert line in text, line


def test_traces_have_a_span_for_each_stage(serve: Callable[..., Any]) -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans = InMemorySpanExporter()
    with serve(otlp_endpoint="http://unused.invalid", exporter=spans) as running:
        trace = "0af7651916cd43dd8448eb211c80319c"
        httpx.post(
            f"{running.http}/v1/models/fairtag:predict",
            json={"instances": [SEARCH]},
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
        )
    finished = spans.get_finished_spans()
    assert {span.name for span in finished} == {"page", "features", "encode", "retrieve", "price", "answer"}
    assert {format(span.context.trace_id, "032x") for span in finished} == {trace}
    assert not any("hunter" in str(span.attributes) for span in finished)
