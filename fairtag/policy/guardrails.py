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
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fairtag.base.errors import ConfigError, DataError
from fairtag.base.money import USUAL_CURRENCY, Currency, currency
from fairtag.base.types import Reason

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Reasons = NDArray[Any]  # of Reason or None, for which numpy has no dtype
Whole = NDArray[np.int64]

MOST_MINOR = 1e15  # minor units below 2^53 are exact in float64
SLACK = 1e-6  # minor units: 19.99 * 100 is 1998.9999999999998 and counts as 1999
# Endings of a shop that states none, by the decimal places of its currency, as the last two digits of the scale of the
# price: 19.99 USD, 1,249.90 USD, 5,380 JPY, 249,800 VND, 1.250 KWD.
ENDINGS: dict[int, tuple[int, ...]] = {0: (80, 90), 2: (99,), 3: (50, 90), 4: (99,)}
LEAST_PERIOD = 10  # minor units: finer than the last digit there is nothing to choose


@dataclass(frozen=True)
class GuardrailLimits:
    """Limits that the shop sets. Shares are fractions; None switches a bound off.

    Args:
        min_margin: m_min, smallest margin as a share of the price, in [0, 1).
        max_discount: D_max, largest discount from list, in [0, 1].
        discount_only: Whether list is the ceiling of every price.
        max_markup: U_max, largest markup on list if ``discount_only`` is false; the ceiling is then
            ``list (1 + U_max)``, for every check.
        max_decrease: d-, largest fall from the previous price, in [0, 1].
        max_increase: d+, largest rise from the previous price.
        competitor_below: k-, how far below the competitor, in [0, 1].
        competitor_above: k+, how far above the competitor.
        corridor_ratio: rho >= 1, largest ratio between two customers' prices of an item on a price day.
        endings: Allowed remainders of a price, in minor units, such as 49 and 99 for a period of 100; empty for any.
            Those of the currency at the scale of the price when not given (docs/how-to/currencies.md).
        ending_period: Period of the endings that are given, in minor units.
        menu_size: Largest number of points in a menu; more are thinned evenly, and both ends stay.
        currency: ISO 4217 code of all money; that of the policy, which sets it.

    Raises:
        ConfigError: A limit is outside its range.

    >>> GuardrailLimits(max_discount=1.2)
    Traceback (most recent call last):
    ...
    fairtag.base.errors.ConfigError: max_discount is 1.2; it must be a share from 0 to 1.0
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
    endings: tuple[int, ...] | None = None
    ending_period: int = 10
    menu_size: int = 32
    currency: str | None = None

    def __post_init__(self) -> None:
        """Check all limits."""
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
                f"discount_only with max_markup {self.max_markup}: the two contradict each other; "
                "set discount_only to false, or max_markup to 0"
            )
        if self.menu_size < 2 or self.ending_period < 1:
            raise ConfigError("menu_size must be at least 2, ending_period at least 1")
        if any(not 0 <= ending < self.ending_period for ending in self.endings or ()):
            raise ConfigError(f"endings {self.endings} must lie in [0, {self.ending_period}), their period")
        _ = self.coin  # a code that is none is refused now

    @cached_property
    def coin(self) -> Currency:
        """The currency of all money."""
        try:
            return currency(USUAL_CURRENCY if self.currency is None else self.currency)
        except DataError as error:
            raise ConfigError(str(error)) from error

    @property
    def minor_per_unit(self) -> int:
        """Minor units in a unit of the currency: 1 for JPY, 100 for USD, 1,000 for KWD."""
        return self.coin.minor_per_unit

    def in_currency(self, code: str) -> GuardrailLimits:
        """The same limits in a currency.

        Raises:
            ConfigError: They are in another one.
        """
        if self.currency not in (None, code):
            raise ConfigError(
                f"limits.currency is {self.currency}, the policy's currency is {code}; write it once, as the policy's"
            )
        return replace(self, currency=code)

    @property
    def markup(self) -> float:
        """How far above list a price may lie, as a share of list: 0 unless ``discount_only`` is off."""
        return 0.0 if self.discount_only else self.max_markup


@dataclass(frozen=True)
class Bounds:
    """Bounds of each item, ``(n,)``; both ends are whole minor units.

    Args:
        lo: Lower bound, money.
        hi: Upper bound, money.
        lo_reason: Reason of the lower bound; None if none was given.
        hi_reason: Reason of the upper bound.
        feasible: False where no price meets the bounds, or list price or cost is unusable; then ``lo = hi = fallback``
            and both reasons are INFEASIBLE.
        fallback: The list price, moved inside the legal bounds where these leave something; at least the smallest
            coin, so that nothing is ever given away. NaN where there is no list price: nothing can be served.
        floor: Lowest legal price, whatever commerce wants; minus infinity where no price is legal.
        ceiling: Highest legal price, which holds for price locks also where no price is legal.
    """

    lo: Floats
    hi: Floats
    lo_reason: Reasons
    hi_reason: Reasons
    feasible: Flags
    fallback: Floats
    floor: Floats
    ceiling: Floats


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
    """Bounds of each item; every argument is money ``(n,)``, NaN where absent.

    The corridor ends at ``rho corridor_low``, or at ``corridor_high`` where another model fixed a narrower one. A MAP,
    MSRP, competitor, previous or corridor price that is not a positive number counts as absent. No number raises an
    error.

    Example: list 20, cost 12, MAP 15. The MAP binds below, list above.

        >>> bounds = price_bounds(GuardrailLimits(), list_price=[20.0], unit_cost=[12.0], map_price=[15.0])
        >>> bounds.lo.tolist(), bounds.hi.tolist(), bounds.lo_reason[0].value, bounds.hi_reason[0].value
        ([15.0], [20.0], 'MAP_FLOOR', 'LIST_CEILING')
    """
    given = (list_price, unit_cost, map_price, msrp, competitor_price, previous_price, corridor_low, corridor_high)
    money = np.empty((len(given), *np.broadcast_shapes((1,), *(np.shape(x) for x in given))))
    for row, values in zip(money, given, strict=True):
        row[...] = values
    unit = limits.minor_per_unit
    most = MOST_MINOR / unit
    positive = np.where((money > 0) & (money <= most), money, np.nan)
    listed, _, maps, msrps, competitor, previous, corridor, corridor_top = positive
    costed = (money[1] >= 0) & (money[1] <= most)
    cost, usable = np.where(costed, money[1], 0.0), costed & chargeable(listed, unit)
    ceiling = listed * (1 + limits.markup)
    floor = _tightest(
        _Binding(np.full(listed.shape, 1 / unit), np.full(listed.shape, None)),  # the smallest price there is
        (cost / (1 - limits.min_margin), Reason.COST_FLOOR),
        (maps, Reason.MAP_FLOOR),
        (corridor, Reason.FAIRNESS_CORRIDOR),
        whole=partial(_ceil_minor, unit=unit),
    )
    top = _tightest(
        _Binding(np.full(listed.shape, -most), np.full(listed.shape, None)),
        (-msrps, Reason.LIST_CEILING),
        (-ceiling, Reason.LIST_CEILING),
        (-corridor * limits.corridor_ratio, Reason.FAIRNESS_CORRIDOR),
        (-corridor_top, Reason.FAIRNESS_CORRIDOR),
        whole=partial(_ceil_minor, unit=unit),
    )
    lo = _tightest(
        floor,
        (listed * (1 - limits.max_discount), Reason.CHANGE_LIMIT),
        *_limited(previous, limits.max_decrease, -1, Reason.CHANGE_LIMIT),
        *_limited(competitor, limits.competitor_below, -1, Reason.COMPETITOR_CAP),
        whole=lambda money: np.minimum(_ceil_minor(money, unit), -top.bound),
    )
    hi = _tightest(
        top,
        *_limited(-previous, limits.max_increase, 1, Reason.CHANGE_LIMIT),
        *_limited(-competitor, limits.competitor_above, 1, Reason.COMPETITOR_CAP),
        whole=lambda money: np.minimum(_ceil_minor(money, unit), -floor.bound),
    )
    lawful = usable & (floor.bound <= -top.bound)
    inside = np.minimum(np.maximum(listed, floor.bound), -top.bound)
    fallback = np.where(lawful, inside, np.maximum(np.rint(listed * unit), 1) / unit)
    feasible = lawful & (lo.bound <= -hi.bound)
    legal = (np.where(lawful, floor.bound, -np.inf), -top.bound)
    return _close(Bounds(lo.bound, -hi.bound, lo.reason, hi.reason, feasible, fallback, *legal))


def chargeable(list_price: ArrayLike, minor_per_unit: int) -> Flags:
    """Whether each list price can be charged: at least the smallest coin, and small enough to be counted exactly.

    >>> chargeable([0.004, 0.01, np.nan], 100).tolist()
    [False, True, False]
    """
    minor = np.asarray(list_price, float) * minor_per_unit
    return np.asarray((minor >= 1 - SLACK) & (minor <= MOST_MINOR))


def project(price: ArrayLike, bounds: Bounds) -> Floats:
    """The nearest price inside the bounds, idempotent and monotone; the fallback where the price is NaN."""
    inside = np.minimum(np.maximum(np.asarray(price, float), bounds.lo), bounds.hi)
    return np.where(np.isnan(inside), bounds.fallback, inside)


def price_menu(bounds: Bounds, limits: GuardrailLimits) -> Floats:
    """Prices with an allowed ending inside the bounds, ascending, ``(n, menu_size)`` money, padded with NaN.

    A row is all NaN where no ending lies inside (see :func:`close_empty_menus`), and holds only the fallback where the
    bounds are infeasible. More endings than ``menu_size`` are thinned evenly; the lowest and the highest stay.
    """
    unit = limits.minor_per_unit
    lo, hi = (to_minor(np.where(bounds.feasible, x, 0.0), unit) for x in (bounds.lo, bounds.hi))
    endings, period = _endings(limits, hi - lo)
    count = endings.shape[-1]
    # Numbers of endings, counted from price 0.
    first = lo // period * count + (endings < (lo % period)[:, None]).sum(-1)
    last = hi // period * count + (endings <= (hi % period)[:, None]).sum(-1) - 1
    steps = np.maximum(last - first, 0)[:, None]
    column = np.arange(limits.menu_size)
    spread = (2 * column * steps + limits.menu_size - 1) // (2 * (limits.menu_size - 1))
    number = first[:, None] + np.where(steps < limits.menu_size, column, spread)
    price = (number // count * period[:, None] + np.take_along_axis(endings, number % count, -1)) / unit
    menu = np.where(bounds.feasible[:, None] & (number <= last[:, None]), price, np.nan)
    menu[~bounds.feasible, 0] = bounds.fallback[~bounds.feasible]
    return menu


def close_empty_menus(bounds: Bounds, menu: Floats) -> tuple[Bounds, Floats]:
    """Make rows without any price ending infeasible: bounds and menu hold only the fallback."""
    empty = bounds.feasible & np.isnan(menu).all(-1)
    if not empty.any():
        return _close(bounds), menu
    menu = menu.copy()
    menu[empty, 0] = bounds.fallback[empty]
    return _close(replace(bounds, feasible=bounds.feasible & ~empty)), menu


def snap(price: ArrayLike, menu: Floats) -> Floats:
    """Nearest point of each menu (n, m) to its price (n,), or to each of its prices (n, k).

    The lower of two equally near points; idempotent and monotone. NaN pads a menu.
    """
    wanted = np.asarray(price, float)
    each = wanted.reshape(len(menu), -1)
    distance = np.abs(menu[:, None, :] - each[:, :, None])
    distance[np.isnan(distance)] = np.inf
    nearest = distance.argmin(-1)
    return np.asarray(menu[np.arange(len(menu))[:, None], nearest]).reshape(wanted.shape)


def nearest_ending(price: ArrayLike, bounds: Bounds, limits: GuardrailLimits) -> Floats:
    """Nearest price with an ending of each item's menu, the lower of two equally near ones; bounds are ignored."""
    unit = limits.minor_per_unit
    room = np.where(bounds.feasible, bounds.hi - bounds.lo, 0.0)
    endings, period = _endings(limits, to_minor(room, unit))
    minor = np.asarray(price, float)[:, None] * unit
    near = np.concatenate([endings - period[:, None], endings, endings + period[:, None]], axis=-1)
    around = np.floor(minor / period[:, None]) * period[:, None] + near
    distance = np.where(around > 0, np.abs(around - minor), np.inf)
    return np.asarray(np.take_along_axis(around, distance.argmin(-1, keepdims=True), -1)[:, 0] / unit)


def _endings(limits: GuardrailLimits, room: Whole) -> tuple[Whole, Whole]:
    """Endings ``(n, k)`` of each item and their periods ``(n,)``, minor units.

    Args:
        limits: The shop's own endings, or none.
        room: How far apart each item's bounds are, minor units. The currency's endings are taken at the coarsest scale,
            a power of ten, that still fills the menu.
    """
    if limits.endings is not None:
        own = np.array(sorted(set(limits.endings)) or [0], dtype=np.int64)
        period = np.full(room.shape, limits.ending_period if limits.endings else 1)
        return np.broadcast_to(own, (*room.shape, own.size)), period
    last_two = np.array(ENDINGS.get(limits.coin.exponent, ENDINGS[2]), dtype=np.int64)
    widest = np.maximum(room * last_two.size / limits.menu_size, LEAST_PERIOD)
    period = 10 ** np.floor(np.log10(widest)).astype(np.int64)
    return last_two * period[:, None] // 100, period


def binding_reasons(price: ArrayLike, bounds: Bounds) -> list[tuple[Reason, ...]]:
    """Reasons of the bounds on which each price lies, the lower bound first; INFEASIBLE only once."""
    at = np.asarray(price, float)
    below, above = (at <= bounds.lo).tolist(), (at >= bounds.hi).tolist()
    sides = zip(below, bounds.lo_reason, above, bounds.hi_reason, strict=True)
    pairs = ((lower if low else None, upper if high else None) for low, lower, high, upper in sides)
    return [tuple(dict.fromkeys(reason for reason in pair if reason is not None)) for pair in pairs]


def to_minor(money: ArrayLike, minor_per_unit: int = 100) -> NDArray[np.int64]:
    """Money in integer minor units, rounded to nearest, halves to even.

    Raises:
        DataError: An amount is not finite; an item without a usable price must leave the page before.

    >>> to_minor([19.99, 20.0]).tolist()
    [1999, 2000]
    """
    amount = np.asarray(money, float) * minor_per_unit
    broken = ~np.isfinite(amount)
    if broken.any():
        raise DataError(
            f"prices: {int(broken.sum())} are not finite and have no minor units; "
            "serve only items with a usable list price",
            rule="finite price",
            count=int(broken.sum()),
        )
    return np.asarray(np.rint(amount), dtype=np.int64)


def _limited(start: Floats, share: float | None, sign: int, reason: Reason) -> list[tuple[Floats, Reason]]:
    """A bound that lies a share from where a price was; none where the shop has switched it off."""
    return [] if share is None else [(start * (1 + sign * share), reason)]


def _ceil_minor(money: Floats, unit: int) -> Floats:
    """Round up to whole minor units; a negated upper bound is thereby rounded down."""
    minor = money * unit
    return np.ceil(minor - SLACK - 1e-15 * np.abs(minor)) / unit


class _Binding(NamedTuple):
    """The binding bound of one side and its reason, ``(n,)``; upper bounds are negated, so that the greatest binds."""

    bound: Floats
    reason: Reasons


def _tightest(start: _Binding, *given: tuple[Floats, Reason], whole: Callable[[Floats], Floats]) -> _Binding:
    """The greatest of several bounds; the first of equal ones gives the reason, and NaN is no bound."""
    if not given:
        return start
    stacked = whole(np.array([start.bound, *(bound for bound, _ in given)]))
    stacked[np.isnan(stacked)] = -np.inf
    winner = stacked.argmax(0)
    names = np.array([None, *(reason for _, reason in given)], dtype=object)[winner]
    # take_along_axis needs five times as long on one page.
    return _Binding(stacked[winner, np.arange(winner.size)], np.where(winner == 0, start.reason, names))


def _close(bounds: Bounds) -> Bounds:
    """Set both bounds of infeasible rows to their fallback."""
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
