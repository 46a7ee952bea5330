from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker
from serving.stores.price_locks import (
    MemoryPriceLockStore,
    PriceLock,
    PriceLocks,
    PriceLockStore,
    RedisPriceLockStore,
)


def shared(address: str, seconds: float = 2.0, breaker: CircuitBreaker | None = None) -> RedisPriceLockStore:
    return RedisPriceLockStore(f"redis://{address}/0", seconds, breaker or CircuitBreaker(5, 5.0))


def locks(prices: Mapping[str, int], *, personal: bool = False) -> dict[str, PriceLock]:
    return {item: PriceLock(price, personal) for item, price in prices.items()}


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> PriceLockStore:
    if request.param == "memory":
        return MemoryPriceLockStore()
    return shared(request.getfixturevalue("redis").address)


async def test_the_first_price_is_kept(store: PriceLockStore) -> None:
    key = f"first-{time.time_ns()}"
    assert await store.read(key) == PriceLocks()
    assert await store.lock(key, locks({"a": 10, "b": 20}), 60) == {}
    assert await store.lock(key, locks({"a": 11, "c": 30}), 60) == locks({"a": 10})
    assert (await store.read(key)).prices == locks({"a": 10, "b": 20, "c": 30})
    await store.close()


async def test_the_first_ceiling_and_the_first_corridor_are_kept(store: PriceLockStore) -> None:
    key = f"first-{time.time_ns()}"
    await store.cap(key, {"a": 10}, 60)
    await store.cap(key, {"a": 12, "b": 20}, 60)
    assert (await store.read(key)).ceilings == {"a": 10, "b": 20}
    assert await store.fix_corridors(f"{key}-day", {"a": (8, 10), "b": (4, 5)}, 60) == {}
    assert await store.fix_corridors(f"{key}-day", {"a": (9, 11), "c": (1, 1)}, 60) == {"a": (8, 10)}
    await store.close()


async def test_a_lock_says_whether_the_customers_data_made_it_and_only_another_price_is_reported(
    store: PriceLockStore,
) -> None:
    key = f"personal-{time.time_ns()}"
    await store.lock(key, {"a": PriceLock(10, True), "b": PriceLock(20, False)}, 60)
    assert await store.lock(key, {"a": PriceLock(10, False), "b": PriceLock(21, True)}, 60) == locks({"b": 20})
    assert (await store.read(key)).prices == {"a": PriceLock(10, True), "b": PriceLock(20, False)}
    await store.close()


IDS = st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
AMOUNTS = st.integers(1, 2**53)


@given(
    prices=st.dictionaries(IDS, st.builds(PriceLock, AMOUNTS, st.booleans())), ceilings=st.dictionaries(IDS, AMOUNTS)
)
async def test_what_was_locked_is_read_back(prices: dict[str, PriceLock], ceilings: dict[str, int]) -> None:
    store = MemoryPriceLockStore()
    await store.lock("key", prices, 60)
    await store.cap("key", ceilings, 60)
    assert await store.read("key") == PriceLocks(prices, ceilings)


BROKEN = (
    "", "x", "null", "1999", "true", "[1999]", "[1999,true,1]", "[1999,1]", "[0,true]", "[-5,true]", "[19.5,true]",
    '["1999",true]', "[true,true]", "[9007199254740993,true]", '{"price":1999,"personal":true}', "[NaN,true]",
)  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_value_that_cannot_be_read_is_ignored_and_counted(redis: Any, broken: str) -> None:
    from redis.asyncio import Redis

    counted: list[None] = []
    store = RedisPriceLockStore(f"redis://{redis.address}/0", 2.0, CircuitBreaker(5, 5.0), lambda: counted.append(None))
    key = f"broken-{time.time_ns()}"
    async with Redis.from_url(f"redis://{redis.address}/0") as client:
        await client.hset(f"{key}:price", mapping={"a": broken, "b": "[20,true]"})
        await client.hset(f"{key}:ceiling", mapping={"c": "[30]", "d": "40"})
        await client.hset(f"{key}-day", mapping={"e": "[9,8]", "f": "[8,10]"})
    assert await store.read(key) == PriceLocks({"b": PriceLock(20, True)}, {"d": 40})
    assert len(counted) == 2
    assert await store.lock(key, locks({"a": 10, "b": 21}), 60) == {"b": PriceLock(20, True)}
    assert await store.fix_corridors(f"{key}-day", {"e": (1, 2), "f": (1, 2)}, 60) == {"f": (8, 10)}
    assert len(counted) == 4
    await store.close()


async def test_keys_do_not_mix(store: PriceLockStore) -> None:
    key = f"one-{time.time_ns()}"
    await store.lock(key, locks({"a": 10}), 60)
    assert await store.read(f"{key}-other") == PriceLocks()
    await store.close()


async def test_what_was_read_does_not_change_with_the_store(store: PriceLockStore) -> None:
    key = f"copy-{time.time_ns()}"
    await store.lock(key, locks({"a": 10}), 60)
    read = await store.read(key)
    await store.lock(key, locks({"b": 20}), 60)
    assert read.prices == locks({"a": 10})
    await store.close()


async def test_memory_keeps_no_more_than_its_capacity() -> None:
    store = MemoryPriceLockStore(capacity=2)
    for key in ("a", "b", "c"):
        await store.lock(key, locks({"x": 1}), 60)
    assert not await store.read("a")
    assert (await store.read("c")).prices == locks({"x": 1})
    assert store.evicted == 1


async def test_memory_counts_prices_and_not_customers() -> None:
    store = MemoryPriceLockStore(capacity=10)
    for key in ("a", "b", "c"):
        await store.lock(key, locks({f"item-{number}": 1 for number in range(5)}), 60)
        await store.lock(key, locks({"item-0": 2}), 60)
    assert not await store.read("a")
    assert len((await store.read("b")).prices) == len((await store.read("c")).prices) == 5
    await store.lock("d", locks({f"item-{number}": 1 for number in range(50)}), 60)
    assert len((await store.read("d")).prices) == 50, "what one customer was shown is never cut"


async def test_two_replicas_agree_on_who_was_first(redis: Any) -> None:
    one, other = shared(redis.address), shared(redis.address)
    key = f"race-{time.time_ns()}"
    assert await one.lock(key, locks({"a": 10}), 60) == {}
    assert await other.lock(key, locks({"a": 12}), 60) == locks({"a": 10})
    await one.close()
    await other.close()


async def test_a_store_that_does_not_answer_is_unavailable() -> None:
    store = shared("127.0.0.1:1", 0.2)
    with pytest.raises(UnavailableError):
        await store.read("key")
    with pytest.raises(UnavailableError):
        await store.lock("key", locks({"a": 1}), 60)
    await store.close()


async def test_a_store_that_is_late_is_asked_until_the_breaker_opens_and_then_once_a_period(road: Any) -> None:
    now = [0.0]
    breaker = CircuitBreaker(2, 5.0, clock=lambda: now[0])
    store = shared(road.address, 0.05, breaker)
    await store.lock("late-a", locks({"a": 10}), 60)
    road.slow(60.0)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="did not answer"):
            await store.read("late-a")
    connections = road.connections
    for _ in range(20):
        with pytest.raises(UnavailableError, match="next try"):
            await store.lock("late-a", locks({"a": 11}), 60)
    assert road.connections == connections, "an open breaker spares the store"
    now[0] = 5.0
    with pytest.raises(UnavailableError, match="did not answer"):  # the trial
        await store.read("late-a")
    road.quick()
    now[0] = 10.0
    assert not await store.read("late-b"), "the late answers of another key are never read for this one"
    assert (await store.read("late-a")).prices == locks({"a": 10})
    await store.close()
