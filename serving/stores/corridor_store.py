"""The corridor of each item in a price day, fixed by its first price and shared by models and replicas.

Replicas share corridors through the price-lock store, where the first value stays. Each process remembers what it has
learnt, so that it asks for an item once a price day. A process that shares its store with no other asks nobody.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fairtag.page.day_corridor import DayCorridor
from serving.stores.price_locks import PriceLockStore

if TYPE_CHECKING:
    from serving.page.core import Core

Rows = NDArray[np.int64]
OwnEnds = tuple[float, float]  # of a corridor, whole minor units; NaN where an item has none
DAYS: Final = 2  # remembered: requests of the old price day may still be in flight when the new one begins


class CorridorStore:
    """Corridors of the running price day; any thread may ask.

    Args:
        store: Where all replicas keep them.
    """

    def __init__(self, store: PriceLockStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._days: OrderedDict[str, dict[str, OwnEnds]] = OrderedDict()

    def known(self, core: Core, rows: Rows, epoch: int) -> DayCorridor | None:
        """The corridors of a page, money; None where another process may have fixed one that is not known here."""
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows.tolist()]
        day = self._days.get(key, {})
        if not day.keys() >= set(items):
            if self._store.shared:
                return None
            day = self._remember(key, items, own_ends(core, rows))
        return corridor_of([day[item] for item in items], core.minor_per_unit)

    def agree(self, core: Core, rows: Rows, epoch: int, corridor: DayCorridor) -> bool:
        """Whether a page was priced inside the right corridors.

        They are right if nobody has fixed others in the price day and no other process could have.
        """
        ends = ends_of(corridor, core.minor_per_unit)
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows.tolist()]
        day = self._days.get(key, {})
        if not day.keys() >= set(items):
            if self._store.shared:
                return False
            day = self._remember(key, items, ends)
        return all(_same(day[item], pair) for item, pair in zip(items, ends, strict=True))

    async def fix(self, core: Core, rows: Rows, epoch: int, seconds: int) -> DayCorridor:
        """The corridors of a page: those fixed by an earlier price of the day, else the model's own from now on.

        Raises:
            UnavailableError: The store did not answer.
        """
        key, items, own = _key(core, epoch), [core.item_ids[row] for row in rows], own_ends(core, rows)
        finite = {
            item: (int(low), int(high)) for item, (low, high) in zip(items, own, strict=True) if math.isfinite(low)
        }
        other = await self._store.fix_corridors(key, finite, seconds)
        standing = [other.get(item, ends) for item, ends in zip(items, own, strict=True)]
        day = self._remember(key, items, standing)
        return corridor_of([day[item] for item in items], core.minor_per_unit)

    def _remember(self, key: str, items: Sequence[str], ends: Sequence[OwnEnds]) -> dict[str, OwnEnds]:
        """Add what is new of a price day; what is known stays, whichever thread came first."""
        with self._lock:
            day = self._days.setdefault(key, {})
            for item, pair in zip(items, ends, strict=True):
                day.setdefault(item, (float(pair[0]), float(pair[1])))
            while len(self._days) > DAYS:
                self._days.popitem(last=False)
        return day


def own_ends(core: Core, rows: Rows) -> list[OwnEnds]:
    """The ends of a model's own corridors, minor units; NaN where it has none."""
    return ends_of(core.corridor(rows), core.minor_per_unit)


def ends_of(corridor: DayCorridor, minor_per_unit: int) -> list[OwnEnds]:
    """The ends of corridors, minor units; NaN where there is none."""
    ends = np.rint(np.stack([corridor.low, corridor.high], axis=1) * minor_per_unit)
    return [(low, high) for low, high in ends.tolist()]


def corridor_of(ends: Sequence[OwnEnds], minor_per_unit: int) -> DayCorridor:
    """Corridors, money, by their ends in minor units."""
    money = np.array(ends, dtype=np.float64).reshape(-1, 2) / minor_per_unit
    return DayCorridor(money[:, 0], money[:, 1])


def _same(one: OwnEnds, other: OwnEnds) -> bool:
    return one == other or all(math.isnan(end) for end in (*one, *other))


def _key(core: Core, epoch: int) -> str:
    return f"fairtag:corridor:{core.currency}:{epoch}"
