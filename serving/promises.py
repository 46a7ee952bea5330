"""Prices promised for an epoch: the same customer, item, epoch and model see the same price. Knows no price's reason.

Two stores: one in this process, and one in Redis that all replicas share. Both keep the first price and never another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol, cast

from pricing.errors import UnavailableError

DOWN = "promised_prices_down"


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

    Args:
        url: ``redis://`` URL.
        seconds: Longest wait for an answer.
    """

    shared = True

    def __init__(self, url: str, seconds: float) -> None:
        from redis.asyncio import Redis

        self._redis = Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, decode_responses=True)

    async def promised(self, key: str) -> Mapping[str, int]:
        """Everything promised under the key."""
        kept = await self._ask(cast(Awaitable[dict[str, str]], self._redis.hgetall(key)))
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
        kept = (await self._ask(pipeline.execute()))[-1]
        pairs = zip(prices.items(), kept, strict=True)
        return {item_id: int(value) for (item_id, price), value in pairs if int(value) != price}

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    @staticmethod
    async def _ask(answer: Awaitable[Any]) -> Any:
        from redis.exceptions import RedisError

        try:
            return await answer
        except (RedisError, OSError) as error:
            raise UnavailableError(f"the store of promised prices did not answer ({type(error).__name__})") from error
