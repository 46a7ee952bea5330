"""Inputs of one request: the customer, and money and stock of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fairtag.base import schema
from fairtag.policy.guardrails import MOST_MINOR, Bounds, GuardrailLimits, chargeable, price_bounds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UserContext:
    """The customer of a request.

    Args:
        user_id: The shop's id, None for a guest.
        behaviour: Known values of ``schema.USER_PRICING_FEATURES``; None if there is none.
        history_items: Items viewed or bought, any order.
        history_age_days: Days since each of them.
        opted_out: Whether the customer refused personal prices.
        jurisdiction: Where the customer is, such as ``EU`` or ``US-NY``; None if unknown.
    """

    user_id: str | None = None
    behaviour: Mapping[str, float] | None = None
    history_items: Sequence[str] = ()
    history_age_days: Sequence[float] = ()
    opted_out: bool = False
    jurisdiction: str | None = None

    def behaviour_vector(self) -> Floats | None:
        """Values in the order of the allow-list, NaN where unknown; None if none is known."""
        if self.behaviour is None:
            return None
        return np.array([self.behaviour.get(name, np.nan) for name in schema.USER_PRICING_FEATURES], dtype=np.float64)


@dataclass(frozen=True)
class MarketContext:
    """Money and stock of the candidate items, arrays (n,) aligned with them; NaN where absent.

    Args:
        list_price: Currency units, above 0.
        unit_cost: Currency units.
        map_price: Minimum advertised price.
        msrp: Manufacturer's suggested price.
        competitor_price: A competitor's price of the same product.
        stock: Units.
        salvage_value: What an unsold unit fetches when its shelf life ends; may be negative (disposal).
        shelf_life_days: Days until the stock must be sold.
    """

    list_price: Floats
    unit_cost: Floats
    map_price: Floats
    msrp: Floats
    competitor_price: Floats
    stock: Floats
    salvage_value: Floats
    shelf_life_days: Floats

    @classmethod
    def of(cls, items: pd.DataFrame) -> MarketContext:
        """Read rows of the items table; an absent optional column is NaN throughout."""
        absent = np.full(len(items), np.nan)
        names = MARKET_COLUMNS
        return cls(*(items[n].to_numpy(dtype=np.float64) if n in items.columns else absent for n in names))

    def filled(self, catalogue: MarketContext, rows: NDArray[np.int64], minor_per_unit: int) -> MarketContext:
        """The same, with the catalogue's list price and cost where a live value is no amount of money.

        A live list price below the smallest coin is an amount, and stays: it cannot be charged (:meth:`on_offer`).

        Args:
            catalogue: The market of the whole catalogue.
            rows: (n,) catalogue rows of these items.
            minor_per_unit: Minor units in a currency unit.
        """
        most = MOST_MINOR / minor_per_unit
        listed, cost = self.list_price, self.unit_cost
        priced, costed = (listed >= 0) & (listed <= most), (cost >= 0) & (cost <= most)
        if priced.all() and costed.all():
            return self
        return replace(
            self,
            list_price=np.where(priced, listed, catalogue.list_price[rows]),
            unit_cost=np.where(costed, cost, catalogue.unit_cost[rows]),
        )

    def on_offer(self, minor_per_unit: int) -> NDArray[np.bool_]:
        """(n,) whether each item has a list price that can be charged; without one nothing may be quoted."""
        return chargeable(self.list_price, minor_per_unit)

    def bounds(self, limits: GuardrailLimits, cost: Floats, **further: ArrayLike) -> Bounds:
        """The bounds of each item at a cost that may differ from its unit cost, money (n,).

        Args:
            limits: Of the policy.
            cost: Counted cost, for the margin floor.
            further: ``previous_price``, ``corridor_low`` and ``corridor_high`` of
                :func:`fairtag.policy.guardrails.price_bounds`.
        """
        return price_bounds(
            limits,
            list_price=self.list_price,
            unit_cost=cost,
            map_price=self.map_price,
            msrp=self.msrp,
            competitor_price=self.competitor_price,
            **further,
        )

    def rows(self, rows: NDArray[np.int64]) -> MarketContext:
        """The same for some of the items."""
        return MarketContext(*(getattr(self, name)[rows] for name in MARKET_COLUMNS))


MARKET_COLUMNS: tuple[str, ...] = schema.ITEM_PRICING_FEATURES
