"""Thompson sampling over the posterior of demand: each price is drawn as often as it is believed to be the best.

For an item, profit over a menu is ``G(y) exp(-b y)``, so that the best point of the menu depends on the slope b alone:
``ln G(y_k) - b y_k`` are lines in b, each point is best between two of their crossings, and the posterior of b is
Gaussian. The probabilities are therefore exact; nothing is drawn to find them, whoever has the model repeats them, and
their cost is that of two normal probabilities for each point.

>>> above = lambda threshold: np.where(threshold < 2.0, 1.0, 0.0)  # the slope is known to be 2
>>> best_point_probabilities([[0.6, 0.8, 1.0]], [[0.1, 0.3, 0.5]], above).tolist()
[[0.0, 0.0, 1.0]]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

EVEN_SHARE: Final = 0.1  # of the draws that stay even over the menu: no point has propensity 0, whatever is believed


def best_point_probabilities(price: ArrayLike, gain: ArrayLike, above: Callable[[Floats], Floats]) -> Floats:
    """Posterior probability of each point of a menu to be the best, shape (n, points); rows sum to 1.

    Args:
        price: (n, points) prices, any order; of equal ones the first stands for all.
        gain: (n, points) what a sale earns at each, any one unit; a point that earns nothing is never the best, and
            where no point earns anything the dearest is.
        above: Posterior probability that the slope exceeds each of (n, points) thresholds, -inf and inf included; the
            slope is that of the same unit as the prices.
    """
    y, g = np.asarray(price, dtype=np.float64), np.asarray(gain, dtype=np.float64)
    points = y.shape[1]
    twin = np.tril(y[:, :, None] == y[:, None, :], -1).any(-1)
    earns = (g > 0) & ~twin
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(earns, np.log(np.where(earns, g, 1.0)), -np.inf)
        step = y[:, None, :] - y[:, :, None]
        crossing = (value[:, None, :] - value[:, :, None]) / step  # [k, j]: where line k and line j cross
    rival = earns[:, None, :] & earns[:, :, None]
    low = np.where(rival & (step > 0), crossing, -np.inf).max(-1)
    high = np.where(rival & (step < 0), crossing, np.inf).min(-1)
    found = np.where(earns, np.maximum(above(low) - above(high), 0.0), 0.0)
    none = ~earns.any(-1)
    found[none, y[none].argmax(-1)] = 1.0
    total = found.sum(-1, keepdims=True)
    result: Floats = np.where(total > 0, found / np.where(total > 0, total, 1.0), 1.0 / points)
    return result


def thompson_weights(price: ArrayLike, gain: ArrayLike, above: Callable[[Floats], Floats]) -> Floats:
    """How often each point of a menu is drawn, shape (n, points): as believed to be best, and a share evenly."""
    best = best_point_probabilities(price, gain, above)
    weights: Floats = (1 - EVEN_SHARE) * best + EVEN_SHARE / best.shape[1]
    return weights
