"""What every store of price locks promises: here in memory, in a file, and in Redis behind a copy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.stores.breaker import CircuitBreaker
from serving.stores.lock_file import LockFile
from serving.stores.price_locks import (
    Claim,
    LocalPriceLockStore,
    PriceLocks,
    PriceLockStore,
    Trust,
    fields_of,
    locks_of,
    lower,
)
from serving.stores.seal import FORGED, UNREADABLE, Seal
from serving.stores.shared_locks import RedisLocks, SharedPriceLockStore

SECRET = bytes(range(32))
CLAIM = Claim(int(time.time()) + 86_400)
SEAL = Seal([SECRET])


def ignore(_why: str) -> None:
    """Nothing is ignored in these tests."""
    raise AssertionError(_why)


def shared(address: str) -> SharedPriceLockStore:
    redis = RedisLocks(f"redis://{address}/0", 2.0, CircuitBreaker(5, 5.0), SEAL, ignore)
    return SharedPriceLockStore(LocalPriceLockStore(), redis)


@pytest.fixture(params=["memory", "file", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PriceLockStore]:
    made: PriceLockStore
    if request.param == "redis":
        made = shared(request.getfixturevalue("redis").address)
    else:
        made = LocalPriceLockStore(LockFile(tmp_path, SEAL, ignore) if request.param == "file" else None)
    yield made
    await made.close()


def key_of(name: str) -> str:
    return f"{name}-{time.time_ns()}"


async def test_the_first_price_is_kept(store: PriceLockStore) -> None:
    key = key_of("first")
    assert not await store.read([key], CLAIM)
    assert not await store.lock(key, PriceLocks({"a": 10, "b": 20}), CLAIM)
    assert await store.lock(key, PriceLocks({"a": 11, "c": 30}), CLAIM) == PriceLocks({"a": 10})
    assert await store.read([key], CLAIM) == PriceLocks({"a": 10, "b": 20, "c": 30})


async def test_an_item_may_have_a_public_price_a_personal_one_and_a_ceiling(store: PriceLockStore) -> None:
    key = key_of("kinds")
    await store.lock(key, PriceLocks({"a": 10}, {"a": 9}, {"a": 12}), CLAIM)
    assert await store.lock(key, PriceLocks({"a": 10}, {"a": 8}, {"a": 13}), CLAIM) == PriceLocks(
        {}, {"a": 9}, {"a": 12}
    )
    assert await store.read([key], CLAIM) == PriceLocks({"a": 10}, {"a": 9}, {"a": 12})


async def test_the_first_corridor_is_kept(store: PriceLockStore) -> None:
    key, expires = key_of("day"), CLAIM._replace(trust=Trust.SHOP)
    assert await store.fix_corridors(key, {"a": (8, 10), "b": (4, 5)}, expires) == {}
    assert await store.fix_corridors(key, {"a": (9, 11), "c": (1, 1)}, expires) == {"a": (8, 10)}
    assert await store.fix_corridors(key, {}, expires) == {}


async def test_keys_do_not_mix_and_several_keys_of_one_customer_are_read_together(store: PriceLockStore) -> None:
    new, old, other = key_of("new"), key_of("old"), key_of("other")
    await store.lock(old, PriceLocks({"a": 10, "b": 20}), CLAIM)
    await store.lock(new, PriceLocks({"b": 19}), CLAIM)
    assert not await store.read([other], CLAIM)
    assert await store.read([new, old], CLAIM) == PriceLocks({"a": 10, "b": 19})


async def test_what_was_read_does_not_change_with_the_store(store: PriceLockStore) -> None:
    key = key_of("copy")
    await store.lock(key, PriceLocks({"a": 10}), CLAIM)
    read = await store.read([key], CLAIM)
    await store.lock(key, PriceLocks({"b": 20}), CLAIM)
    assert read.public == {"a": 10}


IDS = st.text(st.characters(min_codepoint=33, exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
PRICES = st.dictionaries(IDS, st.integers(1, 2**53))


@given(st.builds(PriceLocks, PRICES, PRICES, PRICES))
def test_locks_survive_their_form_in_a_store(locks: PriceLocks) -> None:
    fields = fields_of(locks)
    sealed = {name: SEAL.seal("key", name, value) for name, value in fields.items()}
    assert locks_of(SEAL.open_all("key", sealed, ignore)) == locks


GOOD = SEAL.seal("customer-day", "public:a", (1_999,))
BROKEN = (
    "", "1", "0", "-500", "999999999", "abc", "12.5", "1e3", "9" * 40, "null", "[1999,true]", "1999.", "1999.short",
    "01999" + GOOD[4:], "0" + GOOD[4:], "20-10" + GOOD[4:], " " + GOOD, GOOD + "\n", "\uff11\uff19" + GOOD[4:],
    "9007199254740993" + GOOD[4:], "\ufffd\ufffd",
)  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_a_value_that_cannot_be_read_is_ignored_and_counted(broken: str) -> None:
    counted: list[str] = []
    assert SEAL.open("customer-day", "public:a", broken, counted.append) is None
    assert counted == [UNREADABLE]


@pytest.mark.parametrize(
    ("key", "name", "text"),
    [
        ("customer-day", "public:a", "1" + GOOD[4:]),
        ("customer-day", "public:a", "1999.AAAAAAAAAAAAAAAA"),
        ("another customer", "public:a", GOOD),
        ("customer-another day", "public:a", GOOD),
        ("customer-day", "public:b", GOOD),
        ("customer-day", "personal:a", GOOD),
        ("customer-da", "ypublic:a", GOOD),
        ("customer-day", "public:a", Seal([bytes(32)]).seal("customer-day", "public:a", (1_999,))),
    ],
)
def test_a_value_that_we_did_not_write_in_this_place_is_forged(key: str, name: str, text: str) -> None:
    counted: list[str] = []
    assert SEAL.open(key, name, text, counted.append) is None
    assert counted == [FORGED]


def test_a_seal_that_changes_its_secret_still_opens_what_an_accepted_one_sealed() -> None:
    seal, other = Seal([SECRET]), bytes(range(1, 33))
    old = seal.seal("k", "a", (5,))
    seal.use([other, SECRET])
    assert seal.open("k", "a", old, ignore) == (5,)
    assert seal.seal("k", "a", (5,)) != old
    seal.use([other])
    counted: list[str] = []
    assert seal.open("k", "a", old, counted.append) is None
    assert counted == [FORGED]


@given(*[st.dictionaries(IDS, st.tuples(st.integers(1, 99)))] * 2)
def test_of_two_copies_the_lower_price_stands_whichever_is_asked_first(
    one: Mapping[str, tuple[int]], other: Mapping[str, tuple[int]]
) -> None:
    agreed = lower(one, other)
    assert agreed == lower(other, one)
    assert lower(agreed, one) == lower(agreed, agreed) == agreed
    assert agreed.keys() == one.keys() | other.keys()
    assert all(agreed[name] <= value for name, value in (*one.items(), *other.items()))
