"""Draw what simulated customers buy at quoted prices, from the planted demand.

A customer buys one item of a page or none, by the conditional logit of :mod:`fairtag.simulator.planted_demand`.
Customers are matched by their pseudonyms, as the quote log holds no user ids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.pseudonym import user_key
from fairtag.base.tables import coerce
from fairtag.simulator.catalogue import Floats, Ints
from fairtag.simulator.planted_demand import nested_utilities
from fairtag.simulator.simulation import ShopSize, SimulatedShop, simulate_shop

MEAN_DELAY = pd.Timedelta(hours=2)  # from a quote to its order


def simulate_again(metadata: dict[str, Any]) -> SimulatedShop:
    """Simulate the shop whose tables have this metadata again, to get the truth behind them.

    Raises:
        DataError: The tables are not of a simulated shop, or its prices are endogenous.
    """
    if metadata.get("dataset") != "synthetic" or metadata.get("observational"):
        raise DataError(
            f"tables of {metadata.get('dataset')!r} have no planted demand; "
            f"outcomes can be simulated for the data set synthetic only"
        )
    return simulate_shop(ShopSize(**metadata["size"]), seed=int(metadata["seed"]))


def simulated_outcomes(
    quotes: pd.DataFrame,
    shop: SimulatedShop,
    secret: bytes,
    *,
    seed: int,
    until: pd.Timestamp,
    mean_delay: pd.Timedelta = MEAN_DELAY,
) -> pd.DataFrame:
    """Draw the purchases of quoted pages.

    The utility of an item is ``a - b p / list``, with the planted ``a`` and ``b`` for the item, the query and the
    customer's latest behaviour. A Gumbel draw on each item and on not buying decides. Items out of stock cannot be
    bought. A query unknown to the shop is relevant to no item, and an unknown customer has no personal effects.

    Args:
        quotes: Rows of schema.QUOTES; a page is a ``quote_id``.
        shop: The shop, or one whose planted demand was changed.
        secret: Secret of the pseudonyms in ``quotes``.
        seed: Seed of the draws; equal arguments give equal outcomes.
        until: The present; no purchase is dated later, so that a window ending there loses none.
        mean_delay: Mean of the exponential time from quote to order.

    Returns:
        Rows of schema.OUTCOMES, one for each purchase of one unit at the quoted price, in the order of the quotes.

    Raises:
        DataError: A quoted item is not in the shop's catalogue.
    """
    rows = quotes.reset_index(drop=True)
    rng = np.random.default_rng(seed)
    page, pages = pd.factorize(rows[schema.QUOTE_ID])
    utility = _utilities(rows, page, shop, secret) + rng.gumbel(size=len(rows))
    order = np.lexsort((-utility, page))
    best = order[np.unique(page[order], return_index=True)[1]]  # the best item of each page
    bought = np.sort(best[utility[best] > rng.gumbel(size=len(pages))])
    frame = rows.loc[bought]
    delay = pd.to_timedelta(rng.exponential(mean_delay.total_seconds(), len(bought)), unit="s")
    times = frame[schema.TS].reset_index(drop=True)
    ordered = (times + delay).where(times + delay <= until, until)
    outcomes = {
        schema.QUOTE_ID: frame[schema.QUOTE_ID].to_numpy(),
        schema.ITEM_ID: frame[schema.ITEM_ID].to_numpy(),
        schema.TS: ordered.where(ordered > times, times).dt.floor("us"),
        schema.QUANTITY: np.ones(len(bought), dtype=np.int64),
        schema.PRICE_MINOR: frame[schema.PRICE_MINOR].to_numpy(),
    }
    return coerce(pd.DataFrame(outcomes), schema.OUTCOMES)


def _utilities(rows: pd.DataFrame, page: Ints, shop: SimulatedShop, secret: bytes) -> Floats:
    """Planted utility of each quoted item at its price, as of a logit, -inf where it is out of stock, shape (rows,)."""
    items = shop.tables.latest_items()
    item = pd.Index(items[schema.ITEM_ID]).get_indexer(pd.Index(rows[schema.ITEM_ID]))
    if (item < 0).any():
        unknown = rows[schema.ITEM_ID][item < 0].iloc[0]
        raise DataError(f"quotes: item {unknown} is not in this shop's catalogue; give the shop that was quoted")
    similarity = _relevance(rows, item, shop)
    a, b = shop.planted.page(item[:, None], similarity[:, None], _behaviour(rows, shop.tables.latest_users(), secret))
    ratio = rows[schema.PRICE_MINOR].to_numpy(np.float64) / rows[schema.LIST_PRICE_MINOR].to_numpy(np.float64)
    available = items[schema.STOCK].to_numpy(np.float64)[item] > 0
    utility: Floats = np.where(available, (a - b * ratio[:, None])[:, 0], -np.inf)
    return nested_utilities(utility, page, shop.planted.catalogue.copy_of[item], shop.planted.dissimilarity)


def _relevance(rows: pd.DataFrame, item: np.ndarray[Any, Any], shop: SimulatedShop) -> Floats:
    known = pd.Index(shop.planted.wishes.text)
    code, distinct = pd.factorize(rows[schema.QUERY].where(rows[schema.QUERY].isin(known)))
    if not len(distinct):
        return np.zeros(len(rows))
    latent = shop.planted.relevance(list(distinct))
    return np.where(code >= 0, latent[code, item], 0.0)


def _behaviour(rows: pd.DataFrame, users: pd.DataFrame, secret: bytes) -> Floats:
    """Latest behaviour of the customer of each row, NaN for unknown customers, shape (rows, k)."""
    keys = pd.Index([user_key(user, secret) for user in users[schema.USER_ID]])
    code = keys.get_indexer(pd.Index(rows[schema.USER_KEY]))
    values = users[list(schema.USER_PRICING_FEATURES)].to_numpy(np.float64)
    return np.where((code >= 0)[:, None], values[code], np.nan)
