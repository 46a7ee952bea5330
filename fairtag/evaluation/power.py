"""How much more data a gate needs: power calculations behind the words "could not tell".

>>> times_needed(value=1.27, low=-0.22, high=2.76)  # an uplift of 1.27 +- 0.76: 2.8 times the pages tell it from 0
2.8...
>>> purchases_for_slope(slope=4.0, spread=0.106)  # one category, prices between 70 % and 100 % of list
44

Every figure is for 80 % power: had the truth the size that is stated, four of five such data sets would tell it.
"""

from __future__ import annotations

import math

from fairtag.base.normal import Z95

LONG = 3_650.0  # days after which nobody waits
Z_POWER = 0.8416212335729143  # standard normal quantile of 80 %


def times_needed(value: float, low: float, high: float, target: float = 0.0) -> float | None:
    """How many times the present data an estimate needs until its 95 % interval leaves the target.

    The interval shrinks with the square root of the data. None where the estimate lies on the wrong side of the target,
    or its interval is not known: then more of the same data would not help.

    Args:
        value: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        target: The figure that it must exceed.
    """
    if not all(map(math.isfinite, (value, low, high))) or value <= target or high <= low:
        return None
    error = (high - low) / (2 * Z95)
    return max(1.0, ((Z95 + Z_POWER) * error / (value - target)) ** 2)


def days_to_tell(value: float, low: float, high: float, days: float) -> float | None:
    """How many more days of the same traffic until an estimate's 95 % interval leaves 0, on either side.

    None where its interval is not known, or the estimate is 0.

    Args:
        value: The estimate.
        low: Lower end of its 95 % interval.
        high: Upper end.
        days: Days of traffic that it rests on.

    >>> days_to_tell(value=-1.0, low=-3.0, high=1.0, days=100.0)
    717...
    """
    times = times_needed(value, low, high) if value > 0 else times_needed(-value, -high, -low)
    return None if times is None else (times - 1.0) * days


def purchases_for_slope(slope: float, spread: float) -> int:
    """Purchases of a category that show that its demand falls with the price.

    A purchase carries about ``spread ** 2`` of Fisher information about the slope of a logit, so its standard error is
    ``1 / (spread sqrt(purchases))`` (the outside option is by far the most frequent choice).

    Args:
        slope: Response that is to be seen, in units of price over list price: about minus the elasticity.
        spread: Standard deviation of price over list price among the items shown.
    """
    return math.ceil(((Z95 + Z_POWER) / (slope * spread)) ** 2)


def uniform_spread(width: float, levels: int = 5) -> float:
    """Standard deviation of prices drawn evenly from so many levels over a range of that width."""
    return width * math.sqrt((levels + 1) / (12 * (levels - 1)))


def products_for_gap(gap: float, deviation: float) -> int:
    """Products that tell a mean paired difference from 0, given the spread of the differences."""
    return math.ceil(((Z95 + Z_POWER) * deviation / abs(gap)) ** 2)


def more_days(more: float | None, pages_a_day: float) -> str:
    """How many more days of traffic would decide, in words.

    >>> more_days(12.3, 46.0)
    "about 13 more days of this shop's traffic (46 pages a day)"
    """
    if more is None or more > LONG:
        return "more than ten years of this shop's traffic: as far as it can tell, the two earn the same"
    return f"about {math.ceil(more):,} more days of this shop's traffic ({pages_a_day:,.0f} pages a day)"


def more(times: float, count: int, unit: str) -> str:
    """How many more of something, in words.

    >>> more(2.8, 2_500, "pages")
    'about 4,500 more pages'
    """
    exact = (times - 1) * count
    rounded = math.ceil(exact / 100) * 100 if exact >= 1_000 else max(1, math.ceil(exact))
    return f"about {rounded:,} more {unit}"
