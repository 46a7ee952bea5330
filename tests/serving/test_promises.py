from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pricing.errors import UnavailableError
from serving.promises import MemoryPromises, Promises, RedisPromises


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder: Path = tmp_path_factory.mktemp("promises")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "--port", str(port), "--dir", str(folder), "--save", ""], stdout=log)
    end = time.monotonic() + 60
    while not _listens(port):
        assert time.monotonic() < end
        time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    process.kill()
    process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["memory", "redis"])
def promises(request: pytest.FixtureRequest) -> Promises:
    if request.param == "memory":
        return MemoryPromises()
    return RedisPromises(request.getfixturevalue("redis_url"), 2.0)


async def test_the_first_price_is_kept(promises: Promises) -> None:
    key = f"first-{time.time_ns()}"
    assert await promises.promised(key) == {}
    assert await promises.promise(key, {"a": 10, "b": 20}, 60) == {}
    assert await promises.promise(key, {"a": 11, "c": 30}, 60) == {"a": 10}
    assert await promises.promised(key) == {"a": 10, "b": 20, "c": 30}
    await promises.close()


async def test_keys_do_not_mix(promises: Promises) -> None:
    key = f"one-{time.time_ns()}"
    await promises.promise(key, {"a": 10}, 60)
    assert await promises.promised(f"{key}-other") == {}
    await promises.close()


async def test_what_was_read_does_not_change_with_the_store(promises: Promises) -> None:
    key = f"copy-{time.time_ns()}"
    await promises.promise(key, {"a": 10}, 60)
    read = await promises.promised(key)
    await promises.promise(key, {"b": 20}, 60)
    assert read == {"a": 10}
    await promises.close()


async def test_memory_keeps_no_more_than_its_capacity() -> None:
    promises = MemoryPromises(capacity=2)
    for key in ("a", "b", "c"):
        await promises.promise(key, {"x": 1}, 60)
    assert await promises.promised("a") == {}
    assert await promises.promised("c") == {"x": 1}
    assert promises.evicted == 1


async def test_memory_counts_prices_and_not_customers() -> None:
    promises = MemoryPromises(capacity=10)
    for key in ("a", "b", "c"):
        await promises.promise(key, {f"item-{number}": 1 for number in range(5)}, 60)
        await promises.promise(key, {"item-0": 2}, 60)
    assert await promises.promised("a") == {}
    assert len(await promises.promised("b")) == len(await promises.promised("c")) == 5
    await promises.promise("d", {f"item-{number}": 1 for number in range(50)}, 60)
    assert len(await promises.promised("d")) == 50, "what one customer was promised is never cut"


async def test_two_replicas_agree_on_who_was_first(redis_url: str) -> None:
    one, other = RedisPromises(redis_url, 2.0), RedisPromises(redis_url, 2.0)
    key = f"race-{time.time_ns()}"
    assert await one.promise(key, {"a": 10}, 60) == {}
    assert await other.promise(key, {"a": 12}, 60) == {"a": 10}
    await one.close()
    await other.close()


async def test_a_store_that_does_not_answer_is_unavailable() -> None:
    promises = RedisPromises("redis://127.0.0.1:1/0", 0.2)
    with pytest.raises(UnavailableError):
        await promises.promised("key")
    with pytest.raises(UnavailableError):
        await promises.promise("key", {"a": 1}, 60)
    await promises.close()
