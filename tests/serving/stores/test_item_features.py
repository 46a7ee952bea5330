from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from fairtag.policy.context import MARKET_COLUMNS, MarketContext
from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reader import MemoryReader
from serving.stores.item_features import ItemFeatureCache

IDS = ["a", "b", "c"]
PRICES = np.array([10.0, 20.0, 30.0])
CATALOGUE = MarketContext(*(PRICES + place for place in range(len(MARKET_COLUMNS))))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(MemoryReader):
    """A store that can be down."""

    def __init__(self) -> None:
        super().__init__(market={"a": {"list_price": 11.0}})
        self.down = False

    def items(self, item_ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        if self.down:
            raise ConnectionError("refused")
        return super().items(item_ids)


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
