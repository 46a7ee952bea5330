"""The customer of a page: features and price locks, read side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fairtag.base.errors import UnavailableError
from fairtag.policy.context import UserContext
from serving.page.core import Core
from serving.protocol.payload import PageRequest
from serving.stores.feature_reads import UserFeatureClient, UserFeatures, UserRead
from serving.stores.price_locks import DOWN, PriceLocks, PriceLockStore
from serving.tracing import Stages


@dataclass(frozen=True)
class Customer:
    """What is known of a customer.

    Args:
        user: The customer as pricing sees them.
        age: Seconds since the features were materialised; None where there are none or the store does not say.
        locks: Price locks of the price day.
        cause: Why features or locks could not be read, None where they could.
    """

    user: UserContext
    age: float | None = None
    locks: PriceLocks = field(default_factory=PriceLocks)
    cause: str | None = None


class CustomerReader:
    """Reads what the stores know of a customer. To be used from one event loop.

    Args:
        users: Reads features.
        locks: Prices that stand for a price day.
        age: Seconds since the feature store was filled; None where it does not say.
        stages: Times the reads.
    """

    def __init__(
        self,
        users: UserFeatureClient,
        locks: PriceLockStore,
        age: Callable[[], float | None],
        stages: Stages,
    ) -> None:
        self._users = users
        self._age = age
        self._locks = locks
        self._stages = stages

    async def read(self, request: PageRequest, key: str) -> Customer:
        """The customer of a request; no features of somebody who has opted out.

        Args:
            request: Names the customer.
            key: See :func:`lock_key`.
        """
        reading = None if request.opted_out else asyncio.create_task(self._features(request.user_id))
        locks, cause = PriceLocks(), None
        try:
            locks = await self._locks.read(key)
        except UnavailableError:
            cause = DOWN
        except BaseException:
            if reading is not None:
                reading.cancel()
            raise
        read = UserRead() if reading is None else await reading
        age = None if read.features is None else self._age()
        return Customer(user_context(request, read.features), age, locks, read.cause or cause)

    async def _features(self, user_id: str | None) -> UserRead:
        with self._stages.stage("features"):
            return await self._users.read(user_id)


def lock_key(core: Core, request: PageRequest, epoch: int, subject: str) -> str | None:
    """What a customer's price locks are kept under; None for somebody without an id, who has none.

    Args:
        core: The model: another model may have other prices.
        request: Whose consent and place decide what prices may be made of.
        epoch: Price day.
        subject: Keyed hash of the user, empty for nobody.
    """
    if not subject:
        return None
    consent = "plain" if request.opted_out else "personal"
    return f"fairtag:lock:{core.version}:{epoch}:{consent}:{core.place_of(request.jurisdiction)}:{subject}"


def user_context(request: PageRequest, features: UserFeatures | None = None) -> UserContext:
    """The customer of a request with what features are known."""
    return UserContext(
        user_id=request.user_id,
        behaviour=features.behaviour if features else None,
        history_items=features.history_items if features else (),
        history_age_days=features.history_age_days if features else (),
        opted_out=request.opted_out,
        jurisdiction=request.jurisdiction,
    )
