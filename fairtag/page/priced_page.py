"""A page before and after pricing: what its prices depend on, and the priced document."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fairtag.base.types import Reason
from fairtag.page.day_corridor import DayCorridor
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.experiments import Assignment
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PageInputs:
    """What the prices of a page depend on, besides the model folder. Arrays are aligned with ``rows``.

    A price lock is a price that the customer has seen in this price day. It is kept, and it is imposed only where the
    page would show another price: a page asked for again is the same page, with the same reasons and propensities.

    Args:
        rows: (n,) catalogue rows in page order, each at most once.
        embedding: (d,) unit vector of the query, None when there is no query.
        user: The customer; whether their data is used follows from consent, jurisdiction and policy.
        epoch: Price day of the request, ``policy.epoch_of(now)``.
        market: Fresh money and stock of the items; the catalogue's when None.
        previous_price: (n,) price last shown to the customer, money, NaN where none.
        locked_price: (n,) price locks, money, NaN where there is none. A lock outside what is legal today is moved to
            the nearest legal price; one below a minor unit is ignored.
        locked_personal: (n,) price locks that the customer's data made, likewise. They outrank the others where the
            customer's data may be used, and count for nothing elsewhere. An imposed one is personal and disclosed,
            although the data may not be here now.
        price_ceiling: (n,) most that an item without a lock may cost, money, NaN where there is no such limit.
        corridor: (n,) corridor of the price day, where an earlier price fixed it; the model's own when None.
        secret: Keys the draws of exploration, so that nobody can foretell them.
        list_only: Every item without a lock shows its list price, held inside the legal bounds: for a page whose
            features are missing.
        policy: The live policy, on top of the model's; None where nothing was changed.
        arm: The customer's arm of an experiment; None where none runs. It changes no price lock.
    """

    rows: Rows
    embedding: NDArray[np.float32] | None
    user: UserContext
    epoch: int
    market: MarketContext | None = None
    previous_price: Floats | None = None
    locked_price: Floats | None = None
    locked_personal: Floats | None = None
    price_ceiling: Floats | None = None
    corridor: DayCorridor | None = None
    list_only: bool = False
    policy: ShopPolicy | None = None
    arm: Assignment | None = None
    secret: bytes = field(default=b"", repr=False)

    def only(self, chosen: NDArray[np.bool_]) -> PageInputs:
        """The same page with some of its items; ``chosen`` is (n,)."""

        def part(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else values[chosen]

        corridor = self.corridor
        return replace(
            self,
            rows=self.rows[chosen],
            market=None if self.market is None else self.market.rows(np.flatnonzero(chosen)),
            previous_price=part(self.previous_price),
            locked_price=part(self.locked_price),
            locked_personal=part(self.locked_personal),
            price_ceiling=part(self.price_ceiling),
            corridor=corridor and DayCorridor(corridor.low[chosen], corridor.high[chosen]),
        )


class PricedItem(NamedTuple):
    """One item of a priced page; money in integer minor units.

    Args:
        item_id: The item.
        category: Its category.
        rank: Position on the page, 1 first.
        similarity: s to the intent, in [0, 1].
        list_price_minor: What everyone may pay.
        price_minor: What this customer is asked.
        reference_price_minor: r, the unit of the demand model.
        unit_cost_minor: Cost; None where it is unknown.
        low_minor: Lower bound in force.
        high_minor: Upper bound in force.
        purchase_probability: q at the price, 0 for an item out of stock; None where demand was not learned.
        personalised: The customer's data took part in this price.
        reasons: Why the price is what it is.
        propensity: Probability with which this price was chosen; 1 unless explored.
    """

    item_id: str
    category: str
    rank: int
    similarity: float
    list_price_minor: int
    price_minor: int
    reference_price_minor: int
    unit_cost_minor: int | None
    low_minor: int
    high_minor: int
    purchase_probability: float | None
    personalised: bool
    reasons: tuple[Reason, ...]
    propensity: float = 1.0


@dataclass(frozen=True)
class PricedPage:
    """A priced page.

    Args:
        items: In the order of the request.
        personalised: Whether the customer's data took part in any price.
        disclosure: What must be shown beside the prices, byte for byte; None where nothing must.
        jurisdiction: The row of the disclosure table that was applied.
        expected_profit: Expected profit of the page at these prices, currency units.
        confidence: Smallest posterior probability with which a price beats list; 1 where nothing was optimised.
        epoch: Price epoch.
        model_version: Version of the model folder.
        currency: ISO 4217 code.
        unpriced: Items that left the page, since their list price is none that can be charged.
    """

    items: tuple[PricedItem, ...]
    personalised: bool
    disclosure: str | None
    jurisdiction: str
    expected_profit: float
    confidence: float
    epoch: int
    model_version: str
    currency: str
    unpriced: tuple[str, ...] = ()
