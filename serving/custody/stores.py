"""Erases people from the price locks and from the online features."""

from __future__ import annotations

import sqlite3
from collections.abc import Set
from contextlib import closing
from pathlib import Path
from typing import Any

from fairtag.base import schema
from fairtag.base.errors import ConfigError, UnavailableError
from serving.stores.feast_store import FILE, limit_waiting, online_config
from serving.stores.lock_file import NAME

BUSY_SECONDS = 30.0  # wait for an endpoint's transaction
SOCKET_SECONDS = 10.0
LOCK_KEYS = "fairtag:lock:*"  # see serving.page.customers.lock_keys


def erase_lock_file(folder: Path, names: Set[str], *, dry_run: bool) -> int:
    """Remove people's price locks from the SQLite file of a run folder; how many claims there are.

    Raises:
        UnavailableError: The file cannot be read or written.
    """
    file = folder / NAME
    if not file.is_file():
        return 0
    try:
        with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as database:
            database.execute("PRAGMA secure_delete=ON")
            rows = database.execute("SELECT number, key FROM claims").fetchall()
            theirs = [(number,) for number, key in rows if key.rpartition(":")[2] in names]
            if theirs and not dry_run:
                with database:
                    database.executemany("DELETE FROM claims WHERE number = ?", theirs)
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise UnavailableError(f"{file}: the price locks cannot be changed ({error}); try again") from error
    return len(theirs)


def erase_redis_locks(url: str, names: Set[str], *, dry_run: bool) -> int:
    """Remove people's price locks from Redis; how many price days there are.

    Args:
        url: ``redis://`` URL of a user that may scan, and delete what begins with ``fairtag:lock:``.
        names: Names in the price locks.
        dry_run: Count, and remove nothing.

    Raises:
        UnavailableError: Redis did not answer, or refuses.
    """
    from redis import Redis
    from redis.exceptions import RedisError

    try:
        with closing(Redis.from_url(url, socket_timeout=SOCKET_SECONDS, decode_responses=True)) as client:
            found = [key for key in client.scan_iter(match=LOCK_KEYS, count=1_000) if key.rpartition(":")[2] in names]
            if found and not dry_run:
                client.delete(*found)
    except (RedisError, OSError) as error:
        raise UnavailableError(
            f"the price locks in Redis cannot be changed ({type(error).__name__}: {error})"
        ) from error
    return len(found)


def erase_features(repo: Path, users: Set[str], *, dry_run: bool) -> int:
    """Remove customers' features from Feast's online store; of how many customers there were any.

    Args:
        repo: Folder of feature_store.yaml.
        users: Ids of customers.
        dry_run: Count, and remove nothing.

    Raises:
        ConfigError: The store is neither SQLite nor Redis, or its folder cannot be used.
        UnavailableError: The store did not answer.
    """
    config = online_config(repo / FILE)
    from feast import FeatureStore
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from redis.exceptions import RedisError
    from sqlalchemy.exc import SQLAlchemyError

    version = config.entity_key_serialization_version
    keys = [
        serialize_entity_key(EntityKey(join_keys=[schema.USER_ID], entity_values=[Value(string_val=user)]), version)
        for user in sorted(users)
    ]
    try:
        store = FeatureStore(repo_path=str(repo), config=config)
        kind = store.config.online_store.type
        if kind == "sqlite":
            return _from_sqlite(store, keys, dry_run=dry_run)
        if kind == "redis":
            limit_waiting(store.config.online_store)
            return _from_redis(store, keys, dry_run=dry_run)
    except (sqlite3.Error, RedisError, SQLAlchemyError, OSError) as error:
        raise UnavailableError(f"{repo}: the online features cannot be changed ({type(error).__name__})") from error
    raise ConfigError(f"{repo}: the online store is {kind!r}; features are erased from sqlite and redis")


def _from_sqlite(store: Any, keys: list[bytes], *, dry_run: bool) -> int:
    from feast.infra.online_stores.sqlite import SqliteOnlineStore, _quote_id, _table_id

    file = Path(SqliteOnlineStore._get_db_path(store.config))  # Feast offers no way to remove one entity
    if not file.is_file():
        return 0
    table = _quote_id(_table_id(store.config.project, store.get_feature_view(schema.USER_VIEW)))
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as database:
        database.execute("PRAGMA secure_delete=ON")
        counting = f"SELECT count(*) FROM {table} WHERE entity_key = ?"  # noqa: S608 - Feast's own, quoted by Feast
        found = sum(bool(database.execute(counting, (key,)).fetchone()[0]) for key in keys)
        if found and not dry_run:
            removing = f"DELETE FROM {table} WHERE entity_key = ?"  # noqa: S608 - the same
            with database:
                database.executemany(removing, [(key,) for key in keys])
    return found


def _from_redis(store: Any, keys: list[bytes], *, dry_run: bool) -> int:
    from feast.infra.online_stores.redis import RedisOnlineStore

    client = RedisOnlineStore()._get_client(store.config.online_store)  # with Feast's own reading of the address
    own = [key + store.config.project.encode() for key in keys]
    return int(client.exists(*own) if dry_run else client.delete(*own))
