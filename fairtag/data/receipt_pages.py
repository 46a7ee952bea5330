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

import numpy as np
import pandas as pd

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
