"""The anchor objective: the squared distance of each price to f(v), plus the distance to the query.

    L(p) = sum_i lambda (f_i - p_i)^2 + gamma d_i

``d`` does not depend on ``p``, so the minimiser is f(v), clipped to its bounds: the objective ranks items, it does not
personalise prices (docs/pricing-model.md, section 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LAMBDA, GAMMA = 0.5, 0.3  # the weights of the first design


def anchor_loss(
    price: ArrayLike, f: ArrayLike, distance: ArrayLike, *, lam: float = LAMBDA, gamma: float = GAMMA
) -> Floats:
    """``L``, summed over the last axis.

    Args:
        price: Prices, ``(..., n)``.
        f: Predicted prices in the same unit.
        distance: Distance of each item to the query, 0 for a perfect match.
        lam: lambda.
        gamma: gamma.

    >>> float(anchor_loss([0.8], [0.8], [1.0])), round(float(anchor_loss([1.0], [0.8], [1.0])), 6)
    (0.3, 0.32)
    """
    return np.asarray(item_losses(price, f, distance, lam=lam, gamma=gamma).sum(-1))


def item_losses(
    price: ArrayLike, f: ArrayLike, distance: ArrayLike, *, lam: float = LAMBDA, gamma: float = GAMMA
) -> Floats:
    """The terms of ``L``, ``(..., n)``."""
    away = np.atleast_1d(np.asarray(f, float) - np.asarray(price, float))
    return np.asarray(lam * away**2 + gamma * np.asarray(distance, float))


def anchor_prices(f: ArrayLike, lo: ArrayLike = -np.inf, hi: ArrayLike = np.inf) -> Floats:
    """The exact minimiser for every lambda > 0: f, clipped to the bounds.

    >>> anchor_prices([0.8, 1.3], lo=0.9, hi=1.2).tolist()
    [0.9, 1.2]
    """
    return np.asarray(np.minimum(np.maximum(np.asarray(f, float), lo), hi))


def anchor_ranking(f: ArrayLike, distance: ArrayLike, *, gamma: float = GAMMA) -> NDArray[np.int64]:
    """Items by minimised loss, best first; ties keep their order.

    ``distance`` must be a distance: with a similarity ``s`` in its place the least similar item would rank first. Pass
    ``1 - s``, or a negative ``gamma``.

    >>> anchor_ranking(f=[0.8, 0.8, 0.8], distance=[0.9, 0.1, 0.4]).tolist()
    [1, 2, 0]
    """
    return np.argsort(item_losses(f, f, distance, gamma=gamma), axis=-1, kind="stable")


def adam_anchor_prices(
    f: ArrayLike,
    lo: ArrayLike = -np.inf,
    hi: ArrayLike = np.inf,
    *,
    start: ArrayLike = 1.0,
    lam: float = LAMBDA,
    steps: int = 2_000,
    rate: float = 0.01,
) -> Floats:
    """Adam on the prices, the solver of the first design; a cross-check of :func:`anchor_prices`."""
    target = np.asarray(f, float)
    first = np.broadcast_to(np.asarray(start, float), target.shape)
    return adam(lambda price: 2 * lam * (price - target), first, lo, hi, steps=steps, rate=rate)


def adam(
    gradient: Callable[[Floats], Floats],
    start: ArrayLike,
    lo: ArrayLike = -np.inf,
    hi: ArrayLike = np.inf,
    *,
    steps: int = 200,
    rate: float = 0.01,
    decay: tuple[float, float] = (0.9, 0.999),
) -> Floats:
    """Minimise by projected Adam (Kingma and Ba, 2015) from ``start``; returns the point after ``steps``."""
    point = np.array(start, dtype=float)
    mean, square = np.zeros_like(point), np.zeros_like(point)
    for step in range(1, steps + 1):
        slope = gradient(point)
        mean = decay[0] * mean + (1 - decay[0]) * slope
        square = decay[1] * square + (1 - decay[1]) * slope**2
        move = mean / (1 - decay[0] ** step) / (np.sqrt(square / (1 - decay[1] ** step)) + 1e-8)
        point = np.minimum(np.maximum(point - rate * move, lo), hi)
    return point
