"""The materialise step: the newest features are written to the online store. It is never cached."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.images import component


@component("data")
def materialise(
    tables: Input[Dataset],
    metrics: Output[Metrics],
    features: str,
    environment: str,
    redis: str,
    registry: str,
) -> None:
    """Apply the feature definitions and write the newest snapshot of every user and item to the online store.

    Args:
        tables: Folder of validated tables.
        metrics: Number of entities written, by view.
        features: Feature folder that serving reads: feature_store.yaml, the sources and, by default, the online
            store.
        environment: local (SQLite), redis or cluster (SQL registry and Redis).
        redis: host:port of the online store; when empty, FAIRTAG_REDIS.
        registry: Address of the SQL registry; when empty, FAIRTAG_FEAST_REGISTRY.
    """
    import os
    from datetime import UTC, datetime
    from pathlib import Path

    from components.adapters import feast
    from components.adapters.spark import MASTER, session
    from fairtag.base import schema
    from fairtag.base.tables import read_tables

    folder, shop = Path(features), read_tables(Path(tables.path))
    newest = max(frame[schema.UPDATED_AT].max() for frame in (shop.users, shop.items) if len(frame))
    until = max(newest.to_pydatetime(), datetime.now(UTC))  # the registry keeps it: the features' age counts from it
    with session(os.environ.get(MASTER, "")) as spark:
        feast.write_repository(
            folder, environment, redis=redis or None, registry=registry or None, spark=spark is not None
        )
        written = feast.materialise(feast.apply(folder, shop), until)
    for view, entities in written.items():
        metrics.log_metric(view, entities)
        print(f"materialise: {entities:,} entities of {view} online")
