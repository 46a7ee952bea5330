"""The customer of a page: what stands for them in logs and stores, their features, and their price locks."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairtag.base.pseudonym import keyed_hash, random_id, user_key
from fairtag.policy.context import UserContext
from serving.page.core import Core
from serving.protocol.payload import PageRequest
from serving.stores.feature_reads import UserFeatureClient, UserFeatures, UserRead
from serving.stores.price_locks import DOWN, Claim, PriceLocks, PriceLockStore, Trust
from serving.tracing import Stages

USER, SESSION = "user", "session"
SESSION_BYTES, CODE_BYTES = 12, 12  # of a session token: random, and its code; 32 characters as text


@dataclass(frozen=True)
class Visitor:
    """Who asks for a page, without an id that anybody else could read.

    Args:
        user_key: The customer in the quote log; None for a guest.
        names: The customer or the session in the price locks, one for each user key, the one in use first.
        session: The session that a guest is told; None for a customer.
        new: Whether the session begins with this page, so that nothing can be locked yet.
        trust: How sure we are that the id was not made up, as far as the id itself tells.
    """

    user_key: str | None
    names: tuple[str, ...]
    session: str | None
    new: bool
    trust: Trust


class Pseudonyms:
    """Names for customers and guests: keyed hashes, with a key of its own for each purpose.

    Args:
        keys: The user keys, the one in use first.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._user_key = keys[0]
        self.draws = _derived(keys[0], "exploration")  # keys the draws of exploration
        self._locks = [_derived(key, "price locks") for key in keys]
        self._sessions = [_derived(key, "sessions") for key in keys]
        self._guests = [_derived(key, "guests of experiments") for key in keys]

    def visitor(self, request: PageRequest) -> Visitor:
        """Whoever sends a request; a guest without a session gets a new one."""
        if request.user_id is not None:
            names = self.names(USER, request.user_id)
            return Visitor(user_key(request.user_id, self._user_key), names, None, new=False, trust=Trust.INVENTED)
        session = request.session_id or self.new_session()
        new = request.session_id is None
        trust = Trust.SESSION if not new and self._issued(session) else Trust.INVENTED  # it has come back
        return Visitor(None, self.names(SESSION, session), session, new=new, trust=trust)

    def new_session(self) -> str:
        """A session token of our own, which fits a cookie."""
        body = random_id()[:SESSION_BYTES]
        return base64.urlsafe_b64encode(body + keyed_hash(self._sessions[0], body)[:CODE_BYTES]).decode()

    def names(self, kind: str, text: str) -> tuple[str, ...]:
        """What stands for somebody in the price locks, one for each user key.

        Args:
            kind: :data:`USER` or :data:`SESSION`.
            text: The id.
        """
        content = f"{kind}:{text}".encode()
        return tuple(keyed_hash(key, content)[:16].hex() for key in self._locks)

    def guest_keys(self, session: str) -> tuple[str, ...]:
        """What stands for a guest's session in the quote log while an experiment runs, one for each user key."""
        return tuple(user_key(session, key) for key in self._guests)

    def _issued(self, session: str) -> bool:
        """Whether it is a session token of ours."""
        try:
            token = base64.b64decode(session.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            return False
        body, code = token[:SESSION_BYTES], token[SESSION_BYTES:]
        return any(hmac.compare_digest(code, keyed_hash(k, body)[:CODE_BYTES]) for k in self._sessions)


def _derived(key: bytes, purpose: str) -> bytes:
    return keyed_hash(key, f"fairtag {purpose}".encode())


@dataclass(frozen=True)
class Customer:
    """What is known of a customer.

    Args:
        user: The customer as pricing sees them.
        age: Seconds since the features were materialised; None where there are none or the store does not say.
        locks: Price locks of the price day.
        cause: Why features or locks could not be read, None where they could.
        trust: How sure we are that the id was not made up.
    """

    user: UserContext
    age: float | None = None
    locks: PriceLocks = field(default_factory=PriceLocks)
    cause: str | None = None
    trust: Trust = Trust.INVENTED


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

    async def read(self, request: PageRequest, keys: Sequence[str], claim: Claim) -> Customer:
        """The customer of a request; no features of somebody who has opted out.

        Args:
            request: Names the customer.
            keys: See :func:`lock_keys`.
            claim: Whose locks they are, as far as the id tells.
        """
        reading = None if request.opted_out else asyncio.create_task(self._features(request.user_id))
        try:
            locks = await self._locks.read(keys, claim)
        except BaseException:
            if reading is not None:
                reading.cancel()
            raise
        read = UserRead() if reading is None else await reading
        age = None if read.features is None else self._age()
        cause = read.cause or (None if locks.whole else DOWN)
        trust = claim.trust if read.features is None else Trust.CUSTOMER
        return Customer(user_context(request, read.features), age, locks, cause, trust)

    async def _features(self, user_id: str | None) -> UserRead:
        with self._stages.stage("features"):
            return await self._users.read(user_id)


def lock_keys(core: Core, epoch: int, names: Sequence[str]) -> list[str]:
    """What the price locks of a visitor are kept under in a price day.

    Nothing else is part of it: no field of a request and no newer model changes a price that was given.
    """
    return [f"fairtag:lock:{core.currency}:{epoch}:{name}" for name in names]


def lock_expiry(core: Core, epoch: int, grace: int) -> int:
    """Unix second from which nobody asks for the locks of a price day any more, also where a clock was set back.

    Args:
        core: Has the length of a price day.
        epoch: The price day.
        grace: Seconds for which locks are kept after its end.
    """
    return (epoch + 1) * core.epoch_seconds + grace


def user_context(request: PageRequest, features: UserFeatures | None = None) -> UserContext:
    """The customer of a request with what features are known."""
    return UserContext(
        user_id=request.user_id,
        behaviour=(features.behaviour or None) if features else None,
        history_items=features.history_items if features else (),
        history_age_days=features.history_age_days if features else (),
        opted_out=request.opted_out,
        jurisdiction=request.jurisdiction,
    )
