"""Status of a check, how several statuses make one, and the reason codes of a price."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Status(StrEnum):
    """Outcome of a check; ``UNKNOWN`` means too little data to tell, and is never a pass.

    The values are those of the JSON that monitoring jobs write.
    """

    PASS = "pass"  # noqa: S105  # a status, not a password
    WARN = "warn"
    URGENT = "urgent"
    UNKNOWN = "unknown"


# From most to least severe. UNKNOWN outranks WARN because it may hide an urgent status.
SEVERITY = (Status.URGENT, Status.UNKNOWN, Status.WARN, Status.PASS)


def worst(statuses: Iterable[Status]) -> Status:
    """The most severe of several statuses; ``UNKNOWN`` if there is none.

    >>> worst([Status.PASS, Status.UNKNOWN, Status.WARN]).name
    'UNKNOWN'
    """
    return min(statuses, key=SEVERITY.index, default=Status.UNKNOWN)


class Reason(StrEnum):
    """One cause of a price (docs/pricing-model.md, section 11); the value is what the API and the quote log carry.

    Several may hold at once: what demand asked for, which bound cut it, how it was rounded.
    """

    ANCHOR = "ANCHOR"  # the price is the reference price f(v): nothing else moved it
    DEMAND_HIGH_INTENT = "DEMAND_HIGH_INTENT"  # demand for this query and customer raised it
    DEMAND_PRICE_SENSITIVE = "DEMAND_PRICE_SENSITIVE"  # price-sensitive demand lowered it
    STOCK_SCARCE = "STOCK_SCARCE"  # a shadow price of stock is added to the cost
    STOCK_AGEING = "STOCK_AGEING"  # a salvage value stands in for the cost
    COMPETITOR_CAP = "COMPETITOR_CAP"  # held near the competitor's price, from above or below
    COST_FLOOR = "COST_FLOOR"  # unit cost and the smallest margin
    MAP_FLOOR = "MAP_FLOOR"  # minimum advertised price
    LIST_CEILING = "LIST_CEILING"  # list price, or the maker's suggested price where that is lower
    CHANGE_LIMIT = "CHANGE_LIMIT"  # largest change from the previous price, or largest discount from list
    FAIRNESS_CORRIDOR = "FAIRNESS_CORRIDOR"  # largest ratio between two customers' prices
    PRICE_ENDING = "PRICE_ENDING"  # chosen among the shop's price endings
    LOW_CONFIDENCE_LIST = "LOW_CONFIDENCE_LIST"  # not sure enough to be better than list: list
    PRICES_NOT_ACCEPTED = "PRICES_NOT_ACCEPTED"  # the decision accepts no price but list yet: list
    COST_UNKNOWN = "COST_UNKNOWN"  # without a unit cost no price is safe: list
    PERSONAL_NOT_ACCEPTED = "PERSONAL_NOT_ACCEPTED"  # the decision accepts no personal prices yet
    PINNED = "PINNED"  # the shop's policy names the price of this item
    EXCLUDED = "EXCLUDED"  # the shop's policy keeps this item at list
    PROMOTION = "PROMOTION"  # the list price of a promotion
    EXPERIMENT = "EXPERIMENT"  # the customer's arm of an experiment names it: list, or one cut from list for everything
    PERSONAL_STOPPED = "PERSONAL_STOPPED"  # the live policy has personal prices off
    OPTED_OUT = "OPTED_OUT"  # the customer refused personal prices
    JURISDICTION_OFF = "JURISDICTION_OFF"  # personal prices are off where the customer is
    INFEASIBLE = "INFEASIBLE"  # no price meets the bounds: list
    EXPLORATION = "EXPLORATION"  # drawn at random to learn, with its propensity logged
