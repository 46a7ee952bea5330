"""The corridor of each item in an epoch, fixed by its first price, shared by models and replicas. Prices nothing.

It lives in the store of promises, which keeps the first value of a field and never another, and is remembered here: an
item is asked for once an epoch and process.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import numpy as np

from pricing.page.epoch_corridor import EpochCorridor
from serving.core import Core, Rows
from serving.promises import Promises

HIGH: Final = "\x03"  # before an item's field for the upper end; ids are printed text
EPOCHS: Final = 2  # kept: requests of the old epoch may still be in flight when the new one begins


class EpochCorridors:
    """Corridors of the running epoch.

    Args:
        promises: Where all replicas keep them.
    """

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._kept: OrderedDict[str, dict[str, tuple[float, float]]] = OrderedDict()

    def known(self, core: Core, rows: Rows, epoch: int) -> EpochCorridor | None:
        """The corridors of a page, money; None where that of some item has not been asked for."""
        kept = self._kept.get(_key(core, epoch), {})
        try:
            ends = np.array([kept[core.item_ids[row]] for row in rows], dtype=np.float64).reshape(-1, 2)
        except KeyError:
            return None
        return EpochCorridor(ends[:, 0] / core.minor_per_unit, ends[:, 1] / core.minor_per_unit)

    async def fix(self, core: Core, rows: Rows, epoch: int, seconds: int) -> EpochCorridor:
        """The corridors of a page: those that a price of the epoch fixed before, else the model's own from now on.

        Raises:
            UnavailableError: The store did not answer.
        """
        key, own = _key(core, epoch), core.corridor(rows)
        ends = np.rint(np.stack([own.low, own.high], axis=1) * core.minor_per_unit)
        items = [core.item_ids[row] for row in rows]
        found = {item: (low, high) for item, (low, high) in zip(items, ends.tolist(), strict=True)}
        mine = {item: pair for item, pair in found.items() if np.isfinite(pair).all()}
        fields = {
            name: int(end) for item, pair in mine.items() for name, end in zip((item, HIGH + item), pair, strict=True)
        }
        other = await self._promises.promise(key, fields, seconds)
        for item, (low, high) in mine.items():
            found[item] = (float(other.get(item, low)), float(other.get(HIGH + item, high)))
        self._kept.setdefault(key, {}).update(found)
        while len(self._kept) > EPOCHS:
            self._kept.popitem(last=False)
        ordered = np.array([found[item] for item in items], dtype=np.float64).reshape(-1, 2) / core.minor_per_unit
        return EpochCorridor(ordered[:, 0], ordered[:, 1])


def _key(core: Core, epoch: int) -> str:
    return f"fairtag:corridor:{core.currency}:{epoch}"
