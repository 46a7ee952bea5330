"""Filters and facets of a search: category, brand and list price.

>>> items = pd.DataFrame({"category": ["tools", "tools", "pets"], "brand": ["Acme", None, "Rex"]})
>>> table = FacetTable.of(items)
>>> rows, prices = np.arange(3), np.array([1_000, 2_500, 1_500])
>>> table.within(Filters(category=("Tools",), high_minor=2_000), prices).tolist()
[True, False, False]
>>> [(count.field, count.value, count.count) for count in table.count(rows, ["category"], Filters(), prices)]
[('category', 'tools', 2), ('category', 'pets', 1)]

The price is the list price, which is the same for everybody. If the customer's own price decided who is in the range,
asking for "under 19", "under 18" and so on would read off a personal price without a quote, and another identity could
go on until it finds a better one. No customer pays more than list, so that "under 20" holds for the price they see too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema

Facet = Literal["category", "brand", "price"]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Minor = NDArray[np.int64]

MOST_VALUES = 20  # of one facet that are counted, the most frequent first
PRICE_RANGES = 5
_ROUND = (1, 2, 3, 4, 5, 6, 8)  # price ranges begin at these times a power of ten


@dataclass(frozen=True)
class Filters:
    """What the items of a page must meet.

    Args:
        category: Categories, any of which will do; none for all. Upper and lower case are the same.
        brand: Brands likewise.
        low_minor: Lowest list price, minor units; None for no limit.
        high_minor: Highest list price.
    """

    category: tuple[str, ...] = ()
    brand: tuple[str, ...] = ()
    low_minor: int | None = None
    high_minor: int | None = None

    def __bool__(self) -> bool:
        return bool(self.category or self.brand or self.low_minor is not None or self.high_minor is not None)

    def without(self, facet: Facet) -> Filters:
        """The other filters: a facet counts what each of its values would find."""
        if facet == "price":
            return replace(self, low_minor=None, high_minor=None)
        return replace(self, category=()) if facet == "category" else replace(self, brand=())


@dataclass(frozen=True)
class FacetCount:
    """How many items have one value of a facet.

    Args:
        field: The facet.
        value: The category or brand; of a price range, its ends in currency units.
        count: Items.
        low_minor: First list price of a range, minor units; None where it is no range.
        high_minor: Last list price of the range; None for the last range, which has no end.
    """

    field: Facet
    value: str
    count: int
    low_minor: int | None = None
    high_minor: int | None = None


@dataclass(frozen=True)
class _Column:
    """A column as codes: -1 where an item has no value."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]
    place: Mapping[str, int]

    @classmethod
    def of(cls, items: pd.DataFrame, name: str) -> _Column:
        if name not in items.columns:
            return cls(np.full(len(items), -1, dtype=np.int32), (), {})
        codes, values = pd.factorize(items[name], sort=True)
        texts = tuple(str(value) for value in values)
        return cls(codes.astype(np.int32), texts, {text.casefold(): at for at, text in enumerate(texts)})

    def among(self, wanted: Sequence[str]) -> Mask:
        places = [self.place[text.casefold()] for text in wanted if text.casefold() in self.place]
        return np.isin(self.codes, places)


@dataclass(frozen=True)
class FacetTable:
    """Category and brand of every catalogue row; safe to share between threads.

    Args:
        category: The categories.
        brand: The brands.
    """

    category: _Column
    brand: _Column

    @classmethod
    def of(cls, items: pd.DataFrame) -> FacetTable:
        """Read the items table; an absent brand column has no values."""
        return cls(_Column.of(items, schema.CATEGORY), _Column.of(items, schema.BRAND))

    def within(self, filters: Filters, list_minor: Minor) -> Mask:
        """(N,) which items meet the filters, given the list price (N,) of each in minor units."""
        mask = np.ones(len(list_minor), dtype=bool)
        for name in ("category", "brand"):
            wanted = getattr(filters, name)
            if wanted:
                mask &= getattr(self, name).among(wanted)
        if filters.low_minor is not None:
            mask &= list_minor >= filters.low_minor
        if filters.high_minor is not None:
            mask &= list_minor <= filters.high_minor
        return mask

    def unknown(self, filters: Filters) -> str | None:
        """What to say about a category or brand that no item has; None where all are known."""
        for name in ("category", "brand"):
            column: _Column = getattr(self, name)
            for wanted in getattr(filters, name):
                if wanted.casefold() not in column.place:
                    near = get_close_matches(wanted.casefold(), list(column.place), n=1)
                    hint = f"; did you mean {column.values[column.place[near[0]]]}?" if near else ""
                    return f"no item has the {name} {wanted!r}{hint}"
        return None

    def count(
        self,
        rows: Rows,
        facets: Sequence[Facet],
        filters: Filters,
        list_minor: Minor,
        minor_per_unit: int = 100,
    ) -> tuple[FacetCount, ...]:
        """Count the values of some facets among some rows.

        Args:
            rows: Rows that match the query, whatever the filters say.
            facets: The facets to count.
            filters: Filters of the page; each facet is counted as if it had none of its own.
            list_minor: (N,) list prices, minor units.
            minor_per_unit: Minor units in a currency unit.
        """
        counts: list[FacetCount] = []
        for facet in dict.fromkeys(facets):
            inside = rows[self.within(filters.without(facet), list_minor)[rows]]
            if facet == "price":
                counts += _price_ranges(list_minor[inside], minor_per_unit)
                continue
            column: _Column = getattr(self, facet)
            codes = column.codes[inside]
            number = np.bincount(codes[codes >= 0], minlength=len(column.values))
            best = np.lexsort((np.arange(len(number)), -number))[:MOST_VALUES]
            counts += [FacetCount(facet, column.values[at], int(number[at])) for at in best if number[at]]
        return tuple(counts)


def _price_ranges(prices: Minor, unit: int) -> list[FacetCount]:
    """Ranges with round ends that hold about equally many items."""
    if not prices.size:
        return []
    cuts = np.quantile(prices, np.arange(1, PRICE_RANGES) / PRICE_RANGES)
    edges = sorted(edge for edge in {_rounded(cut / unit) for cut in cuts} if edge * unit <= prices.max())
    starts = [0, *(int(edge * unit) for edge in edges)]
    ranges = []
    for low, following in zip(starts, [*starts[1:], None], strict=True):
        inside = int(((prices >= low) & (prices < (following or np.inf))).sum())
        if inside:
            value = f"{low // unit:,}+" if following is None else f"{low // unit:,}-{following // unit:,}"
            ranges.append(FacetCount("price", value, inside, low, None if following is None else following - 1))
    return ranges


def _rounded(amount: float) -> int:
    """The nearest round number; at least 1."""
    steps: list[int] = [digit * 10**power for power in range(12) for digit in _ROUND]
    return min(steps, key=lambda step: abs(np.log(step / max(amount, 1.0))))
