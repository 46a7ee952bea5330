"""What is known of a customer, looked up while the query is being encoded: features and promises.

To be used from one event loop; a thread may ask whether all has come, and for what has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fairtag.base.errors import UnavailableError
from serving.page.kept import Kept
from serving.protocol.payload import PageRequest
from serving.stores import price_locks as promised_prices
from serving.stores.features import UserFeatureClient, UserRead
from serving.stores.price_locks import Promises
from serving.tracing import Stages


@dataclass(frozen=True)
class Customer:
    """What was looked up.

    Args:
        read: Features, or why there are none.
        kept: What was promised.
        broken: Why that cannot be known, None where it is.
    """

    read: UserRead
    kept: Kept
    broken: str | None


class Looking:
    """Lookups on their way."""

    def __init__(self, reading: asyncio.Task[UserRead] | None, promised: asyncio.Task[Kept] | None) -> None:
        self._reading = reading
        self._promised = promised
        self._tasks = [task for task in (reading, promised) if task is not None]

    @property
    def done(self) -> bool:
        """Whether nothing is left to wait for."""
        return all(task.done() for task in self._tasks)

    async def customer(self) -> Customer:
        """What was found, once it is all there."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        return self.found()

    def found(self) -> Customer:
        """What was found; only once it is :attr:`done`."""
        read = self._reading.result() if self._reading is not None else UserRead()
        try:
            kept = self._promised.result() if self._promised is not None else Kept()
        except UnavailableError:
            return Customer(read, Kept(), promised_prices.DOWN)
        return Customer(read, kept, None)

    def give_up(self) -> None:
        """Ask no further."""
        for task in self._tasks:
            task.cancel()  # one that is done stays as it is


class Lookups:
    """Asks the stores about customers.

    Args:
        users: Reads features.
        promises: Prices that must not change within an epoch.
        stages: What is timed.
    """

    def __init__(self, users: UserFeatureClient, promises: Promises, stages: Stages) -> None:
        self._users = users
        self._promises = promises
        self._stages = stages

    @contextmanager
    def begun(self, request: PageRequest, key: str | None) -> Iterator[Looking]:
        """Ask both stores side by side; what has not come when the block ends is given up.

        Args:
            request: Whose customer's features are read, unless they opted out.
            key: What promises are kept under, None where there are none.
        """
        user_id = None if request.opted_out else request.user_id
        reading = asyncio.create_task(self._read(user_id)) if user_id is not None else None
        promised = asyncio.create_task(self._kept(key)) if key is not None else None
        looking = Looking(reading, promised)
        try:
            yield looking
        finally:
            looking.give_up()

    async def _read(self, user_id: str) -> UserRead:
        with self._stages.stage("features"):
            return await self._users.read(user_id)

    async def _kept(self, key: str) -> Kept:
        return Kept.of(await self._promises.promised(key))
