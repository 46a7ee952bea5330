"""What an encoder may learn from: a shop without the rows that its evaluation holds out."""

from __future__ import annotations

import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import Tables
from fairtag.data.splits import PRODUCT_SALT, QUERY_SALT, held_out, time_split


def learnable(tables: Tables) -> tuple[pd.DataFrame | None, pd.DataFrame, pd.DataFrame | None]:
    """Judgements, items and impressions without held-out queries, held-out products and the held-out time.

    The price head must not see the price, nor the relevance head the grade, that the decision is later made on.

    Args:
        tables: The shop.

    Raises:
        DataError: The impressions cannot be split by time.
    """
    items = tables.latest_items()
    items = items[~held_out(items[schema.ITEM_ID], PRODUCT_SALT)].reset_index(drop=True)
    judgements = tables.judgements
    if judgements is not None:
        judgements = judgements[~held_out(judgements[schema.QUERY], QUERY_SALT)].reset_index(drop=True)
    if tables.impressions.empty:  # a data set of judgements alone
        return judgements, items, None
    early = time_split(tables.impressions).part(tables.impressions[schema.TS], "fit")
    return judgements, items, tables.impressions[early].reset_index(drop=True)
