"""Exploration: prices drawn at random, so that the log can evaluate prices that no policy has chosen yet.

A five-point menu spans the bounds of an item. With probability ``1 - rate`` the chosen price stays, otherwise each
point is equally likely, or as likely as it is believed to be the best (:mod:`fairtag.page.thompson`). The draw is a
keyed hash of customer, item, price day and model: a customer sees the same price all day, whoever has the key can
repeat it, and nobody else can foretell it. Its propensity is logged (docs/pricing-model.md, sections 6 and 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.keyed_draw import uniform, uniforms

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

POINTS = 5


class ExplorationDraw(NamedTuple):
    """The draw for each item.

    Args:
        price: Price to show, shape (n,).
        point: Its position in the menu, shape (n,).
        propensity: Probability of showing it, shape (n,).
        explored: Whether it was drawn at random, rather than left at the chosen price, shape (n,).
    """

    price: Floats
    point: Ints
    propensity: Floats
    explored: Flags


def exploration_menu(chosen: ArrayLike, low: ArrayLike, high: ArrayLike, points: int = POINTS) -> tuple[Floats, Ints]:
    """A menu for each item, evenly spaced over its bounds; the chosen price replaces the point nearest to it.

    Args:
        chosen: Chosen prices, shape (n,).
        low: Lowest allowed price, shape (n,).
        high: Highest allowed price, shape (n,).
        points: Points of the menu, at least 2.

    Returns:
        The menus, shape (n, points), and the index of the chosen price in each, shape (n,).

    Raises:
        ConfigError: Fewer than 2 points.
        DataError: A chosen price lies outside its bounds, or something is not finite.
    """
    if points < 2:
        raise ConfigError(f"exploration: a menu of {points} points explores nothing; it needs at least 2")
    y, lo, hi = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (chosen, low, high))
    broken = ~((lo <= y) & (y <= hi) & np.isfinite(y + lo + hi))
    if broken.any():
        rows = np.flatnonzero(broken)[:3]
        raise DataError(
            f"exploration: {int(broken.sum())} chosen prices lie outside their bounds, "
            f"such as {y[rows]} in {lo[rows]} to {hi[rows]}"
        )
    menu = lo[:, None] + (hi - lo)[:, None] * np.linspace(0.0, 1.0, points)
    index = np.abs(menu - y[:, None]).argmin(axis=1)
    menu[np.arange(len(y)), index] = y
    return menu, index


def propensities(menu: ArrayLike, chosen: ArrayLike, rate: float, weights: ArrayLike | None = None) -> Floats:
    """Propensity (n, points) of each point: ``rate`` times its weight, and ``1 - rate`` more for the chosen one.

    The log cannot tell points of equal price apart, so each of them carries the sum of their probabilities.

    Args:
        menu: Menus, shape (n, points).
        chosen: Index of the chosen price, shape (n,).
        rate: Probability of a random draw.
        weights: How often each point is drawn, shape (n, points), rows sum to 1; evenly when None.

    Raises:
        ConfigError: The rate is not in [0, 1].

    >>> propensities([[7.0, 8.0, 9.0, 10.0]], chosen=[1], rate=0.2).round(2).tolist()
    [[0.05, 0.85, 0.05, 0.05]]
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"exploration rate {rate} must be in [0, 1]")
    grid = np.asarray(menu, dtype=np.float64)
    even = 1.0 / grid.shape[1]
    alone = np.full(grid.shape, rate * even) if weights is None else rate * np.asarray(weights, dtype=np.float64)
    alone[np.arange(len(grid)), np.asarray(chosen)] += 1 - rate
    same = grid[:, :, None] == grid[:, None, :]
    result: Floats = np.einsum("nij,nj->ni", same, alone)
    return result


def explore(
    menu: ArrayLike,
    chosen: ArrayLike,
    rate: float,
    keys: Sequence[Sequence[str | int]],
    secret: bytes = b"",
    weights: Floats | None = None,
) -> ExplorationDraw:
    """Draw a price for each item.

    Args:
        menu: Menus, shape (n, points).
        chosen: Index of the chosen price, shape (n,).
        rate: Probability of a random draw.
        keys: What the draw of each item depends on: customer, item, price day and model version.
        secret: Keys the draws.
        weights: How often each point is drawn, shape (n, points), rows sum to 1; evenly when None.

    Raises:
        DataError: There is not one key for each item.
    """
    grid, at = np.asarray(menu, dtype=np.float64), np.asarray(chosen, dtype=np.int64)
    if len(keys) != len(grid):
        raise DataError(f"exploration: {len(keys)} keys for {len(grid)} items; it needs one for each")
    probability = propensities(grid, at, rate, weights)
    coin = uniforms(keys, "explore", secret)
    random = coin < rate
    point = at.copy()
    for row in np.flatnonzero(random).tolist():  # hashes for all items would take a tenth of a page's time
        drawn = uniform(keys[row], "point", secret)
        point[row] = int(drawn * grid.shape[1]) if weights is None else _point(weights[row], drawn)
    rows = np.arange(len(grid))
    return ExplorationDraw(grid[rows, point], point, probability[rows, point], random)


def _point(weights: Floats, drawn: float) -> int:
    """The point that a uniform number falls on; never one of weight 0."""
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, drawn * edges[-1], side="right"))
