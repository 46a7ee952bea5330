"""Feast behind four calls: apply, point-in-time training set, materialise, read back.

A feature folder holds ``feature_store.yaml``, the sources under ``data/`` and, by default, registry and online store.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import ibis  # type: ignore[import-untyped]  # ships no types
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import FeatureStore, FeatureView
from redis.exceptions import RedisError

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError, UnavailableError
from fairtag.base.files import write_atomic, write_text
from fairtag.base.tables import Tables
from feature_repo.definitions import ITEM_FEATURES, USER_FEATURES, definitions

CONFIG = "feature_store.yaml"
SPARK = "engine.spark.yaml"
SOURCES = "data"
ROW = "row"
LISTS = {"ids": pa.list_(pa.string()), "numbers": pa.list_(pa.float64())}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # every snapshot counts, however old

# Feast announces every applied object on the root logger's way; a run's own lines matter more.
logging.getLogger("feast").setLevel(logging.WARNING)


def write_repository(
    folder: Path,
    environment: str = "local",
    *,
    redis: str | None = None,
    registry: str | None = None,
    spark: bool = False,
) -> Path:
    """Write the environment's ``feature_store.yaml`` into a folder of the run; the source tree stays untouched.

    Args:
        folder: Feature folder, created when absent.
        environment: Which file of ``feature_repo`` to take.
        redis: ``host:port`` of the online store; without it the file keeps its environment variable.
        registry: SQLAlchemy URL of the shared registry; likewise.
        spark: Join and materialise on the active Spark session.

    Raises:
        ConfigError: There is no such environment.
    """
    name = CONFIG if environment == "local" else f"feature_store.{environment}.yaml"
    template = files("feature_repo").joinpath(name)
    if not template.is_file():
        raise ConfigError(f"feature environment {environment!r} is unknown; there are local, redis and cluster")
    config = yaml.safe_load(template.read_text())
    if spark:
        config |= yaml.safe_load(files("feature_repo").joinpath(SPARK).read_text())
    if redis is not None:
        config["online_store"]["connection_string"] = redis
    if registry is not None:
        config["registry"]["path"] = registry
    return write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))


def open_store(folder: Path) -> FeatureStore:
    """The store of a feature folder.

    Raises:
        ConfigError: The folder holds no ``feature_store.yaml``.
    """
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no {CONFIG}; it is written by the features step")
    return FeatureStore(repo_path=str(folder))


def apply(folder: Path, tables: Tables) -> FeatureStore:
    """Write the snapshots as sources and register entities, views and services over them."""
    sources = (folder / SOURCES).absolute()
    _write_source(tables.users, schema.USERS, (schema.USER_ID, schema.UPDATED_AT, *USER_FEATURES), sources)
    _write_source(tables.items, schema.ITEMS, (schema.ITEM_ID, schema.UPDATED_AT, *ITEM_FEATURES), sources)
    store = open_store(folder)
    spark = store.config.offline_store.type == "spark"
    if spark:
        _show_to_spark(sources)
    store.apply(definitions(str(sources), spark=spark).objects())
    return store


def training_set(store: FeatureStore, tables: Tables) -> pd.DataFrame:
    """Impressions with each feature as it was known when the page was shown; no impression is lost.

    Returns:
        One row an impression in the order of ``tables.impressions``: its columns, the user's behaviour and history,
        the item's cost, stock and market prices, and the item's category. A feature unknown at the time is NaN.

    Raises:
        DataError: The join returned another number of rows than it was given.
    """
    entities = tables.impressions.reset_index(drop=True).rename(columns={schema.TS: "event_timestamp"})
    entities[ROW] = range(len(entities))
    job = store.get_historical_features(entities, store.get_feature_service(schema.TRAINING_SERVICE))
    joined = job.to_df().sort_values(ROW, kind="stable").drop(columns=ROW).reset_index(drop=True)
    joined["event_timestamp"] = pd.to_datetime(joined["event_timestamp"], utc=True).astype(
        entities["event_timestamp"].dtype
    )
    _release_duckdb()
    if len(joined) != len(entities):
        raise DataError(
            f"the point-in-time join made {len(joined):,} rows of {len(entities):,} impressions",
            table=schema.IMPRESSIONS.name,
            rule="one training row an impression",
            count=abs(len(joined) - len(entities)),
        )
    category = tables.latest_items().set_index(schema.ITEM_ID)[schema.CATEGORY]
    joined[schema.CATEGORY] = joined[schema.ITEM_ID].map(category)
    return joined.rename(columns={"event_timestamp": schema.TS})


def materialise(store: FeatureStore, until: datetime) -> dict[str, int]:
    """Bring the newest snapshot of every user and item up to ``until`` into the online store.

    Returns:
        Entities written by view.

    Raises:
        UnavailableError: The online store did not take them.
    """
    try:
        with redirect_stdout(io.StringIO()):  # Feast prints a banner a view
            store.materialize(EPOCH, until)
    except (OSError, RedisError) as error:
        raise UnavailableError(f"the online store took no features: {error}") from error
    finally:
        _release_duckdb()
    return {view.name: _entities(store, view, until) for view in store.list_feature_views()}


def read_online(store: FeatureStore, table: schema.Table, entities: Sequence[str]) -> pd.DataFrame:
    """Online features of some users or items, one row an entity; an unknown one has None throughout."""
    view, names = (schema.USER_VIEW, USER_FEATURES) if table is schema.USERS else (schema.ITEM_VIEW, ITEM_FEATURES)
    key = table.key[0]
    features = [f"{view}:{name}" for name in names]
    rows = [{key: value} for value in entities]
    read = store.get_online_features(features, rows).to_dict()
    return pd.DataFrame(read).set_index(key)


def _write_source(frame: pd.DataFrame, table: schema.Table, names: tuple[str, ...], folder: Path) -> None:
    # An optional column that the shop lacks is a feature that is always absent, so that one definition serves all.
    source = frame.reindex(columns=list(names))
    numbers = [name for name in names if table.column(name).kind in ("money", "number", "integer", "share")]
    written = pa.Table.from_pandas(source.astype(dict.fromkeys(numbers, "float64")), preserve_index=False)
    for name in names:
        kind = LISTS.get(table.column(name).kind)
        if kind is not None:  # where every list is empty, pandas names no type for what they hold
            written = written.set_column(written.column_names.index(name), name, written[name].cast(kind))
    write_atomic(
        folder / f"{table.name}.parquet",
        lambda path: pq.write_table(written, path, coerce_timestamps="us"),
    )


def _show_to_spark(folder: Path) -> None:
    """The sources as tables of the active session: its executors need no folder in common with this process."""
    from pyspark.sql import SparkSession

    spark = SparkSession.getActiveSession()
    if spark is None:
        raise ConfigError(
            "the feature folder works on Spark and no session is open; components.adapters.spark opens one"
        )
    for table in (schema.USERS, schema.ITEMS):
        spark.createDataFrame(pq.read_table(folder / f"{table.name}.parquet")).createOrReplaceTempView(table.name)


def _entities(store: FeatureStore, view: FeatureView, until: datetime) -> int:
    key = view.join_keys[0]
    table = schema.USERS if view.name == schema.USER_VIEW else schema.ITEMS
    source = pd.read_parquet(store.repo_path / SOURCES / f"{table.name}.parquet", columns=[key, schema.UPDATED_AT])
    return int(source.loc[source[schema.UPDATED_AT] <= until, key].nunique())


def _release_duckdb() -> None:
    # Feast's duckdb store works on ibis's one default connection and leaves it open; at exit duckdb complains of that.
    backend = ibis.options.default_backend
    if backend is not None:
        backend.disconnect()
        ibis.options.default_backend = None
