"""How many customers and days a live test needs, from the shop's own traffic.

The customer is the unit: each counts once, with what was earned from them in a window from their first page. A test
that is looked at every day needs more customers than one that is looked at once; both are given.

>>> traffic = Traffic(first_day=np.arange(1_000) / 10.0, value=np.tile([0.0, 2.0], 500), days=100.0, window=7.0)
>>> found = plan(traffic, gain=0.1)
>>> found.fixed, found.sequential, round(found.days)
(3143, 6091, 618)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.demand.counts import units_bought
from fairtag.fairness.sequential import radius

Floats = NDArray[np.float64]

LEAST_CUSTOMERS = 100  # fewer do not tell how much customers differ
MOST_CUSTOMERS = 1e12
SECONDS = 86_400.0


@dataclass(frozen=True)
class Traffic:
    """The customers of a log.

    Args:
        first_day: (n,) day of each customer's first page, from the first of the log.
        value: (m,) what was earned within the window, money, of the customers whose window lies in the log.
        days: Days that the log spans.
        window: Days from the first page that count.
    """

    first_day: Floats
    value: Floats
    days: float
    window: float

    @property
    def mean(self) -> float:
        """Mean earned from a customer."""
        return float(self.value.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation between customers."""
        return float(self.value.std(ddof=1))

    def customers(self, days: float) -> float:
        """Different customers who come within so many days; beyond the log, as many a day as in its last quarter."""
        if days <= self.days:
            return float((self.first_day <= days).sum())
        late = float((self.first_day > 0.75 * self.days).sum()) / (0.25 * self.days)
        return self.first_day.size + late * (days - self.days)

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


def traffic_of(impressions: pd.DataFrame, cost: pd.Series[float], window: float = 7.0) -> Traffic:
    """The customers of a log of pages.

    Args:
        impressions: Columns of IMPRESSIONS. Sums of weighted pages have the right mean and vary more than customers do,
            so a plan from them asks for too many.
        cost: Unit cost by item id; a sale of unknown cost counts as if nothing were earned.
        window: Days from a customer's first page that count.

    Raises:
        DataError: Fewer than 100 customers have their whole window in the log.
    """
    seconds = (impressions[schema.TS] - impressions[schema.TS].min()).dt.total_seconds()
    day = seconds / SECONDS
    first = day.groupby(impressions[schema.USER_ID]).min()
    days = float(day.max())
    price = impressions[schema.PRICE]
    margin = (price - impressions[schema.ITEM_ID].map(cost)).fillna(0.0)
    inside = day <= impressions[schema.USER_ID].map(first) + window
    visits = impressions.get(schema.WEIGHT, pd.Series(1.0, index=impressions.index))
    earned = margin * units_bought(impressions) * visits * inside
    whole = first[first <= days - window].index
    value = earned.groupby(impressions[schema.USER_ID]).sum().reindex(whole).to_numpy(dtype=np.float64)
    if value.size < LEAST_CUSTOMERS:
        raise DataError(
            f"experiment: {value.size} customers have a whole window of {window:g} days in the log of {days:.0f} days; "
            f"a plan needs {LEAST_CUSTOMERS}: log longer, or shorten the window"
        )
    return Traffic(first.to_numpy(dtype=np.float64), value, max(days, 1.0), window)


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
