"""One priced page, start to end: features, encode, retrieve, price, promise, sign, log. Knows no protocol.

Every protocol calls :meth:`Endpoint.answer`, so that all give the same answer.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pricing import schema
from pricing.context import MarketContext, UserContext
from pricing.errors import RequestError, UnavailableError
from serving import promises as promised_prices
from serving.batching import MicroBatcher
from serving.core import Core, Floats, Rows, Vector
from serving.features import STALE, ItemFeatureCache, UserFeatureClient, UserRead
from serving.metrics import Metrics
from serving.payload import SEARCH, PageRequest
from serving.promises import Promises
from serving.quote_log import QuoteLog
from serving.quotes import QuoteBook
from serving.tracing import Stages

if TYPE_CHECKING:
    from pricing.page import PricedPage

T = TypeVar("T")
READ_THROUGH_SECONDS = 0.05  # longest wait for item features that were never read, once an item
PROMISE_SECONDS = 2 * 24 * 3600  # past the end of any epoch of a day; the key carries the epoch


@dataclass(frozen=True)
class Generation:
    """A model with what was built around it; swapped whole when the model is."""

    core: Core
    items: ItemFeatureCache
    batcher: MicroBatcher


@dataclass(frozen=True)
class _Inputs:
    """What one page is priced on."""

    rows: Rows
    unknown: list[str]
    embedding: Vector | None
    user: UserContext
    market: MarketContext
    feature_age: float | None
    cause: str | None


class Endpoint:
    """Answers page requests.

    Args:
        generation: The model that serves; assign another to swap it, requests in flight finish with theirs.
        users: Reads a user's features.
        book: Signs quotes.
        log: Takes every quoted page.
        promises: Prices that must not change within an epoch.
        executor: Where pages are found and priced.
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
        metrics: Metrics,
        stages: Stages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.generation = generation
        self.book = book
        self._users = users
        self._log = log
        self._promises = promises
        self._executor = executor
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
        started = time.perf_counter()
        generation, now = self.generation, self._clock()
        inputs = await self._inputs(generation, request)
        subject = self.book.user_key(request.user_id)
        page, cause = await self._priced(generation, request, inputs, now)
        with self._stages.stage("answer"):
            answer = self._answer(page, request, inputs, subject, cause, now)
            if self._log is not None:
                self._log.put(_record(page, request, answer, subject, now))
        self._metrics.observe_page(answer, protocol, time.perf_counter() - started)
        return answer

    async def _explanation(self, request: PageRequest) -> dict[str, Any]:
        generation, now = self.generation, self._clock()
        inputs = await self._inputs(generation, request)
        core, epoch = generation.core, generation.core.epoch_of(now)
        key = self._promise_key(core, request, epoch)
        fixed = _in_money(await self._promised(key, core, inputs.rows), core, inputs.rows, inputs.market)
        with self._stages.stage("explain"):
            items = await self._run(
                core.explain, inputs.rows, inputs.embedding, inputs.user, inputs.market, fixed, epoch
            )
        return {
            "model_version": core.version,
            "degraded": inputs.cause,
            "unknown_items": inputs.unknown,
            "items": items,
        }

    async def _inputs(self, generation: Generation, request: PageRequest) -> _Inputs:
        """Everything the price depends on, read and encoded side by side."""
        core = generation.core
        wanted = None if request.opted_out else request.user_id
        if wanted is None or request.query is None:
            read = await self._read_user(wanted)
            embedding = None if request.query is None else await self._encode(generation, request.query)
        else:
            read, embedding = await asyncio.gather(self._read_user(wanted), self._encode(generation, request.query))
        user = _user_context(request, read)
        rows, unknown = await self._rows(core, request, embedding, user)
        stale = await self._freshen(generation.items, rows)
        market, item_age = generation.items.rows(rows)
        observed = read.features.observed_at if read.features else None
        user_age = None if observed is None else max(0.0, self._clock() - observed)
        ages = [age for age in (item_age, user_age) if age is not None and np.isfinite(age)]
        cause = read.cause or (STALE if stale else None)
        return _Inputs(rows, unknown, embedding, user, market, max(ages, default=None), cause)

    async def _read_user(self, user_id: str | None) -> UserRead:
        if user_id is None:
            return UserRead()
        with self._stages.stage("features"):
            return await self._users.read(user_id)

    async def _encode(self, generation: Generation, query: str) -> Vector:
        with self._stages.stage("encode"):
            vector, known = await generation.batcher.encode(query)
        self._metrics.cache.labels("hit" if known else "miss").inc()
        return vector

    async def _rows(
        self, core: Core, request: PageRequest, embedding: Vector | None, user: UserContext
    ) -> tuple[Rows, list[str]]:
        if request.task == SEARCH:
            assert embedding is not None, "a search has a query"
            with self._stages.stage("retrieve"):
                return await self._run(core.retrieve, embedding, request.query or "", user, request.page_size), []
        rows, unknown = core.rows_of(request.item_ids or ())
        if not len(rows):
            raise RequestError("item_ids", unknown[:3], "none of the items is in the model's catalogue", status=404)
        return rows[: request.page_size], unknown

    async def _freshen(self, items: ItemFeatureCache, rows: Rows) -> bool:
        """Read what is too old to price on; whether some of it still is."""
        old = items.too_old(rows)
        if not len(old):
            return False
        with self._stages.stage("item_features"):
            try:
                await asyncio.wait_for(self._run(items.read, old), READ_THROUGH_SECONDS)
            except Exception:  # late or refused, by whatever client library: the page says so
                return bool(len(items.too_old(rows)))
        return False

    async def _priced(
        self, generation: Generation, request: PageRequest, inputs: _Inputs, now: float
    ) -> tuple[PricedPage, str | None]:
        """The page at prices that keep what was promised, or at list prices and why."""
        core, epoch = generation.core, generation.core.epoch_of(now)
        if inputs.cause is not None:
            return await self._at_list(core, inputs, epoch), inputs.cause
        key = self._promise_key(core, request, epoch)
        try:
            promised = await self._promised(key, core, inputs.rows)
            page = await self._price(core, inputs, promised, epoch)
            prices = {item.item_id: item.price_minor for item in page.items}
            other = await self._promises.promise(key, prices, PROMISE_SECONDS) if key else {}
            if other:  # a page of the same customer came in between, here or in another replica
                page = await self._price(core, inputs, {**prices, **other}, epoch)
        except UnavailableError:
            return await self._at_list(core, inputs, epoch), promised_prices.DOWN
        return page, None

    async def _price(self, core: Core, inputs: _Inputs, promised: Mapping[str, int], epoch: int) -> PricedPage:
        fixed = _in_money(promised, core, inputs.rows, inputs.market)
        with self._stages.stage("price"):
            return await self._run(core.price, inputs.rows, inputs.embedding, inputs.user, inputs.market, fixed, epoch)

    async def _at_list(self, core: Core, inputs: _Inputs, epoch: int) -> PricedPage:
        """Every item at its list price, with nothing of the customer in it."""
        nobody = UserContext(jurisdiction=inputs.user.jurisdiction, opted_out=inputs.user.opted_out)
        fixed = inputs.market.list_price
        with self._stages.stage("price"):
            return await self._run(core.price, inputs.rows, inputs.embedding, nobody, inputs.market, fixed, epoch)

    async def _promised(self, key: str | None, core: Core, rows: Rows) -> dict[str, int]:
        if key is None:
            return {}
        return await self._promises.promised(key, [core.item_ids[row] for row in rows])

    def _promise_key(self, core: Core, request: PageRequest, epoch: int) -> str | None:
        """What a promise is kept under; None for somebody nobody knows, to whom nothing can be promised."""
        if request.user_id is None:
            return None
        consent = "plain" if request.opted_out else "personal"
        place = (request.jurisdiction or "-").upper()
        return f"fairtag:{core.version}:{epoch}:{consent}:{place}:{self.book.user_key(request.user_id)}"

    def _answer(
        self, page: PricedPage, request: PageRequest, inputs: _Inputs, subject: str, cause: str | None, now: float
    ) -> dict[str, Any]:
        quote_id = uuid.uuid4().hex
        prices = {item.item_id: item.price_minor for item in page.items}
        quote = self.book.sign(
            quote_id, subject, prices, currency=page.currency, model_version=page.model_version, now=now
        )
        return {
            "quote_id": quote_id,
            "quote": quote,
            "task": request.task,
            "issued_at": _rfc3339(now),
            "expires_at": _rfc3339(self.book.expiry(now)),
            "epoch": page.epoch,
            "currency": page.currency,
            "model_version": page.model_version,
            "personalised": page.personalised,
            "disclosure": page.disclosure,
            "feature_age_seconds": None if inputs.feature_age is None else round(inputs.feature_age, 3),
            "degraded": cause,
            "unknown_items": inputs.unknown,
            "items": [
                {
                    "item_id": item.item_id,
                    "rank": item.rank,
                    "similarity": item.similarity,
                    "list_price_minor": item.list_price_minor,
                    "price_minor": item.price_minor,
                    "currency": page.currency,
                    "personalised": item.personalised,
                    "reasons": [reason.value for reason in item.reasons],
                    "purchase_probability": item.purchase_probability,
                }
                for item in page.items
            ],
        }

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _user_context(request: PageRequest, read: UserRead) -> UserContext:
    features = read.features
    return UserContext(
        user_id=request.user_id,
        behaviour=features.behaviour if features else None,
        history_items=features.history_items if features else (),
        history_age_days=features.history_age_days if features else (),
        opted_out=request.opted_out,
        jurisdiction=request.jurisdiction,
    )


def _in_money(promised: Mapping[str, int], core: Core, rows: Rows, market: MarketContext) -> Floats | None:
    """Promised prices in money, aligned with the rows; NaN where there is none, or where it is above today's list."""
    if not promised:
        return None
    unit = core.minor_per_unit
    money = np.array([promised.get(core.item_ids[row], np.nan) for row in rows], dtype=np.float64) / unit
    return np.asarray(np.where(money <= market.list_price + 0.5 / unit, money, np.nan))


def _record(
    page: PricedPage, request: PageRequest, answer: Mapping[str, Any], subject: str, now: float
) -> dict[str, Any]:
    """The page as rows of the quote log: a list for each column of the items, one value for each of the page."""
    items = page.items
    return {
        schema.QUOTE_ID: answer["quote_id"],
        schema.TS: int(now * 1_000_000),
        schema.MODEL_VERSION: page.model_version,
        schema.TASK: request.task,
        schema.USER_KEY: subject or None,
        schema.QUERY: request.query,
        schema.ITEM_ID: [item.item_id for item in items],
        schema.CATEGORY: [item.category for item in items],
        schema.RANK: [item.rank for item in items],
        schema.SIMILARITY: [item.similarity for item in items],
        schema.LIST_PRICE_MINOR: [item.list_price_minor for item in items],
        schema.PRICE_MINOR: [item.price_minor for item in items],
        schema.REFERENCE_PRICE_MINOR: [item.reference_price_minor for item in items],
        schema.UNIT_COST_MINOR: [item.unit_cost_minor for item in items],
        schema.LOW_MINOR: [item.low_minor for item in items],
        schema.HIGH_MINOR: [item.high_minor for item in items],
        schema.PURCHASE_PROBABILITY: [item.purchase_probability for item in items],
        schema.PERSONALISED: [item.personalised for item in items],
        schema.REASONS: [[reason.value for reason in item.reasons] for item in items],
        schema.PROPENSITY: [item.propensity for item in items],
        schema.JURISDICTION: page.jurisdiction,
        schema.DISCLOSURE: page.disclosure,
        schema.DEGRADED: answer["degraded"],
        schema.CURRENCY: page.currency,
        schema.EPOCH: page.epoch,
        schema.FEATURE_AGE_SECONDS: answer["feature_age_seconds"],
    }


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
