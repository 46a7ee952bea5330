"""A priced page as rows of the quote log."""

from __future__ import annotations

from typing import Any

import pandas as pd

from fairtag.base import schema
from fairtag.page.priced_page import PricedPage


def quote_rows(
    page: PricedPage,
    *,
    quote_id: str,
    ts: pd.Timestamp,
    task: str,
    user_key: str | None = None,
    query: str | None = None,
    degraded: str | None = None,
    feature_age_seconds: float | None = None,
) -> list[dict[str, Any]]:
    """One mapping an item, with the columns of ``schema.QUOTES``."""
    shared: dict[str, Any] = {
        schema.QUOTE_ID: quote_id,
        schema.TS: ts,
        schema.MODEL_VERSION: page.model_version,
        schema.TASK: task,
        schema.USER_KEY: user_key,
        schema.QUERY: query,
        schema.JURISDICTION: page.jurisdiction,
        schema.DEGRADED: degraded,
        schema.CURRENCY: page.currency,
        schema.EPOCH: page.epoch,
        schema.FEATURE_AGE_SECONDS: feature_age_seconds,
    }
    return [
        {
            **shared,
            schema.ITEM_ID: item.item_id,
            schema.CATEGORY: item.category,
            schema.RANK: item.rank,
            schema.SIMILARITY: item.similarity,
            schema.LIST_PRICE_MINOR: item.list_price_minor,
            schema.PRICE_MINOR: item.price_minor,
            schema.REFERENCE_PRICE_MINOR: item.reference_price_minor,
            schema.UNIT_COST_MINOR: item.unit_cost_minor,
            schema.LOW_MINOR: item.low_minor,
            schema.HIGH_MINOR: item.high_minor,
            schema.PURCHASE_PROBABILITY: item.purchase_probability,
            schema.PERSONALISED: item.personalised,
            schema.REASONS: [str(reason) for reason in item.reasons],
            schema.PROPENSITY: item.propensity,
            schema.DISCLOSURE: page.disclosure if item.personalised else None,
        }
        for item in page.items
    ]


def quote_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a typed frame with every column of the contract, also when there are none."""
    from fairtag.base.tables import coerce

    return coerce(pd.DataFrame(rows, columns=list(schema.QUOTES.names)), schema.QUOTES)
