"""A page that is alone: encoded, found and priced in one visit to a thread, and the same page as in company."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

SEARCH = {"query": "drill", "user_id": "hunter", "jurisdiction": "DE"}


class Watched:
    """A core that notes which thread did what, and whose encode can be held up."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.threads: dict[str, list[str]] = {"encode": [], "retrieve": [], "price": []}
        self.door = threading.Event()
        self.door.set()
        self.fail = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._core, name)

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        self._note("encode")
        assert self.door.wait(60)
        if self.fail:
            raise RuntimeError("no encoder")
        return self._core.encode(queries)

    def search(self, *arguments: Any) -> Any:
        self._note("retrieve")
        return self._core.search(*arguments)

    def price(self, *arguments: Any) -> Any:
        self._note("price")
        return self._core.price(*arguments)

    def _note(self, what: str) -> None:
        self.threads[what].append(threading.current_thread().name)


@pytest.fixture
def core(handmade: Any) -> Watched:
    return Watched(handmade.HandMadeCore())


def prices(page: dict[str, Any]) -> dict[str, int]:
    return {item["item_id"]: item["price_minor"] for item in page["items"]}


def test_a_lone_page_takes_one_visit_to_one_thread(serve: Callable[..., Any], core: Watched) -> None:
    with serve(core=core, threads=4) as running:
        for note in core.threads.values():
            note.clear()  # the warm-up's
        page = running.page(query="drill", jurisdiction="DE")
    assert page["items"]
    assert len({name for names in core.threads.values() for name in names}) == 1, core.threads
    assert core.threads["encode"][0].startswith("price")


def test_a_customer_known_late_is_waited_for(
    serve: Callable[..., Any], core: Watched, handmade: Any, until: Callable[..., None]
) -> None:
    reader = handmade.MemoryReader(users={"hunter": handmade.HUNTER})
    read, known = reader.user, threading.Event()

    def late(user_id: str) -> Any:
        if user_id == "hunter":
            assert known.wait(60)
        return read(user_id)

    reader.user = late
    with serve(core=core, reader=reader) as running, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.page, **SEARCH)
        until(lambda: "drill" in {query for batch in core.encoded for query in batch})
        core.threads["retrieve"].clear()
        assert not asked.done()
        known.set()
        page = asked.result(60)
        assert page["personalised"]
        assert page["degraded"] is None
        assert len(core.threads["retrieve"]) == 1, "found once, on what is known of the customer"
        assert prices(running.page(**SEARCH)) == prices(page), "the query is known by now, the promise kept"


def test_a_page_that_comes_meanwhile_is_not_alone_and_both_are_right(
    serve: Callable[..., Any], core: Watched, until: Callable[..., None]
) -> None:
    with serve(core=core, threads=4) as running, ThreadPoolExecutor(2) as pool:
        alone = {query: prices(running.page(query=query, jurisdiction="DE")) for query in ("drill", "saw")}
        running.assembly.endpoint.served.batcher._cache._vectors.clear()
        for note in core.threads.values():
            note.clear()
        core.door.clear()
        first = pool.submit(running.page, query="drill", jurisdiction="DE")
        until(lambda: len(core.threads["encode"]) == 1)
        second = pool.submit(running.page, query="saw", jurisdiction="DE")
        until(lambda: running.assembly.endpoint.served.batcher._pages == 2)
        core.door.set()
        together = {"drill": prices(first.result(60)), "saw": prices(second.result(60))}
    assert together == alone
    assert [name.partition("_")[0] for name in core.threads["encode"]] == ["price", "encode"]


def test_an_encoder_that_fails_fails_the_page_and_is_forgotten(serve: Callable[..., Any], core: Watched) -> None:
    with serve(core=core) as running:
        core.fail = True
        body = {"instances": [{"query": "drill", "jurisdiction": "DE"}]}
        assert httpx.post(f"{running.http}/v1/models/fairtag:predict", json=body).status_code == 500
        core.fail = False
        assert running.page(query="drill", jurisdiction="DE")["items"]
