"""A model folder as the :class:`serving.page.core.Core` of an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import override

from fairtag.page.day_corridor import EpochCorridor, own_corridor
from fairtag.policy.context import MarketContext, UserContext
from serving.page.core import OPEN, Core, Floats, Rows, Settled, Vector

if TYPE_CHECKING:
    from fairtag.model.pricing_model import PricingModel
    from fairtag.page.pricing import PricedPage


class ModelCore(Core):
    """A :class:`Core` over a model folder.

    Args:
        model: The loaded model folder.
    """

    def __init__(self, model: PricingModel) -> None:
        self.model = model

    @property
    @override
    def version(self) -> str:
        return self.model.version

    @property
    @override
    def currency(self) -> str:
        return self.model.policy.currency

    @property
    @override
    def minor_per_unit(self) -> int:
        return self.model.policy.limits.minor_per_unit

    @property
    @override
    def markup(self) -> float:
        return self.model.policy.limits.markup

    @property
    @override
    def item_ids(self) -> Sequence[str]:
        return self.model.item_ids

    @property
    @override
    def market(self) -> MarketContext:
        return self.model.market

    @classmethod
    def load(cls, path: Path, threads: int) -> ModelCore:
        """Load and verify a model folder.

        Args:
            path: The model folder.
            threads: CPU threads of one encode.

        Raises:
            ModelFolderError: It is absent, altered, or does not fit together.
        """
        from fairtag.model.pricing_model import load_pricing_model

        model = load_pricing_model(path, threads=threads)
        _ = model.retriever  # opened now: the first search must not wait for it
        return cls(model)

    @override
    def epoch_of(self, seconds: float) -> int:
        return self.model.policy.epoch_of(seconds)

    @property
    @override
    def epoch_seconds(self) -> int:
        return self.model.policy.epoch_hours * 3600

    @override
    def corridor(self, rows: Rows) -> EpochCorridor:
        return own_corridor(self.model, rows)

    @override
    def place_of(self, jurisdiction: str | None) -> str:
        from fairtag.policy.disclosure import read_disclosures

        return read_disclosures().resolve(jurisdiction)

    @override
    def encode(self, queries: Sequence[str]) -> Vector:
        return np.asarray(self.model.encoder.encode(list(queries), "query"), dtype=np.float32)

    @override
    def rows_of(self, item_ids: Sequence[str]) -> tuple[Rows, list[str]]:
        row_of = self.model.row_of
        known = [row_of[item_id] for item_id in item_ids if item_id in row_of]
        return np.array(known, dtype=np.int64), [item_id for item_id in item_ids if item_id not in row_of]

    @override
    def retrieve(self, embedding: Vector, query: str, user: UserContext, k: int, stock: Floats) -> Rows:
        from fairtag.page.pricing import retrieve

        return retrieve(self.model, embedding, query, user, k, stock=stock)

    @override
    def price(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        epoch: int,
        settled: Settled = OPEN,
    ) -> PricedPage:
        from fairtag.page.pricing import price_page

        return price_page(
            self.model,
            rows,
            embedding,
            user,
            epoch=epoch,
            market=market,
            fixed_price=settled.prices,
            fixed_personal=settled.personal,
            corridor=settled.corridor,
            list_only=settled.list_only,
        )

    @override
    def explain(
        self,
        rows: Rows,
        embedding: Vector | None,
        user: UserContext,
        market: MarketContext,
        epoch: int,
        settled: Settled = OPEN,
    ) -> list[dict[str, Any]]:
        from fairtag.page.pricing import explain_page

        return explain_page(
            self.model,
            rows,
            embedding,
            user,
            epoch=epoch,
            market=market,
            fixed_price=settled.prices,
            corridor=settled.corridor,
            list_only=settled.list_only,
        )
