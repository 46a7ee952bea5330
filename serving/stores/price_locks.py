"""Price locks: within a price day a customer sees one price of an item, whichever replica answers.

Two stores keep them: one in this process, and one in Redis that all replicas share. In both the first value of a field
stays. The corridors of the price day are kept in the same way. What comes back from a store is checked like any input:
a value that cannot be read is ignored and counted.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import orjson
from typing_extensions import override

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker

DOWN: Final = "price_locks_down"
MOST_MINOR: Final = 2**53  # of one price; beyond it JSON loses whole numbers
PRICE, CEILING = "price", "ceiling"  # a customer's hashes: locked prices, and prices not to be exceeded

Ends = tuple[int, int]  # of a corridor, minor units
T = TypeVar("T")


class PriceLock(NamedTuple):
    """A price that stands for the price day.

    Args:
        price_minor: Minor units.
        personal: Whether the customer's data made it.
    """

    price_minor: int
    personal: bool


@dataclass(frozen=True)
class PriceLocks:
    """What one customer was shown in one price day, by item.

    A whole page locks its prices. A page whose features were missing shows list prices and caps them: a later page of
    the day may be lower, never higher.

    Args:
        prices: Prices that stand.
        ceilings: Prices not to be exceeded, minor units.
    """

    prices: Mapping[str, PriceLock] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.prices or self.ceilings)


class PriceLockStore(ABC):
    """Keeps locks under a key that stands for customer, price day and model.

    Args:
        malformed: Told of each value that could not be read.
    """

    shared: ClassVar[bool]  # whether other processes keep their locks here too

    def __init__(self, malformed: Callable[[], None] = lambda: None) -> None:
        self._malformed = malformed

    async def read(self, key: str) -> PriceLocks:
        """Everything locked under a key.

        Raises:
            UnavailableError: The store did not answer.
        """
        prices, ceilings = await self._read((f"{key}:{PRICE}", f"{key}:{CEILING}"))
        return PriceLocks(self._parsed(prices, _price_lock), self._parsed(ceilings, _amount))

    async def lock(self, key: str, prices: Mapping[str, PriceLock], seconds: int) -> dict[str, PriceLock]:
        """Lock prices for a time; an item that has a lock keeps it.

        Returns:
            The items that have another price, with the lock that stands.

        Raises:
            UnavailableError: The store did not answer.
        """
        standing = await self._claim(f"{key}:{PRICE}", {item: _json([*lock]) for item, lock in prices.items()}, seconds)
        locks = self._parsed(standing, _price_lock)
        return {item: lock for item, lock in locks.items() if lock.price_minor != prices[item].price_minor}

    async def cap(self, key: str, ceilings: Mapping[str, int], seconds: int) -> None:
        """Set prices that later ones may not exceed; an item that has a ceiling keeps it.

        Raises:
            UnavailableError: The store did not answer.
        """
        await self._claim(f"{key}:{CEILING}", {item: _json(most) for item, most in ceilings.items()}, seconds)

    async def fix_corridors(self, key: str, corridors: Mapping[str, Ends], seconds: int) -> dict[str, Ends]:
        """Fix the corridors of some items for a time; those fixed before stay.

        Returns:
            The items that have another corridor, with the one that stands.

        Raises:
            UnavailableError: The store did not answer.
        """
        standing = await self._claim(key, {item: _json(ends) for item, ends in corridors.items()}, seconds)
        return self._parsed(standing, _ends)

    @abstractmethod
    async def _read(self, keys: Sequence[str]) -> Sequence[Mapping[str, str]]:
        """The fields of each key."""

    @abstractmethod
    async def _claim(self, key: str, fields: Mapping[str, str], seconds: int) -> dict[str, str]:
        """Write the fields that are not there yet; those that hold something else, with what they hold."""

    @abstractmethod
    async def close(self) -> None:
        """Let the store go."""

    def _parsed(self, fields: Mapping[str, str], parse: Callable[[Any], T | None]) -> dict[str, T]:
        found: dict[str, T] = {}
        for name, text in fields.items():
            try:
                value = parse(orjson.loads(text))
            except orjson.JSONDecodeError:
                value = None
            if value is None:
                self._malformed()
            else:
                found[name] = value
        return found


class MemoryPriceLockStore(PriceLockStore):
    """Locks of this process.

    Args:
        capacity: Fields kept, about a tenth of a kilobyte each; the key unused for longest makes room.
    """

    shared = False

    def __init__(self, capacity: int = 1_000_000) -> None:
        super().__init__()
        self._capacity = capacity
        self._hashes: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._fields = 0
        self.evicted = 0

    @override
    async def close(self) -> None:
        """Nothing to let go."""

    @override
    async def _read(self, keys: Sequence[str]) -> Sequence[Mapping[str, str]]:
        for key in keys:
            if key in self._hashes:
                self._hashes.move_to_end(key)
        return [self._hashes.get(key, {}) for key in keys]

    @override
    async def _claim(self, key: str, fields: Mapping[str, str], seconds: int) -> dict[str, str]:
        if not fields:
            return {}
        # A key carries its price day, so that an old one is never asked for: nothing expires by time here.
        standing = self._hashes.setdefault(key, {})
        self._hashes.move_to_end(key)
        before = len(standing)
        other = {name: standing[name] for name, text in fields.items() if standing.setdefault(name, text) != text}
        self._fields += len(standing) - before
        while self._fields > self._capacity and len(self._hashes) > 1:
            self._fields -= len(self._hashes.popitem(last=False)[1])
            self.evicted += 1
        return other


class RedisPriceLockStore(PriceLockStore):
    """Locks that all replicas share: hashes that expire with their price day.

    A slow store costs a page twice the wait at most; once the breaker is open, neither a wait nor a connection.

    Args:
        url: ``redis://`` URL.
        seconds: Longest wait for an answer, and as long again where a connection must be made first.
        breaker: Told of each answer, and asked before each question.
        malformed: Told of each value that could not be read.
    """

    shared = True

    def __init__(
        self, url: str, seconds: float, breaker: CircuitBreaker, malformed: Callable[[], None] = lambda: None
    ) -> None:
        from redis.asyncio import Redis

        super().__init__(malformed)
        self._longest = 2 * seconds
        self._breaker = breaker
        self._redis = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, decode_responses=True)

    @override
    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @override
    async def _read(self, keys: Sequence[str]) -> Sequence[Mapping[str, str]]:
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        found: list[dict[str, str]] = await self._ask(pipeline.execute)
        return found

    @override
    async def _claim(self, key: str, fields: Mapping[str, str], seconds: int) -> dict[str, str]:
        if not fields:
            return {}
        pipeline = self._redis.pipeline(transaction=True)
        for name, text in fields.items():
            pipeline.hsetnx(key, name, text)
        pipeline.expire(key, seconds)
        pipeline.hmget(key, list(fields))
        standing = (await self._ask(pipeline.execute))[-1]
        return {name: held for (name, text), held in zip(fields.items(), standing, strict=True) if held != text}

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        from redis.exceptions import RedisError

        if not self._breaker.allow():
            raise UnavailableError("the price-lock store has not been answering; the next try is seconds away")
        try:
            async with asyncio.timeout(self._longest):  # a socket's time-out begins anew with each byte
                answer = await question()
        except (RedisError, OSError) as error:
            self._breaker.failure()
            raise UnavailableError(f"the price-lock store did not answer ({type(error).__name__})") from error
        self._breaker.success()
        return answer


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _price_lock(value: Any) -> PriceLock | None:
    """``[1999, true]``."""
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], bool):
        return None
    price = _amount(value[0])
    return None if price is None else PriceLock(price, value[1])


def _ends(value: Any) -> Ends | None:
    """``[1500, 1875]``, the lower end first."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = _amount(value[0]), _amount(value[1])
    return None if low is None or high is None or low > high else (low, high)


def _amount(value: Any) -> int | None:
    """``1999``: whole minor units, at least one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_MINOR else None
