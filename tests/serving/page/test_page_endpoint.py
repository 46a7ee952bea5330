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

from fairtag.base import schema
from fairtag.base.errors import QuoteExpired, QuoteWrongItem, QuoteWrongPrice, QuoteWrongUser, RequestError
from fairtag.base.pseudonym import user_key
from fairtag.base.tables import coerce
from serving.protocol.client import GrpcClient, RestClient
from serving.settings import Limits
from serving.stores.price_locks import PriceLocks

SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}
SECRET = bytes(range(32))


def test_a_price_once_quoted_stays_for_the_epoch_whatever_page_it_stands_on(serve: Callable[..., Any]) -> None:
    with serve() as running:
        first = running.page(task="price", item_ids=["item-010"], user_id="hunter")
        later = running.page(task="price", item_ids=["item-009", "item-010", "item-011"], user_id="hunter")
        other = running.page(task="price", item_ids=["item-009", "item-010", "item-011"], user_id="somebody")
    kept = {item["item_id"]: item["price_minor"] for item in later["items"]}
    assert kept["item-010"] == first["items"][0]["price_minor"]
    fresh = {item["item_id"]: item["price_minor"] for item in other["items"]}
    assert fresh["item-010"] != kept["item-010"], "the page moves the price, so keeping it was work"


def test_a_page_is_priced_once_and_again_only_where_another_page_locked_a_price_meanwhile(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [f"item-{number:03d}" for number in range(6)]
    asks = {"task": "price", "user_id": "hunter"}
    with serve() as running:
        priced: list[int] = []
        price = running.core.price
        monkeypatch.setattr(running.core, "price", lambda inputs: (priced.append(len(inputs.rows)), price(inputs))[1])
        first = running.page(**asks, item_ids=items[:2])
        running.page(**asks, item_ids=items)  # two of them are locked at other prices than this page would show
        running.page(**asks, item_ids=items)
        assert priced == [2, 6, 6]
        store, late = running.assembly.locks, [PriceLocks()]
        read = store.read

        async def stale(keys: Any, claim: Any) -> PriceLocks:
            return late.pop() if late else await read(keys, claim)

        monkeypatch.setattr(store, "read", stale)  # as if the other pages had come after the look-up
        again = running.page(**asks, item_ids=items)
    assert priced == [2, 6, 6, 6, 6]
    assert [item["price_minor"] for item in again["items"][:2]] == [item["price_minor"] for item in first["items"]]


def test_concurrent_pages_of_one_customer_agree_on_every_price(serve: Callable[..., Any], handmade: Any) -> None:
    core = handmade.HandMadeCore()
    core.slow = 0.02
    with serve(core=core, threads=8) as running:
        items = [f"item-{i:03d}" for i in range(12)]

        def ask(size: int) -> dict[str, int]:
            answer = running.page(task="price", item_ids=items[:size], user_id="hunter")
            return {item["item_id"]: item["price_minor"] for item in answer["items"]}

        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(ask, [12, 3, 7, 1, 9, 5, 11, 2]))
        final = ask(12)
    assert all(priced[item] == final[item] for priced in pages for item in priced)


def test_someone_who_opts_out_gets_no_personal_price_and_is_not_read(serve: Callable[..., Any], handmade: Any) -> None:
    reader = handmade.MemoryReader(users={"hunter": handmade.HUNTER})
    asked: list[str] = []
    read = reader.user
    reader.user = lambda user_id: (asked.append(user_id), read(user_id))[1]
    with serve(reader=reader) as running:
        personal = running.page()
        asked.clear()
        plain = running.page(**SEARCH, opted_out=True)
    assert personal["personalised"]
    assert personal["disclosure"] == "told"
    assert not plain["personalised"]
    assert plain["disclosure"] is None
    assert asked == []


def test_the_age_of_a_page_is_that_of_the_materialisation(serve: Callable[..., Any], handmade: Any) -> None:
    filled = time.time() - 3_000.0
    with serve(reader=handmade.MemoryReader(users={"hunter": handmade.HUNTER}, filled=filled)) as running:
        deadline = time.monotonic() + 10
        while running.page()["feature_age_seconds"] < 2_000 and time.monotonic() < deadline:
            time.sleep(0.02)  # the age is read in the background
        known, stranger = running.page(), running.page(**{**SEARCH, "user_id": "nobody-we-know"})
    assert known["feature_age_seconds"] == pytest.approx(3_000, abs=60)
    assert stranger["feature_age_seconds"] < 60, "only the items' own age: nothing of the customer was used"


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
        assert running.page()["items"]
        assert not explaining.done()
        opened.set()
        assert explaining.result(60)


def test_unknown_items_are_listed_and_a_page_of_nothing_else_is_not_found(serve: Callable[..., Any]) -> None:
    with serve() as running:
        answer = running.page(task="price", item_ids=["item-003", "no-such"])
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
        assert len(running.page(query="drill", page_size=7)["items"]) == 7
        answer = running.page(task="price", item_ids=["item-009", "item-001", "item-005"], page_size=2)
    assert [(item["item_id"], item["rank"]) for item in answer["items"]] == [("item-009", 1), ("item-001", 2)]


def test_a_quote_is_honoured_at_checkout_and_nothing_else_is(serve: Callable[..., Any]) -> None:
    with serve(quote_seconds=900) as running:
        answer = running.page()
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
                "q", None, {"a": 1}, currency="EUR", model_version="m", now=time.time() - 10_000
            )
            with pytest.raises(QuoteExpired):
                client.verify(old, "a")
    assert (verified["price_minor"], verified["quote_id"]) == (item["price_minor"], answer["quote_id"])


def test_the_log_holds_every_quoted_item_and_no_user(serve: Callable[..., Any]) -> None:
    with serve() as running:
        answers = [running.page(**{**SEARCH, "query": f"drill {n}"}) for n in range(5)]
    files = sorted((running.run_dir / "quotes").rglob("*.parquet"))
    rows = coerce(pd.concat([pd.read_parquet(file) for file in files]), schema.QUOTES)
    logged = {(row.quote_id, row.item_id, row.price_minor) for row in rows.itertuples()}
    assert logged == {(a["quote_id"], i["item_id"], i["price_minor"]) for a in answers for i in a["items"]}
    assert set(rows[schema.USER_KEY]) == {user_key("hunter", SECRET)}
    assert all(b"hunter" not in file.read_bytes() for file in running.run_dir.rglob("*") if file.is_file())


def test_explanations_lock_and_log_nothing(serve: Callable[..., Any]) -> None:
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


def test_the_model_is_swapped_without_dropping_a_request(
    serve: Callable[..., Any], handmade: Any, until: Callable[..., None]
) -> None:
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


def test_a_model_folder_that_cannot_be_loaded_leaves_the_old_model_serving(serve: Callable[..., Any]) -> None:
    from fairtag.base.errors import DigestMismatch

    def broken(_settings: Any) -> Any:
        raise DigestMismatch("altered")

    with serve() as running:
        running.assembly._load_core = broken
        assert not running.assembly.reload()
        assert running.page()["model_version"] == "handmade00001"


def test_readiness_tells_the_truth_while_draining_and_requests_are_still_served(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
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
        running.page()
        running.page()
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


def priced(page: dict[str, Any]) -> dict[str, int]:
    return {item["item_id"]: item["price_minor"] for item in page["items"]}


@pytest.mark.parametrize("protocol", ["v1", "v2", "grpc"])
def test_a_guests_price_sticks_to_the_session_whatever_is_asked_for(serve: Callable[..., Any], protocol: str) -> None:
    with serve() as running:
        client = GrpcClient(running.grpc) if protocol == "grpc" else RestClient(running.http, v2=protocol == "v2")
        with client as shop:
            (first,) = shop.pages([{"task": "price", "item_ids": ["item-010"]}])
            session = first["session_id"]
            assert len(session) == 32
            for ask in (
                {"task": "price", "item_ids": ["item-009", "item-010", "item-011"]},
                {"task": "price", "item_ids": ["item-010", "item-030"], "query": "something else"},
                {"task": "price", "item_ids": ["item-010"], "jurisdiction": "DE", "opted_out": True},
                {"query": "drill", "page_size": 60},
            ):
                (later,) = shop.pages([{**ask, "session_id": session}])
                assert later["session_id"] == session
                assert priced(later)["item-010"] == priced(first)["item-010"], ask
            (other,) = shop.pages([{"task": "price", "item_ids": ["item-009", "item-010"]}])
            assert other["session_id"] not in (session, None)
            assert priced(other)["item-010"] != priced(first)["item-010"], "the page moves the price of this model"
            (known,) = shop.pages([{"task": "price", "item_ids": ["item-010"], "user_id": "anna"}])
            assert known["session_id"] is None


def test_consent_and_place_change_no_price_but_from_a_personal_to_the_public_one(serve: Callable[..., Any]) -> None:
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": "hunter"}
    with serve() as running:
        personal = running.page(**ask, jurisdiction="DE")
        public = running.page(**ask, jurisdiction="DE", opted_out=True)
        elsewhere = running.page(**ask, opted_out=True, jurisdiction="US-NY")
        again = running.page(**ask, jurisdiction="DE")
        late = running.page(task="price", item_ids=["item-010", "item-011"], user_id="bert", opted_out=True)
        consenting = running.page(task="price", item_ids=["item-010"], user_id="bert")
    assert personal["personalised"]
    assert priced(again) == priced(personal)
    assert not public["personalised"]
    assert priced(public) == priced(elsewhere) != priced(personal)
    assert priced(consenting)["item-010"] == priced(late)["item-010"], "the first price stands"


def test_a_promise_stands_when_another_model_is_swapped_in(serve: Callable[..., Any], handmade: Any) -> None:
    with serve() as running:
        before = priced(running.page())
        running.assembly._load_core = lambda _settings: handmade.HandMadeCore(version="v2", share=0.8)
        assert running.assembly.reload()
        assert priced(running.page()) == before
