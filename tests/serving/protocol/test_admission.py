"""Who is let in: keys, addresses behind proxies, shares of the server, and the time that work may take."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fairtag.base.errors import RequestError
from serving.protocol.admission import Admission, Caller, Proxies, Shares, asked_seconds
from serving.settings import Limits, ServingSettings

V1 = "/v1/models/fairtag:predict"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 40)), max_size=60))
def test_shares_never_exceed_the_capacity_and_nobody_is_shut_out(asked: list[tuple[str, int]]) -> None:
    shares, taken = Shares(64), []
    for client, amount in asked:
        used = shares.used
        if shares.take(client, amount):
            taken.append((client, amount))
            assert shares.used <= 64
        else:
            holds = any(held == client for held, _ in taken)
            assert used + amount > 64 or holds, "whoever holds nothing gets what there is"
    for client, amount in taken:
        shares.give(client, amount)
    assert shares.used == 0
    assert shares.take("late", 64), "all that was given back can be taken again"


def test_a_client_alone_leaves_an_eighth_and_two_share_alike() -> None:
    shares = Shares(80)
    assert sum(shares.take("greedy", 1) for _ in range(100)) == 70
    assert sum(shares.take("newcomer", 1) for _ in range(100)) == 10
    for _ in range(40):
        shares.give("greedy", 1)
    assert sum(shares.take("newcomer", 1) for _ in range(100)) == 30, "up to half"
    assert not shares.take("greedy", 11)


def test_a_request_that_is_alone_is_never_too_large() -> None:
    shares = Shares(10)
    assert shares.take("a", 1_000)
    assert not shares.take("b", 1)


async def test_work_counts_by_its_items_and_a_full_server_recovers() -> None:
    admission = Admission(Limits(work_items=100))
    async with admission.work(Caller("a"), 80):
        assert (admission.in_flight, admission.items_in_flight) == (1, 80)
        with pytest.raises(RequestError) as caught:
            async with admission.work(Caller("b"), 40):
                pass
        assert caught.value.status == 503
        with pytest.raises(RequestError) as greedy:
            async with admission.work(Caller("a"), 15):
                pass
        assert greedy.value.status == 429
    async with admission.work(Caller("b"), 40):
        pass
    assert (admission.in_flight, admission.items_in_flight) == (0, 0)


async def test_a_full_server_counts_requests_too() -> None:
    admission = Admission(Limits(concurrency=1))
    async with admission.work(Caller("a"), 1):
        with pytest.raises(RequestError) as caught:
            async with admission.work(Caller("b"), 1):
                pass
    assert caught.value.status == 503
    assert (admission.in_flight, admission.items_in_flight) == (0, 0)


@pytest.mark.parametrize(("limit", "asked"), [(0.05, 60.0), (60.0, 0.05)])
async def test_work_ends_when_its_time_is_up(limit: float, asked: float) -> None:
    admission = Admission(Limits(request_seconds=limit))
    started = time.monotonic()
    with pytest.raises(RequestError, match=r"longer than 0.05 s") as caught:
        async with admission.work(Caller("a", seconds=asked), 1):
            await asyncio.sleep(60)
    assert caught.value.status == 504
    assert time.monotonic() - started < 10
    assert admission.in_flight == 0


async def test_a_timeout_of_the_works_own_is_no_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with Admission(Limits()).work(Caller("a"), 1):
            raise TimeoutError


@pytest.mark.parametrize("value", ["", "soon", "0", "-1", "nan", "inf", "1e999"])
def test_a_request_timeout_is_a_number_of_seconds(value: str) -> None:
    with pytest.raises(RequestError, match="request-timeout"):
        asked_seconds(value)


def test_guessing_keys_is_slowed_down_and_keys_in_use_go_on() -> None:
    now = [0.0]
    admission = Admission(Limits(wrong_keys=3), ("right-key", "other-key"), clock=lambda: now[0])

    def status(address: str, key: str) -> int:
        try:
            admission.identify(address, f"Bearer {key}")
        except RequestError as refusal:
            return refusal.status
        return 200

    assert status("a", "right-key") == 200
    assert [status("a", f"guess-{number}") for number in range(5)] == [401, 401, 401, 429, 429]
    assert status("a", "right-key") == 200, "the shop's own server behind the same address goes on"
    assert status("a", "other-key") == 429, "a right guess is not told from a wrong one"
    assert status("b", "other-key") == 200
    now[0] = 60.0
    assert status("a", "other-key") == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.9", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.9", "1.1.1.1, 203.0.113.7", "203.0.113.7"),  # the first is what the client invented
        ("10.0.0.9", "1.1.1.1, 203.0.113.7, 10.0.0.8", "203.0.113.7"),
        ("198.51.100.1", "203.0.113.7", "198.51.100.1"),  # no proxy of ours
        ("127.0.0.1", "203.0.113.7", "127.0.0.1"),
        ("10.0.0.9", None, "10.0.0.9"),
        ("10.0.0.9", "nonsense", "10.0.0.9"),
        ("10.0.0.9", "203.0.113.7, nonsense", "10.0.0.9"),
        ("::ffff:10.0.0.9", "203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", None, "2001:db8::/64"),
        ("2001:db8::ffff:1", None, "2001:db8::/64"),
        ("fd00::2", "2001:db8:1::5", "2001:db8:1::/64"),
        ("::ffff:198.51.100.1", None, "198.51.100.1"),
        ("", None, ""),
    ],
)
def test_a_forwarded_address_counts_only_when_a_trusted_proxy_names_it(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert Proxies(("10.0.0.0/8", "fd00::2")).client(peer, forwarded) == client


def test_settings_name_networks_and_origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRTAG_TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")
    monkeypatch.setenv("FAIRTAG_ALLOWED_ORIGINS", "https://shop.example,http://localhost:3000")
    made = ServingSettings(model_folder=tmp_path)
    assert made.trusted_proxies == ("10.0.0.0/8", "127.0.0.1")
    assert made.allowed_origins == ("https://shop.example", "http://localhost:3000")
    for name, wrong in (("TRUSTED_PROXIES", "*"), ("ALLOWED_ORIGINS", "*"), ("ALLOWED_ORIGINS", "https://a.example/")):
        monkeypatch.setenv(f"FAIRTAG_{name}", wrong)
        with pytest.raises(ValidationError, match=name.lower()):
            ServingSettings(model_folder=tmp_path)
        monkeypatch.delenv(f"FAIRTAG_{name}")


def test_rates_follow_the_client_behind_a_trusted_proxy_and_nobody_else(serve: Callable[..., Any]) -> None:
    body = {"instances": [{"query": "x"}]}
    limits = Limits(requests_per_second=0.001, burst=1)

    def statuses(running: Any) -> list[int]:
        return [
            httpx.post(running.http + V1, json=body, headers={"x-forwarded-for": f"203.0.113.{number}"}).status_code
            for number in range(3)
        ]

    with serve(limits=limits) as running:
        assert statuses(running) == [200, 429, 429], "a client cannot choose its address"
    with serve(limits=limits, trusted_proxies=("127.0.0.0/8",)) as running:
        assert statuses(running) == [200, 200, 200]


def test_one_caller_cannot_hold_all_places(serve: Callable[..., Any], raw: Any, until: Callable[..., None]) -> None:
    """Pages of 100 items times 16: few requests, much work. Somebody else's page is priced all the same."""
    heavy = json.dumps({"instances": [{"query": f"drill {page}", "page_size": 50} for page in range(16)]})
    door = threading.Event()
    with serve(limits=Limits(work_items=4_000)) as running, ThreadPoolExecutor(20) as pool:
        usual = running.core.search
        running.core.search = lambda *asked, **named: (door.wait(30), usual(*asked, **named))[1]

        def ask(body: str, host: str) -> int:
            with raw.connect(running.http, host=host) as opened:
                opened.sendall(raw.post(V1, body, "connection: close"))
                return int(raw.statuses(raw.read_all(opened))[0])

        greedy = [pool.submit(ask, heavy, "127.0.0.1") for _ in range(12)]
        until(lambda: sum(one.done() for one in greedy) == 8)
        assert running.server.admission.items_in_flight == 3_200, "four of twelve got in"
        other = pool.submit(ask, '{"instances": [{"query": "saw", "page_size": 6}]}', "127.0.0.2")
        until(lambda: running.server.admission.items_in_flight == 3_206)
        door.set()
        assert other.result() == 200
        assert sorted(one.result() for one in greedy) == [200] * 4 + [429] * 8


def test_a_client_may_ask_for_less_time(serve: Callable[..., Any], refused: Callable[..., Any]) -> None:
    with serve() as running:
        running.core.slow = 0.3
        asked = {"json": {"instances": [{"query": f"drill {number}"} for number in range(8)]}}
        late = httpx.post(running.http + V1, **asked, headers={"request-timeout": "0.4"}, timeout=60)
        assert (late.status_code, late.json()["rule"]) == (504, "ask for fewer items, or allow more time")
        assert httpx.post(running.http + V1, json={}, headers={"request-timeout": "soon"}).status_code == 400
        assert httpx.post(running.http + V1, **asked, timeout=60).status_code == 200
        assert refused(running) == {("rest", "504"): 1, ("rest", "400"): 1}
