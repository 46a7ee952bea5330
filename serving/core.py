"""What the endpoint needs of a model, and the bundle behind it. Knows no protocol, no feature store and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pricing.page.context import MarketContext, UserContext
from serving.search_index import CodeIndex, open_index

if TYPE_CHECKING:
    from pricing.bundle.bundle import PricingModel
    from pricing.page.page import PricedPage

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Vector = NDArray[np.float32]


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

    def encode(self, queries: Sequence[str]) -> Vector:
        """Unit rows (n, d) of queries."""
        ...

    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        """Rows of the items in their order, and the ids that are not in the catalogue."""
        ...

    def retrieve(self, embedding: Vector, query: str, user: UserContext, k: int) -> Rows:
        """Rows of the k items that fit best, best first."""
        ...

    def price(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        fixed: Floats | None,
        epoch: int,
    ) -> PricedPage:
        """The priced page of these rows; ``fixed`` is money promised before, NaN where nothing was."""
        ...

    def explain(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        fixed: Floats | None,
        epoch: int,
    ) -> list[dict[str, Any]]:
        """Why each price of that page is what it is, in the order of its ranks."""
        ...


class BundleCore:
    """A :class:`Core` over a model bundle.

    Args:
        model: The loaded bundle.
        index: Finds candidates of a large catalogue; None scans.
    """

    def __init__(self, model: PricingModel, index: CodeIndex | None = None) -> None:
        self.model = model
        self.version = model.version
        self.currency = model.policy.currency
        self.minor_per_unit = model.policy.limits.minor_per_unit
        self.item_ids = model.item_ids
        self.market = model.market
        self._index = index
        self._in_stock = model.market.stock > 0

    @classmethod
    def load(cls, path: Path, threads: int, index_dir: Path | None = None) -> BundleCore:
        """Load and verify a bundle.

        Args:
            path: The bundle's folder.
            threads: CPU threads of one encode.
            index_dir: Where the search codes of a large catalogue are kept; None scans.

        Raises:
            BundleError: It is absent, altered, or does not fit together.
        """
        from pricing.bundle.bundle import load_bundle

        model = load_bundle(path, threads=threads)
        if index_dir is None:
            return cls(model)
        return cls(model, open_index(model.embeddings, index_dir / f"{model.version}.faiss"))

    def epoch_of(self, seconds: float) -> int:
        """The price epoch of a Unix time."""
        return self.model.policy.epoch_of(seconds)

    def encode(self, queries: Sequence[str]) -> Vector:
        """Unit rows (n, d) of queries."""
        return np.asarray(self.model.encoder.encode(list(queries)), dtype=np.float32)

    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        """Rows of the items in their order, and the ids that are not in the catalogue."""
        row_of = self.model.row_of
        known = [row_of[item_id] for item_id in item_ids if item_id in row_of]
        return np.array(known, dtype=np.int64), [item_id for item_id in item_ids if item_id not in row_of]

    def retrieve(self, embedding: Vector, query: str, user: UserContext, k: int) -> Rows:
        """Rows of the k items in stock that fit best, best first."""
        from pricing.page.page import retrieve
        from pricing.page.problem import intent_of

        z = None if self._index is None else intent_of(self.model, embedding, user)
        if self._index is None or z is None:
            return retrieve(self.model, embedding, query, user, k)
        wanted = k * 2  # some will be sold out
        while True:
            found = self._index.search(z, wanted)
            rows = found[self._in_stock[found]][:k]
            if len(rows) == k or wanted >= len(self.item_ids):
                return rows
            wanted *= 4

    def price(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        fixed: Floats | None,
        epoch: int,
    ) -> PricedPage:
        """The priced page of these rows."""
        from pricing.page.page import price_page

        return price_page(self.model, rows, embedding, user, epoch=epoch, market=market, fixed_price=fixed)

    def explain(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        fixed: Floats | None,
        epoch: int,
    ) -> list[dict[str, Any]]:
        """Why each price of that page is what it is, in the order of its ranks."""
        from pricing.page.page import explain_page

        return explain_page(self.model, rows, embedding, user, epoch=epoch, market=market, fixed_price=fixed)
