"""Guardrails: the interval and the menu that a price must come from, with a reason code for each bound.

    bounds = price_bounds(GuardrailLimits(), list_price=listed, unit_cost=cost)
    bounds, menu = close_empty_menus(bounds, price_menu(bounds, limits))

Money is in currency units and leaves as integer minor units. Legal bounds (cost, MAP, list, MSRP, fairness corridor)
outrank commercial ones (discount, change, competitor): a commercial bound acts only inside what the legal ones leave
(docs/pricing-model.md, section 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.types import Reason

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Reasons = NDArray[Any]  # of Reason or None; numpy has no narrower dtype for them

MOST_MONEY = 1e13  # minor units below 2^53 are exact in float64
SLACK = 1e-6  # minor units: 19.99 * 100 is 1998.9999999999998, and still 1999


@dataclass(frozen=True)
class GuardrailLimits:
    """What the shop allows itself; every share is a fraction, None switches the bound off.

    Args:
        min_margin: m_min, smallest margin as a share of the price, in [0, 1).
        max_discount: D_max, largest discount from list, in [0, 1].
        discount_only: Never above list: the ceiling of every price is the list price.
        max_markup: U_max, largest markup on list, where ``discount_only`` is false; there ``list (1 + U_max)`` is the
            ceiling that every check holds a price against.
        max_decrease: d-, largest fall from the previous price, in [0, 1].
        max_increase: d+, largest rise from the previous price.
        competitor_below: k-, how far below the competitor, in [0, 1].
        competitor_above: k+, how far above the competitor.
        corridor_ratio: rho >= 1, largest ratio between two customers' prices of an item in an epoch.
        endings: Allowed last minor units of a price, for example 49 and 99 of 100; empty for any minor unit.
        ending_period: What ``endings`` are the remainder of, in minor units.
        menu_size: Most points in a menu; evenly thinned beyond that, keeping both ends.
        minor_per_unit: Minor units in a currency unit: 100 for USD and EUR, 1 for JPY.

    Raises:
        ConfigError: A limit is outside its range.
    """

    min_margin: float = 0.05
    max_discount: float = 0.30
    discount_only: bool = True
    max_markup: float = 0.0
    max_decrease: float | None = None
    max_increase: float | None = None
    competitor_below: float | None = None
    competitor_above: float | None = None
    corridor_ratio: float = 1.25
    endings: tuple[int, ...] = (9,)
    ending_period: int = 10
    menu_size: int = 32
    minor_per_unit: int = 100

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name, value, most in (
            ("max_discount", self.max_discount, 1.0),
            ("max_markup", self.max_markup, np.inf),
            ("max_decrease", self.max_decrease, 1.0),
            ("max_increase", self.max_increase, np.inf),
            ("competitor_below", self.competitor_below, 1.0),
            ("competitor_above", self.competitor_above, np.inf),
        ):
            if value is not None and not 0 <= value <= most:
                raise ConfigError(f"{name} is {value}; it must be a share from 0 to {most}")
        if not 0 <= self.min_margin < 1:
            raise ConfigError(f"min_margin is {self.min_margin}; it must be in [0, 1)")
        if not self.corridor_ratio >= 1:
            raise ConfigError(f"corridor_ratio is {self.corridor_ratio}; the ratio of two prices is at least 1")
        if self.discount_only and self.max_markup > 0:
            raise ConfigError(
                f"discount_only with max_markup {self.max_markup}: one promises that nobody pays more than list, the "
                "other allows it; set discount_only to false, or max_markup to 0"
            )
        if self.menu_size < 2 or self.minor_per_unit < 1 or self.ending_period < 1:
            raise ConfigError("menu_size must be at least 2, minor_per_unit and ending_period at least 1")
        if any(not 0 <= ending < self.ending_period for ending in self.endings):
            raise ConfigError(f"endings {self.endings} must lie in [0, {self.ending_period}), their period")

    @property
    def markup(self) -> float:
        """How far above list a price may lie, as a share of list: 0 unless ``discount_only`` is off."""
        return 0.0 if self.discount_only else self.max_markup


@dataclass(frozen=True)
class Bounds:
    """The interval of each item, whole minor units at both ends, ``(n,)``.

    Args:
        lo: Lower bound, money.
        hi: Upper bound, money.
        lo_reason: Reason of the bound that binds below; None where no bound was given.
        hi_reason: Reason of the bound that binds above.
        feasible: False where no price meets the bounds or the item cannot be priced (no usable list price or cost);
            there ``lo = hi = fallback`` and both reasons are INFEASIBLE.
        fallback: The list price; inside the legal bounds where those leave something and list is not in them. NaN
            where the list price itself is unusable: nothing can be served.
    """

    lo: Floats
    hi: Floats
    lo_reason: Reasons
    hi_reason: Reasons
    feasible: Flags
    fallback: Floats


def price_bounds(
    limits: GuardrailLimits,
    *,
    list_price: ArrayLike,
    unit_cost: ArrayLike,
    map_price: ArrayLike = np.nan,
    msrp: ArrayLike = np.nan,
    competitor_price: ArrayLike = np.nan,
    previous_price: ArrayLike = np.nan,
    corridor_low: ArrayLike = np.nan,
    corridor_high: ArrayLike = np.nan,
) -> Bounds:
    """The bounds of each item; every argument is money ``(n,)``, NaN where absent.

    The corridor ends at ``rho corridor_low``, or at ``corridor_high`` where another model fixed a narrower one.
    A MAP, MSRP, competitor, previous or corridor price that is not a positive number counts as absent. Never raises
    on numbers.
    """
    given = (list_price, unit_cost, map_price, msrp, competitor_price, previous_price, corridor_low, corridor_high)
    money = np.empty((len(given), *np.broadcast_shapes((1,), *(np.shape(x) for x in given))))
    for row, values in zip(money, given, strict=True):
        row[...] = values
    positive = np.where((money > 0) & (money <= MOST_MONEY), money, np.nan)
    listed, _, maps, msrps, competitor, previous, corridor, corridor_top = positive
    costed = (money[1] >= 0) & (money[1] <= MOST_MONEY)
    cost, usable = np.where(costed, money[1], 0.0), costed & np.isfinite(listed)
    ceiling = listed * (1 + limits.markup)
    unit = limits.minor_per_unit
    floor = _tightest(
        _Side(np.full(listed.shape, 1 / unit), np.full(listed.shape, None)),  # the smallest price there is
        (cost / (1 - limits.min_margin), Reason.COST_FLOOR),
        (maps, Reason.MAP_FLOOR),
        (corridor, Reason.FAIRNESS_CORRIDOR),
        whole=partial(_ceil_minor, unit=unit),
    )
    top = _tightest(
        _Side(np.full(listed.shape, -MOST_MONEY), np.full(listed.shape, None)),
        (-msrps, Reason.LIST_CEILING),
        (-ceiling, Reason.LIST_CEILING),
        (-corridor * limits.corridor_ratio, Reason.FAIRNESS_CORRIDOR),
        (-corridor_top, Reason.FAIRNESS_CORRIDOR),
        whole=partial(_ceil_minor, unit=unit),
    )
    lo = _tightest(
        floor,
        (listed * (1 - limits.max_discount), Reason.CHANGE_LIMIT),
        (previous * (1 - _share(limits.max_decrease)), Reason.CHANGE_LIMIT),
        (competitor * (1 - _share(limits.competitor_below)), Reason.COMPETITOR_CAP),
        whole=lambda money: np.minimum(_ceil_minor(money, unit), -top.bound),
    )
    hi = _tightest(
        top,
        (-previous * (1 + _share(limits.max_increase)), Reason.CHANGE_LIMIT),
        (-competitor * (1 + _share(limits.competitor_above)), Reason.COMPETITOR_CAP),
        whole=lambda money: np.minimum(_ceil_minor(money, unit), -floor.bound),
    )
    lawful = usable & (floor.bound <= -top.bound)
    inside = np.minimum(np.maximum(listed, floor.bound), -top.bound)
    fallback = np.where(lawful, inside, np.rint(listed * unit) / unit)
    feasible = lawful & (lo.bound <= -hi.bound)
    return _close(Bounds(lo.bound, -hi.bound, lo.reason, hi.reason, feasible, fallback))


def project(price: ArrayLike, bounds: Bounds) -> Floats:
    """The nearest price inside the bounds; idempotent, monotone, the fallback where the price is not a number."""
    inside = np.minimum(np.maximum(np.asarray(price, float), bounds.lo), bounds.hi)
    return np.where(np.isnan(inside), bounds.fallback, inside)


def price_menu(bounds: Bounds, limits: GuardrailLimits) -> Floats:
    """The price endings inside the bounds, ascending, ``(n, menu_size)`` money padded with NaN.

    A row is all NaN where no ending lies inside (see :func:`close_empty_menus`), and holds only the fallback where the
    bounds are infeasible. More endings than ``menu_size`` are thinned evenly; the lowest and the highest stay.
    """
    unit, period = limits.minor_per_unit, limits.ending_period if limits.endings else 1
    endings = np.array(sorted(set(limits.endings)) or [0], dtype=np.int64)
    lo, hi = (to_minor(np.where(bounds.feasible, x, 0.0), unit) for x in (bounds.lo, bounds.hi))
    first = lo // period * len(endings) + np.searchsorted(endings, lo % period)  # endings are numbered from price 0
    last = hi // period * len(endings) + np.searchsorted(endings, hi % period, side="right") - 1
    steps = np.maximum(last - first, 0)[:, None]
    column = np.arange(limits.menu_size)
    spread = (2 * column * steps + limits.menu_size - 1) // (2 * (limits.menu_size - 1))
    number = first[:, None] + np.where(steps < limits.menu_size, column, spread)
    price = (number // len(endings) * period + endings[number % len(endings)]) / unit
    menu = np.where(bounds.feasible[:, None] & (number <= last[:, None]), price, np.nan)
    menu[~bounds.feasible, 0] = bounds.fallback[~bounds.feasible]
    return menu


def close_empty_menus(bounds: Bounds, menu: Floats) -> tuple[Bounds, Floats]:
    """Bounds and menu after the rows without a price ending have become infeasible: the fallback alone."""
    empty = bounds.feasible & np.isnan(menu).all(-1)
    menu = menu.copy()
    menu[empty, 0] = bounds.fallback[empty]
    return _close(replace(bounds, feasible=bounds.feasible & ~empty)), menu


def snap(price: ArrayLike, menu: Floats) -> Floats:
    """The nearest point of each menu row (n, m) to its price (n,), or to each of its prices (n, k); NaN pads a menu.

    The lower of two equally near; idempotent and monotone.
    """
    wanted = np.asarray(price, float)
    each = wanted.reshape(len(menu), -1)
    distance = np.abs(menu[:, None, :] - each[:, :, None])
    distance[np.isnan(distance)] = np.inf
    nearest = distance.argmin(-1)
    return np.asarray(menu[np.arange(len(menu))[:, None], nearest]).reshape(wanted.shape)


def nearest_ending(price: ArrayLike, limits: GuardrailLimits) -> Floats:
    """The nearest price ending to each price, the lower of two equally near; bounds are not looked at."""
    unit, period = limits.minor_per_unit, limits.ending_period if limits.endings else 1
    endings = np.array(sorted(set(limits.endings)) or [0])
    minor = np.asarray(price, float)[:, None] * unit
    around = np.floor(minor / period) * period + np.r_[endings - period, endings, endings + period]
    distance = np.where(around > 0, np.abs(around - minor), np.inf)
    return np.asarray(np.take_along_axis(around, distance.argmin(-1, keepdims=True), -1)[:, 0] / unit)


def binding_reasons(price: ArrayLike, bounds: Bounds) -> list[tuple[Reason, ...]]:
    """The bounds each price sits on, the lower one first; INFEASIBLE once."""
    at = np.asarray(price, float)
    below, above = (at <= bounds.lo).tolist(), (at >= bounds.hi).tolist()
    sides = zip(below, bounds.lo_reason, above, bounds.hi_reason, strict=True)
    pairs = ((lower if low else None, upper if high else None) for low, lower, high, upper in sides)
    return [tuple(dict.fromkeys(reason for reason in pair if reason is not None)) for pair in pairs]


def to_minor(money: ArrayLike, minor_per_unit: int = 100) -> NDArray[np.int64]:
    """Money in integer minor units, nearest, halves to even.

    Raises:
        DataError: An amount is not a finite number; such an item must have left the page before.
    """
    amount = np.asarray(money, float) * minor_per_unit
    broken = ~np.isfinite(amount)
    if broken.any():
        raise DataError(
            f"{int(broken.sum())} prices are not finite numbers and cannot leave as minor units; "
            "serve only items with a usable list price",
            rule="finite price",
            count=int(broken.sum()),
        )
    return np.asarray(np.rint(amount), dtype=np.int64)


def _share(value: float | None) -> float:
    return np.nan if value is None else value


def _ceil_minor(money: Floats, unit: int) -> Floats:
    """The next whole minor unit; of a negated upper bound, the one below it."""
    minor = money * unit
    return np.ceil(minor - SLACK - 1e-15 * np.abs(minor)) / unit


class _Side(NamedTuple):
    """Bounds of one side ``(n,)``, upper ones negated so that the greatest always binds, and their reasons."""

    bound: Floats
    reason: Reasons


def _tightest(start: _Side, *given: tuple[Floats, Reason], whole: Callable[[Floats], Floats]) -> _Side:
    """The greatest of the bounds in order; the first of equal ones gives the reason, NaN is no bound."""
    stacked = whole(np.array([start.bound, *(bound for bound, _ in given)]))
    stacked[np.isnan(stacked)] = -np.inf
    winner = stacked.argmax(0)
    names = np.array([None, *(reason for _, reason in given)], dtype=object)[winner]
    # Plain indexing: take_along_axis needs five times as long on a page.
    return _Side(stacked[winner, np.arange(winner.size)], np.where(winner == 0, start.reason, names))


def _close(bounds: Bounds) -> Bounds:
    """Shut infeasible rows on their fallback."""
    shut = ~bounds.feasible
    if not shut.any():
        return bounds
    infeasible = np.array([Reason.INFEASIBLE], dtype=object)
    return replace(
        bounds,
        lo=np.where(shut, bounds.fallback, bounds.lo),
        hi=np.where(shut, bounds.fallback, bounds.hi),
        lo_reason=np.where(shut, infeasible, bounds.lo_reason),
        hi_reason=np.where(shut, infeasible, bounds.hi_reason),
    )
