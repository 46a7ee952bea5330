"""One priced page, start to end: features, encode, retrieve, price, promise, sign, log.

Every protocol calls :meth:`Endpoint.answer`, so that all give the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from fairtag.base.errors import UnavailableError
from serving.metrics import Metrics
from serving.page.answers import page_answer, quote_record
from serving.page.core import Core, Vector
from serving.page.corridors import EpochCorridors
from serving.page.finder import Finder
from serving.page.kept import degraded_fields, whole_fields
from serving.page.lookups import Looking, Lookups
from serving.page.page_state import Found, Known, Priced, known_of, priced, prices_of, promise_key
from serving.page.quotes import QuoteBook
from serving.page.served_model import Generation
from serving.protocol.payload import SEARCH, PageRequest
from serving.stores import price_locks as promised_prices
from serving.stores.features import STALE, UserFeatureClient
from serving.stores.price_locks import Promises
from serving.stores.quote_log import QuoteLog
from serving.tracing import Stages
from serving.workers.worker_pool import HelperLost, Link

if TYPE_CHECKING:
    from fairtag.page.pricing import PricedPage

    First = tuple[Known, Found, PricedPage | None]  # no page where something must be looked up before it is priced

T = TypeVar("T")
READ_THROUGH_SECONDS = 0.05  # longest wait for item features that were never read, once an item
PROMISE_EPOCHS = 2  # for which a promise is kept: past the end of its own; the key carries the epoch


class Endpoint:
    """Answers page requests.

    Args:
        generation: The model that serves; assign another to swap it, requests in flight finish with theirs.
        users: Reads a user's features.
        book: Signs quotes.
        log: Takes every quoted page.
        promises: Prices that must not change within an epoch.
        executor: Where pages are found and priced.
        aside: Where work is done that no page may wait behind: explanations, and reads of a store that may hang.
        metrics: What is counted.
        stages: What is timed.
        clock: Unix seconds.
    """

    def __init__(
        self,
        generation: Generation,
        *,
        users: UserFeatureClient,
        book: QuoteBook,
        log: QuoteLog | None,
        promises: Promises,
        executor: ThreadPoolExecutor,
        aside: ThreadPoolExecutor,
        metrics: Metrics,
        stages: Stages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.generation = generation
        self.book = book
        self._lookups = Lookups(users, promises, stages)
        self._log = log
        self._promises = promises
        self._corridors = EpochCorridors(promises)
        self._finder = Finder(self._corridors, stages)
        self._executor = executor
        self._aside = aside
        self._metrics = metrics
        self._stages = stages
        self._clock = clock

    async def answer(
        self, requests: Sequence[PageRequest], protocol: str, headers: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """The pages (V1 predictions) of some requests, in their order.

        Raises:
            RequestError: No item of a request is in the catalogue.
        """
        with self._stages.request("page", dict(headers or {})):
            if len(requests) == 1:  # the rule; a task of its own would only cost
                return [await self._page(requests[0], protocol)]
            return list(await asyncio.gather(*(self._page(request, protocol) for request in requests)))

    async def explain(self, requests: Sequence[PageRequest]) -> list[dict[str, Any]]:
        """Why the prices of some pages would be what they are; promises and logs nothing."""
        return [await self._explanation(request) for request in requests]

    async def _page(self, request: PageRequest, protocol: str) -> dict[str, Any]:
        generation = self.generation
        with generation.batcher.page():
            return await self._answered(generation, request, protocol)

    async def _answered(self, generation: Generation, request: PageRequest, protocol: str) -> dict[str, Any]:
        started, now = time.perf_counter(), self._clock()
        core, subject = generation.core, self.book.user_key(request.user_id)
        key = promise_key(core, request, core.epoch_of(now), subject)
        made = await self._priced(generation, request, key, now)
        with self._stages.stage("answer"):
            ages = [age for age in (made.found.age, made.known.user_age) if age is not None and np.isfinite(age)]
            answer = page_answer(
                made.page,
                request,
                self.book,
                subject=subject,
                now=now,
                age=max(ages, default=None),
                cause=made.known.cause,
                unknown=made.found.unknown,
            )
        # Once the answer is on its way, and before its client can ask again: nobody waits for the log or the counters.
        asyncio.get_running_loop().call_soon(self._note, made, request, answer, subject, now, protocol, started)
        return answer

    def _note(
        self,
        made: Priced,
        request: PageRequest,
        answer: Mapping[str, Any],
        subject: str,
        now: float,
        protocol: str,
        started: float,
    ) -> None:
        """Log and count a page."""
        seconds = time.perf_counter() - started
        if self._log is not None:
            self._log.put(quote_record(made.page, request, answer, subject, now))
        self._metrics.observe_page(answer, protocol, seconds)

    async def _explanation(self, request: PageRequest) -> dict[str, Any]:
        generation, now = self.generation, self._clock()
        core, epoch = generation.core, generation.core.epoch_of(now)
        key = promise_key(core, request, epoch, self.book.user_key(request.user_id))
        with self._lookups.begun(request, key) as looking:
            embedding = await self._encode(generation, request.query)
            known = known_of(request, embedding, await looking.customer(), now)
        found = await self._do(self._aside, self._finder.find, generation, request, known, epoch)
        found, known = await self._ready(generation, found, known, epoch)
        _, arguments = await self._do(self._aside, priced, core, known, found, epoch)
        with self._stages.stage("explain"):
            items = await self._do(self._aside, core.explain, *arguments)
        return {"model_version": core.version, "degraded": known.cause, "unknown_items": found.unknown, "items": items}

    async def _encode(self, generation: Generation, query: str | None) -> Vector | None:
        if query is None:
            return None
        with self._stages.stage("encode"):
            vector, known = await generation.batcher.encode(query)
        self._metrics.cache.labels("hit" if known else "miss").inc()
        return vector

    async def _first(
        self, generation: Generation, request: PageRequest, key: str | None, now: float, epoch: int
    ) -> First:
        """Query, customer and promises, looked up side by side, and the page found and priced on them."""
        with self._lookups.begun(request, key) as looking:
            if request.query is not None and generation.batcher.alone(request.query):
                embedding, page = await self._alone(generation, request, looking, now, epoch)
                if page is not None:
                    return page
            else:
                embedding = await self._encode(generation, request.query)
            known = known_of(request, embedding, await looking.customer(), now)
        return known, *await self._found_and_priced(generation, request, known, epoch)

    async def _alone(
        self, generation: Generation, request: PageRequest, looking: Looking, now: float, epoch: int
    ) -> tuple[Vector | None, First | None]:
        """Encode, find and price in one visit to a thread, which a page alone need not share: each costs two wake-ups.

        No page where the encode is done before the customer is known.
        """

        def visit() -> tuple[Vector, First | None]:
            with self._stages.stage("encode"):
                embedding = generation.batcher.encode_here(request.query or "")
            if not looking.done:
                return embedding, None
            known = known_of(request, embedding, looking.found(), now)
            return embedding, (known, *self._find_and_price(generation, request, known, epoch))

        async with generation.helpers.turns.turn():
            found = await self._run(visit)
        self._metrics.cache.labels("miss").inc()
        return found

    async def _priced(self, generation: Generation, request: PageRequest, key: str | None, now: float) -> Priced:
        """The page at prices that keep what was promised, or at list prices and why."""
        epoch = generation.core.epoch_of(now)
        known, found, page = await self._first(generation, request, key, now, epoch)
        if page is None:  # features too old, or items that this process has not priced in the epoch: look them up
            found, known = await self._ready(generation, found, known, epoch)
            page = await self._run(self._price, generation.core, known, found, epoch)
        if over := known.kept.above(prices_of(page)):
            known = replace(known, kept=known.kept.with_prices(over))
            page = await self._run(self._price, generation.core, known, found, epoch)
        kept = await self._promise(key, page, known, PROMISE_EPOCHS * generation.core.epoch_seconds)
        if kept is not None:
            known = kept
            page = await self._run(self._price, generation.core, known, found, epoch)
        return Priced(page, known, found)

    async def _promise(self, key: str | None, page: PricedPage, known: Known, seconds: int) -> Known | None:
        """Promise a page's prices; what must be known to price it again, None where it stands."""
        if key is None or known.cause == promised_prices.DOWN:
            return None
        prices, whole = prices_of(page), known.cause is None
        fields = whole_fields(prices, personal=page.personalised) if whole else degraded_fields(prices)
        try:
            other = await self._promises.promise(key, fields, seconds)
        except UnavailableError:
            return replace(known, cause=promised_prices.DOWN) if whole else None
        if other and whole:  # a page of the same customer came in between, here or in another replica
            return replace(known, kept=known.kept.with_prices({**prices, **other}))
        return None

    async def _found_and_priced(
        self, generation: Generation, request: PageRequest, known: Known, epoch: int
    ) -> tuple[Found, PricedPage | None]:
        """Both in one visit to whoever is free, which is the rule; no page where something must be looked up first."""
        if not generation.helpers.alive:
            return await self._run(self._find_and_price, generation, request, known, epoch)
        async with generation.helpers.turns.turn() as helper:
            if helper is not None:
                with contextlib.suppress(HelperLost):
                    return await self._helped(generation, helper, request, known, epoch)
            return await self._run(self._find_and_price, generation, request, known, epoch)

    async def _helped(
        self, generation: Generation, helper: Link, request: PageRequest, known: Known, epoch: int
    ) -> tuple[Found, PricedPage | None]:
        """A helper's page; none where a corridor of the epoch or the age of a feature is not what it took it for."""
        core = generation.core
        rows, unknown = (None, []) if request.task == SEARCH else self._finder.asked_for(core, request)
        with self._stages.stage("help"):
            answer = await generation.helpers.ask(
                helper, rows=rows, page_size=request.page_size, query=request.query or "", known=known, epoch=epoch
            )
        market, age = generation.items.rows(answer.rows)
        found = Found(answer.rows, unknown, market, age, generation.items.too_old(answer.rows))
        own = not len(found.old) and self._corridors.own(core, answer.rows, epoch, answer.ends)
        return (found, answer.page) if own else (self._finder.look(generation, answer.rows, unknown, epoch), None)

    def _find_and_price(
        self, generation: Generation, request: PageRequest, known: Known, epoch: int
    ) -> tuple[Found, PricedPage | None]:
        """Both in one visit to a thread, which is the rule; no page where something must be looked up first."""
        found = self._finder.find(generation, request, known, epoch)
        if len(found.old) or found.corridor is None:
            return found, None
        return found, self._price(generation.core, known, found, epoch)

    async def _ready(self, generation: Generation, found: Found, known: Known, epoch: int) -> tuple[Found, Known]:
        """The page with fresh features and the epoch's corridor; where one cannot be had, with the cause."""
        found, core = await self._fresh(generation, found, epoch), generation.core
        known = replace(known, cause=known.cause or (STALE if len(found.old) else None))
        if found.corridor is not None:
            return found, known
        try:
            seconds = PROMISE_EPOCHS * core.epoch_seconds
            return replace(found, corridor=await self._corridors.fix(core, found.rows, epoch, seconds)), known
        except UnavailableError:
            return found, replace(known, cause=promised_prices.DOWN)

    async def _fresh(self, generation: Generation, found: Found, epoch: int) -> Found:
        """Read what is too old to price on, in time or not at all."""
        if not len(found.old) or not generation.items.may_ask():
            return found
        with self._stages.stage("item_features"), contextlib.suppress(Exception):  # late or refused: the page says so
            await asyncio.wait_for(self._do(self._aside, generation.items.read, found.old), READ_THROUGH_SECONDS)
        return self._finder.look(generation, found.rows, found.unknown, epoch)

    def _price(self, core: Core, known: Known, found: Found, epoch: int) -> PricedPage:
        with self._stages.stage("price"):
            return priced(core, known, found, epoch)[0]

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._do(self._executor, work, *arguments)

    async def _do(self, executor: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        context = contextvars.copy_context()  # the thread's spans belong to this request's trace
        return await asyncio.get_running_loop().run_in_executor(executor, context.run, work, *arguments)
