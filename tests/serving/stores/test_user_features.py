from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reader import UNREADABLE, MemoryReader, UserFeatures
from serving.stores.user_features import DOWN, SLOW, StoreAge, UserFeatureClient

ANNA = UserFeatures({"recency_days": 3.0})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(MemoryReader):
    """A store that can be slow or down."""

    def __init__(self) -> None:
        super().__init__(users={"anna": ANNA})
        self.down = False
        self.door = threading.Event()
        self.door.set()
        self.calls = 0

    def user(self, user_id: str) -> UserFeatures | None:
        self.calls += 1
        assert self.door.wait(60)
        if self.down:
            raise ConnectionError("refused")
        return super().user(user_id)


def client(store: Store | None, **changes: float) -> tuple[UserFeatureClient, CircuitBreaker, Clock]:
    settings = FeatureSettings(
        **{"deadline_ms": 50, "breaker_failures": 3, "breaker_seconds": 5, "readers": 2, **changes}
    )
    clock = Clock()
    breaker = CircuitBreaker(settings.breaker_failures, settings.breaker_seconds, clock)
    return UserFeatureClient(store, settings, breaker), breaker, clock


async def test_a_known_user_is_read_and_an_unknown_one_is_no_failure() -> None:
    users, breaker, _ = client(Store())
    assert (await users.read("anna")).features == ANNA
    unknown = await users.read("bert")
    assert (unknown.features, unknown.cause, breaker.open) == (None, None, False)
    users.close()


async def test_nobody_and_no_store_cost_nothing() -> None:
    store = Store()
    users, _, _ = client(store)
    assert (await users.read(None)).cause is None
    assert store.calls == 0
    none, _, _ = client(None)
    assert (await none.read("anna")).cause is None


async def test_a_slow_store_is_not_waited_for() -> None:
    store = Store()
    store.door.clear()
    users, _, _ = client(store)
    assert (await users.read("anna")).cause == SLOW
    assert store.calls == 1, "the store was asked, and has still not answered"
    store.door.set()
    users.close()


async def test_failures_in_a_row_open_the_breaker_and_one_trial_closes_it() -> None:
    store = Store()
    store.down = True
    users, breaker, clock = client(store)
    for _ in range(3):
        assert (await users.read("anna")).cause == DOWN
    assert breaker.open
    calls = store.calls
    assert (await users.read("anna")).cause == DOWN
    assert store.calls == calls  # nobody was asked
    store.down = False
    clock.now = 5.1
    assert (await users.read("anna")).features == ANNA
    assert not breaker.open
    users.close()


async def test_a_failed_trial_keeps_the_breaker_open_for_another_period() -> None:
    store = Store()
    store.down = True
    users, breaker, clock = client(store)
    for _ in range(3):
        await users.read("anna")
    clock.now = 5.1
    await users.read("anna")
    calls = store.calls
    clock.now = 9.0
    await users.read("anna")
    assert store.calls == calls
    assert breaker.open
    users.close()


async def test_readers_that_hang_are_not_queued_behind() -> None:
    store = Store()
    store.door.clear()
    users, _, _ = client(store, breaker_failures=100)
    await asyncio.gather(*(users.read("anna") for _ in range(8)))
    read = asyncio.create_task(users.read("anna"))
    await asyncio.sleep(0)  # the task runs once: one that waited for anything would not be done
    assert read.done()
    assert (await read).cause == SLOW
    store.door.set()
    users.close()


async def test_a_poisoned_customer_opens_no_breaker() -> None:
    class Poisoned(MemoryReader):
        def user(self, user_id: str) -> Any:
            return UserFeatures({"recency_days": "abc"})  # type: ignore[dict-item]

    counted: list[str] = []
    breaker = CircuitBreaker(1, 60.0)
    users = UserFeatureClient(Poisoned(), FeatureSettings(deadline_ms=60_000), breaker, ignored=counted.append)
    for _ in range(3):
        assert (await users.read("anna")).features == UserFeatures({})
    users.close()
    assert not breaker.open
    assert counted == [UNREADABLE] * 3


def test_the_age_of_features_counts_from_the_last_materialisation() -> None:
    store, clock = MemoryReader(filled=100.0), Clock()
    age = StoreAge(store, 60.0, clock)
    assert age.seconds() is None, "nobody has asked the store yet"
    clock.now = 130.0
    age.read()
    assert age.seconds() == 30.0
    clock.now = 4_000.0
    assert age.seconds() == 3_900.0
    store.filled = 3_990.0
    age.read()
    assert age.seconds() == 10.0
    clock.now = 3_000.0
    assert age.seconds() == 0.0, "a clock that runs behind the store's makes no negative age"


def test_a_store_that_cannot_say_when_it_was_filled_grows_older() -> None:
    class Broken(MemoryReader):
        def filled_at(self) -> float | None:
            if self.filled is None:
                raise ConnectionError("refused")
            return self.filled

    store, clock = Broken(filled=100.0), Clock()
    age = StoreAge(store, 60.0, clock)
    clock.now = 110.0
    age.read()
    store.filled, clock.now = None, 500.0
    age.read()
    assert age.seconds() == 400.0
    nothing = StoreAge(None, 60.0, clock)
    nothing.read()
    assert nothing.seconds() is None


def test_the_age_is_read_in_the_background_until_it_is_stopped() -> None:
    store = MemoryReader(filled=time.time() - 7.0)
    age = StoreAge(store, 0.01)
    age.start()
    deadline = time.monotonic() + 10
    while age.seconds() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert age.seconds() == pytest.approx(7.0, abs=2.0)
    age.stop()
