"""Exact Shapley explanations of a price over at most eight driver groups. Knows nothing of customers or requests.

The value of a set of drivers is the price with only those at work; a driver's contribution is its mean effect over all
orders in which the drivers can join, so contributions add up to ``price - f`` exactly (PRICING.md section 11).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from pricing.errors import ConfigError
from pricing.page.arrays import Flags, Floats

MOST_DRIVERS = 8  # 256 prices of the page; a solve costs microseconds, but the count doubles with each driver

PriceOf = Callable[[Flags], Floats]
"""From coalitions ``(2^k, k)``, True where a driver is at work, to prices ``(2^k, n)``."""


@dataclass(frozen=True)
class Explanation:
    """Why ``n`` prices are what they are.

    Args:
        drivers: Names of the ``k`` driver groups.
        base: Prices with no driver at work, f, ``(n,)``.
        price: Prices with all at work, ``(n,)``.
        contributions: ``(k, n)``, same unit; the columns sum to ``price - base``.
    """

    drivers: tuple[str, ...]
    base: Floats
    price: Floats
    contributions: Floats

    def of(self, item: int) -> dict[str, float]:
        """Contribution of each driver to one item's price."""
        return dict(zip(self.drivers, self.contributions[:, item].tolist(), strict=True))


def explain(price_of: PriceOf, drivers: Sequence[str]) -> Explanation:
    """Explain the prices that ``price_of`` gives when all drivers are at work.

    Raises:
        ConfigError: No driver, more than eight, or two of one name.
    """
    names = tuple(drivers)
    if not 0 < len(names) <= MOST_DRIVERS or len(set(names)) < len(names):
        raise ConfigError(f"drivers {names}: from 1 to {MOST_DRIVERS} different names can be explained exactly")
    prices = np.asarray(price_of(coalitions(len(names))), float)
    return Explanation(names, prices[0], prices[-1], shapley_values(prices))


def coalitions(k: int) -> Flags:
    """All subsets of ``k`` players, ``(2^k, k)``; row number and set share their bits, player 0 the lowest."""
    return (np.arange(2**k)[:, None] >> np.arange(k) & 1).astype(bool)


def shapley_values(worth: Floats) -> Floats:
    """Shapley values ``(k, ...)`` of a game given by the worth of all :func:`coalitions`, ``(2^k, ...)``.

    ``phi_i = sum_S |S|! (k - |S| - 1)! / k! (v(S + i) - v(S))`` over the sets S without i (Shapley, 1953).
    """
    k = len(worth).bit_length() - 1
    order = np.array([factorial(size) * factorial(k - size - 1) / factorial(k) for size in range(k)])
    sets = np.arange(len(worth))
    size = coalitions(k).sum(-1)
    values = np.empty((k, *worth.shape[1:]))
    for player in range(k):
        without = sets[sets >> player & 1 == 0]
        gain = worth[without | 1 << player] - worth[without]
        values[player] = np.tensordot(order[size[without]], gain, axes=1)
    return values


def switch(on: Flags, actual: Floats, neutral: Floats | float) -> Floats:
    """One input of a page in every coalition, ``(S, n)``: the actual ``(n,)`` where its driver is at work."""
    chosen: NDArray[np.float64] = np.where(on[:, None], actual, neutral)
    return chosen
