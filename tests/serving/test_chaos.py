"""What the endpoint survives, on servers in processes of their own: signals, a dead store, a slow one, a full disk."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from fairtag.base import schema
from serving.stores.journal import orphans

PATH = "/v1/models/fairtag:predict"


class Load:
    """Threads that ask for pages as a balancer would let them: only while the server says that it is ready."""

    def __init__(self, address: str, threads: int = 4) -> None:
        self.statuses: Counter[Any] = Counter()
        self.quotes: dict[str, float] = {}  # quote id -> when its page had come
        self.degraded: list[tuple[float, str | None]] = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(threads)]
        self._balancer = threading.Thread(target=self._probe)
        self._ready = threading.Event()

    def __enter__(self) -> Load:
        self._ready.set()
        for thread in (*self._threads, self._balancer):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in (*self._threads, self._balancer):
            thread.join()

    def _probe(self) -> None:
        with httpx.Client(base_url=self._address) as client:
            while not self._stop.is_set():
                try:
                    ready = client.get("/v2/models/fairtag/ready").status_code == 200
                except httpx.TransportError:
                    ready = False
                (self._ready.set if ready else self._ready.clear)()
                time.sleep(0.02)

    def _work(self, number: int) -> None:
        count = 0
        with httpx.Client(base_url=self._address, timeout=60) as client:
            while not self._stop.is_set():
                if not self._ready.wait(0.05) or self._stop.is_set():
                    continue
                count += 1
                body = {"instances": [{"query": f"drill {number} {count}", "user_id": f"user-{count % 5}"}]}
                try:
                    answer = client.post(PATH, json=body)
                except httpx.TransportError as error:
                    self.statuses[type(error).__name__] += 1
                    continue
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    page = answer.json()["predictions"][0]
                    now = time.monotonic()
                    self.quotes[page["quote_id"]] = now
                    self.degraded.append((now, page["degraded"]))


def logged(run_dir: Path) -> set[str]:
    """Quote ids in the log; a file that is not whole would raise."""
    files = sorted((run_dir / "quotes").rglob("*.parquet"))
    return {quote for file in files for quote in pq.read_table(file)[schema.QUOTE_ID].to_pylist()}


def journalled(run_dir: Path) -> set[str]:
    """Quote ids in the journal of a process that died; its last line may be torn."""
    pages = [page for _, pages, _ in orphans(run_dir / "journal") for page in pages]
    return {page[schema.QUOTE_ID] for page in pages}


def figure(server: Any, name: str) -> float:
    lines = httpx.get(f"{server.http}/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.mark.slow
def test_termination_under_load_fails_no_request_and_loses_no_quote(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    server = spawn("--drain-seconds", "3", TEST_SLOW="0.01")
    with Load(server.http) as load:
        until(lambda: len(load.quotes) >= 60)
        assert server.stop() == 0
    assert set(load.statuses) == {200}
    assert logged(server.run_dir) == set(load.quotes)


@pytest.mark.slow
def test_a_killed_process_leaves_whole_files_and_its_quotes_come_back(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    server = spawn(FAIRTAG_QUOTE_LOG_ROWS="2000")
    with Load(server.http) as load:
        until(lambda: bool(logged(server.run_dir)))
        closed = len(load.quotes)
        until(lambda: len(load.quotes) >= closed + 40)  # half a file more
        killed = time.monotonic()
        server.process.kill()
        server.process.wait(60)
    before = logged(server.run_dir)  # reads every file to its end
    held = journalled(server.run_dir)
    assert before
    assert held
    again = spawn()
    assert figure(again, "fairtag_quote_log_recovered_pages_total") == len(held), "what came back is counted"
    assert again.stop() == 0
    after = logged(again.run_dir)
    assert before | held <= after
    lost = {quote: came - killed for quote, came in load.quotes.items() if quote not in after}
    # The journal is a pause of its thread behind; a busy machine gives the thread its turn late.
    assert all(came > -1.0 for came in lost.values()), f"{lost}: quoted long before, and not in the journal"
    assert not list((again.run_dir / "journal").iterdir())


@pytest.mark.slow
def test_a_second_signal_cuts_the_drain_short(spawn: Callable[..., Any], until: Callable[..., None]) -> None:
    server = spawn("--drain-seconds", "3600")
    server.process.terminate()
    until(lambda: httpx.get(f"{server.http}/v2/models/fairtag/ready").status_code == 503)
    assert server.stop(timeout=60) == 0


@pytest.mark.slow
def test_a_full_disk_under_the_log_fails_no_request(
    spawn: Callable[..., Any], tmp_path: Path, until: Callable[..., None]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal").symlink_to("/dev/full")  # neither journal nor log can be written
    (tmp_path / "run" / "quotes").symlink_to("/dev/full")
    server = spawn(FAIRTAG_QUOTE_LOG_SECONDS="0.1", FAIRTAG_QUOTE_LOG_ROWS="50")
    with Load(server.http) as load:
        until(lambda: len(load.quotes) >= 60)
        until(lambda: figure(server, "fairtag_quote_log_failures_total") >= 1)
    assert set(load.statuses) == {200}
    assert server.stop() == 0


@pytest.mark.slow
def test_an_endpoint_that_cannot_start_says_why_and_exits(tmp_path: Path) -> None:
    import sys

    for options, words, code in (
        (["--model-folder", str(tmp_path / "none")], "no model folder", 6),
        ([], "model_folder", 2),
        (["--model-folder", str(tmp_path), "--http-port", "99999"], "http_port", 2),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "serving", "--run-dir", str(tmp_path), *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == code
        assert words in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def feast_folder(
    redis: Any, handmade: ModuleType, materialised: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The shop's features in that Redis."""
    return materialised(tmp_path_factory.mktemp("features"), handmade.tables(), redis.address)


def causes(load: Load, since: float) -> set[str | None]:
    return {cause for at, cause in load.degraded if at >= since}


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["killed", "frozen"])
def test_a_store_that_dies_under_load_degrades_pages_and_comes_back_by_itself(
    spawn: Callable[..., Any], redis: Any, feast_folder: Path, harm: str, until: Callable[..., None]
) -> None:
    server = spawn(
        "--feature-repo",
        str(feast_folder),
        TEST_FEAST="1",
        FAIRTAG_FEATURE_BREAKER_SECONDS="0.5",
        FAIRTAG_FEATURE_DEADLINE_MS="100",
    )
    with Load(server.http, threads=2) as load:
        until(lambda: len(load.quotes) >= 30)
        until(lambda: causes(load, time.monotonic() - 0.5) == {None})
        assert any(cause is None for _, cause in load.degraded)
        (redis.kill if harm == "killed" else redis.freeze)()
        harmed = time.monotonic()
        until(lambda: bool(causes(load, harmed) & {"user_features_down", "user_features_slow"}))
        time.sleep(1.0)
        (redis.start if harm == "killed" else redis.thaw)()
        until(lambda: causes(load, time.monotonic() - 0.5) == {None})
    assert set(load.statuses) == {200}
    assert server.stop() == 0


def breaker_open(server: Any, store: str) -> bool:
    return figure(server, f'fairtag_breaker_open{{store="{store}"}}') == 1


def page_of(server: Any, user: str) -> dict[str, Any]:
    answer = httpx.post(f"{server.http}{PATH}", json={"instances": [{"query": "drill", "user_id": user}]}, timeout=60)
    assert answer.status_code == 200
    page: dict[str, Any] = answer.json()["predictions"][0]
    return page


@pytest.mark.slow
def test_a_store_that_answers_late_costs_a_page_the_customers_features_and_comes_back_by_itself(
    spawn: Callable[..., Any],
    road: Any,
    handmade: ModuleType,
    materialised: Callable[..., Path],
    tmp_path: Path,
    until: Callable[..., None],
) -> None:
    features = materialised(tmp_path / "features", handmade.tables(), road.address)
    quick = {"FAIRTAG_FEATURE_BREAKER_SECONDS": "0.5", "FAIRTAG_FEATURE_DEADLINE_MS": "100"}
    server = spawn("--feature-repo", str(features), TEST_FEAST="1", **quick)
    with Load(server.http, threads=2) as load:
        until(lambda: page_of(server, "user-1")["degraded"] is None)
        assert page_of(server, "user-1")["personalised"]
        road.slow(0.4)
        harmed = time.monotonic()
        until(lambda: causes(load, harmed) >= {"user_features_slow", "user_features_down"})
        until(lambda: breaker_open(server, "features"))
        without = page_of(server, "user-5")  # who has no price lock yet
        assert without["degraded"] in ("user_features_slow", "user_features_down")
        assert not without["personalised"]
        assert {item["price_minor"] - item["list_price_minor"] for item in without["items"]} == {0}
        road.quick()
        until(lambda: page_of(server, "user-6")["degraded"] is None)
        until(lambda: causes(load, time.monotonic() - 0.5) == {None})
        until(lambda: not breaker_open(server, "features"))
        assert page_of(server, "user-6")["personalised"]
    assert set(load.statuses) == {200}
    assert server.stop() == 0


def shown(page: dict[str, Any]) -> dict[str, int]:
    return {item["item_id"]: item["price_minor"] for item in page["items"]}


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["late", "killed"])
def test_price_locks_that_do_not_answer_change_no_price_that_was_given(
    spawn: Callable[..., Any], road: Any, redis: Any, until: Callable[..., None], harm: str
) -> None:
    server = spawn(
        FAIRTAG_PRICE_LOCKS_URL=f"redis://{road.address}/0",
        FAIRTAG_FEATURE_BREAKER_SECONDS="0.5",
        FAIRTAG_FEATURE_DEADLINE_MS="100",
    )
    with Load(server.http, threads=2) as load:
        until(lambda: page_of(server, "hunter")["degraded"] is None)
        before = shown(page_of(server, "hunter"))
        if harm == "late":
            road.slow(1.5)
        else:
            redis.kill()
        harmed = time.monotonic()
        until(lambda: breaker_open(server, "price_locks"))
        connections, pages = road.connections, len(load.quotes)
        until(lambda: len(load.quotes) >= pages + 50)
        if harm == "late":
            assert road.connections - connections < 10, (
                "once the breaker is open pages ask no more, a trial now and then"
            )
        assert causes(load, harmed) >= {"price_locks_down"}
        without, stranger = page_of(server, "hunter"), page_of(server, f"a stranger {harm}")
        assert without["degraded"] == "price_locks_down"
        assert shown(without) == before
        assert all(item["price_minor"] < item["list_price_minor"] for item in stranger["items"]), "as others would give"
        if harm == "late":
            road.quick()
        else:
            redis.start()
        until(lambda: causes(load, time.monotonic() - 0.5) == {None})
        assert shown(page_of(server, "hunter")) == before
        after = shown(page_of(server, f"a stranger {harm}"))
        assert after == shown(stranger)
    assert set(load.statuses) == {200}
    assert server.stop() == 0


@pytest.mark.slow
def test_a_price_stands_across_a_kill_and_in_a_second_process_of_the_run_folder(
    spawn: Callable[..., Any], until: Callable[..., None]
) -> None:
    def ask(server: Any, **who: Any) -> dict[str, Any]:
        body = {"instances": [{"task": "price", "item_ids": ["item-010"], "jurisdiction": "DE", **who}]}
        answer: dict[str, Any] = httpx.post(f"{server.http}{PATH}", json=body, timeout=60).json()["predictions"][0]
        return answer

    first = spawn()
    alone, guest = ask(first, user_id="hunter"), ask(first)
    session = guest["session_id"]
    wide = {
        "item_ids": [f"item-{number:03d}" for number in range(8, 20)]
    }  # the hand-made model would price by the page
    time.sleep(0.5)
    first.process.kill()
    first.process.wait(60)
    second = spawn()
    third = spawn()
    for server in (second, third):
        assert shown(ask(server, user_id="hunter", **wide))["item-010"] == alone["items"][0]["price_minor"]
        assert shown(ask(server, session_id=session, **wide))["item-010"] == guest["items"][0]["price_minor"]
    time.sleep(1.0)  # the second has noticed the third
    prices = [
        shown(ask(server, user_id="new", **more))["item-010"] for server in (third, second) for more in ({}, wide)
    ]
    assert len(set(prices)) == 1
    assert third.stop() == 0
    assert second.stop() == 0
