"""Decides which requests are let in, how much of the server each client may hold, and for how long.

A request passes three checks: who sends it (an API key or a browser token, and how often it asks), whether there is
room for its work, and whether the work is done in time. Work is measured in items, because a page of 200 items costs
what 200 pages of one item cost.

    caller = admission.identify(address, headers.get("authorization"))
    async with admission.work(caller, items=24):
        ...
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType

from fairtag.base.errors import RequestError
from serving.protocol.browser_tokens import BrowserToken, BrowserTokens
from serving.settings import Limits

CLIENTS = 10_000  # clients remembered; a forgotten one starts with a full bucket
ALONE = 0.875  # of the capacity, for a client that nobody else competes with: a newcomer finds the rest free
MINUTE = 60.0
REQUEST_TIMEOUT = "request-timeout"


@dataclass
class Caller:
    """Who sent a request, and how long its answer is of use.

    Args:
        client: What shares and rates are kept by: an API key, a browser session or an address.
        seconds: Longest work for the request.
        token: The browser token it came with.
    """

    client: str = ""
    seconds: float = math.inf
    token: BrowserToken | None = None


CALLER: ContextVar[Caller] = ContextVar("caller")  # of the request that a task works on


class Shares:
    """Divides a capacity among the clients that use it.

    Up to half of the capacity is free for all. Beyond that a client may hold its equal share; one that is alone may
    hold seven eighths, so that whoever comes next is let in at once.

    Args:
        capacity: What may be held in all.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._held: dict[str, int] = {}

    def take(self, client: str, amount: int) -> bool:
        """Hold more for a client; False where that is more than its share, or than there is."""
        if not self.fits(amount) or not self._fair(client, amount):
            return False
        self._held[client] = self._held.get(client, 0) + amount
        self.used += amount
        return True

    def give(self, client: str, amount: int) -> None:
        """Give back what was taken."""
        self.used -= amount
        left = self._held[client] - amount
        if left:
            self._held[client] = left
        else:
            del self._held[client]

    def fits(self, amount: int) -> bool:
        """Whether there is room at all; a request that is alone is never too large."""
        return not self.used or self.used + amount <= self.capacity

    def _fair(self, client: str, amount: int) -> bool:
        held = self._held.get(client, 0)
        if not held or self.used + amount <= self.capacity / 2:
            return True
        clients = len(self._held)
        return held + amount <= self.capacity * (ALONE if clients == 1 else 1 / clients)


class Rate:
    """Token buckets, one for each client.

    Args:
        per_second: Tokens that come back.
        burst: Tokens of a full bucket.
        clock: Monotonic seconds.
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float]) -> None:
        self._per_second, self._burst, self._clock = per_second, float(burst), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spend(self, client: str) -> bool:
        """Take a token; False where none is left."""
        left = self.left(client)
        allowed = left >= 1
        self._buckets.pop(client, None)
        self._buckets[client] = (left - allowed, self._clock())
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return allowed

    def left(self, client: str) -> float:
        """Tokens that a client has now."""
        now = self._clock()
        tokens, then = self._buckets.get(client, (self._burst, now))
        return min(self._burst, tokens + (now - then) * self._per_second)


class Admission:
    """Lets requests in, or refuses them with a reason. To be used from one event loop.

    Args:
        limits: Concurrency, work, rates and burst.
        api_keys: Accepted bearer keys; none lets everyone in.
        tokens: Reads browser tokens; None accepts none.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        limits: Limits,
        api_keys: Sequence[str] = (),
        tokens: BrowserTokens | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._tokens = tokens
        self._rate = Rate(limits.requests_per_second, limits.burst, clock) if limits.requests_per_second else None
        self._guesses = Rate(limits.wrong_keys / MINUTE, limits.wrong_keys, clock)
        self._seen: OrderedDict[tuple[str, int], None] = OrderedDict()  # an address and a key that it has sent
        self._requests = Shares(limits.concurrency)
        self._items = Shares(limits.work_items)
        self.use_keys(api_keys)

    def use_keys(self, api_keys: Sequence[str]) -> None:
        """Accept these bearer keys from now on; none lets everyone in."""
        self._keys = [key.encode() for key in api_keys]
        self._seen.clear()  # it numbers the keys

    @property
    def in_flight(self) -> int:
        """Requests in progress."""
        return self._requests.used

    @property
    def items_in_flight(self) -> int:
        """Items of the requests in progress."""
        return self._items.used

    def identify(self, address: str, authorization: str | None, origin: str | None = None) -> Caller:
        """Who sends a request.

        Args:
            address: Of the client, as far as the transport can tell.
            authorization: The ``Authorization`` header.
            origin: The ``Origin`` header, which browsers send.

        Raises:
            RequestError: Status 401 or 403, or 429 after too many wrong keys or requests.
        """
        caller = self._keyed(address, authorization, origin) if self._keys else Caller(address)
        if self._rate is not None and not self._rate.spend(caller.client):
            rule = f"a client may send {self._limits.requests_per_second:g} requests a second"
            raise RequestError("request", "too many", rule, status=429)
        return caller

    def work(self, caller: Caller, items: int) -> Work:
        """Hold a place for some work in the body of an ``async with`` statement, and end it when its time is up.

        Args:
            caller: Whose work it is.
            items: Items of all its pages.

        Raises:
            RequestError: Status 429 or 503 where there is no room, 504 where it took too long.
        """
        return Work(caller, items, self._requests, self._items, self._limits.request_seconds)

    def _keyed(self, address: str, authorization: str | None, origin: str | None) -> Caller:
        """The caller by its key or token. A key that an address has used before is never locked out by wrong ones."""
        scheme, _, sent = (authorization or "").partition(" ")
        given = sent.strip()
        key = self._key(given) if scheme.lower() == "bearer" else None
        if key is not None and ((address, key) in self._seen or self._guesses.left(address) >= 1):
            self._seen[address, key] = None
            if len(self._seen) > CLIENTS:
                self._seen.popitem(last=False)
            return Caller(f"key:{key}")
        if self._tokens is not None and given.count(".") == 2 and (token := self._tokens.read(given, origin)):
            return Caller(f"session:{token.session_id}", token=token)
        if authorization is not None and not self._guesses.spend(address):
            rule = f"an address may send {self._limits.wrong_keys} wrong keys a minute; wait a minute"
            raise RequestError("authorization", "(not shown)", rule, status=429)
        raise RequestError("authorization", "(not shown)", "send `Authorization: Bearer KEY`", status=401)

    def _key(self, given: str) -> int | None:
        """Which of the keys it is. Every key is compared, each in constant time, so that timing reveals nothing."""
        accepted = [hmac.compare_digest(given.encode(), key) for key in self._keys]
        return accepted.index(True) if any(accepted) else None


@dataclass
class Work:
    """A place for the work of one request; see :meth:`Admission.work`."""

    caller: Caller
    items: int
    _requests: Shares
    _held: Shares
    _seconds: float
    _timeout: asyncio.Timeout = field(init=False)

    async def __aenter__(self) -> None:
        """Take the place and start the clock."""
        client = self.caller.client
        if not self._requests.take(client, 1):
            raise _no_room(self._requests, 1, "requests")
        if not self._held.take(client, self.items):
            self._requests.give(client, 1)
            raise _no_room(self._held, self.items, "items")
        self._seconds = min(self._seconds, self.caller.seconds)
        self._timeout = asyncio.timeout(self._seconds)
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the place back, whatever became of the work."""
        self._requests.give(self.caller.client, 1)
        self._held.give(self.caller.client, self.items)
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            rule = "ask for fewer items, or allow more time"
            raise RequestError("request", f"longer than {self._seconds:g} s", rule, status=504) from None


def _no_room(shares: Shares, amount: int, unit: str) -> RequestError:
    if shares.fits(amount):
        rule = "you hold your share of the server, and others are waiting; try again in a second"
        return RequestError("request", f"more {unit}", rule, status=429)
    return RequestError(
        "request", f"{shares.used} {unit} in progress", "the server is full; try again in a second", status=503
    )


def asked_seconds(value: str | None) -> float:
    """What a ``Request-Timeout`` header allows, in seconds.

    Raises:
        RequestError: It is not a number of seconds above 0.
    """
    if value is None:
        return math.inf
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise RequestError(REQUEST_TIMEOUT, value, "it must be seconds above 0, such as 0.25")
    return seconds


class Proxies:
    """Tells a client's address where trusted proxies stand between.

    Args:
        networks: Addresses or networks of the proxies.
    """

    def __init__(self, networks: Collection[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def client(self, peer: str, forwarded: str | None) -> str:
        """The address of a client: the last in the chain that is no trusted proxy.

        Args:
            peer: The other end of the connection.
            forwarded: The ``X-Forwarded-For`` header; whoever is no trusted proxy may have invented it.
        """
        hops = [peer, *reversed((forwarded or "").split(","))] if self.trusts(peer) else [peer]
        address = peer
        for hop in hops:
            if _address(hop) is None:
                break  # what a proxy wrote is no address: the proxy itself is the last that is known
            address = hop
            if not self.trusts(hop):
                break
        return _network(address)

    def trusts(self, host: str) -> bool:
        """Whether it is one of the proxies."""
        if not self._networks:
            return False
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(host: str) -> str:
    """What a client is known by: its IPv4 address, or its IPv6 network of 64 bits, all of which is its own."""
    if ":" not in host:
        return host.strip()
    address = _address(host)
    if not isinstance(address, ipaddress.IPv6Address):
        return host if address is None else str(address)
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
