"""Logged pages priced again by a model that served none of them: shadow quotes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.model.pricing_model import PricingModel
from fairtag.page.priced_page import PricedPage
from fairtag.page.pricing import PageInputs, price_page
from fairtag.page.quote_rows import quote_frame, quote_record
from fairtag.policy.context import MarketContext, UserContext
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.shop_policy import ShopPolicy

JURISDICTION = "US-NY"  # shadow pages are priced where personal prices are lawful and disclosed
WEEK = 7  # days; a log is moved by whole weeks, so that its Saturdays stay Saturdays


@dataclass(frozen=True)
class ShadowPage:
    """One logged page with the model's prices.

    Args:
        page_id: The logged page.
        user_id: Its customer.
        ts: When it was shown, moved by :func:`until_lawful`.
        query: What was asked, None where nothing was.
        logged: Rows of the log, in the order of the priced items.
        page: The model's prices.
    """

    page_id: str
    user_id: str
    ts: pd.Timestamp
    query: str | None
    logged: pd.DataFrame
    page: PricedPage


def sample_pages(training_set: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """All rows of at most ``count`` pages, drawn without replacement; the same seed draws the same pages."""
    pages = np.sort(training_set[schema.PAGE_ID].unique().astype(str))
    if len(pages) > count:
        pages = np.random.default_rng(seed).choice(pages, size=count, replace=False)
    return training_set[training_set[schema.PAGE_ID].isin(pages)]


def query_vectors(model: PricingModel, impressions: pd.DataFrame) -> dict[str, NDArray[np.float32]]:
    """Embedding of each distinct query, as the endpoint embeds it: with its words corrected."""
    queries = sorted({query for query in impressions[schema.QUERY].dropna() if query})
    texts = [model.query_reader.text(query) for query in queries]
    return dict(zip(queries, model.encoder.encode(texts, "query"), strict=True)) if queries else {}


def until_lawful(moments: pd.Series[Any], jurisdiction: str) -> pd.Timedelta:
    """Whole weeks by which a log is moved forward, so that personal prices are lawful in all of it.

    What is judged is how the policy prices from now on; by the law of its own day a log from before that law has no
    personal price to judge. Zero where the log is recent, or the place has no personal prices at all.
    """
    table = read_disclosures()
    place = table.resolve(jurisdiction)
    lawful = [rule.effective for rule in table.rules if rule.jurisdiction == place and rule.personalisation]
    if not lawful or moments.empty:
        return pd.Timedelta(0)
    days = (min(lawful) - moments.min().date()).days
    return pd.Timedelta(days=max(0, -(-days // WEEK) * WEEK))


def shadow_pages(
    model: PricingModel,
    impressions: pd.DataFrame,
    vectors: Mapping[str, NDArray[np.float32]],
    *,
    jurisdiction: str = JURISDICTION,
    policy: ShopPolicy | None = None,
) -> Iterator[ShadowPage]:
    """Price each logged page as the endpoint would have, in order of time, with the features as they were then.

    A price once quoted to a customer stays for its epoch, as it does at the endpoint.

    Args:
        model: The model folder.
        impressions: Rows of the training set; behaviour, history and market stand beside each impression.
        vectors: Embedding of each query that occurs.
        jurisdiction: Where the customers are taken to be.
        policy: A live policy on top of the model's; None for the model's alone.
    """
    known = impressions[impressions[schema.ITEM_ID].isin(model.row_of)].sort_values(schema.TS, kind="stable")
    later = until_lawful(known[schema.TS], jurisdiction)
    locked: dict[tuple[str, str, int], float] = {}
    for page_id, rows in known.groupby(schema.PAGE_ID, sort=False):
        first = rows.iloc[0]
        ts = pd.Timestamp(first[schema.TS]) + later
        query = first[schema.QUERY] or None
        epoch = model.policy.epoch_of(ts.timestamp())
        user_id = str(first[schema.USER_ID])
        inputs = PageInputs(
            rows=np.array([model.row_of[item] for item in rows[schema.ITEM_ID]], dtype=np.int64),
            embedding=vectors.get(query) if query else None,
            user=user_of(first, jurisdiction),
            epoch=epoch,
            market=MarketContext.of(rows),
            policy=policy,
            locked_price=np.array([locked.get((user_id, item, epoch), np.nan) for item in rows[schema.ITEM_ID]]),
        )
        page = price_page(model, inputs)
        unit = model.policy.limits.minor_per_unit
        locked.update({(user_id, item.item_id, epoch): item.price_minor / unit for item in page.items})
        logged = rows[~rows[schema.ITEM_ID].isin(page.unpriced)] if page.unpriced else rows
        yield ShadowPage(str(page_id), user_id, ts, query, logged, page)


def user_of(row: pd.Series[Any], jurisdiction: str) -> UserContext:
    """The customer of a training-set row."""
    behaviour = {name: float(row[name]) for name in schema.USER_PRICING_FEATURES if pd.notna(row[name])}
    return UserContext(
        user_id=str(row[schema.USER_ID]),
        behaviour=behaviour or None,
        history_items=tuple(row[schema.HISTORY_ITEMS]),
        history_age_days=tuple(row[schema.HISTORY_AGE_DAYS]),
        jurisdiction=jurisdiction,
    )


def shadow_quotes(pages: list[ShadowPage], *, with_users: bool = False) -> pd.DataFrame:
    """Shadow pages as a frame of the quote log.

    Args:
        pages: The pages.
        with_users: Put the user id where the log has a keyed hash, for an audit that never leaves the process.
    """
    records = [
        quote_record(
            shadow.page,
            quote_id=shadow.page_id,
            ts=shadow.ts.value // 1_000,
            task="search",
            user_key=shadow.user_id if with_users else None,
            query=shadow.query,
        )
        for shadow in pages
    ]
    return quote_frame(records)
