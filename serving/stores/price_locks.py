"""Prices promised for an epoch: the same customer, item, epoch and model see the same price.

Two stores: one in this process, and one in Redis that all replicas share. Both keep the first price and never another.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar, cast

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker

DOWN = "promised_prices_down"
T = TypeVar("T")


class Promises(Protocol):
    """Prices in minor units by item, promised under a key that stands for customer, epoch and model.

    Args:
        shared: Whether other processes keep their promises here too.
    """

    shared: bool

    async def promised(self, key: str) -> Mapping[str, int]:
        """Everything promised under the key: what one customer saw in one epoch.

        Raises:
            UnavailableError: The store did not answer.
        """
        ...

    async def promise(self, key: str, prices: Mapping[str, int], seconds: int) -> dict[str, int]:
        """Promise prices for a time; an item promised before keeps its price.

        Returns:
            The items for which another price had been promised, with that price.

        Raises:
            UnavailableError: The store did not answer.
        """
        ...

    async def close(self) -> None:
        """Let the store go."""
        ...


class MemoryPromises:
    """Promises of this process.

    Args:
        capacity: Prices kept, about a tenth of a kilobyte each; the key unused for longest makes room.
    """

    shared = False

    def __init__(self, capacity: int = 1_000_000) -> None:
        self._capacity = capacity
        self._kept: OrderedDict[str, dict[str, int]] = OrderedDict()
        self._prices = 0
        self.evicted = 0

    async def promised(self, key: str) -> Mapping[str, int]:
        """Everything promised under the key."""
        kept = self._kept.get(key)
        if kept is None:
            return {}
        self._kept.move_to_end(key)
        return dict(kept)

    async def promise(self, key: str, prices: Mapping[str, int], seconds: int) -> dict[str, int]:  # noqa: ARG002 - keys carry the epoch, so old ones are never asked for
        """Promise prices; what was promised otherwise is returned."""
        kept = self._kept.setdefault(key, {})
        self._kept.move_to_end(key)
        other = {item_id: kept[item_id] for item_id, price in prices.items() if kept.get(item_id, price) != price}
        before = len(kept)
        kept.update({item_id: price for item_id, price in prices.items() if item_id not in kept})
        self._prices += len(kept) - before
        while self._prices > self._capacity and len(self._kept) > 1:
            self._prices -= len(self._kept.popitem(last=False)[1])
            self.evicted += 1
        return other

    async def close(self) -> None:
        """Nothing to let go."""


class RedisPromises:
    """Promises that all replicas share: a hash a key, which expires with its epoch.

    A store that is slow costs a page twice the wait at most; once the breaker is open, neither a wait nor a connection.

    Args:
        url: ``redis://`` URL.
        seconds: Longest wait for an answer, and as long again where a connection must be made first.
        breaker: Told of each answer, and asked before each question.
    """

    shared = True

    def __init__(self, url: str, seconds: float, breaker: CircuitBreaker) -> None:
        from redis.asyncio import Redis

        self._longest = 2 * seconds
        self._breaker = breaker
        self._redis = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, decode_responses=True)

    async def promised(self, key: str) -> Mapping[str, int]:
        """Everything promised under the key."""
        kept = await self._ask(lambda: cast(Awaitable[dict[str, str]], self._redis.hgetall(key)))
        return {item_id: int(price) for item_id, price in kept.items()}

    async def promise(self, key: str, prices: Mapping[str, int], seconds: int) -> dict[str, int]:
        """Promise prices; what another replica promised otherwise is returned."""
        if not prices:
            return {}
        pipeline = self._redis.pipeline(transaction=True)
        for item_id, price in prices.items():
            pipeline.hsetnx(key, item_id, str(price))
        pipeline.expire(key, seconds)
        pipeline.hmget(key, list(prices))
        kept = (await self._ask(pipeline.execute))[-1]
        pairs = zip(prices.items(), kept, strict=True)
        return {item_id: int(value) for (item_id, price), value in pairs if int(value) != price}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _ask(self, question: Callable[[], Awaitable[T]]) -> T:
        from redis.exceptions import RedisError

        if not self._breaker.allow():
            raise UnavailableError("the store of promised prices has not been answering; it is asked again soon")
        try:
            async with asyncio.timeout(self._longest):  # a socket's time-out begins anew with each byte
                answer = await question()
        except (RedisError, OSError) as error:
            self._breaker.failure()
            raise UnavailableError(f"the store of promised prices did not answer ({type(error).__name__})") from error
        self._breaker.success()
        return answer
