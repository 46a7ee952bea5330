"""What a fit may see: the impressions before the hold-out, and impressions as the demand model reads them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.data.splits import time_split
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment, DemandData, demand_data
from fairtag.demand.intents import impression_similarity
from fairtag.encoder.encoder import TextEncoder
from fairtag.policy.context import MarketContext
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.price_model.price_model import PriceModel, reference_price

Floats = NDArray[np.float64]

FIXED_SHARE = 0.02  # range of cost over list within which the one was made from the other, rounding to cents included


def why_no_demand(training_set: pd.DataFrame) -> str:
    """Why demand cannot be learned from a training set at all, in words; empty where it can."""
    if training_set.empty:
        return "there are no impressions, and no orders that pages could be derived from"
    try:
        early = time_split(training_set).part(training_set[schema.TS], "fit")
    except DataError as error:
        return str(error)
    if not training_set.loc[early, schema.PURCHASED].astype(bool).any():
        return (
            f"nothing was bought on the {training_set.loc[early, schema.PAGE_ID].nunique()} pages before the hold-out"
        )
    return ""


def fit_part(training_set: pd.DataFrame) -> pd.DataFrame:
    """The impressions that a fit may see: all before the hold-out."""
    part: pd.DataFrame = training_set[time_split(training_set).part(training_set[schema.TS], "fit")]
    return part


def demand_inputs(
    impressions: pd.DataFrame,
    catalogue: pd.DataFrame,
    embeddings: NDArray[np.float32],
    encoder: TextEncoder,
    price_model: PriceModel,
    policy: PricingPolicy,
    as_served: Callable[[str], str] = str,
    config: DemandConfig | None = None,
    nest: NDArray[np.int64] | None = None,
) -> DemandData:
    """Impressions as the demand model reads them, with similarity and reference price as the endpoint computes them.

    Args:
        impressions: Impressions with their features.
        catalogue: Items in the order of the embeddings.
        embeddings: (N, d) unit rows.
        encoder: The encoder that serves.
        price_model: f(v).
        policy: What the shop allows.
        as_served: The text that the endpoint embeds for a query: with its words corrected.
        config: What the first stage asks of its instruments, and the covariates by name; the defaults when None.
        nest: (N,) nests of the catalogue; every item is alone when None.
    """
    config = config or DemandConfig()
    row_of = {item: row for row, item in enumerate(catalogue[schema.ITEM_ID])}
    rows = impressions[impressions[schema.ITEM_ID].isin(row_of)]
    queries = sorted({query for query in rows[schema.QUERY].dropna() if query})
    texts = [as_served(query) for query in queries]
    vectors = dict(zip(queries, encoder.encode(texts, "query"), strict=True)) if queries else {}
    market = MarketContext.of(rows)
    f = price_model.predict(embeddings, catalogue).price[rows[schema.ITEM_ID].map(row_of).to_numpy(dtype=np.int64)]
    return demand_data(
        rows.assign(**{schema.UNIT_COST: cost_instrument(rows)}),
        Assortment.of(catalogue, embeddings, nest),
        similarity=impression_similarity(rows, vectors, embeddings, row_of, alpha=policy.intent_alpha),
        reference=reference_price(f, market.list_price, market.competitor_price, policy.reference_weights),
        least_f=config.least_f,
        period_days=config.period_days,
        covariates=config.covariates or (),
        weights=config.weights,
    )


def cost_instrument(rows: pd.DataFrame) -> Floats:
    """Unit cost as an instrument of the price, money (n,): NaN throughout where it is a fixed share of the list price.

    Such a cost was derived from the price by a stated margin; it would carry the price's own endogeneity back in.
    """
    cost = rows[schema.UNIT_COST].to_numpy(dtype=np.float64)
    share = cost / rows[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    if np.nanmax(share, initial=0.0) - np.nanmin(share, initial=np.inf) < FIXED_SHARE:
        return np.full(cost.shape, np.nan)
    return cost
