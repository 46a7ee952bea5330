"""An explanation in whole minor units, whose parts still add up, and in words; reason codes in words.

>>> whole_parts({"market": 400.6, "rounding": -0.3}, 401)
{'market': 401, 'rounding': 0}
>>> summary(1_599, 1_999, 1_720, {"stock": -121, "bounds": 0}, currency("EUR"))
'4.00 EUR below the list price of 19.99 EUR. An item like this costs 17.20 EUR; the stock takes 1.21 EUR.'
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fairtag.base.money import Currency, currency
from fairtag.base.types import Reason

__all__ = ["REASONS", "currency", "reason_words", "summary", "whole_parts"]

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

REASONS: Mapping[str, str] = {
    Reason.ANCHOR: "the usual price of such an item",
    Reason.DEMAND_HIGH_INTENT: "close match: less discount needed",
    Reason.DEMAND_PRICE_SENSITIVE: "more discount pays off here",
    Reason.STOCK_SCARCE: "few left in stock",
    Reason.STOCK_AGEING: "must be sold soon",
    Reason.COMPETITOR_CAP: "kept near a competitor's price",
    Reason.COST_FLOOR: "limited by cost and margin",
    Reason.MAP_FLOOR: "limited by the maker's lowest price",
    Reason.LIST_CEILING: "never above list",
    Reason.CHANGE_LIMIT: "limit on discount or change",
    Reason.FAIRNESS_CORRIDOR: "kept close to what others pay",
    Reason.PRICE_ENDING: "rounded to a price ending",
    Reason.LOW_CONFIDENCE_LIST: "standard price: no better one is sure",
    Reason.PRICES_NOT_ACCEPTED: "standard price: no other is proven yet",
    Reason.COST_UNKNOWN: "standard price: its cost is unknown",
    Reason.PERSONAL_NOT_ACCEPTED: "no personal prices yet",
    Reason.PINNED: "a price that the shop has set",
    Reason.EXCLUDED: "standard price: the shop keeps it there",
    Reason.PROMOTION: "on promotion",
    Reason.EXPERIMENT: "set by the arm of an experiment",
    Reason.PERSONAL_STOPPED: "personal prices are switched off",
    Reason.OPTED_OUT: "the customer opted out",
    Reason.JURISDICTION_OFF: "no personal prices in this place",
    Reason.INFEASIBLE: "standard price: no other fits every limit",
    Reason.EXPLORATION: "drawn at random, to learn",
}


def reason_words(code: str) -> str:
    """A reason code in plain words; the code itself where a newer endpoint sends one that is not known here."""
    return REASONS.get(code, code)


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
