"""Workers: the same pages as without them, when one is killed, when the model changes, and none at the end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base import schema
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery
from serving.page.page_task import PageTask
from serving.stores.feature_reads import MarketUpdate
from serving.stores.price_locks import PriceLocks
from serving.workers.worker import Decoder, Failure, Hello, MarketCopy, Question, Reply, encoded, reply_to, serve

PATH = "/v1/models/fairtag:predict"
QUERY = "drill"


@given(st.lists(st.one_of(st.none(), st.integers(), st.binary(max_size=300))), st.lists(st.integers(1, 50)))
def test_messages_arrive_whole_and_in_order_wherever_the_stream_is_cut(sent: list[Any], sizes: list[int]) -> None:
    stream, decoder, found = b"".join(encoded(message) for message in sent), Decoder(), []
    for size in [*sizes, len(stream)]:
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert found == sent


def question(core: Any, **changes: Any) -> Question:
    task = {
        "asked": SearchQuery(QUERY),
        "rows": None,
        "page_size": 5,
        "embedding": core.encode([QUERY])[0],
        "user": UserContext("u", jurisdiction="DE"),
        "locks": PriceLocks(),
        "cause": None,
        "epoch": 3,
    }
    return Question(7, PageTask(**{**task, **changes}))


def reply(core: Any, market: MarketCopy | None = None, **changes: Any) -> Reply:
    answer = reply_to(question(core, **changes), core, market or MarketCopy(core.market))
    assert isinstance(answer, Reply)
    return answer


def test_a_worker_finds_and_prices_as_the_core_does(handmade: Any) -> None:
    core = handmade.HandMadeCore(lowest=0.95)  # the corridor holds the price of 0.9 of list
    answer = reply(core)
    rows = core.search(SearchQuery(QUERY), None, None, 5, core.market.stock, core.market.list_price).rows
    assert answer.number == 7
    assert answer.rows.tolist() == rows.tolist()
    listed = core.market.list_price[rows]
    assert [item.price_minor for item in answer.page.items] == np.ceil(listed * 95 - 1e-6).astype(int).tolist()
    given_rows = reply(core, rows=np.array([4, 2]))
    assert [item.item_id for item in given_rows.page.items] == ["item-004", "item-002"]


def test_a_worker_encodes_a_query_that_comes_without_an_embedding(handmade: Any) -> None:
    core = handmade.HandMadeCore()
    assert reply(core, embedding=None).page == reply(core).page
    assert core.encoded[-2:] == [[QUERY], [QUERY]]


def test_a_worker_keeps_the_customers_price_locks(handmade: Any) -> None:
    core = handmade.HandMadeCore()
    (first, *_) = reply(core).page.items
    locks = PriceLocks(personal={first.item_id: first.price_minor - 7})
    (again, *others) = reply(core, locks=locks).page.items
    assert (again.price_minor, again.personalised) == (first.price_minor - 7, True)
    assert not any(item.personalised for item in others)


def test_a_worker_prices_on_what_the_server_read_last_and_keeps_what_the_store_does_not_say(handmade: Any) -> None:
    core = handmade.HandMadeCore()
    market, rows = MarketCopy(core.market), np.array([4, 2])
    market.update(MarketUpdate(rows, {schema.LIST_PRICE: np.array([50.0, np.nan]), schema.STOCK: np.array([5.0, 0.0])}))
    page = reply(core, market, rows=rows).page
    assert [item.list_price_minor for item in page.items] == [5_000, 1_200]
    assert 2 not in reply(core, market, page_size=60).rows, "sold out"


def test_a_question_that_fails_is_answered_without_a_page_and_the_next_one_with_one(handmade: Any) -> None:
    core = handmade.HandMadeCore()
    market = MarketCopy(core.market)
    assert reply_to(question(core, rows=np.array([10_000])), core, market) == Failure(7)
    assert reply(core, market).page.items


def test_a_worker_without_a_model_says_why_and_one_whose_server_is_gone_ends(
    handmade: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the test's own process keeps its signals
    monkeypatch.setattr("gc.freeze", lambda: None)

    def broken() -> Any:
        raise FileNotFoundError("no model folder")

    for load, ready in ((broken, Hello(None, "FileNotFoundError: no model folder")), (handmade.HandMadeCore, None)):
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=serve, args=(theirs, load))
        thread.start()
        (said,) = Decoder().feed(ours.recv(65_536))
        assert said == (ready or Hello(handmade.HandMadeCore.version))
        ours.close()
        thread.join(60)
        assert not thread.is_alive()
        theirs.close()


def outcomes(server: Any) -> dict[str, float]:
    """What became of pages and workers, and how many workers there are."""
    figures = {}
    for line in httpx.get(f"{server.http}/metrics").text.splitlines():
        if line.startswith("fairtag_worker_total{"):
            figures[line.split('"')[1]] = float(line.split()[-1])
        if line.startswith("fairtag_workers_alive "):
            figures["alive"] = float(line.split()[-1])
    return figures


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def children(server: Any) -> list[psutil.Process]:
    """The workers; Python keeps a process of its own beside them."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    return [child for child in found if "spawn_main" in " ".join(child.cmdline())]


@contextmanager
def load(server: Any, pages: list[dict[str, Any]], statuses: list[Any]) -> Iterator[None]:
    """Six customers who ask for one page after another, from one's end to the other's."""
    stop = threading.Event()

    def work(number: int) -> None:
        count = 0
        with httpx.Client(base_url=server.http, timeout=60) as client:
            while not stop.is_set():
                count += 1
                body = {"query": f"{QUERY} {number} {count}", "page_size": 5}
                answer = client.post(PATH, json={"instances": [body]})
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    pages.append({**body, **answer.json()["predictions"][0]})

    with ThreadPoolExecutor(6) as threads:
        working = [threads.submit(work, number) for number in range(6)]
        try:
            yield
        finally:
            stop.set()
    for done in working:
        done.result()


@pytest.mark.slow
def test_pages_of_workers_are_those_of_the_server_and_a_killed_worker_costs_no_page(
    spawn: Callable[..., Any], handmade: Any, tmp_path: Path
) -> None:
    server = spawn(FAIRTAG_WORKERS="1", TEST_SLOW="0.005")
    until(lambda: outcomes(server).get("alive") == 1)
    pages: list[dict[str, Any]] = []
    statuses: list[Any] = []
    with load(server, pages, statuses):
        until(lambda: outcomes(server).get("answered", 0) >= 40)
        (first,) = children(server)
        first.kill()
        until(lambda: outcomes(server).get("ended") == 1)
        until(lambda: outcomes(server)["alive"] == 1)  # another took its place
        again = outcomes(server)["answered"]
        until(lambda: outcomes(server)["answered"] >= again + 40)
        (tmp_path / "VERSION").write_text("second0000001")
        server.process.send_signal(signal.SIGHUP)
        until(lambda: pages[-1]["model_version"] == "second0000001")
        until(lambda: outcomes(server)["alive"] == 1)  # that of the new model
        again = outcomes(server)["answered"]
        until(lambda: outcomes(server)["answered"] >= again + 40)
    assert set(statuses) == {200}
    for page in pages:
        core = handmade.HandMadeCore(version=page["model_version"])
        rows = core.search(SearchQuery(page["query"]), None, None, 5, core.market.stock, core.market.list_price).rows
        expected = core.price(PageInputs(rows, None, UserContext(), page["epoch"], market=core.market.rows(rows)))
        shown = [(item["item_id"], item["price_minor"]) for item in page["items"]]
        assert shown == [(item.item_id, item.price_minor) for item in expected.items]
    left = children(server)
    assert server.stop() == 0
    assert psutil.wait_procs(left, timeout=60)[1] == [], "a worker outlives its server"


@pytest.mark.slow
def test_workers_of_a_killed_server_end_by_themselves(spawn: Callable[..., Any]) -> None:
    server = spawn(FAIRTAG_WORKERS="1")
    until(lambda: outcomes(server).get("alive") == 1)
    left = children(server)
    server.process.kill()
    assert len(left) == 1
    assert psutil.wait_procs(left, timeout=60)[1] == []


def test_a_worker_that_hangs_is_ended_and_its_page_is_priced_here(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Deaf] = []

    def deaf(load: Callable[[], Any]) -> tuple[Deaf, socket.socket]:
        ours, theirs = socket.socketpair()
        theirs.sendall(encoded(Hello(load().version)))
        started.append(Deaf(theirs))
        return started[-1], ours

    monkeypatch.setattr("serving.workers.worker_pool._start", deaf)
    monkeypatch.setattr("serving.workers.worker_pool.REPLY_SECONDS", 0.05)
    with serve(workers=1) as running:
        served = running.assembly.endpoint.served
        scheduler = served.workers.scheduler
        until(lambda: len(scheduler.workers) == 1)
        scheduler._here = True  # as if another page were being priced here: the next goes to the worker
        with ThreadPoolExecutor(1) as one, served.batcher.page():
            asked = one.submit(httpx.post, f"{running.http}{PATH}", json={"instances": [{"query": QUERY}]}, timeout=60)
            answer = asked.result(60)
        scheduler._here = False
        assert answer.status_code == 200
        assert started[0].killed


class Deaf:
    """A worker that is ready and never answers."""

    def __init__(self, theirs: socket.socket) -> None:
        self.killed = False
        self._theirs = theirs

    def kill(self) -> None:
        self.killed = True
        self._theirs.close()

    def join(self, _seconds: float) -> None:
        """It is gone."""
