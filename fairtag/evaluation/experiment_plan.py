"""How many customers and days a live test needs, from the shop's own traffic.

The customer is the unit: each counts once, with what was earned from them in a window from their first page. A test
that is looked at every day needs more customers than one that is looked at once; both are given. Where the log is a
sample, its weights say of what (:data:`Sampled`): the plan is for the customers who come, not for those in the log.

>>> traffic = Traffic(first_day=np.arange(1_000) / 10.0, value=np.tile([0.0, 2.0], 500), days=100.0, window=7.0)
>>> found = plan(traffic, gain=0.1)
>>> found.fixed, found.sequential, round(found.days)
(3143, 6091, 618)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.demand.counts import units_bought
from fairtag.fairness.sequential import radius

Floats = NDArray[np.float64]

LEAST_CUSTOMERS = 100  # fewer do not tell how much customers differ
MOST_CUSTOMERS = 1e12
WHOLE = 1.0 + 1e-9  # weight up to which a page was kept for sure

SECONDS = 86_400.0

# What was kept with a chance of one over the weight; with counts nothing was, and a page is that many visits.
Sampled = Literal["pages", "customers", "counts"]


@dataclass(frozen=True)
class Traffic:
    """The customers of a log.

    Args:
        first_day: (n,) day of each customer's first page, from the first of the log.
        value: (m,) what was earned within the window, money, of the customers whose window lies in the log; of a
            sample, what they add to the sum over all customers.
        days: Days that the log spans.
        window: Days from the first page that count.
        stands_for: (n,) customers that each of them stands for; 1 when None.
        square: (m,) what they add to the sum of squares over all customers; the squares of the values when None.
        counted: (m,) customers that each of these stands for; 1 when None.
    """

    first_day: Floats
    value: Floats
    days: float
    window: float
    stands_for: Floats | None = None
    square: Floats | None = None
    counted: Floats | None = None

    @property
    def number(self) -> float:
        """Customers whose window lies in the log."""
        return float(self.value.size if self.counted is None else self.counted.sum())

    @property
    def mean(self) -> float:
        """Mean earned from a customer."""
        return float(self.value.sum() / self.number)

    @property
    def deviation(self) -> float:
        """Standard deviation between customers; 0 where a sample shows none."""
        squares = np.square(self.value) if self.square is None else self.square
        return math.sqrt(max(float(squares.sum()) - self.number * self.mean**2, 0.0) / (self.number - 1))

    def customers(self, days: float) -> float:
        """Different customers who come within so many days; beyond the log, as many a day as in its last quarter."""
        each = np.ones(self.first_day.size) if self.stands_for is None else self.stands_for
        if days <= self.days:
            return float(each[self.first_day <= days].sum())
        late = float(each[self.first_day > 0.75 * self.days].sum()) / (0.25 * self.days)
        return float(each.sum()) + late * (days - self.days)

    def days_until(self, customers: float) -> float:
        """Days until so many customers have come and the last one's window is over; infinite where nobody comes."""
        low, high = 0.0, self.days
        while self.customers(high) < customers:
            high *= 2
            if high > MOST_CUSTOMERS:
                return math.inf
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.customers(middle) < customers else (low, middle)
        return high + self.window


def traffic_of(
    impressions: pd.DataFrame, cost: pd.Series[float], window: float = 7.0, sampled: Sampled = "pages"
) -> Traffic:
    """The customers of a log of pages, or those that a sample of them stands for.

    Where pages were kept by chance, a customer's weighted sum ``T`` is right on average and varies more than the
    customer: by ``sum (w - 1) x^2`` over all pages with what they earned ``x`` (Poisson sampling), which
    ``sum w (w - 1) x^2`` over the kept ones estimates and which is taken off ``T^2`` (Horvitz and Thompson 1952). For
    the customers of whom no page was kept see :func:`_unseen`. Where customers were kept, sums are whole and the
    customer has the weight.

    Args:
        impressions: Columns of IMPRESSIONS.
        cost: Unit cost by item id; a sale of unknown cost counts as if nothing were earned.
        window: Days from a customer's first page that count.
        sampled: What the weights mean: ``pages`` or ``customers`` were kept with a chance of one over the weight; with
            ``counts`` a page is that many visits.

    Raises:
        ConfigError: No such meaning.
        DataError: Fewer than 100 customers have their whole window in the log, or weights of sampled customers differ
            between the pages of one.
    """
    if sampled not in get_args(Sampled):
        raise ConfigError(f"experiment: sampled {sampled!r} is refused; it is one of {', '.join(get_args(Sampled))}")
    seconds = (impressions[schema.TS] - impressions[schema.TS].min()).dt.total_seconds()
    day = seconds / SECONDS
    first = day.groupby(impressions[schema.USER_ID]).min()
    days = float(day.max())
    price = impressions[schema.PRICE]
    margin = (price - impressions[schema.ITEM_ID].map(cost)).fillna(0.0)
    inside = day <= impressions[schema.USER_ID].map(first) + window
    earned = margin * units_bought(impressions) * inside
    whole = first.index[first <= days - window]
    if whole.size < LEAST_CUSTOMERS:
        raise DataError(
            f"experiment: {whole.size} customers have a whole window of {window:g} days in the log of {days:.0f} days; "
            f"a plan needs {LEAST_CUSTOMERS}: log longer, or shorten the window"
        )
    start, days = first.to_numpy(dtype=np.float64), max(days, 1.0)
    by_page = pd.DataFrame(
        {
            "page": impressions.get(schema.PAGE_ID, pd.Series(impressions.index, index=impressions.index)),
            "customer": impressions[schema.USER_ID],
            "earned": earned,
            "weight": impressions.get(schema.WEIGHT, pd.Series(1.0, index=impressions.index)).astype(float),
            "inside": inside,
        }
    )
    pages = by_page.groupby(["customer", "page"], as_index=False).agg(
        {"earned": "sum", "weight": "first", "inside": "any"}
    )
    total, square, number = _customers(pages, sampled)
    return Traffic(
        start,
        _values(total, whole),
        days,
        window,
        stands_for=_values(number, first.index),
        square=_values(square, whole),
        counted=_values(number, whole),
    )


def _values(of: pd.Series[float], customers: pd.Index[Any]) -> Floats:
    return np.asarray(of.reindex(customers), dtype=np.float64)


def _customers(pages: pd.DataFrame, sampled: Sampled) -> tuple[pd.Series[float], pd.Series[float], pd.Series[float]]:
    """What each customer of a sample adds to the sum, to the sum of squares, and to the number of customers."""
    weight, earned, customer = pages["weight"], pages["earned"], pages["customer"]
    if sampled == "customers":
        ends = weight.groupby(customer).agg(["min", "max"])
        if mixed := int((ends["max"] > ends["min"]).sum()):
            raise DataError(
                f"experiment: {mixed} customers have pages of several weights, so customers were not what was sampled; "
                "leave --sampled customers out"
            )
        own = earned.groupby(customer).sum()
        return ends["max"] * own, ends["max"] * own**2, ends["max"]
    total = (weight * earned).groupby(customer).sum()
    if sampled == "counts":
        return total, total**2, pd.Series(1.0, index=total.index)
    chance = (weight * (weight - 1.0).clip(lower=0.0) * earned**2).groupby(customer).sum()
    return total, total**2 - chance, _unseen(pages[pages["inside"]])


def _unseen(pages: pd.DataFrame) -> pd.Series[float]:
    """How many customers each stands for, where pages were kept by chance.

    One with a page that was kept for sure stands for themselves. The kept pages of the others are taken for a Poisson
    number of rate ``r`` above 0, found from their mean; all their pages then have the rate ``r w``, and each stands for
    ``(1 - exp(-r w)) / (1 - exp(-r))`` customers, from ``w`` where nobody has a second page down to 1. Where customers
    differ in how often they come, the number is too small rather than too large (as is Chao's, 1987).
    """
    by = pages.groupby("customer").agg(pages=("weight", "size"), least=("weight", "min"), weight=("weight", "mean"))
    number = pd.Series(1.0, index=by.index)
    others = by[by["least"] > WHOLE]
    if others.empty:
        return number
    mean, weight = float(others["pages"].mean()), float(others["weight"].mean())
    if mean <= WHOLE:
        return number.mask(by["least"] > WHOLE, weight)
    rate = float(optimize.brentq(lambda r: r / -math.expm1(-r) - mean, 1e-12, mean + 1.0))
    return number.mask(by["least"] > WHOLE, math.expm1(-rate * weight) / math.expm1(-rate))


@dataclass(frozen=True)
class Plan:
    """What a test takes.

    Args:
        effect: Effect that it is built for, money a customer: the ``scale`` of its deciding metric.
        fixed: Customers of both arms for one look at the end.
        sequential: Customers of both arms for a look every day.
        days: Days until the latter have come and been watched.
    """

    effect: float
    fixed: int
    sequential: int
    days: float


@dataclass(frozen=True)
class Size:
    """How large a test is.

    Args:
        effect: Effect that it is built for, money a customer: the ``scale`` of its deciding metric.
        fixed: Customers of both arms for one look at the end.
        sequential: Customers of both arms for a look every day.
    """

    effect: float
    fixed: int
    sequential: int


def size_of(
    mean: float, deviation: float, gain: float, *, share: float = 0.5, power: float = 0.8, confidence: float = 0.95
) -> Size:
    """Customers that show a gain.

    Args:
        mean: Mean earned from a customer.
        deviation: Standard deviation between customers.
        gain: Gain that is to be seen, as a share of the mean.
        share: Share of the customers in the treatment.
        power: Probability of seeing it.
        confidence: Level of the test.

    Raises:
        ConfigError: A share lies outside its range, or nothing is earned that could grow.

    >>> size_of(8.0, 20.0, 0.1)
    Size(effect=0.8, fixed=19623, sequential=38027)
    """
    if not (0 < share < 1 and 0.5 <= power < 1 and 0 < confidence < 1 and gain > 0):
        raise ConfigError(
            f"experiment: gain {gain}, share {share}, power {power}, confidence {confidence} are refused; the gain is "
            "above 0, share and confidence are between 0 and 1, the power is at least 0.5 and below 1"
        )
    effect = gain * mean
    if not effect > 0:
        raise ConfigError(f"experiment: customers earn the shop {mean:g} on average; no share of it is a gain")
    alpha, reach = 1 - confidence, float(stats.norm.ppf(power))
    spread = deviation * math.sqrt(1 / share + 1 / (1 - share))  # standard error times root of all customers
    fixed = ((float(stats.norm.ppf(1 - alpha / 2)) + reach) * spread / effect) ** 2

    def shown(customers: float) -> bool:
        error = spread / math.sqrt(customers)
        return radius(error, effect, alpha) + reach * error <= effect

    low, high = fixed, 2 * fixed
    while not shown(high):
        low, high = high, 2 * high
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return Size(effect, math.ceil(fixed), math.ceil(high))


def plan(traffic: Traffic, gain: float, *, share: float = 0.5, power: float = 0.8, confidence: float = 0.95) -> Plan:
    """Customers and days that show a gain.

    Args:
        traffic: The shop's customers.
        gain: Gain that is to be seen, as a share of the mean earned from a customer.
        share: Share of the customers in the treatment.
        power: Probability of seeing it.
        confidence: Level of the test.

    Raises:
        ConfigError: A share lies outside its range, or nothing is earned that could grow.
    """
    size = size_of(traffic.mean, traffic.deviation, gain, share=share, power=power, confidence=confidence)
    return Plan(size.effect, size.fixed, size.sequential, traffic.days_until(size.sequential))


def detectable_gain(
    traffic: Traffic, days: float, *, share: float = 0.5, power: float = 0.8, confidence: float = 0.95
) -> float:
    """The smallest gain, as a share of the mean, that a test of so many days shows; infinite where none is.

    Arguments as in :func:`plan`.
    """
    low, high = 1e-4, 1e4
    if plan(traffic, high, share=share, power=power, confidence=confidence).days > days:
        return math.inf
    for _ in range(40):
        middle = math.sqrt(low * high)
        enough = plan(traffic, middle, share=share, power=power, confidence=confidence).days <= days
        low, high = (low, middle) if enough else (middle, high)
    return high
