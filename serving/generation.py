"""A model that serves, with what was built around it. Knows no request."""

from __future__ import annotations

from dataclasses import dataclass

from serving.batching import MicroBatcher
from serving.core import Core
from serving.features import ItemFeatureCache
from serving.helpers import Helpers


@dataclass(frozen=True)
class Generation:
    """A model with what was built around it; swapped whole when the model is."""

    core: Core
    items: ItemFeatureCache
    batcher: MicroBatcher
    helpers: Helpers
