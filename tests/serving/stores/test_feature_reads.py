from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reads import (
    DOWN,
    OUT_OF_BOUNDS,
    SLOW,
    UNREADABLE,
    ItemFeatureCache,
    MemoryReader,
    StoreAge,
    UserFeatureClient,
    UserFeatures,
    checked_market,
    checked_user,
)

ANNA = UserFeatures({"recency_days": 3.0})
IDS = ["a", "b", "c"]
PRICES = np.array([10.0, 20.0, 30.0])
CATALOGUE = MarketContext(*(PRICES + place for place in range(len(MARKET_COLUMNS))))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(MemoryReader):
    """A store that can be slow or down."""

    def __init__(self) -> None:
        super().__init__(users={"anna": ANNA}, market={"a": {"list_price": 11.0}})
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

    def items(self, item_ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        self.calls += 1
        if self.down:
            raise ConnectionError("refused")
        return super().items(item_ids)


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


def cache(store: Store | None, **changes: float) -> tuple[ItemFeatureCache, Clock]:
    settings = FeatureSettings(**{"refresh_seconds": 60, "stale_seconds": 900, "warm_seconds": 1, **changes})
    clock = Clock()
    return ItemFeatureCache(store, IDS, CATALOGUE, settings, CircuitBreaker(3, 5, clock), clock=clock), clock


ROWS = np.array([0, 2])


def test_without_a_store_the_catalogue_is_the_truth() -> None:
    items, _ = cache(None)
    market, age = items.rows(ROWS)
    assert age is None
    assert market.list_price.tolist() == [10.0, 30.0]
    assert not len(items.too_old(ROWS))


def test_a_row_that_was_never_read_is_too_old() -> None:
    items, _ = cache(Store())
    assert items.too_old(ROWS).tolist() == [0, 2]


def test_a_read_row_takes_the_stores_values_and_keeps_the_catalogues_where_it_has_none() -> None:
    items, clock = cache(Store())
    items.read(ROWS)
    clock.now = 7.0
    market, age = items.rows(ROWS)
    assert market.list_price.tolist() == [11.0, 30.0]
    assert market.unit_cost.tolist() == [11.0, 31.0]
    assert age == 7.0


def test_a_row_past_the_bound_is_too_old_again() -> None:
    items, clock = cache(Store())
    items.read(ROWS)
    clock.now = 900.0
    assert not len(items.too_old(ROWS))
    clock.now = 900.1
    assert items.too_old(ROWS).tolist() == [0, 2]


def test_a_store_that_is_down_leaves_the_last_values_and_their_age() -> None:
    store = Store()
    items, clock = cache(store)
    items.read(ROWS)
    store.down = True
    clock.now = 100.0
    with pytest.raises(ConnectionError):
        items.read(ROWS)
    market, age = items.rows(ROWS)
    assert market.list_price.tolist() == [11.0, 30.0]
    assert age == 100.0


def test_the_background_reads_what_is_due_with_the_wanted_first() -> None:
    store = Store()
    settings = FeatureSettings(refresh_seconds=60, chunk=1)
    items = ItemFeatureCache(store, IDS, CATALOGUE, settings, CircuitBreaker(3, 5), clock=(clock := Clock()))
    items.rows(np.array([1]))
    assert items._due().tolist() == [1]
    items.read(np.array([1]))
    assert 1 not in items._due()
    clock.now = 60.0
    items.rows(np.array([2]))
    assert items._due().tolist() == [2]


def test_warm_up_reads_everything_and_the_background_keeps_it_fresh() -> None:
    store = Store()
    settings = FeatureSettings(refresh_seconds=0.05, warm_seconds=1)
    items = ItemFeatureCache(store, IDS, CATALOGUE, settings, CircuitBreaker(3, 5))
    items.start()
    assert not len(items.too_old(np.arange(3)))
    store.market["a"]["list_price"] = 99.0
    end = time.monotonic() + 60
    while items.rows(ROWS)[0].list_price[0] != 99.0:
        assert time.monotonic() < end
        time.sleep(0.01)
    items.stop()
    assert threading.active_count() < 50


def test_a_store_that_comes_up_later_is_found() -> None:
    store = Store()
    store.down = True
    settings = FeatureSettings(refresh_seconds=0.05, warm_seconds=0.2)
    items = ItemFeatureCache(store, IDS, CATALOGUE, settings, CircuitBreaker(2, 0.05))
    items.start()
    assert len(items.too_old(ROWS)) == 2
    store.down = False
    end = time.monotonic() + 60
    while len(items.too_old(ROWS)):
        assert time.monotonic() < end
        time.sleep(0.01)
    items.stop()


def test_the_memory_reader_has_every_market_column() -> None:
    columns = MemoryReader(market={"a": {"stock": 3.0}}).items(["a", "b"])
    assert set(columns) == set(MARKET_COLUMNS)
    assert columns["stock"][0] == 3.0
    assert np.isnan(columns["stock"][1])


def catalogue(prices: list[float], costs: list[float]) -> MarketContext:
    absent = np.full(len(prices), np.nan)
    return MarketContext(np.array(prices), np.array(costs), absent, absent, absent, absent, absent, absent)


@pytest.mark.parametrize("poison", [1.0, 0.0, -5.0, 1e12, "abc", "1", b"\xff", True, [1], math.inf, -math.inf, 10**400])
@pytest.mark.parametrize("name", ["list_price", "unit_cost"])
def test_an_amount_that_cannot_be_meant_is_ignored_and_counted(name: str, poison: Any) -> None:
    counted: list[str] = []
    known = catalogue([3_899.0, 20.0, 5.0], [1_500.0, 8.0, 2.0])
    found = checked_market({name: [poison, 19.0, None]}, known, 10.0, counted.append)
    np.testing.assert_array_equal(found[name], [np.nan, 19.0, np.nan])
    assert counted in ([UNREADABLE], [OUT_OF_BOUNDS])


def test_what_may_be_is_taken_as_it_is() -> None:
    columns = {
        "list_price": [15.0, math.nan],
        "map_price": [12, 3.0],
        "salvage_value": [-1.0, 0.5],
        "stock": [0, 1e6],
        "shelf_life_days": [0.0, 400.0],
    }
    found = checked_market(columns, catalogue([20.0, 5.0], [8.0, 2.0]), 10.0, _refuse)
    for name, values in columns.items():
        np.testing.assert_array_equal(found[name], np.array(values, dtype=float))


def _refuse(why: str) -> None:
    raise AssertionError(why)


def test_a_customers_values_that_are_no_numbers_are_left_out_and_the_others_stay() -> None:
    counted: list[str] = []
    odd = UserFeatures(
        {"recency_days": "abc", "orders_90d": 2, "spend_90d": math.inf, "promotion_response": 0.5},  # type: ignore[dict-item]
        ("a", "b", "c", "d"),
        (1.0, -3.0, "x", 4),  # type: ignore[arg-type]
    )
    found = checked_user(odd, counted.append)
    assert found == UserFeatures({"orders_90d": 2.0, "promotion_response": 0.5}, ("a", "d"), (1.0, 4.0))
    assert counted == [UNREADABLE] * 3


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
