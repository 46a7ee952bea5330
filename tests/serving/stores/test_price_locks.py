from __future__ import annotations

import time
from typing import Any

import pytest

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker
from serving.stores.price_locks import MemoryPromises, Promises, RedisPromises


def shared(address: str, seconds: float = 2.0, breaker: CircuitBreaker | None = None) -> RedisPromises:
    return RedisPromises(f"redis://{address}/0", seconds, breaker or CircuitBreaker(5, 5.0))


@pytest.fixture(params=["memory", "redis"])
def promises(request: pytest.FixtureRequest) -> Promises:
    if request.param == "memory":
        return MemoryPromises()
    return shared(request.getfixturevalue("redis").address)


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


async def test_two_replicas_agree_on_who_was_first(redis: Any) -> None:
    one, other = shared(redis.address), shared(redis.address)
    key = f"race-{time.time_ns()}"
    assert await one.promise(key, {"a": 10}, 60) == {}
    assert await other.promise(key, {"a": 12}, 60) == {"a": 10}
    await one.close()
    await other.close()


async def test_a_store_that_does_not_answer_is_unavailable() -> None:
    promises = shared("127.0.0.1:1", 0.2)
    with pytest.raises(UnavailableError):
        await promises.promised("key")
    with pytest.raises(UnavailableError):
        await promises.promise("key", {"a": 1}, 60)
    await promises.close()


async def test_a_store_that_is_late_is_asked_until_the_breaker_opens_and_then_once_a_period(road: Any) -> None:
    now = [0.0]
    breaker = CircuitBreaker(2, 5.0, clock=lambda: now[0])
    promises = shared(road.address, 0.05, breaker)
    await promises.promise("late-a", {"a": 10}, 60)
    road.slow(60.0)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="did not answer"):
            await promises.promised("late-a")
    connections = road.connections
    for _ in range(20):
        with pytest.raises(UnavailableError, match="asked again soon"):
            await promises.promise("late-a", {"a": 11}, 60)
    assert road.connections == connections, "an open breaker spares the store"
    now[0] = 5.0
    with pytest.raises(UnavailableError, match="did not answer"):  # the trial
        await promises.promised("late-a")
    road.quick()
    now[0] = 10.0
    assert await promises.promised("late-b") == {}, "the late answers of another key are never read for this one"
    assert await promises.promised("late-a") == {"a": 10}
    await promises.close()
