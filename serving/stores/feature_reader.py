"""What a feature store is to the endpoint, and the check of what it says: its values are input.

A value that is no number, or an amount far from the catalogue's, is ignored and counted, and the catalogue's stands in
its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.policy.context import MARKET_COLUMNS, MarketContext

UNREADABLE, OUT_OF_BOUNDS = "unreadable", "out_of_bounds"  # why a value is ignored
LEAST_SHARE: Final = (schema.LIST_PRICE, schema.UNIT_COST)  # amounts that may not fall far below the catalogue's
MONEY: Final = (*LEAST_SHARE, schema.MAP_PRICE, schema.MSRP, schema.COMPETITOR_PRICE, schema.SALVAGE_VALUE)
Ignored = Callable[[str], None]


@dataclass(frozen=True)
class UserFeatures:
    """A user's features.

    Args:
        behaviour: Value by name of ``schema.USER_PRICING_FEATURES``; an unknown one is absent.
        history_items: Items viewed or bought.
        history_age_days: Days since each of them.
    """

    behaviour: Mapping[str, float]
    history_items: Sequence[str] = ()
    history_age_days: Sequence[float] = ()


class FeatureReader(Protocol):
    """A feature store, read by blocking calls from several threads. Any exception means that it did not answer."""

    def user(self, user_id: str) -> UserFeatures | None:
        """The features of a user; None if the store does not know the user."""
        ...

    def items(self, item_ids: Sequence[str]) -> Mapping[str, Sequence[Any] | NDArray[np.float64]]:
        """The columns of ``MARKET_COLUMNS`` that the store has, aligned with the ids; None or NaN where it has none.

        Whether what it holds are numbers is checked by those who ask.
        """
        ...

    def filled_at(self) -> float | None:
        """Unix time at which users were last materialised; None if the store does not say."""
        ...


@dataclass
class MemoryReader:
    """Features held in memory, for tests."""

    users: dict[str, UserFeatures] = field(default_factory=dict)
    market: dict[str, dict[str, float]] = field(default_factory=dict)
    filled: float | None = None

    def user(self, user_id: str) -> UserFeatures | None:
        """The features of a user; None if unknown."""
        return self.users.get(user_id)

    def items(self, item_ids: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
        """Every market column, aligned with the ids."""
        rows = [self.market.get(item_id, {}) for item_id in item_ids]
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in MARKET_COLUMNS}

    def filled_at(self) -> float | None:
        """The time that it was given."""
        return self.filled


def checked_user(features: UserFeatures, ignored: Ignored) -> UserFeatures:
    """A user's features without what is no number; the price model clips those far from what it was trained on."""
    behaviour = {
        name: number for name, value in features.behaviour.items() if not math.isnan(number := _number(value, ignored))
    }
    pairs = [
        (str(item), number)
        for item, age in zip(features.history_items, features.history_age_days, strict=False)
        if (number := _number(age, ignored)) >= 0
    ]
    return UserFeatures(
        behaviour,
        tuple(item for item, _ in pairs),
        tuple(age for _, age in pairs),
    )


def checked_market(
    columns: Mapping[str, Sequence[Any] | NDArray[np.float64]],
    catalogue: MarketContext,
    factor: float,
    ignored: Ignored,
) -> dict[str, NDArray[np.float64]]:
    """Market columns as numbers, NaN where there is none or it cannot be meant.

    Args:
        columns: What the store holds for some rows.
        catalogue: The model folder's values for them.
        factor: How far an amount may be from the catalogue's list price, or from its own value there.
        ignored: Told why a value is NaN.
    """
    checked = {}
    for name, values in columns.items():
        numbers = np.array([_number(value, ignored) for value in values], dtype=np.float64)
        wrong = numbers < 0 if name != schema.SALVAGE_VALUE else np.zeros(numbers.shape, dtype=bool)
        if name in MONEY:
            wrong |= numbers > factor * catalogue.list_price
        if name in LEAST_SHARE:
            wrong |= numbers * factor < getattr(catalogue, name)
        for _ in range(int(wrong.sum())):
            ignored(OUT_OF_BOUNDS)
        checked[name] = np.where(wrong, np.nan, numbers)
    return checked


def _number(value: Any, ignored: Ignored) -> float:
    """A finite number; NaN where there is no value, and, told to ``ignored``, where there is no number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    try:
        number = float(value) if not isinstance(value, str | bytes | bool) else math.inf
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if not math.isfinite(number):
        ignored(UNREADABLE)
        return math.nan
    return number
