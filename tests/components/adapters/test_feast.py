"""The same definitions on SQLite and on a real Redis: no row lost, nothing of the future seen, the newest served."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from redis import Redis

from fairtag.base import schema
from fairtag.base.errors import ConfigError, UnavailableError
from fairtag.base.tables import Tables

Frames = dict[str, pd.DataFrame]
LATE = datetime(2030, 1, 1, tzinfo=UTC)


def _tables(frames: Frames) -> Tables:
    return Tables(frames["items"], frames["users"], frames["impressions"], frames["orders"])


@pytest.fixture(params=["local", "redis"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A feature folder of each environment."""
    from components.adapters import feast

    address = request.getfixturevalue("redis").address if request.param == "redis" else None
    if address is not None:  # a test starts from an empty store: Feast never writes an older snapshot over a newer one
        with Redis.from_url(f"redis://{address}") as client:
            client.flushall()
    place = tmp_path / "läden 50%20 ?#1 a&b"  # a path that means something else as a URL
    feast.write_repository(place, request.param, redis=address)
    return place


@pytest.mark.slow
def test_the_newest_snapshot_is_served_and_an_unknown_customer_is_none(folder: Path, frames: Frames) -> None:
    from components.adapters import feast

    newer = frames["users"].iloc[[3]].assign(updated_at=pd.Timestamp("2026-02-01", tz="UTC"), spend_90d=777.0)
    frames["users"] = pd.concat([newer, frames["users"]])
    store = feast.apply(folder, _tables(frames))
    assert feast.materialise(store, LATE) == {schema.USER_VIEW: 30, schema.ITEM_VIEW: 40}
    read = feast.read_online(store, schema.USERS, ["u3", "u4", "nobody"])
    assert read.loc["u3", schema.SPEND_90D] == 777.0
    expected = frames["users"].set_index(schema.USER_ID).loc["u4"]
    for name in schema.USER_PRICING_FEATURES:
        assert read.loc["u4", name] == pytest.approx(expected[name])
    assert list(read[schema.HISTORY_ITEMS]["u4"]) == expected[schema.HISTORY_ITEMS]
    assert list(read[schema.HISTORY_AGE_DAYS]["u4"]) == [1.0, 2.0]
    assert read.loc["nobody"].isna().all()
    items = feast.read_online(store, schema.ITEMS, ["i7"])
    assert items.loc["i7", schema.UNIT_COST] == pytest.approx(frames["items"].loc[7, schema.UNIT_COST])
    assert pd.isna(items.loc["i7", schema.MAP_PRICE])


@pytest.mark.slow
def test_a_snapshot_after_the_moment_of_materialising_is_not_served(folder: Path, frames: Frames) -> None:
    from components.adapters import feast

    newer = frames["users"].iloc[[3]].assign(updated_at=pd.Timestamp("2026-02-01", tz="UTC"), spend_90d=777.0)
    store = feast.apply(folder, _tables({**frames, "users": pd.concat([newer, frames["users"]])}))
    feast.materialise(store, datetime(2026, 1, 15, tzinfo=UTC))
    read = feast.read_online(store, schema.USERS, ["u3"])
    assert read.loc["u3", schema.SPEND_90D] == pytest.approx(frames["users"].loc[3, schema.SPEND_90D])


@pytest.mark.slow
def test_materialising_and_applying_twice_changes_nothing(folder: Path, frames: Frames) -> None:
    from components.adapters import feast

    tables = _tables(frames)
    users = list(frames["users"][schema.USER_ID])
    store = feast.apply(folder, tables)
    feast.materialise(store, LATE)
    first = feast.read_online(store, schema.USERS, users)
    again = feast.apply(folder, tables)
    feast.materialise(again, LATE)
    pd.testing.assert_frame_equal(feast.read_online(again, schema.USERS, users), first)
    assert {s.name for s in again.list_feature_services()} == {schema.TRAINING_SERVICE, schema.SERVING_SERVICE}


def test_a_training_row_sees_the_past_and_never_the_future(tmp_path: Path, frames: Frames) -> None:
    from components.adapters import feast

    feast.write_repository(tmp_path)
    users = frames["users"]
    later = users.assign(updated_at=pd.Timestamp("2026-01-01 12:00", tz="UTC"), spend_90d=users["spend_90d"] + 1000)
    frames["users"] = pd.concat([users, later])
    shown = frames["impressions"]
    shown.loc[0, schema.TS] = pd.Timestamp("2025-12-31", tz="UTC")  # before any snapshot
    shown.loc[1, schema.USER_ID] = "stranger"
    training = feast.training_set(feast.apply(tmp_path, _tables(frames)), _tables(frames))
    assert len(training) == len(shown) == 200
    assert list(training[schema.PAGE_ID]) == list(shown[schema.PAGE_ID])
    assert list(training[schema.ITEM_ID]) == list(shown[schema.ITEM_ID])
    assert training.loc[[0, 1], list(schema.USER_PRICING_FEATURES)].isna().all(axis=None)
    known = training.iloc[2:]
    base = known[schema.USER_ID].map(users.set_index(schema.USER_ID)["spend_90d"])
    jump = 1000.0 * (known[schema.TS] >= pd.Timestamp("2026-01-01 12:00", tz="UTC"))
    assert 0 < jump.astype(bool).sum() < len(known)
    np.testing.assert_allclose(known["spend_90d"], base + jump)
    assert list(known[schema.CATEGORY].unique()) == ["tiles"]


def test_the_training_set_has_the_columns_that_fitting_reads(tmp_path: Path, frames: Frames) -> None:
    from components.adapters import feast

    feast.write_repository(tmp_path)
    frames["items"] = frames["items"].drop(columns=[schema.MSRP])
    training = feast.training_set(feast.apply(tmp_path, _tables(frames)), _tables(frames))
    expected = {
        *schema.IMPRESSIONS.names,
        *schema.USER_PRICING_FEATURES,
        schema.HISTORY_ITEMS,
        schema.HISTORY_AGE_DAYS,
        schema.UNIT_COST,
        schema.COMPETITOR_PRICE,
        schema.STOCK,
        schema.MAP_PRICE,
        schema.MSRP,
        schema.SALVAGE_VALUE,
        schema.SHELF_LIFE_DAYS,
        schema.CATEGORY,
    }
    assert set(training.columns) == expected
    assert training[schema.MSRP].isna().all()


def test_a_shop_without_any_history_is_joined_and_served(tmp_path: Path, frames: Frames) -> None:
    from components.adapters import feast

    feast.write_repository(tmp_path)
    nothing: list[list[str]] = [[] for _ in range(len(frames["users"]))]
    frames["users"] = frames["users"].assign(history_items=nothing, history_age_days=nothing)
    store = feast.apply(tmp_path, _tables(frames))
    training = feast.training_set(store, _tables(frames))
    assert len(training) == 200
    assert all(len(items) == 0 for items in training[schema.HISTORY_ITEMS])
    feast.materialise(store, LATE)
    read = feast.read_online(store, schema.USERS, ["u3"])
    assert len(read.loc["u3", schema.HISTORY_ITEMS]) == len(read.loc["u3", schema.HISTORY_AGE_DAYS]) == 0


def test_every_impression_of_a_large_log_comes_back(tmp_path: Path, make_shop: Callable[..., Frames]) -> None:
    from components.adapters import feast

    feast.write_repository(tmp_path)
    frames = make_shop(items=300, users=500, pages=5_000)
    frames["users"] = frames["users"].iloc[:100]  # most customers have no snapshot: the engine must not drop their rows
    tables = _tables(frames)
    assert len(feast.training_set(feast.apply(tmp_path, tables), tables)) == 20_000


def test_an_online_store_that_is_down_is_an_error_of_ours(tmp_path: Path, frames: Frames) -> None:
    from components.adapters import feast

    feast.write_repository(tmp_path, "redis", redis="127.0.0.1:1")
    with pytest.raises(UnavailableError, match="online store"):
        feast.materialise(feast.apply(tmp_path, _tables(frames)), LATE)


def test_the_cluster_environment_takes_its_addresses_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.adapters import feast

    monkeypatch.setenv("FAIRTAG_REDIS", "redis:6379")
    monkeypatch.setenv("FAIRTAG_FEAST_REGISTRY", f"sqlite:///{tmp_path}/registry.sqlite")
    feast.write_repository(tmp_path, "cluster")
    store = feast.open_store(tmp_path)
    assert store.config.online_store.connection_string == "redis:6379"
    assert store.config.registry.path.endswith("registry.sqlite")


def test_a_folder_without_a_store_and_an_unknown_environment_say_so(tmp_path: Path) -> None:
    from components.adapters import feast

    with pytest.raises(ConfigError, match="no feature_store"):
        feast.open_store(tmp_path)
    with pytest.raises(ConfigError, match="'moon' is unknown"):
        feast.write_repository(tmp_path, "moon")
