"""The same suites and the same features on Spark: the same verdict, the same training set, the same served values."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.tables import Tables

Frames = dict[str, pd.DataFrame]
FAST = {"spark.sql.shuffle.partitions": "1", "spark.driver.memory": "1g"}
HAS_SPARK = importlib.util.find_spec("pyspark") is not None
needs_spark = pytest.mark.skipif(
    not HAS_SPARK or shutil.which("java") is None,
    reason="pyspark (requirements/spark.txt) or a Java runtime is not installed",
)
pytestmark = pytest.mark.filterwarnings(
    "ignore:The spark.*experimental:RuntimeWarning",  # feast says so of its Spark store
    "ignore::ResourceWarning",  # pyspark leaves its sockets to the collector
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from components.adapters.spark import session

    with session("local[2]", FAST) as opened:
        yield opened


def _damage(frames: Frames) -> None:
    """A row of each kind of finding: unreadable, absent, out of range, doubled, pointing nowhere, and two warnings."""
    items, users, shown = frames["items"], frames["users"], frames["impressions"]
    items["unit_cost"] = items["unit_cost"].astype(object)
    items.at[5, "unit_cost"] = "abc"
    items.loc[6, "title"] = None
    items.loc[7, "list_price"] = np.nan
    items.loc[8, "map_price"] = 999.0
    users.loc[9, "promotion_response"] = 1.5
    frames["users"] = pd.concat([users, users.iloc[[3]]], ignore_index=True)
    shown.loc[11, "item_id"] = "gone"
    shown.loc[12, "price"] = 999.0


@needs_spark
def test_the_same_suites_find_the_same_on_spark(frames: Frames, tmp_path: Path, spark: Any) -> None:
    from components.adapters.great_expectations import validate_tables

    _damage(frames)
    del frames["orders"], frames["judgements"], frames["audit_groups"]
    here, expected = validate_tables(frames, tmp_path / "pandas", max_quarantined=0.5)
    there, found = validate_tables(frames, tmp_path / "spark", max_quarantined=0.5, spark=spark)
    assert [t.status for t in expected.tables[:3]] == ["quarantined"] * 3
    assert found.as_json() == expected.as_json()
    for name, kept in here.items():
        pd.testing.assert_frame_equal(there[name], kept)


@needs_spark
def test_the_training_set_and_the_served_features_are_the_same_on_spark(
    frames: Frames, tmp_path: Path, spark: Any
) -> None:
    from components.adapters import feast

    users, shown = frames["users"], frames["impressions"]
    later = users.assign(updated_at=pd.Timestamp("2026-01-01 12:00", tz="UTC"), spend_90d=users["spend_90d"] + 1000)
    frames["users"] = pd.concat([users, later])
    shown.loc[0, schema.TS] = pd.Timestamp("2025-12-31", tz="UTC")  # before any snapshot
    shown.loc[1, schema.USER_ID] = "stranger"
    tables = Tables(frames["items"], frames["users"], frames["impressions"], frames["orders"])
    sets, served, written = [], [], []
    for name in ("duckdb", "spark"):
        feast.write_repository(tmp_path / name, spark=name == "spark")
        store = feast.apply(tmp_path / name, tables)
        sets.append(feast.training_set(store, tables))
        written.append(feast.materialise(store, datetime(2030, 1, 1, tzinfo=UTC)))
        served.append(feast.read_online(store, schema.USERS, ["u3", "u4", "nobody"]))
    assert sets[0][schema.SPEND_90D].isna().sum() == 2
    pd.testing.assert_frame_equal(_plain(sets[1])[list(sets[0])], _plain(sets[0]))
    assert written[0] == written[1] == {schema.USER_VIEW: 30, schema.ITEM_VIEW: 40}
    pd.testing.assert_frame_equal(served[1], served[0])


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Lists as lists: DuckDB gives arrays, Spark may give arrays of objects."""
    listed = {
        name: frame[name].map(lambda value: value if value is None else list(value), na_action="ignore")
        for name in (schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS)
    }
    return frame.assign(**listed)


def test_no_master_is_no_session() -> None:
    from components.adapters.spark import session

    with session("") as none:
        assert none is None


@pytest.mark.skipif(HAS_SPARK, reason="pyspark is installed")
def test_spark_that_is_not_installed_is_said() -> None:
    from components.adapters.spark import session

    with pytest.raises(ConfigError, match=r"'local\[1\]' needs pyspark"), session("local[1]"):
        pass


@pytest.mark.slow
def test_the_definitions_over_spark_differ_by_their_sources_alone() -> None:
    from feature_repo.definitions import definitions

    files, tables = definitions("data"), definitions("data", spark=True)
    for one, other in zip(files.views, tables.views, strict=True):
        assert (one.name, one.schema, one.entities, one.ttl) == (other.name, other.schema, other.entities, other.ttl)
        assert other.batch_source.table in (schema.USERS.name, schema.ITEMS.name)


def test_a_spark_folder_without_a_session_says_so(
    frames: Frames, tmp_path: Path, make_shop: Callable[..., Frames]
) -> None:
    from components.adapters import feast

    path = feast.write_repository(tmp_path, spark=True)
    written = path.read_text(encoding="utf-8")
    assert "type: spark.engine" in written
    assert "type: sqlite" in written
