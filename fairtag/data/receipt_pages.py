"""Derive pages from receipts so that demand can be learned: a page never depends on the customer's own receipt.

Receipts are a thin sample. On 98 % of the pages of "what sold in this store and week", every item was bought by exactly
one visit, whatever it cost, so no response to price can be seen. Here an item is on a visit's page because of *other*
receipts only: another receipt of the store shows that the store sells it, and other receipts of the chain in that week
show its price. The visit's own choice is then free, and ``P(bought | on the page)`` is the choice probability.

An item that no other receipt shows has no price, so a visit that bought such an item is left out. That costs data but
adds no bias, because of the logit's independence of irrelevant alternatives: the choice among the items shown, given
that one of them or none was chosen, follows the same logit (McFadden, 1978).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import coerce

OWN_VISIT = ["basket_id", "product_type"]


def page_rows(priced: pd.DataFrame, visits: pd.DataFrame, *, share: float, seed: int) -> pd.DataFrame:
    """One row for each visit and item on its page.

    Args:
        priced: Receipt lines of the priced types: basket, household, store, week, product, type, paid, shelf, quantity.
        visits: Every visit with basket, household, store, week and ts; one row each.
        share: Share of the visits without a purchase of the type to keep, at random. Lines are a sample, so most
            purchases are not seen. Keeping the same share of other visits keeps the odds of buying about right, and
            the ratios of odds, hence all responses, exactly right.
        seed: Seed of the draw.

    Returns:
        basket_id, household_id, store_id, week, ts, product_type, product_id, level (mean of paid / shelf on the other
        receipts of the week), receipts (their number), quantity (0 if it was not bought).
    """
    bought = _purchases(priced)
    pages = pd.concat([bought[OWN_VISIT].drop_duplicates(), _without_purchase(bought, visits, share, seed)])
    stores = bought.groupby(["store_id", "product_id", "product_type"], as_index=False).agg(
        store_receipts=("level", "size")
    )
    weeks = bought.groupby(["product_id", "week"], as_index=False).agg(
        receipts=("level", "size"), total=("level", "sum")
    )
    rows = pages.merge(visits, on="basket_id").merge(stores, on=["store_id", "product_type"])
    rows = rows.merge(weeks, on=["product_id", "week"])
    own = bought[["basket_id", "product_id", "quantity", "level"]].rename(columns={"level": "own"})
    return _of_others(rows.merge(own, on=["basket_id", "product_id"], how="left"))


def _purchases(priced: pd.DataFrame) -> pd.DataFrame:
    """One row for each visit and item it bought."""
    level = np.minimum(priced["paid"] / priced["shelf"], 1.0)
    return (
        priced.assign(level=level)
        .groupby(["basket_id", "product_id"], as_index=False)
        .agg(
            store_id=("store_id", "first"),
            week=("week", "first"),
            product_type=("product_type", "first"),
            quantity=("quantity", "sum"),
            level=("level", "median"),
        )
    )


def _without_purchase(bought: pd.DataFrame, visits: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """A random share of the pairs of visit and type in which nothing of the type was bought."""
    types = pd.DataFrame({"product_type": np.sort(bought["product_type"].unique())})
    pairs = visits[["basket_id"]].sort_values("basket_id").merge(types, how="cross")
    pairs = pairs[np.random.default_rng(seed).random(len(pairs)) < share]
    marked = pairs.merge(bought[OWN_VISIT].drop_duplicates(), on=OWN_VISIT, how="left", indicator=True)
    return marked.loc[marked["_merge"] == "left_only", OWN_VISIT]


def _of_others(rows: pd.DataFrame) -> pd.DataFrame:
    """Remove each visit's own receipt from the evidence for its page."""
    mine = rows["own"].notna()
    store, week = rows["store_receipts"] - mine, rows["receipts"] - mine
    shown = (store > 0) & (week > 0)
    hidden = (mine & ~shown).groupby([rows[name] for name in OWN_VISIT]).transform("any")
    level = (rows["total"] - rows["own"].fillna(0.0)) / week.where(week > 0)
    kept = rows.assign(level=level, receipts=week, quantity=rows["quantity"].fillna(0.0))[shown & ~hidden]
    return kept.drop(columns=["store_receipts", "total", "own"]).reset_index(drop=True)


def page_impressions(rows: pd.DataFrame, lines: pd.DataFrame, words: Callable[[str], str] = str) -> pd.DataFrame:
    """Impressions from rows of visit, type and item; the most popular items come first.

    Args:
        rows: basket_id, household_id, ts, product_type, product_id, price, shelf and quantity (0 if not bought). A
            price above the shelf's counts as the shelf's.
        lines: Receipt lines: what they hold often is popular.
        words: The query of a page of this type.
    """
    page = ["basket_id", "product_type"]
    rows = rows.assign(popularity=rows["product_id"].map(lines["product_id"].value_counts()))
    rows = rows.sort_values([*page, "popularity", "product_id"], ascending=[True, True, False, True])
    types = sorted(lines["product_type"].unique())
    purchased = rows["quantity"] > 0
    frame = pd.DataFrame(
        {
            schema.PAGE_ID: rows["basket_id"].astype(str)
            + "-"
            + rows["product_type"].map({name: str(code) for code, name in enumerate(types)}),
            schema.ITEM_ID: rows["product_id"],
            schema.TS: rows["ts"],
            schema.USER_ID: rows["household_id"],
            schema.QUERY: rows["product_type"].map({name: words(name) for name in types}),
            schema.RANK: rows.groupby(page).cumcount() + 1,
            schema.PRICE: np.minimum(rows["price"], rows["shelf"]),
            schema.LIST_PRICE: rows["shelf"],
            schema.CLICKED: purchased,
            schema.PURCHASED: purchased,
            schema.QUANTITY: np.ceil(rows["quantity"]),
            schema.IN_STOCK: True,
        }
    )
    ordered = frame.sort_values([schema.TS, schema.PAGE_ID, schema.RANK], kind="stable").reset_index(drop=True)
    return coerce(ordered, schema.IMPRESSIONS)
