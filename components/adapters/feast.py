"""Feast behind four calls: apply, training set, materialise, read online.

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
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # so that every snapshot counts, however old

# Feast logs a line for every applied object, which would hide the run's own lines.
logging.getLogger("feast").setLevel(logging.WARNING)


def write_repository(
    folder: Path,
    environment: str = "local",
    *,
    redis: str | None = None,
    registry: str | None = None,
    spark: bool = False,
) -> Path:
    """Write the environment's ``feature_store.yaml`` into a feature folder; the source tree stays as it is.

    Args:
        folder: Feature folder, created when absent.
        environment: ``local``, ``redis`` or ``cluster``: which file of ``feature_repo`` is used.
        redis: ``host:port`` of the online store; None leaves the environment variable in the file.
        registry: SQLAlchemy URL of the shared registry; None likewise.
        spark: Join and materialise on the active Spark session.

    Raises:
        ConfigError: There is no such environment.
    """
    name = CONFIG if environment == "local" else f"feature_store.{environment}.yaml"
    template = files("feature_repo").joinpath(name)
    if not template.is_file():
        raise ConfigError(f"feature environment {environment!r} is unknown; it must be local, redis or cluster")
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
        raise ConfigError(f"{folder}: no {CONFIG} there; the materialise step writes it, so run the pipeline first")
    return FeatureStore(repo_path=str(folder))


def apply(folder: Path, tables: Tables) -> FeatureStore:
    """Write the snapshots as sources, and register the entities, views and services over them."""
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
        One row for each impression, in the order of ``tables.impressions``: its columns, the user's behaviour and
        history, the item's cost, stock and market prices, and its category. A feature unknown at the time is NaN.

    Raises:
        DataError: The join returned a different number of rows than it was given.
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
            rule="one training row for each impression",
            count=abs(len(joined) - len(entities)),
        )
    category = tables.latest_items().set_index(schema.ITEM_ID)[schema.CATEGORY]
    joined[schema.CATEGORY] = joined[schema.ITEM_ID].map(category)
    return joined.rename(columns={"event_timestamp": schema.TS})


def materialise(store: FeatureStore, until: datetime) -> dict[str, int]:
    """Write the newest snapshot up to ``until`` of every user and item to the online store.

    Returns:
        Entities written by view.

    Raises:
        UnavailableError: The online store did not accept them.
    """
    try:
        with redirect_stdout(io.StringIO()):  # Feast prints a banner a view
            store.materialize(EPOCH, until)
    except (OSError, RedisError) as error:
        raise UnavailableError(f"the online store did not accept the features: {error}") from error
    finally:
        _release_duckdb()
    return {view.name: _entities(store, view, until) for view in store.list_feature_views()}


def read_online(store: FeatureStore, table: schema.Table, entities: Sequence[str]) -> pd.DataFrame:
    """Online features of users or items, one row for each entity; an unknown one has None throughout."""
    view, names = (schema.USER_VIEW, USER_FEATURES) if table is schema.USERS else (schema.ITEM_VIEW, ITEM_FEATURES)
    key = table.key[0]
    features = [f"{view}:{name}" for name in names]
    rows = [{key: value} for value in entities]
    read = store.get_online_features(features, rows).to_dict()
    return pd.DataFrame(read).set_index(key)


def _write_source(frame: pd.DataFrame, table: schema.Table, names: tuple[str, ...], folder: Path) -> None:
    # An optional column that the shop lacks becomes a feature that is always absent: one definition serves every shop.
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
    """Show the sources to the active session as tables, so that its executors need no shared folder."""
    from pyspark.sql import SparkSession

    spark = SparkSession.getActiveSession()
    if spark is None:
        raise ConfigError(
            "the feature folder uses Spark and no session is open; open one with components.adapters.spark.session"
        )
    for table in (schema.USERS, schema.ITEMS):
        spark.createDataFrame(pq.read_table(folder / f"{table.name}.parquet")).createOrReplaceTempView(table.name)


def _entities(store: FeatureStore, view: FeatureView, until: datetime) -> int:
    key = view.join_keys[0]
    table = schema.USERS if view.name == schema.USER_VIEW else schema.ITEMS
    source = pd.read_parquet(store.repo_path / SOURCES / f"{table.name}.parquet", columns=[key, schema.UPDATED_AT])
    return int(source.loc[source[schema.UPDATED_AT] <= until, key].nunique())


def _release_duckdb() -> None:
    # Feast's duckdb store leaves ibis's default connection open, and at exit duckdb warns about it.
    backend = ibis.options.default_backend
    if backend is not None:
        backend.disconnect()
        ibis.options.default_backend = None
