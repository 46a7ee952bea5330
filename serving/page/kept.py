"""What was promised to one customer in one epoch, as the fields that a store of promises keeps.

A whole page promises its prices. A page whose features were missing shows list and promises only that the price will
not rise: a later page of the epoch may be lower, never higher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Field names no item has: ids are printed text.
CEILING = "\x01"
PERSONAL = "\x02"


@dataclass(frozen=True)
class Kept:
    """Promises by item, minor units.

    Args:
        prices: Prices that stand.
        ceilings: Prices not to be exceeded, of items shown on degraded pages.
        personal: Whether the customer's data had a part in any of the prices.
    """

    prices: Mapping[str, int] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)
    personal: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, int]) -> Kept:
        """From the fields of a store."""
        return cls(
            {name: price for name, price in fields.items() if name[:1] not in (CEILING, PERSONAL)},
            {name[1:]: price for name, price in fields.items() if name[:1] == CEILING},
            PERSONAL in fields,
        )

    def above(self, prices: Mapping[str, int]) -> dict[str, int]:
        """The ceilings that these prices exceed."""
        return {item: most for item, most in self.ceilings.items() if prices.get(item, 0) > most}

    def with_prices(self, prices: Mapping[str, int]) -> Kept:
        """The same with prices that stand from now on."""
        return Kept({**self.prices, **prices}, self.ceilings, self.personal)


def whole_fields(prices: Mapping[str, int], *, personal: bool) -> dict[str, int]:
    """What a whole page promises."""
    return {**prices, PERSONAL: 1} if personal else dict(prices)


def degraded_fields(prices: Mapping[str, int]) -> dict[str, int]:
    """What a degraded page promises."""
    return {CEILING + item: price for item, price in prices.items()}
