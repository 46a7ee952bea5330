"""The best uniform prices: one discount for each category, the same for every customer and page.

They are the rival that learned prices must not lose to: a shop needs no model of its customers to charge them. They are
found on other customers than those that score them, by the demand model of these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fairtag.evaluation.page_value import PageLog, predicted, shares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHARES = np.linspace(0.5, 1.0, 41)  # of list, that are tried: steps of 1.25 %
ROUNDS = 8  # it takes 2 to 4


def uniform_price(share: Floats, category: Ints, listed: Floats, floor: Floats) -> Floats:
    """(n,) money: the category's share of list, at least the floor and at most list."""
    return np.minimum(np.maximum(share[category] * listed, floor), listed)


def best_discounts(
    log: PageLog, a: Floats, b: Floats, *, listed: Floats, floor: Floats, category: Ints, categories: int
) -> Floats:
    """The share of list of each category, (C,), with the largest predicted profit of all pages.

    From the best share for all categories at once, each category moves to its own best while the pages' values stay as
    they are, until none moves; what earns most on the way is kept.

    Args:
        log: Pages to find them on.
        a: (n,) utilities.
        b: (n,) slopes.
        listed: (n,) list prices, money.
        floor: (n,) lowest prices, money.
        category: (n,) number of each row's category.
        categories: C.

    Example: one item of list price 10 that costs 5 and sells as exp(5 - 6 y): the best share of those tried is 0.84.

        >>> one = np.zeros(1, dtype=np.int64)
        >>> log = PageLog(one, one, np.array([10.0]), np.array([10.0]), np.array([5.0]), np.zeros(1),
        ...               np.ones(1, dtype=bool), np.array([np.nan]), np.array([[10.0]]))
        >>> best_discounts(log, np.array([5.0]), np.array([6.0]), listed=np.array([10.0]), floor=np.array([5.0]),
        ...                category=one, categories=1).round(2).tolist()
        [0.84]
    """

    def price(share: Floats) -> Floats:
        return uniform_price(share, category, listed, floor)

    def worth(share: Floats) -> float:
        return log.mean(predicted(log, a, b, price(share)))

    tried = [np.full(categories, share) for share in SHARES]
    best = share = max(tried, key=worth)
    for _ in range(ROUNDS):
        now = shares(log, a, b, price(share))
        value = log.sums(now.share * log.margin(price(share)))
        gains = np.stack([_gain(log, a, b, price(other), now.none, value, category, categories) for other in tried])
        moved = SHARES[gains.argmax(axis=0)]
        if (moved == share).all():
            break
        share = moved
        best = max(best, share, key=worth)
    return best


def _gain(
    log: PageLog, a: Floats, b: Floats, price: Floats, none: Floats, value: Floats, category: Ints, categories: int
) -> Floats:
    """(C,) what each category adds at these prices, to first order, while the pages' values stay as they are."""
    pull = shares(log, a, b, price).pull
    gain = pull * (log.margin(price) - value[log.page]) * none[log.page]
    if log.weight is not None:
        gain = gain * log.weight[log.page]
    return np.asarray(np.bincount(category, weights=gain, minlength=categories), dtype=np.float64)
