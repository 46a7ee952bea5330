"""Time that a page spends on reading features from Feast on SQLite, with and without the item cache."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.peers.server import PAGE
from benchmarks.result import Row
from fairtag.base import schema
from fairtag.base.tables import Tables
from serving.page.core import ModelCore
from serving.settings import FeatureSettings
from serving.stores.breaker import CircuitBreaker
from serving.stores.feature_reads import FeatureReader, ItemFeatureCache

READS = 100


def feature_rows(core: ModelCore, tables: Tables, folder: Path, page_ms: float) -> Iterator[Row]:
    """Time of reading one user and the items of a page, and its share of a page that takes ``page_ms`` without it."""
    reader = _store(tables, folder)
    users = tables.users[schema.USER_ID].unique()[:READS]
    items = list(tables.latest_items()[schema.ITEM_ID])[:PAGE]
    cache = ItemFeatureCache(reader, core.item_ids, core.market, FeatureSettings(), CircuitBreaker(5, 5.0))
    rows = np.arange(PAGE)
    reader.user(str(users[0]))  # the first read opens the store
    user = median(_ms(reader.user, str(user)) for user in users)
    uncached = median(_ms(reader.items, items) for _ in range(READS))
    cached = median(_ms(cache.rows, rows) for _ in range(READS))
    yield Row("features_user_p50_ms", user, unit="ms")
    yield Row("features_items_p50_ms", uncached, unit="ms")
    yield Row("features_items_cached_p50_ms", cached, unit="ms")
    yield Row("feature_share_uncached", (user + uncached) / (page_ms + user + uncached))
    yield Row("feature_share_cached", (user + cached) / (page_ms + user + cached))


def _store(tables: Tables, folder: Path) -> FeatureReader:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast's and ibis' own deprecations
        from components.adapters.feast import apply, materialise, write_repository
        from serving.stores.feast_store import open_reader

        write_repository(folder)
        materialise(apply(folder, tables), datetime.now(UTC))
        return open_reader(folder)


def _ms(work: Callable[..., object], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return (time.perf_counter() - started) * 1_000
