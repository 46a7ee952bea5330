"""A priced page as a document: items, prices in minor units, reasons, disclosure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from fairtag.base.types import Reason


class PricedItem(NamedTuple):
    """One item of a priced page; money in integer minor units.

    Args:
        item_id: The item.
        category: Its category.
        rank: Position on the page, 1 first.
        similarity: s to the intent, in [0, 1].
        list_price_minor: What everyone may pay.
        price_minor: What this customer is asked.
        reference_price_minor: r, the unit of the demand model.
        unit_cost_minor: Cost.
        low_minor: Lower bound in force.
        high_minor: Upper bound in force.
        purchase_probability: q at the price, 0 for an item out of stock.
        personalised: The customer's data took part in this price.
        reasons: Why the price is what it is.
        propensity: Probability with which this price was chosen; 1 unless explored.
    """

    item_id: str
    category: str
    rank: int
    similarity: float
    list_price_minor: int
    price_minor: int
    reference_price_minor: int
    unit_cost_minor: int
    low_minor: int
    high_minor: int
    purchase_probability: float
    personalised: bool
    reasons: tuple[Reason, ...]
    propensity: float = 1.0


@dataclass(frozen=True)
class PricedPage:
    """A priced page.

    Args:
        items: In the order of the request.
        personalised: Whether the customer's data took part in any price.
        disclosure: What must be shown beside the prices, byte for byte; None where nothing must.
        jurisdiction: The row of the disclosure table that was applied.
        expected_profit: Expected profit of the page at these prices, currency units.
        confidence: Posterior probability that these prices beat the list prices; NaN where nothing was optimised.
        epoch: Price epoch.
        model_version: Version of the model folder.
        currency: ISO 4217 code.
    """

    items: tuple[PricedItem, ...]
    personalised: bool
    disclosure: str | None
    jurisdiction: str
    expected_profit: float
    confidence: float
    epoch: int
    model_version: str
    currency: str
