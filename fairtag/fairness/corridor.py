"""The corridor: no customer pays more than rho times what another pays for the item in the epoch.

Every price of item i lies in ``[l_i, rho l_i]``. So within an item and epoch any two log prices differ by at most
``log rho``, and so does any weighted mean of such differences: the gap between any two groups of customers, however
they are drawn, whether or not anyone thought of them, is at most ``log rho`` (:func:`largest_gap`). No protected
attribute is needed to promise it. What the corridor costs is the trade-off curve (docs/pricing-model.md, section 7).

Where the corridor stands is chosen offline: ``l_i`` maximises the mean profit of a sample of customers, each paying the
nearest price in the corridor to the best one for them. Profit falls away on both sides of a customer's best price, so
clipping is exact and one number an item is left to search.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError

Floats = NDArray[np.float64]

GRID = 33  # points of each round of the search; odd, so that the last round's best point is kept
ROUNDS = 4  # each round shrinks the bracket 16 times: 33 points of 4 rounds place l_i to 1e-5 of the range
CHUNK_CELLS = 1 << 21  # customers x items x points evaluated at a time: 16 MiB an array


@dataclass(frozen=True)
class Population:
    """Demand of a sample of customers for each item, the rest of the page held still; arrays (customers, items).

    A customer with best price ``optimal`` buys at price y with probability
    ``exp(a - b y) / (outside + exp(a - b y))`` and leaves the profit ``y - cost``. Prices are in any one unit an item.

    Args:
        optimal: Each customer's best price, unconstrained.
        a: Intercept of the utility.
        b: Slope of the utility, positive.
        cost: Unit cost, shape (items,), in the unit of the prices.
        outside: Attraction of everything else, the outside option's 1 included; shape () or (customers, items).
        weight: How much of the population each customer stands for, shape (customers,); sums to 1.
    """

    optimal: Floats
    a: Floats
    b: Floats
    cost: Floats
    outside: Floats
    weight: Floats

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.optimal.shape[1])

    def profit(self, price: Floats) -> Floats:
        """Mean profit an item of prices (points, customers, items): shape (points, items)."""
        utility = np.clip(self.a - self.b * price, -700.0, 700.0)  # exp stays finite; the tail is 0 or 1 either way
        chance = 1.0 / (1.0 + self.outside * np.exp(-utility))
        result: Floats = np.einsum("u,pui->pi", self.weight, (price - self.cost) * chance)
        return result

    def columns(self, part: slice) -> Population:
        """The same customers on some of the items."""
        outside = self.outside if self.outside.ndim == 0 else self.outside[:, part]
        return Population(
            self.optimal[:, part], self.a[:, part], self.b[:, part], self.cost[part], outside, self.weight
        )


def population(
    optimal: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    *,
    outside: ArrayLike = 1.0,
    weight: ArrayLike | None = None,
) -> Population:
    """Check and build a :class:`Population`; ``weight`` is normalised.

    Raises:
        DataError: Shapes differ, or a value is not finite, a slope or best price not positive.
    """
    p = np.asarray(optimal, dtype=np.float64)
    if p.ndim != 2 or not p.size:
        raise DataError(f"the sample has shape {p.shape}; at least one customer and one item are needed")
    intercept = np.broadcast_to(np.asarray(a, dtype=np.float64), p.shape)
    slope = np.broadcast_to(np.asarray(b, dtype=np.float64), p.shape)
    c = np.broadcast_to(np.asarray(cost, dtype=np.float64), p.shape[1:])
    rest = np.asarray(outside, dtype=np.float64)
    w = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=np.float64)
    for name, values, rule in (
        ("optimal", p, p > 0),
        ("a", intercept, np.isfinite(intercept)),
        ("b", slope, slope > 0),
        ("cost", c, np.isfinite(c)),
        ("outside", rest, rest > 0),
        ("weight", w, w >= 0),
    ):
        _refuse(values, ~(rule & np.isfinite(values)), name)
    if not w.sum() > 0:
        raise DataError(
            "weight: every customer counts 0; nobody is left whose profit could be largest", column="weight"
        )
    return Population(p, intercept, slope, c, rest, w / w.sum())


@dataclass(frozen=True)
class Corridor:
    """Where each item's corridor stands, and what it keeps.

    Args:
        low: Lowest price ``l_i``, shape (items,), in the unit of the sample.
        rho: Width; the highest price is ``rho * low``.
        profit: Mean profit an item inside the corridor, shape (items,).
    """

    low: Floats
    rho: float
    profit: Floats

    @property
    def high(self) -> Floats:
        """Highest price of each item."""
        return self.rho * self.low


def optimal_corridor(
    sample: Population, rho: float, *, lo: ArrayLike | None = None, hi: ArrayLike | None = None
) -> Corridor:
    """Place every item's corridor where the sample's mean profit is largest.

    Args:
        sample: The customers.
        rho: Largest ratio of two customers' prices, at least 1; 1 is one price for all.
        lo: Lowest price the guardrails allow, shape (items,); none when absent.
        hi: Highest price the guardrails allow, shape (items,); none when absent. Both bind every customer.

    Raises:
        ConfigError: ``rho`` is below 1 or not finite.
        DataError: Some ``lo`` is above its ``hi``.
    """
    if not (np.isfinite(rho) and rho >= 1):
        raise ConfigError(f"rho is {rho}; the corridor's width must be finite and at least 1")
    floor = np.zeros(sample.items) if lo is None else np.broadcast_to(np.asarray(lo, np.float64), (sample.items,))
    ceiling = np.full(sample.items, np.inf) if hi is None else np.broadcast_to(np.asarray(hi, np.float64), floor.shape)
    _refuse(np.stack([floor, ceiling], axis=1), ~(floor <= ceiling), "lo, hi")
    step = max(1, CHUNK_CELLS // (GRID * len(sample.optimal)))
    parts = [slice(start, start + step) for start in range(0, sample.items, step)]
    found = [_search(sample.columns(part), rho, floor[part], ceiling[part]) for part in parts]
    return Corridor(np.concatenate([low for low, _ in found]), rho, np.concatenate([profit for _, profit in found]))


def _search(sample: Population, rho: float, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Nested grids in log price. The profit of l is smooth but may have several peaks, so the first grid spans all."""
    best = np.clip(sample.optimal, lo, hi)
    left, right = best.min(axis=0), best.max(axis=0)
    left = np.log(np.clip(np.maximum(left / rho, lo), 1e-300, None))
    right = np.log(right)
    left = np.minimum(left, right)
    items = np.arange(sample.items)
    for _ in range(ROUNDS):
        log_low = left + (right - left) * np.linspace(0.0, 1.0, GRID)[:, None]
        low = np.exp(log_low)
        price = np.clip(best[None], low[:, None], np.minimum(rho * low, hi)[:, None])
        value = sample.profit(price)
        at = value.argmax(axis=0)  # the first of equals: ties go to the lower price
        left = log_low[np.maximum(at - 1, 0), items]
        right = log_low[np.minimum(at + 1, GRID - 1), items]
    return low[at, items], value[at, items]


@dataclass(frozen=True)
class TradeOff:
    """One point of the trade-off curve.

    Args:
        rho: Width of the corridor.
        profit: Mean profit a customer over all items.
        kept: Share of the uplift of unconstrained personal prices over the best uniform price that is kept;
            NaN where personal prices bring nothing.
        largest_gap: ``log rho``, what no group's mean log-price gap can exceed.
    """

    rho: float
    profit: float
    kept: float
    largest_gap: float


def trade_off(
    sample: Population, rhos: ArrayLike, *, lo: ArrayLike | None = None, hi: ArrayLike | None = None
) -> tuple[TradeOff, ...]:
    """The curve from one price for all (rho 1) towards unconstrained personal prices."""
    floor = 0.0 if lo is None else np.asarray(lo, np.float64)
    free = float(sample.profit(np.clip(sample.optimal, floor, np.inf if hi is None else hi)[None]).sum())
    uniform = float(optimal_corridor(sample, 1.0, lo=lo, hi=hi).profit.sum())
    gain = free - uniform
    points = []
    for rho in np.asarray(rhos, dtype=np.float64):
        profit = float(optimal_corridor(sample, float(rho), lo=lo, hi=hi).profit.sum())
        kept = (profit - uniform) / gain if gain > 1e-12 * abs(free) else float("nan")
        points.append(TradeOff(float(rho), profit, kept, largest_gap(float(rho))))
    return tuple(points)


def largest_gap(rho: float) -> float:
    """``log rho``: the most any group's mean log price can differ from any other's, within items and epochs."""
    return float(np.log(rho))


def _refuse(values: NDArray[Any], broken: NDArray[np.bool_], name: str) -> None:
    if broken.any():
        examples = np.atleast_1d(values)[np.atleast_1d(broken)][:3].tolist()
        raise DataError(
            f"{name}: {int(broken.sum())} values such as {examples} are not finite, of the wrong sign, or out of order",
            column=name,
            count=int(broken.sum()),
            examples=examples,
        )
