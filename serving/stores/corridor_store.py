"""The corridor of each item in a price day, fixed by its first price and shared by models and replicas.

Replicas share corridors through the price-lock store, where the first value stays. Each process remembers what it has
learnt, so that it asks for an item once a price day. A process that shares its store with no other asks nobody, and
tells the store what it has fixed: the next process of the run folder goes on from there.
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
from fairtag.policy.shop_policy import ShopPolicy
from serving.stores.price_locks import Claim, Ends, Fields, PriceLockStore, Trust

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

    def known(self, core: Core, rows: Rows, epoch: int, policy: ShopPolicy | None) -> DayCorridor | None:
        """The corridors of a page, money; None where another process may have fixed one that is not known here."""
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows.tolist()]
        day = self._days.get(key, {})
        if not day.keys() >= set(items):
            if self._store.shared:
                return None
            own = own_ends(core, rows, epoch, policy)
            other = self._store.claim_here(key, _whole(items, own), _claim(core, epoch))
            day = self._remember(key, items, _standing(items, own, other))
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
            other = self._store.claim_here(key, _whole(items, ends), _claim(core, epoch))
            day = self._remember(key, items, _standing(items, ends, other))
        return all(_same(day[item], pair) for item, pair in zip(items, ends, strict=True))

    async def fix(self, core: Core, rows: Rows, epoch: int, policy: ShopPolicy | None) -> DayCorridor:
        """The corridors of a page: those fixed by an earlier price of the day, else the model's own from now on.

        Raises:
            UnavailableError: The store did not answer.
        """
        key, items = _key(core, epoch), [core.item_ids[row] for row in rows]
        own = own_ends(core, rows, epoch, policy)
        other = await self._store.fix_corridors(key, _whole(items, own), _claim(core, epoch))
        day = self._remember(key, items, _standing(items, own, other))
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


def own_ends(core: Core, rows: Rows, epoch: int, policy: ShopPolicy | None) -> list[OwnEnds]:
    """The ends of a model's own corridors, minor units; NaN where it has none."""
    return ends_of(core.corridor(rows, epoch, policy), core.minor_per_unit)


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


def _whole(items: Sequence[str], ends: Sequence[OwnEnds]) -> dict[str, Ends]:
    """Corridors as they are stored; an item without one has nothing to store."""
    return {item: (int(low), int(high)) for item, (low, high) in zip(items, ends, strict=True) if math.isfinite(low)}


def _standing(items: Sequence[str], own: Sequence[OwnEnds], other: Fields) -> list[OwnEnds]:
    """The corridors in force: those fixed before, else the model's own."""
    return [(ends[0], ends[-1]) for ends in (other.get(item, pair) for item, pair in zip(items, own, strict=True))]


def _claim(core: Core, epoch: int) -> Claim:
    return Claim((epoch + 2) * core.epoch_seconds, Trust.SHOP)  # a day longer: an answer in flight may still ask


def _key(core: Core, epoch: int) -> str:
    return f"fairtag:corridor:{core.currency}:{epoch}"
