"""An explanation in whole minor units, whose parts still add up, and in words.

>>> whole_parts({"market": 400.6, "rounding": -0.3}, 401)
{'market': 401, 'rounding': 0}
>>> summary(1_599, 1_999, 1_720, {"stock": -121, "bounds": 0}, currency("EUR"))
'4.00 EUR below the list price of 19.99 EUR. An item like this costs 17.20 EUR; the stock takes 1.21 EUR.'
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fairtag.base.money import Currency, currency

__all__ = ["currency", "summary", "whole_parts"]

WORDS = {
    "market": "the usual price in the market",
    "intent": "how well it fits the search",
    "behaviour": "what the customer bought before",
    "competition": "the other items on the page",
    "stock": "the stock",
    "bounds": "the limit of the shop",
    "rounding": "the price ending",
    "decision": "a price that was already given, drawn to learn, or kept at list to be safe",
}


def whole_parts(parts: Mapping[str, float], total: int) -> dict[str, int]:
    """Parts as whole minor units that sum to a total: rounded down, and the largest remainders up.

    Args:
        parts: Parts whose sum is within a minor unit or so of the total.
        total: What they must sum to.
    """
    if not parts:
        return {}
    whole = {name: math.floor(value) for name, value in parts.items()}
    left = total - sum(whole.values())
    order = sorted(parts, key=lambda name: whole[name] - parts[name])  # the largest remainder first
    for place in range(abs(left)):
        whole[order[place % len(order)] if left > 0 else order[-1 - place % len(order)]] += 1 if left > 0 else -1
    return whole


def summary(price: int, listed: int, base: int, parts: Mapping[str, int], coin: Currency) -> str:
    """How a price lies to its list price, and how it came about; amounts in minor units.

    Args:
        price: The price.
        listed: The list price.
        base: f(v), what an item like this costs.
        parts: What each driver adds on the way from the one to the other.
        coin: Their currency.
    """
    gap = listed - price
    place = (
        f"The list price of {coin.text(listed)}."
        if not gap
        else f"{coin.text(abs(gap))} {'below' if gap > 0 else 'above'} the list price of {coin.text(listed)}."
    )
    moved = sorted((name for name, value in parts.items() if value), key=lambda name: -abs(parts[name]))
    steps = [f"{WORDS[name]} {'adds' if parts[name] > 0 else 'takes'} {coin.text(abs(parts[name]))}" for name in moved]
    return f"{place} {'; '.join([f'An item like this costs {coin.text(base)}', *steps])}."
