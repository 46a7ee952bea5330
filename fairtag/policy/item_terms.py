"""What the shop's policy says about single items on a day: pins, exclusions, promotions, personal prices.

    terms = item_terms(policy, item_ids, categories, day)
    bounds, menu = terms.applied(bounds, list_price, unit)

Each acts inside the bounds that the limits leave, so that none of them opens a price that the limits forbid. At list
price (``at_list``), neither pins nor promotions count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from fairtag.base.types import Reason
from fairtag.policy.disclosure import read_disclosures
from fairtag.policy.guardrails import SLACK, Bounds, GuardrailLimits
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class ItemTerms:
    """Terms of the items of a page, arrays (n,).

    Args:
        pin: Pinned price, money, NaN where there is none.
        excluded: Whether the item stays at list.
        cut: Share that a promotion takes off the list price; 0 where there is none.
        personal: Whether a customer's data may move the price, as far as the policy says.
    """

    pin: Floats
    excluded: Flags
    cut: Floats
    personal: Flags

    @property
    def settled(self) -> Flags:
        """Items whose price is the same for everybody, whatever demand says."""
        return self.excluded | ~np.isnan(self.pin)

    def applied(self, bounds: Bounds, list_price: Floats, unit: int) -> Bounds:
        """Bounds with the terms on top; both ends stay whole minor units, inside the bounds given.

        Args:
            bounds: What the limits leave.
            list_price: (n,) money.
            unit: Minor units in a unit of the currency.
        """
        bounds = self._promoted(bounds, list_price, unit)
        pinned = ~np.isnan(self.pin) & bounds.feasible
        if pinned.any():
            wanted = np.where(pinned, np.rint(self.pin * unit) / unit, 0.0)
            bounds = fixed_at(bounds, pinned, np.clip(wanted, bounds.lo, bounds.hi), Reason.PINNED)
        excluded = self.excluded & bounds.feasible
        return fixed_at(bounds, excluded, bounds.fallback, Reason.EXCLUDED) if excluded.any() else bounds

    def _promoted(self, bounds: Bounds, list_price: Floats, unit: int) -> Bounds:
        """The list price of a promotion as the ceiling, and as what is served for want of a better price."""
        at = (self.cut > 0) & bounds.feasible
        if not at.any():
            return bounds
        cut = self.promoted_list(list_price, unit)
        rounded = at & (bounds.lo_reason == Reason.CHANGE_LIMIT) & (np.abs(bounds.lo - cut) < 1.5 / unit)
        lo = np.where(rounded, np.minimum(bounds.lo, cut), bounds.lo)  # "30 % off" is not a coin less than that
        top = np.clip(np.where(at, cut, bounds.hi), lo, bounds.hi)
        return replace(
            bounds,
            lo=lo,
            hi=top,
            hi_reason=_named(bounds.hi_reason, at & (top < bounds.hi), Reason.PROMOTION),
            fallback=np.where(at, np.minimum(bounds.fallback, top), bounds.fallback),
        )

    def promoted_list(self, list_price: Floats, unit: int) -> Floats:
        """(n,) list prices with the promotions taken off, whole minor units, rounded down."""
        return np.asarray(np.floor(list_price * (1 - self.cut) * unit + SLACK) / unit, dtype=np.float64)

    def corridor_low(self, low: Floats, bounds: Bounds, list_price: Floats, limits: GuardrailLimits) -> Floats:
        """Where the corridor of a price day begins, so that what the policy names lies in it.

        Args:
            low: (n,) where the model begins it, money; NaN where it has none.
            bounds: Of the items without a corridor; no price that they forbid moves it.
            list_price: (n,) money.
            limits: The limits.
        """
        ratio = limits.corridor_ratio
        named = np.where(self.excluded, bounds.fallback, np.clip(self.pin, bounds.lo, bounds.hi))
        sale = self.promoted_list(list_price, limits.minor_per_unit)
        sale = np.clip(sale, np.minimum(bounds.floor, bounds.hi), bounds.hi)
        named = np.where(np.isnan(named) & (self.cut > 0), sale, named)
        named = np.where(bounds.feasible, named, np.nan)
        return np.where(named > low * ratio, named / ratio, np.where(named < low, named, low))


def item_terms(policy: ShopPolicy, item_ids: Sequence[str], categories: Sequence[str], day: date) -> ItemTerms:
    """What a policy says about some items on a day.

    Args:
        policy: The policy.
        item_ids: (n,) items.
        categories: (n,) their categories.
        day: The date on which the price day begins, UTC.
    """
    n = len(item_ids)
    pin, cut, lookup = np.full(n, np.nan), np.zeros(n), policy.lookup
    if not policy.at_list:
        for row in (row for row, item in enumerate(item_ids) if item in lookup.pins):
            pin[row] = next((each.price for each in lookup.pins[item_ids[row]] if each.hold(day)), np.nan)
        for each in (promotion for promotion in policy.promotions if promotion.hold(day)):
            covered = _among(item_ids, frozenset(each.items)) | _among(categories, frozenset(each.categories))
            cut = np.where(covered, np.maximum(cut, each.cut), cut)
    excluded = _among(item_ids, lookup.items) | _among(categories, lookup.categories)
    personal = ~_among(categories, lookup.impersonal)
    return ItemTerms(np.where(excluded, np.nan, pin), excluded, np.where(excluded, 0.0, cut), personal)


def personal_place(policy: ShopPolicy, jurisdiction: str | None) -> bool:
    """Whether the policy allows personal prices where the customer is; what holds for a place holds for its parts.

    >>> off = ShopPolicy().changed(personal_prices={"places_off": ["DE"]})
    >>> [personal_place(off, place) for place in ("DE-BY", "FR", None)]
    [False, True, True]
    """
    places = policy.personal_prices
    if not places.allowed:
        return False
    if not places.places_off or jurisdiction is None:
        return True
    code = jurisdiction.strip().upper()
    own = {code, code.partition("-")[0], read_disclosures().resolve(jurisdiction)}
    return own.isdisjoint(place.upper() for place in places.places_off)


def _among(values: Sequence[str], names: frozenset[str]) -> Flags:
    if not names:
        return np.zeros(len(values), dtype=bool)
    return np.array([value in names for value in values], dtype=bool)


def fixed_at(bounds: Bounds, at: Flags, price: Floats, reason: Reason) -> Bounds:
    """One price where ``at``; the bound that it was moved to keeps its own reason."""
    lo, hi = np.where(at, price, bounds.lo), np.where(at, price, bounds.hi)
    return replace(
        bounds,
        lo=lo,
        hi=hi,
        lo_reason=_named(bounds.lo_reason, at, reason),
        hi_reason=_named(bounds.hi_reason, at, reason),
        fallback=np.where(at, price, bounds.fallback),
    )


def _named(reasons: NDArray[np.object_], at: Flags, reason: Reason) -> NDArray[np.object_]:
    return np.where(at, np.array([reason], dtype=object), reasons)
