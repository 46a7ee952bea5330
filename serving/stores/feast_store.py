"""Feast's online store behind :class:`serving.stores.feature_reads.FeatureReader`.

Only :func:`open_reader` imports Feast, which takes seconds. The offline store is never opened.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from fairtag.base import schema
from fairtag.base.errors import ConfigError, FeaturesMissing, UnavailableError
from fairtag.policy.context import MARKET_COLUMNS
from serving.stores.feature_reads import UserFeatures

if TYPE_CHECKING:
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

FILE = "feature_store.yaml"
SOCKET_SECONDS = 1.0  # a hanging read frees its thread after this; its page was answered at the deadline
_USER = [
    f"{schema.USER_VIEW}:{n}" for n in (*schema.USER_PRICING_FEATURES, schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS)
]


class FeastReader:
    """Reads users and items from a Feast online store.

    Args:
        store: The store; its registry is read once, when this object is made.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        view = store.get_feature_view(schema.ITEM_VIEW)
        names = {field.name for field in view.features}
        self._market = [name for name in MARKET_COLUMNS if name in names]
        # Feast keeps one SQLite connection, which serves one thread at a time; a Redis client serves many.
        sqlite = store.config.online_store.type == "sqlite"
        self._turn: contextlib.AbstractContextManager[Any] = threading.Lock() if sqlite else contextlib.nullcontext()

    def user(self, user_id: str) -> UserFeatures | None:
        """The features of a user; None when the store has none."""
        with self._turn:
            response = self._store.get_online_features(_USER, [{schema.USER_ID: user_id}])
        row = {name: values[0] for name, values in response.to_dict().items()}
        behaviour = {name: row[name] for name in schema.USER_PRICING_FEATURES if row[name] is not None}
        items, ages = row[schema.HISTORY_ITEMS], row[schema.HISTORY_AGE_DAYS]
        if not behaviour and items is None:
            return None
        return UserFeatures(behaviour, items or (), ages or ())

    def items(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Any]]:
        """Market columns that the view has, None where the store has no value."""
        features = [f"{schema.ITEM_VIEW}:{name}" for name in self._market]
        with self._turn:
            response = self._store.get_online_features(features, {schema.ITEM_ID: list(item_ids)})
        columns = response.to_dict()
        return {name: columns[name] for name in self._market}

    def filled_at(self) -> float | None:
        """End of the newest materialisation of users, as the registry records it."""
        end = self._store.get_feature_view(schema.USER_VIEW).most_recent_end_time
        return None if end is None else end.timestamp()


def open_reader(repo: Path) -> FeastReader:
    """Open the online store of a feature folder.

    Raises:
        ConfigError: There is no feature_store.yaml, or its store cannot be opened here.
        FeaturesMissing: Nothing was applied to it.
        UnavailableError: The registry's database did not answer.
    """
    config = online_config(repo / FILE)
    from feast import FeatureStore
    from feast.errors import FeastError, FeastObjectNotFoundException
    from feast.infra.registry.sql import FeastRegistrySchemaError
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # its stubs are a package apart
    from sqlalchemy.exc import SQLAlchemyError

    try:
        store = FeatureStore(repo_path=str(repo), config=config)
        limit_waiting(store.config.online_store)
        return FeastReader(store)
    except (FeastObjectNotFoundException, FeastRegistrySchemaError) as error:
        raise FeaturesMissing(
            f"{repo}: the view {schema.ITEM_VIEW} was not applied; the pipeline's materialise step fills the store"
        ) from error
    except (FeastError, DecodeError, ValueError) as error:
        raise ConfigError(f"{repo}: the feature store does not open ({_reason(error)})") from error
    except SQLAlchemyError as error:
        raise UnavailableError(f"{repo}: the feature registry does not answer ({type(error).__name__})") from error


def online_config(file: Path) -> RepoConfig:
    """feature_store.yaml without its offline store, whose engine is not installed where pages are served.

    Raises:
        ConfigError: There is no such file, or it does not describe a feature store.
    """
    if not file.is_file():
        raise ConfigError(f"{file.parent}: there is no {FILE}; run the features step, which writes it")
    text = file.read_text()
    if unset := sorted(set(re.findall(r"\$\{(\w+)\}", text)) - os.environ.keys()):
        raise ConfigError(f"{file}: {', '.join(unset)} is not set in the environment")
    from feast.errors import FeastError
    from feast.repo_config import RepoConfig

    try:
        written = yaml.safe_load(os.path.expandvars(text))
        registry = (written or {}).get("registry")
        if isinstance(registry, dict) and registry.get("registry_type") == "sql":
            written["registry"] = {**registry, "schema_mode": "verify"}  # a reader makes no tables
        # A bare name is resolved at its first use, which never comes; the file's mapping would be resolved at once.
        return RepoConfig(**{**written, "offline_store": "dask"}, repo_path=file.parent)
    except (yaml.YAMLError, TypeError, ValueError, FeastError) as error:
        raise ConfigError(f"{file}: describes no feature store ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """The reason of an error, without values of the file: a connection string holds a password."""
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in problems)
    return type(error).__name__


def limit_waiting(online_store: Any) -> None:
    """Give a Redis client time-outs where its connection string sets none, and no retries of its own.

    By default it waits for ever. With a time-out alone it retries: a time-out of 0.2 s kept a thread busy for 36 s. The
    circuit breaker does the retrying.
    """
    if online_store.type != "redis":
        return
    for option in ("socket_timeout", "socket_connect_timeout"):
        if f"{option}=" not in online_store.connection_string:
            online_store.connection_string += f",{option}={json.dumps(SOCKET_SECONDS)}"
    if "retry=" not in online_store.connection_string:
        online_store.connection_string += ",retry=null"
