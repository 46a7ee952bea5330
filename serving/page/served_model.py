"""A model that serves, with what was built around it."""

from __future__ import annotations

from dataclasses import dataclass

from serving.page.batching import MicroBatcher
from serving.page.core import Core
from serving.stores.features import ItemFeatureCache
from serving.workers.worker_pool import Helpers


@dataclass(frozen=True)
class Generation:
    """A model with what was built around it; swapped whole when the model is."""

    core: Core
    items: ItemFeatureCache
    batcher: MicroBatcher
    helpers: Helpers
