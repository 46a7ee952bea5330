"""Price locks that all replicas share through Redis, behind a copy of this process.

What a customer was shown here, or was read from Redis here, stands here: also while Redis does not answer, and after it
has lost its data. Then it is written to Redis again. Where Redis and the copy differ, the lower price stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from typing_extensions import override

from fairtag.base.errors import UnavailableError
from serving.stores.breaker import CircuitBreaker
from serving.stores.price_locks import (
    Claim,
    Fields,
    LocalPriceLockStore,
    PriceLocks,
    PriceLockStore,
    Trust,
    locks_of,
    lower,
)
from serving.stores.seal import UNREADABLE, Ignored, Seal, Value

T = TypeVar("T")


class RedisLocks:
    """Hashes of sealed fields that expire with their price day.

    A slow Redis costs a page twice the wait at most; once the breaker is open, neither a wait nor a connection.

    Args:
        url: ``redis://`` URL.
        seconds: Longest wait for an answer, and as long again where a connection must be made first.
        breaker: Told of each answer, and asked before each question.
        seal: Authenticates each field.
        ignored: Told why a value was ignored.
        most: Fields of one customer; a key with more is not ours, and to check them all would hold up every page.
    """

    def __init__(
        self, url: str, seconds: float, breaker: CircuitBreaker, seal: Seal, ignored: Ignored, most: int = 10_000
    ) -> None:
        from redis.asyncio import Redis

        self._most = most
        self._longest = 2 * seconds
        self._breaker = breaker
        self._seal = seal
        self._ignored = ignored
        self._redis = Redis.from_url(
            url,
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            decode_responses=True,
            encoding_errors="replace",
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def read(self, key: str) -> dict[str, Value]:
        """The genuine fields of a key.

        Raises:
            UnavailableError: Redis did not answer.
        """
        found: Mapping[str, str] = await self._ask(lambda: self._hash(key))
        return self._seal.open_all(key, found, self._ignored)

    async def claim(self, key: str, fields: Fields, expires: int) -> dict[str, Value]:
        """Write the fields that Redis lacks; those that hold something else, with what they hold.

        A field that holds something which we did not write is written over.

        Raises:
            UnavailableError: Redis did not answer.
        """
        sealed = {name: self._seal.seal(key, name, value) for name, value in fields.items()}
        standing = await self._ask(lambda: self._claimed(key, sealed, expires))
        held = {
            name: text for (name, own), text in zip(sealed.items(), standing, strict=True) if text not in (own, None)
        }
        genuine = self._seal.open_all(key, held, self._ignored)
        if broken := held.keys() - genuine.keys():
            await self.write(key, {name: fields[name] for name in broken})
        return {name: value for name, value in genuine.items() if value != tuple(fields[name])}

    async def write(self, key: str, fields: Fields) -> None:
        """Write fields over what Redis holds.

        Raises:
            UnavailableError: Redis did not answer.
        """
        sealed = {name: self._seal.seal(key, name, value) for name, value in fields.items()}
        await self._ask(lambda: self._written(key, sealed))

    async def _written(self, key: str, sealed: Mapping[str, str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(key, mapping=dict(sealed))
        await pipeline.execute()

    async def _hash(self, key: str) -> dict[str, str]:
        from redis.exceptions import ResponseError

        try:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.hgetall(key)
            (found,) = await pipeline.execute()
        except ResponseError as error:
            if "WRONGTYPE" not in str(error):
                raise
            return await self._put_away(key)
        return dict(found) if len(found) <= self._most else await self._put_away(key)

    async def _put_away(self, key: str) -> dict[str, str]:
        """Delete a key that somebody else has written."""
        self._ignored(UNREADABLE)
        await self._redis.delete(key)
        return {}

    async def _claimed(self, key: str, sealed: Mapping[str, str], expires: int) -> list[str | None]:
        pipeline = self._redis.pipeline(transaction=True)
        for name, text in sealed.items():
            pipeline.hsetnx(key, name, text)
        pipeline.expireat(key, expires)
        pipeline.hmget(key, list(sealed))
        answers = await pipeline.execute()
        standing: list[str | None] = answers[-1]
        return standing

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        from redis.exceptions import RedisError, ResponseError

        if not self._breaker.allow():
            raise UnavailableError("the price-lock store has not been answering; the next try is seconds away")
        try:
            async with asyncio.timeout(self._longest):  # a socket's time-out begins anew with each byte
                answer = await question()
        except ResponseError as error:  # it answers, and refuses: memory is full, no permission, no hash
            self._breaker.success()
            raise UnavailableError(f"the price-lock store refuses ({error})") from error
        except (RedisError, OSError) as error:
            self._breaker.failure()
            raise UnavailableError(f"the price-lock store did not answer ({type(error).__name__})") from error
        self._breaker.success()
        return answer


class SharedPriceLockStore(PriceLockStore):
    """Locks in Redis behind a copy of this process.

    Args:
        local: The copy.
        redis: Where all replicas keep them.
        guests: Guests and unknown customers of a price day whose locks this process writes to Redis; those beyond have
            theirs in the copy alone, so that invented ids cannot fill Redis.
    """

    def __init__(self, local: LocalPriceLockStore, redis: RedisLocks, guests: int = 50_000) -> None:
        self._local = local
        self._redis = redis
        self._guests = guests
        self._told: dict[int, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.untold = 0

    @property
    @override
    def shared(self) -> bool:
        """Always."""
        return True

    def figures(self) -> list[tuple[str, str, float]]:
        """What there is to watch."""
        return [*self._local.figures(), ("not_shared", "counter", self.untold)]

    @override
    def known_here(self, key: str) -> Fields:
        return self._local.known_here(key)

    @override
    def claim_here(self, key: str, fields: Fields, claim: Claim) -> Fields:
        return self._local.claim_here(key, fields, claim)

    @override
    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await self._redis.close()
        await self._local.close()

    @override
    async def _read(self, key: str, claim: Claim) -> PriceLocks:
        await self._local._read(key, claim)
        try:
            there = await self._redis.read(key)
        except UnavailableError:
            return locks_of(self._local.known_here(key), whole=False)
        here = self._local.known_here(key)
        agreed = lower(there, here)
        if news := {name: value for name, value in agreed.items() if value != there.get(name)}:
            self._tell(key, news, claim)
        if any(value != here.get(name) for name, value in agreed.items()):
            self._local.lower_here(key, agreed, claim)
        return locks_of(agreed)

    @override
    async def _claim(self, key: str, fields: Fields, claim: Claim) -> Fields:
        before = self._local.known_here(key)
        wanted = {name: before.get(name, tuple(value)) for name, value in fields.items()}
        final, told = wanted, self._with_room(wanted, before, claim)
        if told and self._may_tell(key, claim):
            try:
                final = lower({**wanted, **await self._redis.claim(key, told, claim.expires)}, before)
            except UnavailableError:
                if claim.trust is Trust.SHOP and not before.keys() >= fields.keys():
                    raise
        other = await self._local._claim(key, final, claim)
        if dearer := {name: final[name] for name, held in other.items() if name in before and held > final[name]}:
            self._local.lower_here(key, dearer, claim)
        final = {**final, **{name: held for name, held in other.items() if name not in dearer}}
        return {name: final[name] for name, value in fields.items() if final[name] != tuple(value)}

    def _with_room(self, wanted: dict[str, Value], before: Fields, claim: Claim) -> dict[str, Value]:
        """The fields that a customer may still have in Redis, which reads them all for every page."""
        if claim.trust is Trust.SHOP:
            return wanted
        new = [name for name in wanted if name not in before]
        beyond = set(new[max(0, self._local.most - len(before)) :])
        return {name: value for name, value in wanted.items() if name not in beyond}

    def _may_tell(self, key: str, claim: Claim) -> bool:
        if claim.trust >= Trust.CUSTOMER:
            return True
        told = self._told.setdefault(claim.expires, set())
        if key in told or len(told) < self._guests:
            told.add(key)
            for passed in [expires for expires in self._told if expires < claim.expires]:
                del self._told[passed]
            return True
        self.untold += 1
        return False

    def _tell(self, key: str, fields: Fields, claim: Claim) -> None:
        """Write to Redis what it lacks, while the page goes on."""
        if self._may_tell(key, claim):
            task = asyncio.create_task(self._told_now(key, fields, claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _told_now(self, key: str, fields: Fields, claim: Claim) -> None:
        with contextlib.suppress(UnavailableError):  # then the next page of the customer tries again
            other = await self._redis.claim(key, fields, claim.expires)
            cheaper = {name: fields[name] for name, held in other.items() if lower({name: held}, fields)[name] != held}
            if cheaper:
                await self._redis.write(key, cheaper)
