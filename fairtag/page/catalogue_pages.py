"""Pages of a shop that has logged none: each item is searched for by its own title, by a guest.

They have the columns of a training set, so that a model is profiled, tested and timed on them as on logged pages.
Nothing was bought on them, and nothing about demand is learned or judged from them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.model.pricing_model import PricingModel
from fairtag.page.pricing import search
from fairtag.policy.context import UserContext
from fairtag.search.query import SearchQuery

PAGE_SIZE = 24


def catalogue_pages(model: PricingModel, count: int, seed: int = 0) -> pd.DataFrame:
    """Rows like those of a training set: what search finds for the titles of at most ``count`` items.

    Args:
        model: A model folder with its search.
        count: Most pages.
        seed: Seed of the draw of items.
    """
    chosen = np.arange(len(model.catalogue))
    if count < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, count, replace=False))
    titles = [str(title) for title in model.catalogue[schema.TITLE].iloc[chosen]]
    vectors = model.encoder.encode(titles, "query")
    pages = [
        _page(model, number, title, vector)
        for number, (title, vector) in enumerate(zip(titles, vectors, strict=True), start=1)
    ]
    return pd.concat(pages, ignore_index=True)


def _page(model: PricingModel, number: int, title: str, vector: np.ndarray) -> pd.DataFrame:
    rows = search(model, SearchQuery(title), vector, UserContext(), PAGE_SIZE).rows
    items = model.catalogue.iloc[rows]
    market = {name: items[name].to_numpy() for name in schema.ITEM_PRICING_FEATURES if name in items}
    absent = {name: np.nan for name in schema.ITEM_PRICING_FEATURES if name not in items}
    frame = pd.DataFrame(
        {
            schema.PAGE_ID: f"catalogue-{number}",
            schema.ITEM_ID: items[schema.ITEM_ID].to_numpy(),
            schema.TS: model.catalogue[schema.UPDATED_AT].max(),
            schema.USER_ID: f"guest-{number}",
            schema.QUERY: title,
            schema.RANK: np.arange(1, len(rows) + 1),
            schema.PRICE: items[schema.LIST_PRICE].to_numpy(),
            schema.CLICKED: False,
            schema.PURCHASED: False,
            schema.QUANTITY: 0,
            schema.IN_STOCK: True,
            schema.CATEGORY: items[schema.CATEGORY].to_numpy(),
            **dict.fromkeys(schema.USER_PRICING_FEATURES, np.nan),
            **market,
            **absent,
        }
    )
    for name in (schema.HISTORY_ITEMS, schema.HISTORY_AGE_DAYS):
        frame[name] = pd.Series([[] for _ in range(len(frame))], dtype=object)
    return frame
