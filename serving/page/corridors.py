"""The corridor of each item in an epoch, fixed by its first price, shared by models and replicas.

Replicas share it through the store of promises, which keeps the first value of a field and never another; it is
remembered here, so that an item is asked for once an epoch and process. A process that shares its promises with no
other keeps it here alone.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from fairtag.page.day_corridor import EpochCorridor
from serving.page.core import Core, Rows
from serving.stores.price_locks import Promises

HIGH: Final = "\x03"  # before an item's field for the upper end; ids are printed text
Ends = tuple[float, float]  # of a corridor, minor units
EPOCHS: Final = 2  # kept: requests of the old epoch may still be in flight when the new one begins


class EpochCorridors:
    """Corridors of the running epoch.

    Args:
        promises: Where all replicas keep them.
    """

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self._turn = threading.Lock()
        self._kept: OrderedDict[str, dict[str, Ends]] = OrderedDict()

    def known(self, core: Core, rows: Rows, epoch: int) -> EpochCorridor | None:
        """The corridors of a page, money; None where that of some item must be asked of the other processes first."""
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows.tolist()]
        kept = self._kept.get(key, {})
        if not kept.keys() >= set(items):
            if self._promises.shared:
                return None
            kept = self._keep(key, items, own_ends(core, rows))
        return corridor_of([kept[item] for item in items], core.minor_per_unit)

    def own(self, core: Core, rows: Rows, epoch: int, ends: Sequence[Ends]) -> bool:
        """Whether the corridors of a page are the model's own, as ``ends`` says them.

        They become so where nobody has fixed them in the epoch and no other process must be asked.
        """
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows.tolist()]
        kept = self._kept.get(key, {})
        if not kept.keys() >= set(items):
            if self._promises.shared:
                return False
            kept = self._keep(key, items, ends)
        return all(_same(kept[item], pair) for item, pair in zip(items, ends, strict=True))

    async def fix(self, core: Core, rows: Rows, epoch: int, seconds: int) -> EpochCorridor:
        """The corridors of a page: those that a price of the epoch fixed before, else the model's own from now on.

        Raises:
            UnavailableError: The store did not answer.
        """
        key, items, own = _key(core, epoch), [core.item_ids[row] for row in rows], own_ends(core, rows)
        fields = {
            name: int(end)
            for item, pair in zip(items, own, strict=True)
            if np.isfinite(pair).all()
            for name, end in zip((item, HIGH + item), pair, strict=True)
        }
        other = await self._promises.promise(key, fields, seconds)
        found = [
            (float(other.get(item, low)), float(other.get(HIGH + item, high)))
            for item, (low, high) in zip(items, own, strict=True)
        ]
        kept = self._keep(key, items, found)
        return corridor_of([kept[item] for item in items], core.minor_per_unit)

    def _keep(self, key: str, items: Sequence[str], ends: Sequence[Ends]) -> dict[str, Ends]:
        """Remember what is not yet known of an epoch; what is known stays, whichever thread came first."""
        with self._turn:
            kept = self._kept.setdefault(key, {})
            for item, pair in zip(items, ends, strict=True):
                kept.setdefault(item, pair)
            while len(self._kept) > EPOCHS:
                self._kept.popitem(last=False)
        return kept


def own_ends(core: Core, rows: Rows) -> list[Ends]:
    """The ends of a model's own corridors, minor units; NaN where it has none."""
    own = core.corridor(rows)
    ends = np.rint(np.stack([own.low, own.high], axis=1) * core.minor_per_unit)
    return [(low, high) for low, high in ends.tolist()]


def corridor_of(ends: Sequence[Ends], minor_per_unit: int) -> EpochCorridor:
    """Corridors, money, by their ends in minor units."""
    money = np.array(ends, dtype=np.float64).reshape(-1, 2) / minor_per_unit
    return EpochCorridor(money[:, 0], money[:, 1])


def _same(one: Ends, other: Ends) -> bool:
    return one == other or all(math.isnan(end) for end in (*one, *other))


def _key(core: Core, epoch: int) -> str:
    return f"fairtag:corridor:{core.currency}:{epoch}"
