"""A feature store that can be slow or down, and a clock, for the tests of what reads it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np

from serving.stores.feature_reader import MemoryReader, UserFeatures

ANNA = UserFeatures({"recency_days": 3.0})


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Store(MemoryReader):
    """A store that can be slow or down."""

    def __init__(self) -> None:
        super().__init__(users={"anna": ANNA}, market={"a": {"list_price": 11.0}})
        self.down = False
        self.door = threading.Event()
        self.door.set()
        self.calls = 0

    def user(self, user_id: str) -> UserFeatures | None:
        self.calls += 1
        assert self.door.wait(60)
        if self.down:
            raise ConnectionError("refused")
        return super().user(user_id)

    def items(self, item_ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        self.calls += 1
        if self.down:
            raise ConnectionError("refused")
        return super().items(item_ids)
