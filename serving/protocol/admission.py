"""Decides which requests are let in: API keys, a rate for each client, and a limit on concurrent requests."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fairtag.base.errors import RequestError
from serving.settings import Limits

CLIENTS = 10_000  # clients remembered; a forgotten one starts with a full bucket


class Admission:
    """Lets requests in, or refuses them with a reason. To be used from one event loop.

    Args:
        limits: Concurrency, rate and burst.
        api_keys: Accepted bearer keys; none lets everyone in.
        clock: Monotonic seconds.
    """

    def __init__(
        self, limits: Limits, api_keys: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits
        self._keys = [key.encode() for key in api_keys]
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self.in_flight = 0

    @contextmanager
    def admit(self, client: str, authorization: str | None) -> Iterator[None]:
        """Count a request as in progress while the body of a ``with`` statement runs.

        Args:
            client: Address of the client, as far as the transport can tell.
            authorization: The ``Authorization`` header.

        Raises:
            RequestError: Status 401, 429 or 503.
        """
        self._check_key(authorization)
        self._check_rate(client)
        if self.in_flight >= self._limits.concurrency:
            raise RequestError(
                "request", f"{self.in_flight} in progress", "the server is full; try again in a second", status=503
            )
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1

    def _check_key(self, authorization: str | None) -> None:
        if not self._keys:
            return
        scheme, _, sent = (authorization or "").partition(" ")
        given = sent.strip().encode()
        # Every key is compared, each in constant time, so that timing reveals nothing.
        accepted = sum(hmac.compare_digest(given, key) for key in self._keys)
        if scheme.lower() != "bearer" or not accepted:
            raise RequestError("authorization", "(not shown)", "send `Authorization: Bearer KEY`", status=401)

    def _check_rate(self, client: str) -> None:
        """Token bucket: ``burst`` at once, refilled at the rate."""
        rate = self._limits.requests_per_second
        if not rate:
            return
        now = self._clock()
        tokens, then = self._buckets.pop(client, (float(self._limits.burst), now))
        tokens = min(float(self._limits.burst), tokens + (now - then) * rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RequestError("request", "too many", f"a client may send {rate:g} requests a second", status=429)
