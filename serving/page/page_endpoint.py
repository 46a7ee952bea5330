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
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from fairtag.base.errors import RequestError, UnavailableError
from fairtag.page.day_corridor import DayCorridor
from fairtag.page.priced_page import PricedPage
from fairtag.page.quote_rows import quote_record
from fairtag.policy.context import MarketContext, UserContext
from serving.metrics import Metrics
from serving.page.batching import MicroBatcher
from serving.page.core import Core, Rows, Vector
from serving.page.page_answer import page_answer
from serving.page.page_task import PageTask
from serving.page.quotes import QuoteBook
from serving.protocol.payload import SEARCH, PageRequest
from serving.stores.corridor_store import CorridorStore
from serving.stores.feature_reads import STALE, ItemFeatureCache, UserFeatureClient, UserRead
from serving.stores.price_locks import DOWN, PriceLock, PriceLocks, PriceLockStore
from serving.stores.quote_log import QuoteLog
from serving.tracing import Stages
from serving.workers.worker_pool import Link, WorkerLost, WorkerPool

T = TypeVar("T")
READ_THROUGH_SECONDS = 0.05  # longest wait for item features that were never read, once an item
LOCK_DAYS = 2  # price days for which a lock is kept: past the end of its own; its key names the day


@dataclass(frozen=True)
class ServedModel:
    """A model and what was built around it; swapped whole, so that a request finishes with the model it began with."""

    core: Core
    items: ItemFeatureCache
    batcher: MicroBatcher
    workers: WorkerPool


@dataclass(frozen=True)
class Customer:
    """What the stores know of a customer.

    Args:
        read: Features, or why there are none.
        locks: Price locks.
        cause: Why the locks are unknown, None where they are known.
    """

    read: UserRead = field(default_factory=UserRead)
    locks: PriceLocks = field(default_factory=PriceLocks)
    cause: str | None = None


NOBODY = Customer()


@dataclass(frozen=True)
class Candidates:
    """The items of a page and what is known of them now.

    Args:
        rows: Catalogue rows.
        market: Money and stock.
        age: Age of the oldest feature, seconds; None where there is no feature store.
        old: Rows whose features are too old to price on.
        corridor: Corridor of the price day; None where another process may have fixed one that is not known here.
    """

    rows: Rows
    market: MarketContext
    age: float | None
    old: Rows
    corridor: DayCorridor | None


class Endpoint:
    """Answers page requests.

    Args:
        served: The model that serves; assign another to swap it.
        users: Reads a user's features.
        book: Signs quotes.
        log: Takes every quoted page.
        locks: Prices that stand for a price day.
        executor: Where this process finds and prices pages.
        aside: Threads for work that no page may wait behind: explanations, and reads of a store that may hang.
        metrics: What is counted.
        stages: What is timed.
        clock: Unix seconds.
    """

    def __init__(
        self,
        served: ServedModel,
        *,
        users: UserFeatureClient,
        book: QuoteBook,
        log: QuoteLog | None,
        locks: PriceLockStore,
        executor: ThreadPoolExecutor,
        aside: ThreadPoolExecutor,
        metrics: Metrics,
        stages: Stages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.served = served
        self.book = book
        self._users = users
        self._log = log
        self._locks = locks
        self._corridors = CorridorStore(locks)
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
        """Why the prices of some pages would be what they are; locks and logs nothing."""
        return [await self._explanation(request) for request in requests]

    async def _page(self, request: PageRequest, protocol: str) -> dict[str, Any]:
        started, now = time.perf_counter(), self._clock()
        served, subject = self.served, self.book.user_key(request.user_id)
        core, key = served.core, lock_key(served.core, request, now, subject)
        with served.batcher.page():
            task, customer, unknown = await self._task(served, request, key, now)
            task, found, page = await self._find_and_price(served, task)
            if page is None:
                task, found = await self._look_up(served, task, found)
                page = await self._run(self._executor, self._price, core, task, found)
            if (locked := await self._lock(core, key, task, page)) is not None:
                task = locked
                page = await self._run(self._executor, self._price, core, task, found)
        with self._stages.stage("answer"):
            age = oldest(found.age, customer, now)
            answer = page_answer(
                page, request, self.book, subject=subject, now=now, age=age, cause=task.cause, unknown=unknown
            )
        # Once the answer is on its way, and before its client can ask again: nobody waits for the log or the counters.
        asyncio.get_running_loop().call_soon(self._record, page, request, answer, subject, now, protocol, started)
        return answer

    async def _explanation(self, request: PageRequest) -> dict[str, Any]:
        served, now = self.served, self._clock()
        core, key = served.core, lock_key(served.core, request, now, self.book.user_key(request.user_id))
        task, _, unknown = await self._task(served, request, key, now)
        task, found = await self._run(self._aside, self._find, served, task)
        task, found = await self._look_up(served, task, found)
        with self._stages.stage("explain"):
            inputs = task.inputs(core, found.rows, found.market, found.corridor)
            items = await self._run(self._aside, core.explain, inputs)
        return {"model_version": core.version, "degraded": task.cause, "unknown_items": unknown, "items": items}

    # 1. Features, price locks and the query's embedding.

    async def _task(
        self, served: ServedModel, request: PageRequest, key: str | None, now: float
    ) -> tuple[PageTask, Customer, list[str]]:
        """What is known before an item is looked for, its customer, and the ids that the catalogue lacks."""
        rows, unknown = (None, []) if request.task == SEARCH else asked_rows(served.core, request)
        reading = None if key is None else asyncio.create_task(self._customer(request, key))
        try:
            embedding = await self._embedding(served, request.query, alone=reading is None)
            customer = NOBODY if reading is None else await reading
        finally:
            if reading is not None:
                reading.cancel()  # the encoder failed, or the client has gone; one that is done stays as it is
        task = PageTask(
            query=request.query,
            rows=rows,
            page_size=request.page_size,
            embedding=embedding,
            user=user_context(request, customer.read),
            locks=customer.locks,
            cause=customer.read.cause or customer.cause,
            epoch=served.core.epoch_of(now),
        )
        return task, customer, unknown

    async def _customer(self, request: PageRequest, key: str) -> Customer:
        """Features and price locks, read side by side; no features of somebody who has opted out."""
        if request.opted_out:
            return Customer(UserRead(), *await self._price_locks(key))
        reading = asyncio.create_task(self._features(request.user_id))
        try:
            locks, cause = await self._price_locks(key)
            return Customer(await reading, locks, cause)
        finally:
            reading.cancel()

    async def _price_locks(self, key: str) -> tuple[PriceLocks, str | None]:
        try:
            return await self._locks.read(key), None
        except UnavailableError:
            return PriceLocks(), DOWN

    async def _features(self, user_id: str | None) -> UserRead:
        with self._stages.stage("features"):
            return await self._users.read(user_id)

    async def _embedding(self, served: ServedModel, query: str | None, *, alone: bool) -> Vector | None:
        """The query's embedding; None without a query, and for a page alone, which is encoded where it is priced.

        A visit to a thread costs two wake-ups, and a page alone has nobody to share an encode with.
        """
        if query is None:
            return None
        if alone and served.batcher.alone(query):
            self._metrics.cache.labels("miss").inc()
            return None
        with self._stages.stage("encode"):
            vector, known = await served.batcher.encode(query)
        self._metrics.cache.labels("hit" if known else "miss").inc()
        return vector

    # 2. Candidates and prices.

    async def _find_and_price(
        self, served: ServedModel, task: PageTask
    ) -> tuple[PageTask, Candidates, PricedPage | None]:
        """Both in one visit to whoever is free; no page where something must be looked up before it is priced."""
        async with served.workers.turn() as worker:
            if worker is not None:
                with contextlib.suppress(WorkerLost):  # then this process does it
                    return await self._by_worker(served, worker, task)
            return await self._run(self._executor, self._here, served, task)

    async def _by_worker(
        self, served: ServedModel, worker: Link, task: PageTask
    ) -> tuple[PageTask, Candidates, PricedPage | None]:
        """A worker's page; none where it did not know a corridor or that a feature is too old."""
        with self._stages.stage("worker"):
            reply = await served.workers.ask(worker, task)
        agreed = self._corridors.agree(served.core, reply.rows, task.epoch, reply.ends)
        found = self._candidates(served, reply.rows, task.epoch)
        return task, found, reply.page if agreed and not len(found.old) else None

    def _here(self, served: ServedModel, task: PageTask) -> tuple[PageTask, Candidates, PricedPage | None]:
        """A page of this process; blocks."""
        task, found = self._find(served, task)
        if len(found.old) or found.corridor is None:
            return task, found, None
        return task, found, self._price(served.core, task, found)

    def _find(self, served: ServedModel, task: PageTask) -> tuple[PageTask, Candidates]:
        """The candidates of a task, whose query is encoded first where it is not yet."""
        if task.query is not None and task.embedding is None:
            with self._stages.stage("encode"):
                task = replace(task, embedding=served.batcher.encode_here(task.query))
        if task.rows is not None:
            return task, self._candidates(served, task.rows, task.epoch)
        with self._stages.stage("retrieve"):
            rows = task.candidates(served.core, served.items.stock)
        return task, self._candidates(served, rows, task.epoch)

    def _candidates(self, served: ServedModel, rows: Rows, epoch: int) -> Candidates:
        market, age = served.items.rows(rows)
        corridor = self._corridors.known(served.core, rows, epoch)
        return Candidates(rows, market, age, served.items.too_old(rows), corridor)

    def _price(self, core: Core, task: PageTask, found: Candidates) -> PricedPage:
        with self._stages.stage("price"):
            return core.price(task.inputs(core, found.rows, found.market, found.corridor))

    async def _look_up(self, served: ServedModel, task: PageTask, found: Candidates) -> tuple[PageTask, Candidates]:
        """Fresh features and the corridors of the price day; where they cannot be had, the cause."""
        if len(found.old) and served.items.may_ask():
            with (
                self._stages.stage("item_features"),
                contextlib.suppress(Exception),
            ):  # late or refused: the page says so
                reading = self._run(self._aside, served.items.read, found.old)
                await asyncio.wait_for(reading, READ_THROUGH_SECONDS)
            found = self._candidates(served, found.rows, task.epoch)
        cause = task.cause or (STALE if len(found.old) else None)
        if found.corridor is None:
            try:
                seconds = LOCK_DAYS * served.core.epoch_seconds
                corridor = await self._corridors.fix(served.core, found.rows, task.epoch, seconds)
                found = replace(found, corridor=corridor)
            except UnavailableError:
                cause = DOWN
        return replace(task, cause=cause), found

    # 3. Price locks.

    async def _lock(self, core: Core, key: str | None, task: PageTask, page: PricedPage) -> PageTask | None:
        """Lock a page's prices; None where the page stands, else the task to price it by again."""
        if key is None or task.cause == DOWN:
            return None
        seconds = LOCK_DAYS * core.epoch_seconds
        fresh = [item for item in page.items if item.item_id not in task.locks.prices]
        try:
            if task.cause is not None:
                await self._locks.cap(key, {item.item_id: item.price_minor for item in fresh}, seconds)
                return None
            mine = {item.item_id: PriceLock(item.price_minor, item.personalised) for item in fresh}
            other = await self._locks.lock(key, mine, seconds)
        except UnavailableError:
            return replace(task, cause=DOWN) if task.cause is None else None
        if not other:
            return None
        # A page of the same customer came in between, here or in another replica: its prices stand, and so do ours.
        return replace(task, locks=replace(task.locks, prices={**task.locks.prices, **mine, **other}))

    # 5. The log and the counters.

    def _record(
        self,
        page: PricedPage,
        request: PageRequest,
        answer: Mapping[str, Any],
        subject: str,
        now: float,
        protocol: str,
        started: float,
    ) -> None:
        seconds = time.perf_counter() - started
        if self._log is not None:
            record = quote_record(
                page,
                quote_id=answer["quote_id"],
                ts=int(now * 1_000_000),
                task=request.task,
                user_key=subject or None,
                query=request.query,
                degraded=answer["degraded"],
                feature_age_seconds=answer["feature_age_seconds"],
            )
            self._log.put(record)
        self._metrics.observe_page(answer, protocol, seconds)

    async def _run(self, executor: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        context = contextvars.copy_context()  # the thread's spans belong to this request's trace
        return await asyncio.get_running_loop().run_in_executor(executor, context.run, work, *arguments)


def lock_key(core: Core, request: PageRequest, now: float, subject: str) -> str | None:
    """What a customer's price locks are kept under; None for somebody without an id, who has none."""
    if not subject:
        return None
    consent = "plain" if request.opted_out else "personal"
    place = core.place_of(request.jurisdiction)
    return f"fairtag:lock:{core.version}:{core.epoch_of(now)}:{consent}:{place}:{subject}"


def asked_rows(core: Core, request: PageRequest) -> tuple[Rows, list[str]]:
    """The rows of the items of a ``price`` request, and the ids that the catalogue lacks.

    Raises:
        RequestError: None of the items is in the catalogue.
    """
    rows, unknown = core.rows_of(request.item_ids or ())
    if not len(rows):
        raise RequestError("item_ids", unknown[:3], "none of the items is in the model's catalogue", status=404)
    return rows[: request.page_size], unknown


def user_context(request: PageRequest, read: UserRead) -> UserContext:
    """The customer of a request with the features that were read."""
    features = read.features
    return UserContext(
        user_id=request.user_id,
        behaviour=features.behaviour if features else None,
        history_items=features.history_items if features else (),
        history_age_days=features.history_age_days if features else (),
        opted_out=request.opted_out,
        jurisdiction=request.jurisdiction,
    )


def oldest(item_age: float | None, customer: Customer, now: float) -> float | None:
    """Age of the oldest feature of a page, seconds; None where none has an age."""
    features = customer.read.features
    observed = None if features is None else features.observed_at
    ages = (item_age, None if observed is None else max(0.0, now - observed))
    return max((age for age in ages if age is not None and np.isfinite(age)), default=None)
