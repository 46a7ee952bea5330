"""Touches every path of a model once, so that the first customer does not pay for lazy imports and cold pages."""

from __future__ import annotations

import numpy as np

from fairtag.policy.context import UserContext
from serving.page.core import Core

WARM_QUERIES = ("a", "a wireless vacuum cleaner for pet hair", "steel " * 60)  # short, usual and cut off


def warm(core: Core) -> None:
    """Encode, find and price a few pages for nobody."""
    nobody = UserContext()
    for query in WARM_QUERIES:
        (embedding,) = core.encode([query])
        rows = core.retrieve(embedding, query, nobody, min(24, len(core.item_ids)), core.market.stock)
        core.price(rows, embedding, nobody, core.market.rows(rows), core.epoch_of(0.0))
    core.price(rows[:1], None, nobody, core.market.rows(np.asarray(rows[:1])), core.epoch_of(0.0))
