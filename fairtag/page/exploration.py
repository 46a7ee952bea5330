"""Prices drawn at random on purpose, so that a log can judge prices nobody has chosen yet.

A five-point menu spans what the guardrails and the corridor allow an item. With probability ``1 - rate`` the chosen
price stays; otherwise each point of the menu is equally likely. The draw is a hash of customer, item, epoch and model:
the same customer sees the same price all epoch long, and the price can be replayed from the log. The propensity of what
was drawn is logged with it (docs/pricing-model.md, sections 6 and 10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

POINTS = 5
UNIT = 2.0**-53  # 53 random bits make every float64 of a uniform draw


class Explored(NamedTuple):
    """What was drawn for each item.

    Args:
        price: Shape (n,).
        point: Position in the menu, shape (n,).
        propensity: Probability of the shown price, shape (n,).
        explored: Whether the draw was made at random rather than left at the chosen price, shape (n,).
    """

    price: Floats
    point: Ints
    propensity: Floats
    explored: Flags


def exploration_menu(chosen: ArrayLike, low: ArrayLike, high: ArrayLike, points: int = POINTS) -> tuple[Floats, Ints]:
    """A menu an item over its bounds, with the chosen price as one of the points.

    Evenly spaced from ``low`` to ``high``; the point nearest to the chosen price gives way to it. Where the bounds
    meet, all points are one price.

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
        raise ConfigError(f"a menu of {points} points explores nothing; at least 2")
    y, lo, hi = (np.atleast_1d(np.asarray(x, dtype=np.float64)) for x in (chosen, low, high))
    broken = ~((lo <= y) & (y <= hi) & np.isfinite(y + lo + hi))
    if broken.any():
        rows = np.flatnonzero(broken)[:3]
        raise DataError(
            f"{int(broken.sum())} chosen prices lie outside their bounds, such as {y[rows]} in {lo[rows]} to {hi[rows]}"
        )
    menu = lo[:, None] + (hi - lo)[:, None] * np.linspace(0.0, 1.0, points)
    index = np.abs(menu - y[:, None]).argmin(axis=1)
    menu[np.arange(len(y)), index] = y
    return menu, index


def propensities(menu: ArrayLike, chosen: ArrayLike, rate: float) -> Floats:
    """Probability of each point: ``rate / points`` each, and ``1 - rate`` more on the chosen one, shape (n, points).

    Points of equal price share their probability, because the log cannot tell them apart: each carries the sum.

    Raises:
        ConfigError: The rate is not in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"exploration rate {rate} must be in [0, 1]")
    grid = np.asarray(menu, dtype=np.float64)
    alone = np.full(grid.shape, rate / grid.shape[1])
    alone[np.arange(len(grid)), np.asarray(chosen)] += 1 - rate
    same = grid[:, :, None] == grid[:, None, :]
    result: Floats = np.einsum("nij,nj->ni", same, alone)
    return result


def explore(menu: ArrayLike, chosen: ArrayLike, rate: float, keys: Sequence[Sequence[str | int]]) -> Explored:
    """Draw a price for each item.

    Args:
        menu: Menus, shape (n, points).
        chosen: Index of the chosen price, shape (n,).
        rate: Share of draws made at random.
        keys: For each item what the draw depends on: customer, item, epoch and model version.

    Raises:
        DataError: Not one key an item.
    """
    grid, at = np.asarray(menu, dtype=np.float64), np.asarray(chosen, dtype=np.int64)
    if len(keys) != len(grid):
        raise DataError(f"{len(keys)} keys for {len(grid)} items; one each")
    probability = propensities(grid, at, rate)
    coin = uniforms(keys, "explore")
    random = coin < rate
    point = at.copy()
    for row in np.flatnonzero(random).tolist():  # few: a hash for every item was a tenth of a page's time
        point[row] = int(uniform(keys[row], "point") * grid.shape[1])
    rows = np.arange(len(grid))
    return Explored(grid[rows, point], point, probability[rows, point], random)


def uniform(key: Sequence[str | int], purpose: str) -> float:
    """A uniform draw in [0, 1) that is a function of the key: the first 53 bits of a SHA-256.

    Parts are written with their lengths, so that ("ab", "c") and ("a", "bc") are different keys.
    """
    return float(uniforms([key], purpose)[0])


def uniforms(keys: Sequence[Sequence[str | int]], purpose: str) -> Floats:
    """The draw of each key, shape (n,); keys of one page share most of their parts, which are written once."""
    head, written = _written(purpose), {part: _written(str(part)) for key in keys for part in key}
    texts = [head + b"".join([written[part] for part in key]) for key in keys]
    bits = [int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11 for text in texts]
    return np.array(bits, dtype=np.float64) * UNIT


def _written(part: str) -> bytes:
    text = part.encode()
    return b"%d:%b" % (len(text), text)
