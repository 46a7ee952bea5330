"""The fairness corridor: on a price day nobody pays more than rho times what another customer pays for an item.

Every price of item i lies in ``[l_i, rho l_i]``. Any two log prices of an item on one day then differ by at most
``log rho``, and so does the gap between any two groups of customers, whoever they are. No protected attribute is needed
to promise it (docs/pricing-model.md, section 7).

:func:`optimal_corridor` places the corridors: ``l_i`` maximises the mean profit of a sample of customers, each paying
the corridor price nearest to their own best one. Profit falls on both sides of a customer's best price, so clipping is
exact and one number for each item remains to be searched. :func:`trade_off` shows what a width costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError

Floats = NDArray[np.float64]

GRID = 33  # points in each round of the search; odd, so that the best point of the last round is among them
ROUNDS = 4  # each round shrinks the bracket 16 times, so that l_i is known to 1e-5 of the range
CHUNK_CELLS = 1 << 21  # customers x items x points evaluated at a time: 16 MiB an array


@dataclass(frozen=True)
class Population:
    """Demand of a sample of customers for each item, the rest of the page held fixed; arrays (customers, items).

    At price y a customer buys with probability ``exp(a - b y) / (outside + exp(a - b y))``, for a profit of
    ``y - cost``. Each item may have its own unit of price.

    Args:
        optimal: Each customer's best price, unconstrained.
        a: Intercept of the utility.
        b: Slope of the utility, positive.
        cost: Unit cost, shape (items,), in the unit of the prices.
        outside: Attraction of all other choices, including 1 for the outside option; shape () or (customers, items).
        weight: Share of the population that each customer stands for, shape (customers,); sums to 1.
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
        """Mean profit (points, items) of each item at prices (points, customers, items)."""
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
    """A checked :class:`Population`; ``weight`` is normalised.

    Raises:
        DataError: Shapes differ, a value is not finite, or a slope or best price is not positive.
    """
    p = np.asarray(optimal, dtype=np.float64)
    if p.ndim != 2 or not p.size:
        raise DataError(
            f"optimal: shape {p.shape} is refused; it must be (customers, items), with at least one of each"
        )
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
        raise DataError("weight: all weights are 0; at least one must be above 0", column="weight")
    return Population(p, intercept, slope, c, rest, w / w.sum())


@dataclass(frozen=True)
class Corridor:
    """The corridor of each item.

    Args:
        low: Lowest price ``l_i``, shape (items,), in the unit of the sample.
        rho: Width; the highest price is ``rho * low``.
        profit: Mean profit of each item with prices in the corridor, shape (items,).
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
    """Place each item's corridor where the sample's mean profit is largest.

    Args:
        sample: The customers.
        rho: Largest ratio of two customers' prices, at least 1; 1 is one price for all.
        lo: Lowest price that the guardrails allow anyone, shape (items,); none by default.
        hi: Highest price that the guardrails allow anyone, shape (items,); none by default.

    Raises:
        ConfigError: ``rho`` is below 1 or not finite.
        DataError: Some ``lo`` is above its ``hi``.

    Example: the best prices of two customers are 0.8 and 1.2; a corridor of 1.25 brings them together.

        >>> sample = population([[0.8], [1.2]], a=[[3.0], [3.0]], b=[[6.0], [3.0]], cost=[0.5])
        >>> corridor = optimal_corridor(sample, rho=1.25)
        >>> corridor.low.round(2).tolist(), corridor.high.round(2).tolist()
        ([0.83], [1.04])
    """
    if not (np.isfinite(rho) and rho >= 1):
        raise ConfigError(f"rho: {rho} is refused; the width of a corridor must be finite and at least 1")
    floor = np.zeros(sample.items) if lo is None else np.broadcast_to(np.asarray(lo, np.float64), (sample.items,))
    ceiling = np.full(sample.items, np.inf) if hi is None else np.broadcast_to(np.asarray(hi, np.float64), floor.shape)
    _refuse(np.stack([floor, ceiling], axis=1), ~(floor <= ceiling), "lo, hi")
    step = max(1, CHUNK_CELLS // (GRID * len(sample.optimal)))
    parts = [slice(start, start + step) for start in range(0, sample.items, step)]
    found = [_search(sample.columns(part), rho, floor[part], ceiling[part]) for part in parts]
    return Corridor(np.concatenate([low for low, _ in found]), rho, np.concatenate([profit for _, profit in found]))


def _search(sample: Population, rho: float, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Nested grids in log price; profit may have several peaks in l, so the first grid spans the whole range."""
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
        at = value.argmax(axis=0)  # ties go to the lower price
        left = log_low[np.maximum(at - 1, 0), items]
        right = log_low[np.minimum(at + 1, GRID - 1), items]
    return low[at, items], value[at, items]


@dataclass(frozen=True)
class TradeOff:
    """One point of the trade-off curve.

    Args:
        rho: Width of the corridor.
        profit: Mean profit from a customer, summed over items.
        kept: Share that is kept of the uplift of unconstrained personal prices over the best uniform ones; NaN where
            there is no uplift.
        largest_gap: ``log rho``, the largest possible gap between two groups' mean log prices.
    """

    rho: float
    profit: float
    kept: float
    largest_gap: float


def trade_off(
    sample: Population, rhos: ArrayLike, *, lo: ArrayLike | None = None, hi: ArrayLike | None = None
) -> tuple[TradeOff, ...]:
    """Profit kept at each width, from one price for all (rho 1) towards unconstrained personal prices."""
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
    """``log rho``: the largest gap between two groups' mean log prices, within item and price day."""
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
