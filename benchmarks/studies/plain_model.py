"""A model of the demo's shop without an encoder: fitted as a run fits it, with TF-IDF components of the texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from fairtag.base import schema
from fairtag.base.text import item_texts
from fairtag.data.point_in_time import training_set
from fairtag.data.splits import time_split
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import fit_demand
from fairtag.encoder.encoder import Role
from fairtag.evaluation.page_value import PageLog, predicted
from fairtag.model.pricing_model import ItemEstimates, PricingModel
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.simulator.shop_design import ShopSize
from fairtag.simulator.simulation import DEFAULT, PlantedDemand, simulate_shop
from fairtag.training.corridors import place_corridors
from fairtag.training.inputs import demand_inputs, fit_part
from fairtag.training.page_values import page_values
from fairtag.training.stock import value_stock

Floats = NDArray[np.float64]

COMPONENTS = 64  # of the texts


@dataclass(frozen=True)
class WordEncoder:
    """TF-IDF components as an encoder."""

    words: TfidfVectorizer
    components: TruncatedSVD
    dimension: int = COMPONENTS

    def encode(self, texts: Sequence[str], role: Role, batch_size: int = 64) -> NDArray[np.float32]:  # noqa: ARG002  # the protocol's
        """(n, d) unit rows."""
        vectors = self.components.transform(self.words.transform(texts))
        return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class ListPrices:
    """f(v) that says the list price: it has no weight in the default policy."""

    price: Floats

    def predict(self, embeddings: NDArray[np.float32], catalogue: pd.DataFrame) -> ListPrices:  # noqa: ARG002  # the price model's
        """The list price of each item."""
        return ListPrices(catalogue[schema.LIST_PRICE].to_numpy(dtype=np.float64))


@dataclass(frozen=True)
class PlainShop:
    """One of the demo's shops with its model.

    Args:
        planted: The truth.
        training_set: Impressions with features, hold-out included, in the order of the planted arrays.
        model: Fitted on all before the hold-out.
    """

    planted: PlantedDemand
    training_set: pd.DataFrame
    model: PricingModel

    @property
    def hold_out(self) -> pd.DataFrame:
        """The newest quarter of the pages."""
        late = time_split(self.training_set).part(self.training_set[schema.TS], "hold_out")
        rows: pd.DataFrame = self.training_set[late]
        return rows

    @property
    def vectors(self) -> dict[str, NDArray[np.float32]]:
        """Embedding of each query."""
        queries = sorted({query for query in self.training_set[schema.QUERY].dropna() if query})
        return dict(zip(queries, self.model.encoder.encode(queries, "query"), strict=True))

    def truth(self, log: PageLog) -> Callable[[Floats], float]:
        """Expected profit per page under the planted demand at prices (n,) of a log of all impressions, in order."""
        planted = self.planted
        behaviour = planted.behaviour[planted.page_row]
        a, b = planted.page(planted.item_row[:, None], planted.similarity[:, None], behaviour)
        return lambda price: float(predicted(log, a[:, 0], b[:, 0], price).mean())


def plain_shop(seed: int, size: ShopSize = DEFAULT) -> PlainShop:
    """Simulate one of the demo's shops, or one of another size, and fit its model."""
    market = simulate_shop(size, seed=seed)
    joined, catalogue = training_set(market.tables), market.tables.latest_items()
    texts = item_texts(catalogue)
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    encoder = WordEncoder(words, TruncatedSVD(COMPONENTS, random_state=0).fit(words.fit_transform(texts)))
    embeddings = encoder.encode(texts, "item")
    policy, listed = PricingPolicy(), ListPrices(catalogue[schema.LIST_PRICE].to_numpy(dtype=np.float64))
    fitted = fit_part(joined)
    data = demand_inputs(fitted, catalogue, embeddings, encoder, listed, policy)  # type: ignore[arg-type]
    demand = fit_demand(data)
    demand = with_cross_check(demand, check_elasticity(demand, data, seed=0))
    stock = value_stock(fitted, data, demand, catalogue, listed.price, policy, market.tables.orders)
    f, nowhere = listed.price, np.full(len(catalogue), np.nan)
    unplaced = PricingModel(
        path=Path("plain"),
        manifest={"version": f"plain {seed}"},
        policy=policy,
        encoder=encoder,
        catalogue=catalogue,
        embeddings=embeddings,
        demand=demand,
        price_model=listed,  # type: ignore[arg-type]
        estimates=ItemEstimates(f, f, f, nowhere, stock.shadow, stock.sales_rate, nowhere),
    )
    unplaced = replace(unplaced, estimates=replace(unplaced.estimates, page_value=page_values(unplaced, data)))
    corridor = place_corridors(unplaced, data, seed=0)
    model = replace(unplaced, estimates=replace(unplaced.estimates, corridor_low=corridor))
    return PlainShop(market.planted, joined, model)
