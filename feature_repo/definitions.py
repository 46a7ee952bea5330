"""The features of a shop for Feast: entities, views and services.

``feast apply`` reads the objects at the end of the module, whose sources lie in ``data/`` beside
``feature_store.yaml``. Code calls :func:`definitions` with the folder or URL of the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.types import Array, Float64, String

from fairtag.base import schema

# A snapshot is valid until the next one, also for a customer who has not come back for a year.
FOREVER = timedelta(0)
USER_FEATURES = (*schema.USER_PRICING_FEATURES, schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS)
ITEM_FEATURES = schema.ITEM_PRICING_FEATURES
# An impression has the list price that was shown; a second one from the snapshot would only cause confusion.
ITEM_TRAINING_FEATURES = tuple(name for name in ITEM_FEATURES if name != schema.LIST_PRICE)
LISTS = {schema.HISTORY_ITEMS: Array(String), schema.HISTORY_AGE_DAYS: Array(Float64)}


@dataclass(frozen=True)
class Definitions:
    """Everything that is registered with Feast."""

    entities: tuple[Entity, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    def objects(self) -> list[Any]:
        """All objects in one list, as ``FeatureStore.apply`` expects them."""
        return [*self.entities, *self.views, *self.services]


def definitions(sources: str, *, spark: bool = False) -> Definitions:
    """The objects over ``<sources>/users.parquet`` and ``<sources>/items.parquet``.

    Args:
        sources: Folder or URL (``s3://bucket/features``) of the snapshots, without a trailing slash.
        spark: Read the tables ``users`` and ``items`` of the active Spark session instead.
    """

    def source(view: str, table: schema.Table) -> DataSource:
        return _spark_source(view, table) if spark else _file_source(view, f"{sources}/{table.name}.parquet")

    user = Entity(name="user", join_keys=[schema.USER_ID], value_type=ValueType.STRING)
    item = Entity(name="item", join_keys=[schema.ITEM_ID], value_type=ValueType.STRING)
    users = _view(schema.USER_VIEW, user, schema.USER_ID, USER_FEATURES, source(schema.USER_VIEW, schema.USERS))
    items = _view(schema.ITEM_VIEW, item, schema.ITEM_ID, ITEM_FEATURES, source(schema.ITEM_VIEW, schema.ITEMS))
    return Definitions(
        (user, item),
        (users, items),
        (
            FeatureService(name=schema.TRAINING_SERVICE, features=[users, items[list(ITEM_TRAINING_FEATURES)]]),
            FeatureService(name=schema.SERVING_SERVICE, features=[users, items]),
        ),
    )


def _file_source(view: str, path: str) -> DataSource:
    return FileSource(name=f"{view}_source", path=path, timestamp_field=schema.UPDATED_AT, file_format=ParquetFormat())


def _spark_source(view: str, table: schema.Table) -> DataSource:
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    return SparkSource(name=f"{view}_source", table=table.name, timestamp_field=schema.UPDATED_AT)


def _view(name: str, entity: Entity, key: str, features: tuple[str, ...], source: DataSource) -> FeatureView:
    fields = [Field(name=feature, dtype=LISTS.get(feature, Float64)) for feature in features]
    return FeatureView(
        name=name, entities=[entity], schema=[Field(name=key, dtype=String), *fields], source=source, ttl=FOREVER
    )


LOCAL = definitions("data")
USER, ITEM = LOCAL.entities
USERS, ITEMS = LOCAL.views
TRAINING, SERVING = LOCAL.services
