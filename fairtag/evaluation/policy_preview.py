"""What a policy would change, before it counts: figures over pages that were priced again (a replay).

    found = replay.preview(policy, current, on=date.today())               # fairtag.evaluation.policy_replay
    found.changed, found.profit.value, found.items[0]

Profit and units are those that the model's own demand foresees, with intervals from its posterior and a bootstrap of
the customers: good enough to choose between policies. Whether a wider policy may go live is decided by demand models
that the prices were not chosen with (:mod:`fairtag.evaluation.policy_evaluation`). Prices are those before exploration,
and without price locks.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

HOLD_OUT = "held-out pages"


@dataclass(frozen=True)
class Change:
    """A relative change with its 95 % interval: 0.02 is 2 % more."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupGap:
    """How much more a group pays for the same item than all others, as a share, before and after."""

    attribute: str
    group: str
    before: float
    after: float
    low: float
    high: float


@dataclass(frozen=True)
class ItemChange:
    """An item whose prices change, mean prices over the replayed pages in minor units."""

    item_id: str
    title: str
    list_price_minor: int
    before_minor: int
    after_minor: int
    pages: int
    profit_change: float

    @property
    def change(self) -> float:
        """Relative change of its mean price."""
        return self.after_minor / self.before_minor - 1


@dataclass(frozen=True)
class PolicyPreview:
    """What a policy would change on held-out pages.

    Args:
        pages: Pages that were priced again.
        prices: Prices on them.
        customers: Customers whose pages they are.
        changed: Share of the prices that change.
        lowered: Share of the prices that fall.
        raised: Share of the prices that rise.
        customers_affected: Share of the customers who see another price.
        personal: Share of the prices that a customer's data move, before and after.
        below_list: Share of the prices below list, before and after.
        profit: Expected profit a page.
        units: Expected units a page.
        widest: The widest ratio of two customers' prices of an item, before and after.
        gaps: Gap of each audited group, the widest first; empty without audit groups.
        items: The items that change most, the largest fall of profit first.
        currency: Of all money.
        on: The day that was previewed.
        log: What the pages are, in words.
    """

    pages: int
    prices: int
    customers: int
    changed: float
    lowered: float
    raised: float
    customers_affected: float
    personal: tuple[float, float]
    below_list: tuple[float, float]
    profit: Change
    units: Change
    widest: tuple[float, float]
    gaps: tuple[GroupGap, ...]
    items: tuple[ItemChange, ...]
    currency: str
    on: date
    log: str = HOLD_OUT
