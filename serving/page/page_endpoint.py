"""One priced page from request to answer. Every protocol calls :meth:`Endpoint.answer`, so that all answer alike.

:meth:`Endpoint._page` is the path:

1. read the customer's features and price locks while the query is encoded;
2. find the candidates and price them, in one visit to a thread of this process or to a worker process;
3. lock the prices for the price day;
4. sign and answer;
5. log and count, once the answer is on its way.

A page is priced once. It is priced again where the first price was given on wrong terms: another page of the same
customer locked a price meanwhile, or a worker did not know of a corridor or of a feature that is out of date.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from fairtag.base.errors import RequestError, UnavailableError
from fairtag.base.schema import TITLE
from fairtag.policy.experiments import Assignment, assign
from fairtag.policy.live_policy import STOPPED
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.search.facets import Filters
from fairtag.search.query import SearchQuery
from serving.metrics import Metrics
from serving.page.batching import MicroBatcher
from serving.page.core import Core, Rows, Vector
from serving.page.customers import Customer, CustomerReader, Pseudonyms, Visitor, lock_expiry, lock_keys, user_context
from serving.page.page_answer import log_page, page_answer
from serving.page.page_task import PageResult, PageTask, find_and_price
from serving.page.quotes import QuoteBook
from serving.protocol.payload import SEARCH, PageRequest
from serving.stores.corridor_store import CorridorStore
from serving.stores.feature_reads import STALE, ItemFeatureCache, UserFeatureClient
from serving.stores.policy_follower import PolicyFollower
from serving.stores.price_locks import DOWN, Claim, PriceLocks, PriceLockStore, fields_of
from serving.stores.quote_log import QuoteLog
from serving.tracing import Stages
from serving.workers.worker_pool import Link, WorkerLost, WorkerPool

T = TypeVar("T")
READ_THROUGH_SECONDS = 0.05  # longest wait for item features that were never read, once an item


@dataclass(frozen=True)
class ServedModel:
    """A model and what was built around it; swapped whole, so that a request finishes with the model it began with."""

    core: Core
    items: ItemFeatureCache
    batcher: MicroBatcher
    workers: WorkerPool


class Endpoint:
    """Answers page requests.

    Args:
        served: The model that serves; assign another to swap it.
        users: Reads a user's features.
        book: Signs quotes.
        pseudonyms: Names customers and guests in logs and stores.
        log: Takes every quoted page.
        locks: Prices that stand for a price day.
        executor: Where this process finds and prices pages.
        aside: Threads for work that no page may wait behind: explanations, and reads of a store that may hang.
        metrics: What is counted.
        stages: What is timed.
        policy: The live policy.
        lock_grace: Seconds for which price locks are kept after their price day.
        age: Seconds since the feature store was filled; None where it does not say.
        clock: Unix seconds.
    """

    def __init__(
        self,
        served: ServedModel,
        *,
        users: UserFeatureClient,
        book: QuoteBook,
        pseudonyms: Pseudonyms,
        log: QuoteLog | None,
        locks: PriceLockStore,
        executor: ThreadPoolExecutor,
        aside: ThreadPoolExecutor,
        metrics: Metrics,
        stages: Stages,
        policy: PolicyFollower,
        lock_grace: int = 3_600,
        age: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.served = served
        self.book = book
        self.pseudonyms = pseudonyms
        self._customers = CustomerReader(users, locks, age, stages)
        self._log = log
        self._locks = locks
        self._corridors = CorridorStore(locks)
        self._executor = executor
        self._aside = aside
        self._metrics = metrics
        self._stages = stages
        self._policy = policy
        self._lock_grace = lock_grace
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
        """Why the prices of some pages would be what they are; locks and logs nothing."""
        return [await self._explanation(request) for request in requests]

    async def _page(self, request: PageRequest, protocol: str) -> dict[str, Any]:
        started, now, served = time.perf_counter(), self._clock(), self.served
        asked = search_query(served.core, request)
        core, epoch, visitor = served.core, served.core.epoch_of(now), self.pseudonyms.visitor(request)
        keys, claim = (
            lock_keys(core, epoch, visitor.names),
            Claim(lock_expiry(core, epoch, self._lock_grace), visitor.trust),
        )
        rows, unknown = (None, []) if request.task == SEARCH else asked_rows(core, request)
        text = None if asked is None else asked.text
        with served.batcher.page(text) as alone:
            # 1. The customer, while the query is encoded. A new guest's page that is alone is encoded where it is
            #    priced: it has nobody to share an encode with, and each visit to a thread costs two wake-ups.
            reading = None if visitor.new else asyncio.create_task(self._customers.read(request, keys, claim))
            embedding, cached = None, None if text is None else False
            try:
                if text is not None and not (alone and reading is None):
                    with self._stages.stage("encode"):
                        embedding, cached = await served.batcher.encode(text)
                customer = Customer(user_context(request)) if reading is None else await reading
            finally:
                if reading is not None:
                    reading.cancel()  # the encoder failed or the client has gone; one that is done stays as it is
            # 2. Candidates and prices.
            task = self._task(request, asked, rows, embedding, customer, epoch, visitor)
            result = await self._find_and_price(served, task)
            if result.page is None:
                result = await self._price_again(core, await self._look_up(served, result))
            # 3. Price locks.
            claim = claim._replace(trust=max(claim.trust, customer.trust))
            if (standing := await self._lock(keys[0], result, claim)) is not None:
                result = await self._price_again(core, replace(result, task=standing))
        # 4. The answer.
        assert result.page is not None, "a page is priced by now"
        with self._stages.stage("answer"):
            items = [item.item_id for item in result.page.items]
            texts = core.texts(items, tuple(dict.fromkeys((TITLE, *(request.fields or ())))))
            answer = page_answer(
                result, request, self.book, visitor.session, now, user_age=customer.age, unknown=unknown, texts=texts
            )
        # 5. The log and the counters, once the answer is on its way and before its client can ask again.
        seconds, loop = time.perf_counter() - started, asyncio.get_running_loop()
        if self._log is not None:
            loop.call_soon(log_page, self._log, result.page, answer, request, visitor, self.pseudonyms, now)
        loop.call_soon(self._metrics.observe_page, answer, protocol, seconds, cached)
        return answer

    async def _explanation(self, request: PageRequest) -> dict[str, Any]:
        now, served = self._clock(), self.served
        core, epoch, visitor = served.core, served.core.epoch_of(now), self.pseudonyms.visitor(request)
        keys, claim = (
            lock_keys(core, epoch, visitor.names),
            Claim(lock_expiry(core, epoch, self._lock_grace), visitor.trust),
        )
        rows, unknown = (None, []) if request.task == SEARCH else asked_rows(core, request)
        asked = search_query(core, request)
        embedding = None if asked is None else (await served.batcher.encode(asked.text))[0]
        if visitor.new:
            customer = Customer(user_context(request))
        else:
            customer = await self._customers.read(request, keys, claim)
        task = self._task(request, asked, rows, embedding, customer, epoch, visitor)
        result = await self._look_up(served, await self._run(self._aside, self._here, served, task))
        with self._stages.stage("explain"):
            items = await self._run(self._aside, core.explain, result.inputs(core))
        texts = core.texts([item["item_id"] for item in items], (TITLE,))
        items = [{**item, **text} for item, text in zip(items, texts, strict=True)]
        cause = result.task.cause
        return {"model_version": core.version, "degraded": cause, "unknown_items": unknown, "items": items}

    def _task(
        self,
        request: PageRequest,
        asked: SearchQuery | None,
        rows: Rows | None,
        embedding: Vector | None,
        customer: Customer,
        epoch: int,
        visitor: Visitor,
    ) -> PageTask:
        """What is known of a page, under the live policy of this moment."""
        change, policy = self._policy.change, self._policy.policy
        locks, cause = customer.locks, customer.cause
        if policy.at_list:  # at once: what was quoted before is honoured by its quote, not shown again
            locks, cause = PriceLocks(), STOPPED
        return PageTask(
            asked,
            rows,
            request.page_size,
            embedding,
            customer.user,
            locks,
            cause,
            epoch,
            None if policy.empty else policy,
            change.version,
            self.pseudonyms.draws,
            arm_of(self.served.core, policy, visitor, epoch),
        )

    async def _find_and_price(self, served: ServedModel, task: PageTask) -> PageResult:
        """Both in one visit to whoever is free; no page where something must be looked up before it is priced."""
        async with served.workers.turn() as worker:
            if worker is not None:
                with contextlib.suppress(WorkerLost):  # then this process does it
                    return await self._by_worker(served, worker, task)
            return await self._run(self._executor, self._here, served, task)

    def _here(self, served: ServedModel, task: PageTask) -> PageResult:
        """A page of this process; blocks."""
        core, batcher = served.core, served.batcher
        corridor_of = partial(self._corridors.known, core, epoch=task.epoch, policy=task.policy)
        return find_and_price(core, task, served.items, corridor_of, batcher.encode_here, self._stages.stage)

    async def _by_worker(self, served: ServedModel, worker: Link, task: PageTask) -> PageResult:
        """A worker's page; none where it did not know a corridor or that a feature is too old."""
        with self._stages.stage("worker"):
            reply = await served.workers.ask(worker, task)
        if not self._corridors.agree(served.core, reply.rows, task.epoch, reply.corridor):
            return replace(self._found(served, task, reply.rows), found=reply.found)
        market, age = served.items.rows(reply.rows)
        old = served.items.too_old(reply.rows)
        return PageResult(
            task, reply.rows, market, age, old, reply.corridor, None if len(old) else reply.page, reply.found
        )

    def _found(self, served: ServedModel, task: PageTask, rows: Rows) -> PageResult:
        """What is known of some rows now."""
        market, age = served.items.rows(rows)
        corridor = self._corridors.known(served.core, rows, task.epoch, task.policy)
        return PageResult(task, rows, market, age, served.items.too_old(rows), corridor)

    async def _look_up(self, served: ServedModel, result: PageResult) -> PageResult:
        """Fresh features and the corridors of the price day; where they cannot be had, the cause."""
        task, rows = result.task, result.rows
        if len(result.old) and served.items.may_ask():
            with self._stages.stage("item_features"), contextlib.suppress(Exception):  # the page names the cause
                reading = self._run(self._aside, served.items.read, result.old)
                await asyncio.wait_for(reading, READ_THROUGH_SECONDS)
            result = replace(self._found(served, task, rows), found=result.found)
        cause = task.cause or (STALE if len(result.old) else None)
        if (corridor := result.corridor) is None:
            try:
                corridor = await self._corridors.fix(served.core, rows, task.epoch, task.policy)
            except UnavailableError:
                cause = DOWN
        return replace(result, task=replace(task, cause=cause), corridor=corridor)

    async def _price_again(self, core: Core, result: PageResult) -> PageResult:
        return await self._run(self._executor, self._priced, core, result)

    def _priced(self, core: Core, result: PageResult) -> PageResult:
        with self._stages.stage("price"):
            return replace(result, page=core.price(result.inputs(core)))

    async def _lock(self, key: str, result: PageResult, claim: Claim) -> PageTask | None:
        """Lock a page's prices; None where the page stands, else the task to price it by again."""
        task, page = result.task, result.page
        assert page is not None, "a page is priced before its prices are locked"
        public = {item.item_id: item.price_minor for item in page.items if not item.personalised}
        personal = {item.item_id: item.price_minor for item in page.items if item.personalised}
        mine = PriceLocks(_missing(public, task.locks.public), _missing(personal, task.locks.personal))
        if task.cause not in (None, DOWN) or result.corridor is None:  # list prices: later ones may be lower
            ceilings = _missing(public, {**task.locks.public, **task.locks.ceilings})
            self._locks.claim_here(key, fields_of(PriceLocks(ceilings=ceilings)), claim)
            return None
        if task.cause == DOWN:  # the store is told when it is back
            self._locks.claim_here(key, fields_of(mine), claim)
            return None
        other = await self._locks.lock(key, mine, claim)
        if not other:
            return None
        # A page of the same customer came in between, here or in another replica: its prices stand, and so do ours.
        return replace(task, locks=task.locks.with_others(mine.with_others(other)))

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        context = contextvars.copy_context()  # the thread's spans belong to this request's trace
        return await asyncio.get_running_loop().run_in_executor(executor, context.run, work, *arguments)


def search_query(core: Core, request: PageRequest) -> SearchQuery | None:
    """What a request searches for, or what the items of a ``price`` request were found by; None without a query."""
    if request.query is None:
        return None
    filters = Filters(request.category or (), request.brand or (), request.price_min_minor, request.price_max_minor)
    return core.read_query(request.query, filters, request.facets or (), as_typed=request.as_typed)


def arm_of(core: Core, policy: ShopPolicy, visitor: Visitor, epoch: int) -> Assignment | None:
    """The visitor's arm of the experiment that runs; None where none does, or everything is at list.

    The name under the oldest user key stands for the visitor, so that a new key moves nobody to another arm.
    """
    if policy.at_list or not policy.experiments:
        return None
    day = datetime.fromtimestamp(epoch * core.epoch_seconds, UTC).date()
    return assign(policy.experiments, visitor.names[-1], day)


def asked_rows(core: Core, request: PageRequest) -> tuple[Rows, list[str]]:
    """The rows of the items of a ``price`` request, and the ids that the catalogue lacks.

    Raises:
        RequestError: None of the items is in the catalogue.
    """
    rows, unknown = core.rows_of(request.item_ids or ())
    if not len(rows):
        raise RequestError("item_ids", unknown[:3], "none of the items is in the model's catalogue", status=404)
    return rows[: request.most_items], unknown


def _missing(prices: Mapping[str, int], locked: Mapping[str, int]) -> dict[str, int]:
    return {item: price for item, price in prices.items() if item not in locked} if locked else dict(prices)
