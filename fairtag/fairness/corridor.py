"""The fairness corridor: on a price day nobody pays more than rho times what another customer pays for an item.

Every price of item i lies in ``[l_i, rho l_i]``. Any two log prices of an item on one day then differ by at most
``log rho``, and so does the gap between any two groups of customers, whoever they are. No protected attribute is needed
to promise it (docs/pricing-model.md, section 7).

:func:`optimal_corridor` places the corridors: ``l_i`` maximises the mean profit of whole pages over a sample of
customers, each paying the corridor price nearest to the one that they would be asked without it. One number for each
item remains to be searched.
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
SAME = 1e-12  # relative difference below which two corridors earn the same
CHUNK_CELLS = 1 << 21  # customers x items x points evaluated at a time: 16 MiB an array


@dataclass(frozen=True)
class Population:
    """A sample of customers, each on a page with each item, the rest of the page held fixed; arrays (customers, items).

    At price y a customer buys the item with probability ``exp(a - b y) / (outside + exp(a - b y))``. A sale adds
    ``y - cost`` to the profit of the page, where ``cost`` holds the profit that the rest of the page would have made.
    Each item may have its own unit of price.

    Args:
        asked: Price that each customer would be asked without a corridor.
        a: Intercept of the utility.
        b: Slope of the utility, positive.
        cost: What a sale costs the page: unit cost, and the value of the rest of the page.
        outside: Attraction of all other choices, including 1 for the outside option; shape () or (customers, items).
        weight: Share of the population that each customer stands for, shape (customers,); sums to 1.
    """

    asked: Floats
    a: Floats
    b: Floats
    cost: Floats
    outside: Floats
    weight: Floats

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self.asked.shape[1])

    def profit(self, price: Floats) -> Floats:
        """Mean profit (points, items) that each item adds to its page at prices (points, customers, items)."""
        utility = np.clip(self.a - self.b * price, -700.0, 700.0)  # exp stays finite; the tail is 0 or 1 either way
        chance = 1.0 / (1.0 + self.outside * np.exp(-utility))
        result: Floats = np.einsum("u,pui->pi", self.weight, (price - self.cost) * chance)
        return result

    def columns(self, part: slice) -> Population:
        """The same customers on some of the items."""
        outside = self.outside if self.outside.ndim == 0 else self.outside[:, part]
        asked, a, b, cost = (array[:, part] for array in (self.asked, self.a, self.b, self.cost))
        return Population(asked, a, b, cost, outside, self.weight)


def population(
    asked: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    cost: ArrayLike,
    *,
    outside: ArrayLike = 1.0,
    weight: ArrayLike | None = None,
) -> Population:
    """A checked :class:`Population`; ``weight`` is normalised.

    Raises:
        DataError: Shapes differ, a value is not finite, or a slope or asked price is not positive.
    """
    p = np.asarray(asked, dtype=np.float64)
    if p.ndim != 2 or not p.size:
        raise DataError(f"asked: shape {p.shape} is refused; it must be (customers, items), with at least one of each")
    intercept, slope, c = (np.broadcast_to(np.asarray(x, dtype=np.float64), p.shape) for x in (a, b, cost))
    rest = np.asarray(outside, dtype=np.float64)
    w = np.ones(len(p)) if weight is None else np.asarray(weight, dtype=np.float64)
    for name, values, rule in (
        ("asked", p, p > 0),
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
    sample: Population,
    rho: float,
    *,
    lo: ArrayLike | None = None,
    hi: ArrayLike | None = None,
    prefer: ArrayLike | None = None,
) -> Corridor:
    """Place each item's corridor where the sample's mean profit is largest.

    Args:
        sample: The customers.
        rho: Largest ratio of two customers' prices, at least 1; 1 is one price for all.
        lo: Lowest price that the guardrails allow anyone, shape (items,); none by default.
        hi: Highest price that the guardrails allow anyone, shape (items,); none by default.
        prefer: Of corridors that earn the same, take the one that begins nearest to this price, shape (items,); the
            highest by default.

    Raises:
        ConfigError: ``rho`` is below 1 or not finite.
        DataError: Some ``lo`` is above its ``hi``.

    Example: two customers would be asked 0.8 and 1.2; a corridor of 1.25 brings them together.

        >>> sample = population([[0.8], [1.2]], a=[[3.0], [3.0]], b=[[6.0], [3.0]], cost=[0.5])
        >>> corridor = optimal_corridor(sample, rho=1.25)
        >>> corridor.low.round(2).tolist(), corridor.high.round(2).tolist()
        ([0.83], [1.04])
    """
    if not (np.isfinite(rho) and rho >= 1):
        raise ConfigError(f"rho: {rho} is refused; the width of a corridor must be finite and at least 1")
    floor, ceiling, wanted = (
        np.broadcast_to(np.asarray(usual if given is None else given, dtype=np.float64), (sample.items,))
        for given, usual in ((lo, 0.0), (hi, np.inf), (prefer, np.inf))
    )
    _refuse(np.stack([floor, ceiling], axis=1), ~(floor <= ceiling), "lo, hi")
    step = max(1, CHUNK_CELLS // (GRID * len(sample.asked)))
    parts = [slice(start, start + step) for start in range(0, sample.items, step)]
    found = [_search(sample.columns(part), rho, floor[part], ceiling[part], wanted[part]) for part in parts]
    return Corridor(np.concatenate([low for low, _ in found]), rho, np.concatenate([profit for _, profit in found]))


def _search(sample: Population, rho: float, lo: Floats, hi: Floats, prefer: Floats) -> tuple[Floats, Floats]:
    """Nested grids in log price; profit may have several peaks in l, so the first grid spans the whole range."""
    asked = np.clip(sample.asked, lo, hi)
    left, right = asked.min(axis=0), np.log(asked.max(axis=0))
    left = np.minimum(np.log(np.clip(np.maximum(left / rho, lo), 1e-300, None)), right)
    target = np.clip(np.log(np.clip(prefer, 1e-300, 1e300)), left, right)
    items = np.arange(sample.items)
    for _ in range(ROUNDS):
        log_low = left + (right - left) * np.linspace(0.0, 1.0, GRID)[:, None]
        low = np.exp(log_low)
        value = sample.profit(np.clip(asked[None], low[:, None], np.minimum(rho * low, hi)[:, None]))
        best = value.max(axis=0)
        tied = value >= best - SAME * np.abs(best)
        at = np.where(tied, np.abs(log_low - target), np.inf).argmin(axis=0)
        left = log_low[np.maximum(at - 1, 0), items]
        right = log_low[np.minimum(at + 1, GRID - 1), items]
    return low[at, items], value[at, items]


def _refuse(values: NDArray[Any], broken: NDArray[np.bool_], name: str) -> None:
    if broken.any():
        examples = np.atleast_1d(values)[np.atleast_1d(broken)][:3].tolist()
        raise DataError(
            f"{name}: {int(broken.sum())} values such as {examples} are not finite, of the wrong sign, or out of order",
            column=name,
            count=int(broken.sum()),
            examples=examples,
        )
