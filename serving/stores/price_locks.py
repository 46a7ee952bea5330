"""Price locks: within a price day a customer sees one price of an item, whichever replica answers.

The first value of a field stays, in every store. What stands under a key of a customer and a price day:

* ``public:ITEM``, the price made without the customer's data;
* ``personal:ITEM``, the price made with them, which only a page that may use them shows;
* ``ceiling:ITEM``, the price of a degraded page, which later ones may not exceed.

The corridors of a price day are kept in the same way. What comes back from a file or a server is input: each value is
sealed (:mod:`serving.stores.seal`). One that cannot be read, or that we did not write there, is ignored and counted.

:class:`LocalPriceLockStore` keeps the locks of one process; :mod:`serving.stores.shared_locks` adds Redis.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from sys import intern
from typing import TYPE_CHECKING, Final, NamedTuple

from typing_extensions import override

from serving.stores.seal import Value

if TYPE_CHECKING:
    from serving.stores.lock_file import LockFile

logger = logging.getLogger(__name__)

DOWN: Final = "price_locks_down"
PUBLIC, PERSONAL, CEILING = "public", "personal", "ceiling"

Ends = tuple[int, int]  # of a corridor, minor units
Fields = Mapping[str, Value]

KEY_BYTES = 480  # memory of a customer's key and table, measured
FIELD_BYTES = 130  # of one lock in it
PURGE_SECONDS = 60.0  # between two looks for price days that have passed


class Trust(IntEnum):
    """Whose locks make room when a store is full: the less we know of somebody, the sooner."""

    INVENTED = 0  # an id that the feature store does not know, a session that we did not hand out or that is new
    SESSION = 1
    CUSTOMER = 2
    SHOP = 3  # corridors: they belong to nobody and never make room


class Claim(NamedTuple):
    """How long the fields of a claim stand, and whose they are.

    Args:
        expires: Unix seconds; their key is asked for no more.
        trust: Whose they are.
    """

    expires: int
    trust: Trust = Trust.CUSTOMER


@dataclass(frozen=True)
class PriceLocks:
    """What one customer was shown in one price day, minor units by item.

    A whole page locks its prices. A page whose features were missing shows list prices and caps them: a later page of
    the day may be lower, never higher.

    Args:
        public: Prices made without the customer's data.
        personal: Prices made with them.
        ceilings: Prices not to be exceeded.
        whole: Whether all replicas' locks are among them; false where a shared store did not answer.
    """

    public: Mapping[str, int] = field(default_factory=dict)
    personal: Mapping[str, int] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)
    whole: bool = True

    def __bool__(self) -> bool:
        return bool(self.public or self.personal or self.ceilings)

    def with_others(self, other: PriceLocks) -> PriceLocks:
        """These and others; where both name an item, the other stands."""
        return PriceLocks(
            {**self.public, **other.public},
            {**self.personal, **other.personal},
            {**self.ceilings, **other.ceilings},
            self.whole and other.whole,
        )


class PriceLockStore(ABC):
    """Keeps locks under keys that stand for a customer and a price day."""

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether other processes keep their locks here too."""

    async def read(self, keys: Sequence[str], claim: Claim) -> PriceLocks:
        """Everything locked under some keys of one customer; where two name an item, the first stands.

        Args:
            keys: One for each user key that is still accepted, the one in use first.
            claim: Under which locks of other replicas are remembered here.
        """
        locks = PriceLocks()
        for key in reversed(keys):
            locks = locks.with_others(await self._read(key, claim))
        return locks

    async def lock(self, key: str, locks: PriceLocks, claim: Claim) -> PriceLocks:
        """Lock prices; an item that has a lock keeps it.

        Returns:
            The locks that stand at other prices.
        """
        fields = fields_of(locks)
        return locks_of(await self._claim(key, fields, claim)) if fields else PriceLocks()

    async def fix_corridors(self, key: str, corridors: Mapping[str, Ends], claim: Claim) -> dict[str, Ends]:
        """Fix the corridors of some items; those fixed before stay.

        Returns:
            The items that have another corridor, with the one that stands.

        Raises:
            UnavailableError: The store did not answer, and one of them is not known here.
        """
        standing = await self._claim(key, corridors, claim) if corridors else {}
        return {item: (value[0], value[-1]) for item, value in standing.items()}

    @abstractmethod
    def known_here(self, key: str) -> Fields:
        """What this process knows of a key, without asking anybody."""

    @abstractmethod
    def claim_here(self, key: str, fields: Fields, claim: Claim) -> Fields:
        """Claim fields in this process, without asking anybody; those that hold something else, with what they hold."""

    @abstractmethod
    async def close(self) -> None:
        """Let the store go; what waits to be written is written."""

    @abstractmethod
    async def _read(self, key: str, claim: Claim) -> PriceLocks:
        """What is locked under a key."""

    @abstractmethod
    async def _claim(self, key: str, fields: Fields, claim: Claim) -> Fields:
        """Write the fields that are not there yet; those that hold something else, with what they hold."""


def fields_of(locks: PriceLocks) -> dict[str, Value]:
    """Locks as the fields of a customer."""
    kinds = ((PUBLIC, locks.public), (PERSONAL, locks.personal), (CEILING, locks.ceilings))
    return {f"{kind}:{item}": (price,) for kind, prices in kinds for item, price in prices.items()}


def locks_of(fields: Fields, *, whole: bool = True) -> PriceLocks:
    """The locks that a customer's fields are."""
    found: dict[str, dict[str, int]] = {PUBLIC: {}, PERSONAL: {}, CEILING: {}}
    for name, value in fields.items():
        kind, _, item = name.partition(":")
        if kind in found:
            found[kind][item] = value[0]
    return PriceLocks(found[PUBLIC], found[PERSONAL], found[CEILING], whole)


def lower(one: Fields, other: Fields) -> dict[str, Value]:
    """The fields of both; of two prices the lower one, of two corridors the first."""
    both = {name: min(value, other[name]) for name, value in one.items() if name in other and len(value) == 1}
    return {**other, **one, **both}


class Row(NamedTuple):
    """One claim of a customer."""

    key: str
    fields: Fields
    claim: Claim


class _Entry(NamedTuple):
    fields: dict[str, Value]
    expires: int


class LocalPriceLockStore(PriceLockStore):
    """Locks of this process; any thread may use them.

    When the memory is full, those make room that we trust least and that have not been used for longest. An id that the
    shop does not know therefore pushes no customer's lock out.

    Args:
        file: Keeps them across restarts, and shares them with other processes of the run folder; None keeps them in
            memory alone.
        megabytes: Memory for locks.
        most: Locks of one customer in a price day; prices beyond are quoted, and not locked.
        clock: Unix seconds.
    """

    def __init__(
        self,
        file: LockFile | None = None,
        *,
        megabytes: float = 128.0,
        most: int = 5_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file: LockFile | None = None
        self._left = int(megabytes * 1e6)
        self.most = most
        self._clock = clock
        self._purged = clock()
        self._lock = threading.RLock()
        self._entries: dict[Trust, OrderedDict[str, _Entry]] = {trust: OrderedDict() for trust in Trust}
        self.kept = self.evicted = self.refused = 0
        if file is not None:
            for row in file.rows():
                self.lower_here(row.key, row.fields, row.claim, in_file=True)
            file.start()
        self._file = file

    @property
    @override
    def shared(self) -> bool:
        """Whether another process serves the run folder too."""
        return self._file is not None and self._file.shared

    def figures(self) -> list[tuple[str, str, float]]:
        """What there is to watch."""
        file = self._file
        return [
            ("kept", "gauge", self.kept),
            ("evicted_customers", "counter", self.evicted),
            ("refused", "counter", self.refused),
            ("unwritten", "gauge", 0 if file is None else len(file.claims)),
            ("lost", "counter", 0 if file is None else file.lost),
            ("write_failures", "counter", 0 if file is None else file.failures),
        ]

    @override
    def known_here(self, key: str) -> Fields:
        with self._lock:
            entry = self._found(key)
            return {} if entry is None else dict(entry.fields)

    @override
    def claim_here(self, key: str, fields: Fields, claim: Claim, *, in_file: bool = False) -> Fields:
        if not fields:
            return {}
        with self._lock:
            standing = self._entry(key, claim).fields
            other: Fields = {}
            missing = list(fields)
            if standing:
                other = {name: held for name, value in fields.items() if (held := standing.get(name, value)) != value}
                missing = [name for name in fields if name not in standing]
            room = self._room(key, len(missing), claim.trust, len(standing)) if missing else 0
            new = {intern(name): fields[name] for name in missing[:room]}
            self.refused += len(missing) - len(new)
            self._count(len(new))
            standing.update(new)
            if not standing:
                self._drop(key)
        if new and not in_file:
            self._write(key, new, claim)
        return other

    def lower_here(self, key: str, fields: Fields, claim: Claim, *, in_file: bool = False) -> None:
        """Take over fields that another store holds; of two prices the lower one stands."""
        with self._lock:
            other = self.claim_here(key, fields, claim, in_file=in_file)
            cheaper = {name: fields[name] for name, held in other.items() if lower({name: held}, fields)[name] != held}
            if cheaper:
                self._entry(key, claim).fields.update(cheaper)
        if cheaper and not in_file:
            self._write(key, cheaper, claim)

    @override
    async def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @override
    async def _read(self, key: str, claim: Claim) -> PriceLocks:
        if self._file is not None and self._file.shared:
            await self._merge(self._file, Row(key, {}, claim))
        return locks_of(self.known_here(key))

    @override
    async def _claim(self, key: str, fields: Fields, claim: Claim) -> Fields:
        if self._file is not None and self._file.shared:
            await self._merge(self._file, Row(key, {**fields, **self.known_here(key)}, claim))
        return self.claim_here(key, fields, claim)

    def _write(self, key: str, fields: Fields, claim: Claim) -> None:
        """Hand fields over to the file; where too many wait, they stay in memory alone, and are counted."""
        if self._file is not None and not self._file.claims.put(Row(key, fields, claim)):
            self._file.lost += 1

    async def _merge(self, file: LockFile, row: Row) -> None:
        """Agree with the other processes of the run folder; without the file, with none."""
        try:
            standing = await file.merge(row)
        except (sqlite3.Error, OSError) as error:
            logger.warning("price locks of other processes cannot be read (%s)", error)
            return
        self.lower_here(row.key, standing, row.claim, in_file=True)

    def _found(self, key: str) -> _Entry | None:
        for entries in self._entries.values():
            if (entry := entries.get(key)) is not None:
                entries.move_to_end(key)
                return entry
        return None

    def _entry(self, key: str, claim: Claim) -> _Entry:
        """The entry of a key, the last to make room; whoever is trusted more now than before moves up."""
        for trust, entries in self._entries.items():
            if (entry := entries.get(key)) is not None:
                if claim.trust > trust:
                    del entries[key]
                    self._entries[claim.trust][key] = entry
                else:
                    entries.move_to_end(key)
                return entry
        if (now := self._clock()) - self._purged > PURGE_SECONDS:
            self._purged = now
            self._purge(now)
        entry = self._entries[claim.trust][key] = _Entry({}, claim.expires)
        self._left -= KEY_BYTES
        return entry

    def _room(self, key: str, fields: int, trust: Trust, held: int) -> int:
        """How many of some new fields there is room for, once those who are trusted no more have made it."""
        if trust is Trust.SHOP:
            return fields
        fields = min(fields, max(0, self.most - held))
        for level in Trust:
            if level > trust or level is Trust.SHOP:
                break
            while self._left < fields * FIELD_BYTES and self._entries[level]:
                oldest = next(iter(self._entries[level]))
                if oldest == key:  # the last to make room is whoever asks
                    break
                self._drop(oldest)
                self.evicted += 1
                if self._file is not None:
                    self._file.claims.put(oldest)
        return max(0, min(fields, self._left // FIELD_BYTES))

    def _purge(self, now: float) -> None:
        passed = [key for entries in self._entries.values() for key, entry in entries.items() if entry.expires < now]
        for key in passed:
            self._drop(key)

    def _drop(self, key: str) -> None:
        for entries in self._entries.values():
            if (entry := entries.pop(key, None)) is not None:
                self._left += KEY_BYTES
                self._count(-len(entry.fields))

    def _count(self, fields: int) -> None:
        self.kept += fields
        self._left -= FIELD_BYTES * fields
