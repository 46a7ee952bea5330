"""Feast's online store behind :class:`serving.features.FeatureReader`. Knows no deadline and no price.

Importing Feast takes seconds: nothing but :func:`open_reader` does it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pricing import schema
from pricing.errors import ConfigError
from pricing.page.context import MARKET_COLUMNS
from serving.features import UserFeatures

if TYPE_CHECKING:
    from feast import FeatureStore

SOCKET_SECONDS = 1.0  # a read that hangs frees its thread after this; the deadline has long answered without it
_USER = [
    f"{schema.USER_VIEW}:{n}" for n in (*schema.USER_PRICING_FEATURES, schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS)
]


class FeastReader:
    """Reads users and items from a Feast online store.

    Args:
        store: The store; its registry is read once, here.
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
        """The features of a user; None when the store has none of them."""
        with self._turn:
            response = self._store.get_online_features(_USER, [{schema.USER_ID: user_id}])
        row = {name: values[0] for name, values in response.to_dict(include_event_timestamps=True).items()}
        behaviour = {name: float(row[name]) for name in schema.USER_PRICING_FEATURES if row[name] is not None}
        items, ages = row[schema.HISTORY_ITEMS], row[schema.HISTORY_AGE_DAYS]
        if not behaviour and items is None:
            return None
        observed = row[f"{schema.USER_PRICING_FEATURES[0]}__ts"]
        paired = list(zip(items or (), ages or (), strict=False))
        return UserFeatures(
            behaviour=behaviour,
            history_items=tuple(str(item) for item, _ in paired),
            history_age_days=tuple(float(age) for _, age in paired),
            observed_at=float(observed) if observed else None,
        )

    def items(self, item_ids: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Market columns that the view has, NaN where the store has no value."""
        features = [f"{schema.ITEM_VIEW}:{name}" for name in self._market]
        with self._turn:
            response = self._store.get_online_features(features, {schema.ITEM_ID: list(item_ids)})
        columns = response.to_dict()
        return {name: np.array(columns[name], dtype=np.float64) for name in self._market}


def open_reader(repo: Path) -> FeastReader:
    """Open the feature store of a folder.

    Raises:
        ConfigError: The folder has no feature_store.yaml, or nothing was applied there.
    """
    if not (repo / "feature_store.yaml").is_file():
        raise ConfigError(f"{repo}: no feature_store.yaml; it is written by the features step")
    from feast import FeatureStore
    from feast.errors import FeastObjectNotFoundException

    store = FeatureStore(repo_path=str(repo))
    _limit_waiting(store.config.online_store)
    try:
        return FeastReader(store)
    except FeastObjectNotFoundException as error:
        raise ConfigError(f"{repo}: the view {schema.ITEM_VIEW} is not applied; run the features step") from error


def _limit_waiting(online_store: Any) -> None:
    """Give a Redis client time-outs where its connection string sets none: by default it would wait for ever."""
    if online_store.type != "redis":
        return
    for option in ("socket_timeout", "socket_connect_timeout"):
        if f"{option}=" not in online_store.connection_string:
            online_store.connection_string += f",{option}={json.dumps(SOCKET_SECONDS)}"
