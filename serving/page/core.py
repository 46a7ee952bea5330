"""What the endpoint needs of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairtag.page.day_corridor import EpochCorridor
from fairtag.policy.context import MarketContext, UserContext

if TYPE_CHECKING:
    from fairtag.page.pricing import PricedPage

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Settled:
    """What is settled about a page's prices before it is priced.

    Args:
        prices: (n,) money promised to the customer, aligned with the rows, NaN where nothing was; None for nothing.
        personal: The promises were made from the customer's data.
        list_only: Every item without a promise carries list, held inside the legal bounds.
        corridor: The corridor of the epoch; the model's own when None.
    """

    prices: Floats | None = None
    personal: bool = False
    list_only: bool = False
    corridor: EpochCorridor | None = None


OPEN = Settled()


class Core(Protocol):
    """A model that finds and prices items. Calls block; all but ``encode`` may run in several threads at once."""

    @property
    def version(self) -> str:
        """What names the model."""
        ...

    @property
    def currency(self) -> str:
        """ISO 4217 code."""
        ...

    @property
    def minor_per_unit(self) -> int:
        """Minor units in a currency unit."""
        ...

    @property
    def markup(self) -> float:
        """How far above list a price may lie, as a share of list; 0 where nobody pays more than list."""
        ...

    @property
    def item_ids(self) -> Sequence[str]:
        """Item of each row."""
        ...

    @property
    def market(self) -> MarketContext:
        """Money and stock of every row as the catalogue had them."""
        ...

    def epoch_of(self, seconds: float) -> int:
        """The price epoch of a Unix time."""
        ...

    @property
    def epoch_seconds(self) -> int:
        """How long a price epoch is."""
        ...

    def corridor(self, rows: Rows) -> EpochCorridor:
        """The corridor of these rows that the model stands for where it is the first to price them in an epoch."""
        ...

    def place_of(self, jurisdiction: str | None) -> str:
        """The jurisdiction whose rule a place takes; prices are promised within it."""
        ...

    def encode(self, queries: Sequence[str]) -> Vector:
        """Unit rows (n, d) of queries."""
        ...

    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        """Rows of the items in their order, and the ids that are not in the catalogue."""
        ...

    def retrieve(self, embedding: Vector, query: str, user: UserContext, k: int, stock: Floats) -> Rows:
        """Rows of the k items in stock that fit best, best first.

        Args:
            embedding: (d,) of the query.
            query: Its words.
            user: The customer.
            k: Rows wanted.
            stock: (N,) units of every catalogue row now, NaN where unknown.
        """
        ...

    def price(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        epoch: int,
        settled: Settled = OPEN,
    ) -> PricedPage:
        """The priced page of these rows.

        Args:
            rows: (n,) catalogue rows, in the page's order.
            embedding: (d,) of the query, None without one.
            user: The customer.
            market: Money and stock of the rows now.
            epoch: Price epoch.
            settled: What is promised, and whether all else is at list.
        """
        ...

    def explain(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        epoch: int,
        settled: Settled = OPEN,
    ) -> list[dict[str, Any]]:
        """Why each price of :meth:`price` with the same arguments is what it is, in the order of its ranks."""
        ...
