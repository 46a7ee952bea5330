"""The objective the product began with, kept exactly: pay for leaving f(v), pay for distance.

``L(p) = sum_i lambda (f_i - p_i)^2 + gamma d_i``. As d does not depend on p, the minimiser is the reference price
clipped to its bounds: the objective ranks items, it does not personalise prices (docs/pricing-model.md, section 1).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LAMBDA, GAMMA = 0.5, 0.3  # the weights of the source documents


def anchor_loss(
    price: ArrayLike, f: ArrayLike, distance: ArrayLike, *, lam: float = LAMBDA, gamma: float = GAMMA
) -> Floats:
    """``L`` summed over the last axis; prices and ``f`` in one unit, ``distance`` 0 for a perfect match.

    The documents' example: f .8, d 1 gives .3 at p .8 and .32 at p 1.
    """
    return np.asarray(item_losses(price, f, distance, lam=lam, gamma=gamma).sum(-1))


def item_losses(
    price: ArrayLike, f: ArrayLike, distance: ArrayLike, *, lam: float = LAMBDA, gamma: float = GAMMA
) -> Floats:
    """The summands of ``L``, ``(..., n)``."""
    away = np.atleast_1d(np.asarray(f, float) - np.asarray(price, float))
    return np.asarray(lam * away**2 + gamma * np.asarray(distance, float))


def anchor_prices(f: ArrayLike, lo: ArrayLike = -np.inf, hi: ArrayLike = np.inf) -> Floats:
    """The exact minimiser for any lambda > 0: the nearest point to f inside the bounds."""
    return np.asarray(np.minimum(np.maximum(np.asarray(f, float), lo), hi))


def anchor_ranking(f: ArrayLike, distance: ArrayLike, *, gamma: float = GAMMA) -> NDArray[np.int64]:
    """Items by minimised loss, best first, ties in the given order.

    ``distance`` must be a distance. With a similarity in its place the least similar item would come first; turn one
    into the other before (``1 - s``), or give ``gamma`` the opposite sign.
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
    """The documents' own solver, Adam on the prices, as a cross-check of :func:`anchor_prices`."""
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
