"""How long a stop takes to reach an endpoint, with the endpoint's own settings, on each store of the live policy.

``pytest tests/serving/test_stop_on_stores.py -s`` prints the seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairtag.policy.live_policy import open_store
from fairtag.policy.shop_policy import ShopPolicy
from pipelines.cli import main

pytestmark = pytest.mark.slow
PROMISED = 30.0  # seconds


@pytest.fixture(params=["folder", "object store", "redis", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Addresses of an empty store: for whoever writes, and for whoever reads."""
    if request.param == "folder":
        return (str(tmp_path / "policy"),) * 2
    if request.param == "object store":
        return (request.getfixturevalue("object_store").policy,) * 2
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        server.client().flushall()
        return (f"redis://{server.address}/0",) * 2
    addresses = request.getfixturevalue("policy_database")
    request.getfixturevalue("postgres_server").sql("TRUNCATE fairtag_policy", database="policy")
    return addresses("policy_writer"), addresses("policy_reader")


def seconds_until(running: Any, state: str | None, since: float) -> float:
    """Seconds from an instant until a page says that everything is stopped, or nothing."""
    while running.page()["degraded"] != state:
        assert time.monotonic() - since < 4 * PROMISED, f"not {state} in time"
        time.sleep(0.05)
    return time.monotonic() - since


def test_a_stop_and_its_undo_are_seen_in_time(
    serve: Callable[..., Any], store: tuple[str, str], record_property: Callable[..., None], request: Any
) -> None:
    writer, reader = store
    with serve(policy_store=reader) as running:
        assert running.page()["degraded"] is None
        began = time.monotonic()
        assert main(["stop", "--store", writer, "--why", "costs are wrong"]) == 0
        stopped = seconds_until(running, "stopped", began)
        began = time.monotonic()
        assert main(["stop", "--store", writer, "--undo", "--why", "costs are right"]) == 0
        undone = seconds_until(running, None, began)
    record_property("seconds_stop", round(stopped, 2))
    record_property("seconds_undo", round(undone, 2))
    print(f"\n{request.node.callspec.id}: stop seen after {stopped:.1f} s, undo after {undone:.1f} s")
    assert max(stopped, undone) < PROMISED


@pytest.fixture(params=["object store", "redis", "postgresql"])
def server(request: pytest.FixtureRequest) -> tuple[Any, str, str]:
    """A server that can be ended and started again, and the addresses of an empty store on it."""
    if request.param == "object store":
        found = request.getfixturevalue("object_store")
        return found, found.policy, found.policy
    if request.param == "redis":
        found = request.getfixturevalue("redis")
        found.client().flushall()
        return found, *((f"redis://{found.address}/0",) * 2)
    found, addresses = request.getfixturevalue("postgres_server"), request.getfixturevalue("policy_database")
    found.sql("TRUNCATE fairtag_policy", database="policy")
    return found, addresses("policy_writer"), addresses("policy_reader")


def test_a_stop_while_the_store_is_down_says_so_and_is_seen_in_time_once_it_is_back(
    serve: Callable[..., Any], server: tuple[Any, str, str], capsys: pytest.CaptureFixture[str], request: Any
) -> None:
    held, writer, reader = server
    end = held.kill if hasattr(held, "kill") else held.stop
    with serve(policy_store=reader) as running:
        end()
        try:
            assert main(["stop", "--store", writer, "--why", "costs are wrong"]) != 0
            assert "does not answer" in capsys.readouterr().err
            assert running.page()["degraded"] is None, "what was read last holds"
        finally:
            held.start()
        began = time.monotonic()
        assert main(["stop", "--store", writer, "--why", "costs are wrong"]) == 0
        back = seconds_until(running, "stopped", began)
    with capsys.disabled():
        print(f"\n{request.node.callspec.id}: stop seen {back:.1f} s after the store was back")
    assert back < PROMISED


def test_a_second_store_carries_the_stop_while_one_is_down_and_fills_it_when_it_is_back(
    serve: Callable[..., Any],
    server: tuple[Any, str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    request: Any,
) -> None:
    held, writer, reader = server
    folder = tmp_path / "policy"
    open_store(f"{writer},{folder}").change(ShopPolicy().changed(exploration=0.0), who="ada", why="at first")
    end = held.kill if hasattr(held, "kill") else held.stop
    with serve(policy_store=f"{reader},{folder}") as running:
        assert running.page()["policy_version"] == 1
        end()
        try:
            began = time.monotonic()
            assert main(["stop", "--store", f"{writer},{folder}", "--why", "costs are wrong"]) == 0
            stopped = seconds_until(running, "stopped", began)
        finally:
            held.start()
        began = time.monotonic()
        assert main(["stop", "--store", f"{writer},{folder}", "--undo", "--why", "right again"]) == 0
        undone = seconds_until(running, None, began)
    assert open_store(writer).newest() == 3, "it lacked the stop, and has it now"
    with capsys.disabled():
        print(
            f"\n{request.node.callspec.id}: beside a folder, stop seen after {stopped:.1f} s, undo after {undone:.1f} s"
        )
    assert max(stopped, undone) < PROMISED
