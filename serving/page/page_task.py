"""A page to find and price. A thread of the server runs it, or a worker process, with the same function.

:func:`find_and_price` takes a :class:`PageTask` and gives a :class:`PageResult`; both travel between processes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from fairtag.page.day_corridor import DayCorridor
from fairtag.page.priced_page import PageInputs, PricedPage
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.experiments import Assignment
from fairtag.policy.shop_policy import ShopPolicy
from fairtag.search.query import SearchQuery
from fairtag.search.retrieval import SearchResult
from serving.page.core import Core, Floats, Rows, Vector
from serving.stores.price_locks import DOWN, PriceLocks

Stage = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class PageTask:
    """What is known of a page before an item is looked for.

    Args:
        asked: What is searched for, None where nothing was asked.
        rows: (n,) catalogue rows to price, None to find them by the query.
        page_size: Rows to find.
        embedding: (d,) of the query; None without one, or where it is not encoded yet.
        user: The customer.
        locks: The customer's price locks.
        cause: What is missing: features, or the locks of other replicas; None where nothing is.
        epoch: Price day.
        policy: The live policy; None where nothing was changed.
        policy_version: Its version.
        secret: Keys the draws of exploration.
        arm: The customer's arm of an experiment; None where none runs.
    """

    asked: SearchQuery | None
    rows: Rows | None
    page_size: int
    embedding: Vector | None
    user: UserContext
    locks: PriceLocks
    cause: str | None
    epoch: int
    policy: ShopPolicy | None = None
    policy_version: int = 0
    secret: bytes = field(default=b"", repr=False)
    arm: Assignment | None = None


@dataclass(frozen=True)
class PageResult:
    """The candidates of a page, what is known of them, and their prices.

    Args:
        task: What was asked for, its query encoded.
        rows: (n,) catalogue rows.
        market: Money and stock of the rows.
        age: Age of their oldest feature, seconds; None where there is no feature store.
        old: Rows whose features are too old to price on.
        corridor: Corridor of the price day; None where another process may have fixed one that is not known here: then
            a page is at list prices.
        page: The priced page; None where features or corridors must be looked up first.
        found: What the search had to say; None for a page of given rows.
    """

    task: PageTask
    rows: Rows
    market: MarketContext
    age: float | None
    old: Rows
    corridor: DayCorridor | None
    page: PricedPage | None = None
    found: SearchResult | None = None

    def inputs(self, core: Core) -> PageInputs:
        """What the prices depend on.

        Where features are missing, no data of the customer. Where only locks of other replicas are, the prices are
        those that the others would give. Where a corridor is, all prices but locked ones are list prices.
        """
        task, user, locks = self.task, self.task.user, self.task.locks
        featureless = task.cause not in (None, DOWN)
        if featureless:
            user = UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)
        inputs = PageInputs(
            self.rows,
            task.embedding,
            user,
            task.epoch,
            market=self.market,
            corridor=self.corridor,
            list_only=featureless or self.corridor is None,
            secret=task.secret,
            policy=task.policy,
            arm=task.arm,
        )
        if not locks:
            return inputs
        items, unit = [core.item_ids[row] for row in self.rows.tolist()], core.minor_per_unit
        public, personal, ceilings = (
            np.array([prices.get(item, np.nan) for item in items], dtype=np.float64) / unit
            for prices in (locks.public, locks.personal, locks.ceilings)
        )
        return replace(inputs, locked_price=public, locked_personal=personal, price_ceiling=ceilings)


class MarketView(Protocol):
    """The market as a process has read it."""

    @property
    def stock(self) -> Floats:
        """(N,) units of every catalogue row, NaN where unknown."""
        ...

    @property
    def list_price(self) -> Floats:
        """(N,) list price of every catalogue row, money."""
        ...

    def rows(self, rows: Rows) -> tuple[MarketContext, float | None]:
        """The market of some rows, and the age in seconds of its oldest feature."""
        ...

    def too_old(self, rows: Rows) -> Rows:
        """Those of the rows that may not be priced on as they are."""
        ...


def find_and_price(
    core: Core,
    task: PageTask,
    market: MarketView,
    corridor_of: Callable[[Rows], DayCorridor | None],
    encode: Callable[[str], Vector],
    stage: Stage,
) -> PageResult:
    """Encode the query where that is still to be done, find the candidates and price them; blocks.

    Args:
        core: The model.
        task: The page.
        market: Money and stock.
        corridor_of: The corridors of some rows, None where they are not known.
        encode: A query's embedding (d,).
        stage: Times a named stage.

    Returns:
        The page; without prices where features are too old or a corridor is not known.
    """
    if task.asked is not None and task.embedding is None:
        with stage("encode"):
            task = replace(task, embedding=encode(task.asked.text))
    rows, found = task.rows, None
    if rows is None:
        assert task.asked is not None, "a search has a query"
        assert task.embedding is not None, "it is encoded by now"
        with stage("retrieve"):
            found = core.search(task.asked, task.embedding, task.user, task.page_size, market.stock, market.list_price)
        rows = found.rows
    now, age = market.rows(rows)
    result = PageResult(task, rows, now, age, market.too_old(rows), corridor_of(rows), found=found)
    if len(result.old) or result.corridor is None:
        return result
    with stage("price"):
        return replace(result, page=core.price(result.inputs(core)))
