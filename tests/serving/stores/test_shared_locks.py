"""Price locks in Redis behind a copy of the process: what Redis says is input, and its absence raises no price."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker
from serving.stores.price_locks import Claim, LocalPriceLockStore, PriceLocks, Trust
from serving.stores.seal import FORGED, UNREADABLE, Seal
from serving.stores.shared_locks import RedisLocks, SharedPriceLockStore

SEAL = Seal([bytes(range(32))])
CLAIM = Claim(int(time.time()) + 86_400)


def replica(
    address: str,
    seconds: float = 2.0,
    breaker: CircuitBreaker | None = None,
    ignored: Callable[[str], None] = lambda _why: None,
    guests: int = 50_000,
    most: int = 5_000,
) -> SharedPriceLockStore:
    redis = RedisLocks(f"redis://{address}/0", seconds, breaker or CircuitBreaker(5, 0.05), SEAL, ignored, 2 * most)
    return SharedPriceLockStore(LocalPriceLockStore(most=most), redis, guests)


def key_of(name: str) -> str:
    return f"{name}-{time.time_ns()}"


async def test_two_replicas_agree_on_who_was_first(redis: Any) -> None:
    one, other, key = replica(redis.address), replica(redis.address), key_of("race")
    assert not await one.lock(key, PriceLocks({"a": 10}), CLAIM)
    assert await other.lock(key, PriceLocks({"a": 12}), CLAIM) == PriceLocks({"a": 10})
    assert (await other.read([key], CLAIM)).public == {"a": 10}
    await one.close()
    await other.close()


POISON = ("1", "0", "-500", "999999999", "abc", "12.5", "", "1e3", "9" * 40, b"\xff\xfe", "1.AAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("poison", POISON)
async def test_what_somebody_else_wrote_into_redis_is_ignored_counted_and_written_over(redis: Any, poison: Any) -> None:
    counted: list[str] = []
    key = key_of("poison")
    first, second = replica(redis.address), replica(redis.address, ignored=counted.append)
    await first.lock(key, PriceLocks({"a": 3_899, "b": 20}), CLAIM)
    redis.client().hset(key, "public:a", poison)
    assert (await second.read([key], CLAIM)).public == {"b": 20}
    assert counted in ([UNREADABLE], [FORGED])
    assert not await second.lock(key, PriceLocks({"a": 3_500}), CLAIM)
    assert (await first.read([key], CLAIM)).public == {"a": 3_500, "b": 20}, "genuine again, and the lower one stands"
    await first.close()
    await second.close()


async def test_a_lock_copied_to_another_customer_or_day_is_forged(redis: Any) -> None:
    counted: list[str] = []
    store, key, other = replica(redis.address, ignored=counted.append), key_of("one"), key_of("other")
    await store.lock(key, PriceLocks({"a": 10}), CLAIM)
    client = redis.client()
    client.hset(other, mapping=client.hgetall(key))
    assert not await store.read([other], CLAIM)
    assert counted == [FORGED]
    await store.close()


async def test_a_key_of_another_type_is_put_away(redis: Any) -> None:
    counted: list[str] = []
    store, key = replica(redis.address, ignored=counted.append), key_of("type")
    redis.client().set(key, "x")
    assert await store.read([key], CLAIM) == PriceLocks()
    assert counted == [UNREADABLE]
    assert not await store.lock(key, PriceLocks({"a": 10}), CLAIM)
    await store.close()


async def test_one_customer_has_so_many_locks_in_redis_and_no_more_and_those_stand(redis: Any) -> None:
    store, other, key = replica(redis.address, most=10), replica(redis.address, most=10), key_of("everything")
    for page in range(5):
        assert not await store.lock(key, PriceLocks({f"item-{page}-{rank}": 10 for rank in range(4)}), CLAIM)
    assert redis.client().hlen(key) == 10
    assert len((await other.read([key], CLAIM)).public) == 10
    assert await other.lock(key, PriceLocks({"item-0-0": 12}), CLAIM) == PriceLocks({"item-0-0": 10})
    await store.close()
    await other.close()


async def test_a_key_with_more_fields_than_a_customer_may_have_is_put_away_unchecked(redis: Any) -> None:
    counted: list[str] = []
    store, key = replica(redis.address, most=10, ignored=counted.append), key_of("flood")
    await store.lock(key, PriceLocks({"a": 10}), CLAIM)
    redis.client().hset(key, mapping={f"public:b{number}": "10.AAAAAAAAAAAAAAAA" for number in range(20)})
    assert (await store.read([key], CLAIM)).public == {"a": 10}, "this process knows it, and tells it again"
    assert counted == [UNREADABLE]
    async with asyncio.timeout(60.0):
        while redis.client().hlen(key) != 1:
            await asyncio.sleep(0.01)
    await store.close()


async def test_while_redis_is_frozen_known_prices_stand_and_the_answer_says_that_others_are_missing(road: Any) -> None:
    store, key = replica(road.address, 0.05), key_of("frozen")
    await store.lock(key, PriceLocks({"a": 10}), CLAIM)
    road.slow(60.0)
    frozen = await store.read([key], CLAIM)
    assert (frozen.public, frozen.whole) == ({"a": 10}, False)
    assert not await store.lock(key, PriceLocks({"b": 20}), CLAIM), "it stands here"
    assert (await store.read([key], CLAIM)).public == {"a": 10, "b": 20}
    with pytest.raises(UnavailableError):
        await store.fix_corridors(key_of("day"), {"a": (1, 2)}, CLAIM._replace(trust=Trust.SHOP))
    road.quick()
    await store.close()


async def test_what_was_locked_without_redis_is_told_to_it_when_it_is_back(redis: Any) -> None:
    one, other, key = replica(redis.address, 0.2), replica(redis.address), key_of("back")
    await one.lock(key, PriceLocks({"a": 10}), CLAIM)
    redis.client().delete(key)  # as if it had lost its data
    one.claim_here(key, {"public:b": (20,)}, CLAIM)
    assert (await one.read([key], CLAIM)).public == {"a": 10, "b": 20}
    await asyncio.sleep(0.2)
    assert (await other.read([key], CLAIM)).public == {"a": 10, "b": 20}
    await one.close()
    await other.close()


async def test_where_two_replicas_gave_two_prices_the_lower_one_stands_for_both(redis: Any) -> None:
    one, other, key = replica(redis.address), replica(redis.address), key_of("split")
    one.claim_here(key, {"public:a": (10,)}, CLAIM)  # both without Redis
    other.claim_here(key, {"public:a": (12,)}, CLAIM)
    for store in (other, one, other, one):
        await store.read([key], CLAIM)
        await asyncio.sleep(0.1)
    assert (await one.read([key], CLAIM)).public == (await other.read([key], CLAIM)).public == {"a": 10}
    await one.close()
    await other.close()
    third = replica(redis.address)
    assert (await third.read([key], CLAIM)).public == {"a": 10}
    await third.close()


async def test_invented_ids_fill_redis_up_to_a_limit_and_no_further(redis: Any) -> None:
    store, name = replica(redis.address, guests=3), key_of("made-up")
    claim = CLAIM._replace(trust=Trust.INVENTED)
    for number in range(10):
        await store.lock(f"{name}-{number}", PriceLocks({"a": 10}), claim)
        assert (await store.read([f"{name}-{number}"], claim)).public == {"a": 10}, "each has its lock in the copy"
    await asyncio.sleep(0.1)
    assert len(redis.client().keys(f"{name}-*")) == 3
    assert store.untold > 0
    await store.lock(f"{name}-known", PriceLocks({"a": 10}), CLAIM)
    assert len(redis.client().keys(f"{name}-*")) == 4
    await store.close()


async def test_redis_that_is_full_costs_no_page_its_prices(redis: Any) -> None:
    client = redis.client()
    store, key = replica(redis.address), key_of("full")
    client.config_set("maxmemory", "1")
    try:
        assert not await store.lock(key, PriceLocks({"a": 10}), CLAIM)
        read = await store.read([key], CLAIM)
    finally:
        client.config_set("maxmemory", "0")
    assert read == PriceLocks({"a": 10}), "it answers, so that nothing is missing"
    await store.close()


async def test_a_lock_leaves_redis_when_its_price_day_is_over(redis: Any) -> None:
    store, key = replica(redis.address), key_of("ttl")
    await store.lock(key, PriceLocks({"a": 10}), Claim(int(time.time()) + 3_600))
    left = redis.client().ttl(key)
    await store.close()
    assert 3_000 < left <= 3_600


async def test_a_store_that_is_late_is_asked_until_the_breaker_opens_and_then_once_a_period(road: Any) -> None:
    now = [0.0]
    breaker = CircuitBreaker(2, 5.0, clock=lambda: now[0])
    store, late, new = replica(road.address, 0.05, breaker), key_of("late"), key_of("new")
    await store.lock(late, PriceLocks({"a": 10}), CLAIM)
    road.slow(60.0)
    for _ in range(2):
        assert not (await store.read([new], CLAIM)).whole
    connections = road.connections
    for _ in range(20):
        assert not (await store.read([new], CLAIM)).whole
    assert road.connections == connections, "an open breaker spares the store"
    now[0] = 5.0
    assert not (await store.read([new], CLAIM)).whole  # the trial
    road.quick()
    now[0] = 10.0
    assert await store.read([new], CLAIM) == PriceLocks(), "the late answers of another key are never read for this one"
    assert (await store.read([late], CLAIM)).public == {"a": 10}
    await store.close()


@pytest.mark.parametrize("poison", ["1", "abc", "-5", "[1,true]", b"\xff"])
def test_a_page_shows_signs_and_honours_nothing_that_somebody_else_wrote(
    serve: Callable[..., Any], redis: Any, poison: Any
) -> None:
    ask = {"task": "price", "item_ids": ["item-010"], "user_id": f"victim {poison!r}", "jurisdiction": "DE"}
    client = redis.client()
    client.flushall()
    with serve(price_locks_url=f"redis://{redis.address}/0", core=None) as one:
        honest = one.page(**ask)
    (key,) = (name for name in client.keys("fairtag:lock:*") if client.hlen(name))
    fields = list(client.hkeys(key))
    client.hset(key, mapping=dict.fromkeys(fields, poison))
    client.hset("fairtag:corridor:EUR:20000", "item-010", poison)
    with serve(price_locks_url=f"redis://{redis.address}/0", run_dir=one.run_dir.parent / "another") as other:
        page = other.page(**ask)
        counted = sum(
            sample.value
            for sample in other.assembly.metrics.ignored.collect()[0].samples
            if sample.name.endswith("_total")
        )
    assert page["degraded"] is None
    assert page["items"][0]["price_minor"] == honest["items"][0]["price_minor"]
    assert counted >= 1
