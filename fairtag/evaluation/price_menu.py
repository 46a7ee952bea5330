"""The menu that logged prices were drawn from: stated by the shop, or read off the log (docs/pricing-model.md, 10).

Off-policy evaluation needs the probability of each price (the log's propensities) and the prices that could have been
drawn. A shop may state them as shares of list; where it does not, they are found as the fewest shares that explain the
logged prices, each up to its rounding to a coin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import DataError

Floats = NDArray[np.float64]

METADATA_KEY = "price_menu"
MOST_LEVELS = 32  # more shares of list than this are no menu: prices were set item by item
EXPLAINED = 0.99  # share of the drawn prices that a menu must explain; the rest were set by hand
RARE = 0.002  # share of the rows below which a level is an odd price rather than a point of the menu
UNRANDOMISED = "prices were not randomised"
REMEDY = 'state it in metadata.json as shares of list, such as {"price_menu": [0.8, 0.9, 1.0]}'


@dataclass(frozen=True)
class PriceMenu:
    """The menu of a log.

    Args:
        levels: Shares of list, ascending; None where there is no menu.
        source: Where it comes from, or why there is none and what to do, in words.
    """

    levels: Floats | None
    source: str


def price_menu_of(log: pd.DataFrame, stated: Sequence[float] | None, coin: float) -> PriceMenu:
    """The menu of a log of drawn prices.

    Args:
        log: Impressions with price, list price and, where prices were drawn, propensity.
        stated: The shop's own statement; None where it made none.
        coin: Smallest coin, currency units: logged prices are rounded to it.

    Raises:
        DataError: The stated menu does not explain the log.
    """
    propensity = log.get(schema.PROPENSITY)
    drawn = log.iloc[:0] if propensity is None else log[propensity.notna()]
    if drawn.empty:
        return PriceMenu(None, f"{UNRANDOMISED}: the log has no propensities")
    ratio, slack = _shares(drawn, coin)
    if stated is not None:
        levels = np.unique(np.asarray(stated, dtype=np.float64))
        fits = _explained(ratio, slack, levels)
        if fits < EXPLAINED:
            raise DataError(
                f"metadata: price_menu {levels.tolist()} explains {fits:.0%} of the prices that were drawn, such as "
                f"{np.round(ratio[:3], 4).tolist()} of list; state the shares of list that they were drawn from, or "
                "leave price_menu out and it is read off the log",
                column=METADATA_KEY,
                rule="shares of list that explain the log",
            )
        return PriceMenu(levels, "stated by the shop")
    levels = _fewest(ratio, slack)
    if 2 <= levels.size <= MOST_LEVELS and _explained(ratio, slack, levels) >= EXPLAINED:
        shown = ", ".join(f"{level:g}" for level in levels.round(4))
        return PriceMenu(levels, f"read off the log: {shown} of list")
    return PriceMenu(None, f"the log has propensities, but its prices show no common menu; {REMEDY}")


def _shares(drawn: pd.DataFrame, coin: float) -> tuple[Floats, Floats]:
    """Each price as a share of list, and by how much rounding to a coin may have moved it."""
    listed = drawn[schema.LIST_PRICE].to_numpy(dtype=np.float64)
    return drawn[schema.PRICE].to_numpy(dtype=np.float64) / listed, coin / listed


def _explained(ratio: Floats, slack: Floats, levels: Floats) -> float:
    """Share of the prices within rounding of a level."""
    after = np.searchsorted(levels, ratio).clip(1, max(1, levels.size - 1))
    near = levels[[after - 1, np.minimum(after, levels.size - 1)]]
    return float((np.abs(near - ratio).min(0) <= slack * (1 + 1e-9)).mean())


def _fewest(ratio: Floats, slack: Floats) -> Floats:
    """Shares that explain the prices, each within rounding: the one that explains most, then of the rest, and so on.

    A share stands at the median of its closest prices. It ends where the next would explain only odd prices.
    """
    low, high = ratio - slack, ratio + slack
    left = np.ones(len(ratio), dtype=bool)
    levels: list[float] = []
    while left.any() and len(levels) <= MOST_LEVELS:
        point = _most_covered(low[left], high[left])
        own = np.flatnonzero(left & (low <= point) & (point <= high))
        if own.size <= RARE * len(ratio):
            break
        exact = own[slack[own] <= np.quantile(slack[own], 0.25)]
        levels.append(float(np.median(ratio[exact])))
        left[own] = False
    return np.array(sorted(levels))


def _most_covered(low: Floats, high: Floats) -> float:
    """A point that lies in as many intervals as any."""
    ends = np.concatenate([low, high])
    order = np.lexsort((np.repeat([0, 1], len(low)), ends))  # at one place an interval begins before another ends
    inside = np.cumsum(np.where(order < len(low), 1, -1))
    return float(ends[order[inside.argmax()]])
