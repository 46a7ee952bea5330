"""Pages of receipts that do not depend on the customer's own receipt: demand can be learned from them.

Where receipts are a thin sample, an item that is shown because it was sold has sold once: on 98 % of the pages of "what
sold in this store and week" every item was bought by exactly one visit, whatever it cost, and no response to its price
can show. Here an item stands on a visit's page because of *other* receipts alone: another one of the store shows that
the store keeps it, others of the chain in that week show its price. Given that, the visit's own choice is free, so that
``P(bought | on the page)`` is the choice probability itself.

What the others did not show cannot be priced: a visit that bought such an item is left out. That costs data and, under
the logit's independence of irrelevant alternatives, no bias: choice among the items shown, given that one of them or
none was chosen, is the same logit (McFadden, 1978).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

OWN_VISIT = ["basket_id", "product_type"]


def page_rows(priced: pd.DataFrame, visits: pd.DataFrame, *, share: float, seed: int) -> pd.DataFrame:
    """One row for each visit and item on its page.

    Args:
        priced: Receipt lines of the priced types: basket, household, store, week, product, type, paid, shelf, quantity.
        visits: Every visit: basket, household, store, week, ts; one row each.
        share: Share of the visits without a purchase of the type that is kept, drawn at random. Lines are a sample, so
            that most purchases are not seen: to keep the same share of the other visits leaves the odds of buying about
            as they were, and their ratios, so all responses, exactly.
        seed: Of the draw.

    Returns:
        basket_id, household_id, store_id, week, ts, product_type, product_id, level (mean of paid over shelf on the
        other receipts of the week), receipts (how many), quantity (0 where it was not bought).
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
    """One row a visit and item it bought."""
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
    """A share of the pairs of visit and type in which nothing of the type was bought, drawn one by one."""
    types = pd.DataFrame({"product_type": np.sort(bought["product_type"].unique())})
    pairs = visits[["basket_id"]].sort_values("basket_id").merge(types, how="cross")
    pairs = pairs[np.random.default_rng(seed).random(len(pairs)) < share]
    marked = pairs.merge(bought[OWN_VISIT].drop_duplicates(), on=OWN_VISIT, how="left", indicator=True)
    return marked.loc[marked["_merge"] == "left_only", OWN_VISIT]


def _of_others(rows: pd.DataFrame) -> pd.DataFrame:
    """Take each visit's own receipt out of what is known of its page."""
    mine = rows["own"].notna()
    store, week = rows["store_receipts"] - mine, rows["receipts"] - mine
    shown = (store > 0) & (week > 0)
    hidden = (mine & ~shown).groupby([rows[name] for name in OWN_VISIT]).transform("any")
    level = (rows["total"] - rows["own"].fillna(0.0)) / week.where(week > 0)
    kept = rows.assign(level=level, receipts=week, quantity=rows["quantity"].fillna(0.0))[shown & ~hidden]
    return kept.drop(columns=["store_receipts", "total", "own"]).reset_index(drop=True)
