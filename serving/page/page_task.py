"""A page to find and price, as a value: a thread of the server takes it, or a worker process, with the same result."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fairtag.page.day_corridor import DayCorridor
from fairtag.page.priced_page import PageInputs
from fairtag.policy.context import MarketContext, UserContext
from serving.page.core import Core, Floats, Rows, Vector
from serving.stores.price_locks import PriceLocks


@dataclass(frozen=True)
class PageTask:
    """What is known of a page before an item is looked for.

    Args:
        query: What was asked, None for a page of given rows.
        rows: (n,) catalogue rows to price, None to find them by the query.
        page_size: Rows to find.
        embedding: (d,) of the query, None without one.
        user: The customer.
        locks: The customer's price locks.
        cause: Why all but locked prices are list prices, None when there is no reason.
        epoch: Price day.
    """

    query: str | None
    rows: Rows | None
    page_size: int
    embedding: Vector | None
    user: UserContext
    locks: PriceLocks
    cause: str | None
    epoch: int

    def candidates(self, core: Core, stock: Floats) -> Rows:
        """(n,) rows of the page: those given, or those found among what is in stock."""
        if self.rows is not None:
            return self.rows
        assert self.embedding is not None, "a search has a query"
        return core.retrieve(self.embedding, self.query or "", self.user, self.page_size, stock)

    def inputs(self, core: Core, rows: Rows, market: MarketContext, corridor: DayCorridor | None) -> PageInputs:
        """What the page's prices depend on; with a cause, no data of the customer."""
        user = self.user
        if self.cause is not None:
            user = UserContext(jurisdiction=user.jurisdiction, opted_out=user.opted_out)
        made = PageInputs(
            rows, self.embedding, user, self.epoch, market=market, corridor=corridor, list_only=self.cause is not None
        )
        return with_locks(made, core, self.locks) if self.locks else made


def with_locks(inputs: PageInputs, core: Core, locks: PriceLocks) -> PageInputs:
    """The same with a customer's locks on the rows."""
    items = [core.item_ids[row] for row in inputs.rows.tolist()]
    found = [locks.prices.get(item) for item in items]
    price = np.array([np.nan if lock is None else lock.price_minor for lock in found])
    ceiling = np.array([locks.ceilings.get(item, np.nan) for item in items])
    return replace(
        inputs,
        locked_price=price / core.minor_per_unit,
        locked_personal=np.array([lock is not None and lock.personal for lock in found], dtype=bool),
        price_ceiling=ceiling / core.minor_per_unit,
    )
