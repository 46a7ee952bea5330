"""The customers of an experiment and its guests: each once, in the arm first seen, with what was earned in the window.

    followed = follow(quotes, known_keys(user_ids, keys))
    customers = customers_of(followed, outcomes, window_days=7.0, unit=100, now=now)

A guest is a session, as it is for the assignment: one who signs in is a customer from then on, and counts as both. Both
are assigned by themselves, so that neither arm has more of them than chance gives it.

The log names customers and sessions by a keyed hash. After a change of the user key the same customer has another name,
and would count as two. Where the user ids and both keys are known, the old name is taken for the new one. Of the others
only those count whose window was over before the change; later ones may be customers seen before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.pseudonym import user_key

DAY: Final = 86_400.0
PROFIT, CONVERSION = "profit", "conversion"
WHO, GUEST = "who", "guest"  # name of whom a page was shown to, customer or session; whether a session
RETURNING: Final = 20  # customers seen before and after a moment, on the days around it; fewer show no change of keys
LEFT: Final = 0.02  # share of them that may be seen across a change: replicas follow within seconds


@dataclass(frozen=True)
class Followed:
    """The pages of an experiment under one name a customer.

    Args:
        quotes: Quoted items; the newest name of the customer, or that of the session, stands in :data:`WHO`.
        changed: Time of the first change of the user key that the log shows; None where it shows none.
        named: Customers that are known under each key, so that the change does not matter.
    """

    quotes: pd.DataFrame
    changed: pd.Timestamp | None = None
    named: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Uncounted:
    """What takes no part in the test.

    Args:
        guest_pages: Pages of guests whose session the log does not name, as older ones do not.
        guest_purchases: Items that were bought from them.
        guest_profit: Profit of these, currency units.
        key_changed: Time of a change of the user key; None where there was none.
        customers: Names first seen after it, or whose window it cut short: they may be customers seen before.
    """

    guest_pages: int = 0
    guest_purchases: int = 0
    guest_profit: float = 0.0
    key_changed: datetime | None = None
    customers: int = 0

    @property
    def words(self) -> tuple[str, ...]:
        """One sentence for each kind; none where all takes part."""
        said = []
        if self.guest_pages:
            said.append(
                f"{self.guest_pages:,} pages of guests do not count, nor do {self.guest_purchases:,} items bought from "
                f"them (profit {self.guest_profit:,.2f}): the log has no name of their sessions"
            )
        if self.key_changed is not None:
            said.append(
                f"the user key changed at {self.key_changed:%Y-%m-%d %H:%M} UTC: {self.customers:,} names first seen "
                "after it, or cut short by it, do not count, as they may be customers seen before; a test that goes on "
                "needs a new name"
            )
        return tuple(said)


def known_keys(user_ids: Iterable[str], keys: Sequence[bytes]) -> dict[str, str]:
    """Name of each customer under the key in use, by their name under each of the keys, the one in use first.

    >>> names = known_keys(["ada"], [b"n" * 32, b"o" * 32])
    >>> names[user_key("ada", b"o" * 32)] == user_key("ada", b"n" * 32) == names[user_key("ada", b"n" * 32)]
    True
    """
    found: dict[str, str] = {}
    for user_id in user_ids:
        newest = user_key(user_id, keys[0])
        found |= {user_key(user_id, key): newest for key in keys}
    return found


def follow(quotes: pd.DataFrame, names: Mapping[str, str] | None = None) -> Followed:
    """The pages under one name a customer, as far as names are known, and a change of the user key.

    Args:
        quotes: Quoted items of the experiment.
        names: Of :func:`known_keys`; None where ids or keys are not known.
    """
    who, changed = _who(quotes), key_change(quotes)
    if not names or changed is None:
        return Followed(quotes.assign(**{WHO: who}), changed)
    return Followed(quotes.assign(**{WHO: who.map(names).fillna(who)}), changed, frozenset(names.values()))


def key_change(quotes: pd.DataFrame) -> pd.Timestamp | None:
    """The first moment across which no name is seen, though on the days around it many come back; None without one.

    Only names seen on more than a day are looked at, so that neither a night nor an outage looks like it. A change
    among fewer than :data:`RETURNING` such customers is not seen; it then counts at most as many twice.
    """
    ends = quotes[schema.TS].groupby(_who(quotes)).agg(["min", "max"])
    first, last = (ends[name].astype("int64").to_numpy() for name in ("min", "max"))
    unit = int(pd.Timedelta(days=1) / pd.Timedelta(1, unit=ends["min"].dt.unit)) if len(ends) else 1
    seen_again = last - first > unit
    first, last = np.sort(first[seen_again]), np.sort(last[seen_again])
    at = np.union1d(first, last).astype(np.int64)

    def across(moment: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(first, moment, side="right") - np.searchsorted(last, moment, side="right")

    around = np.minimum(across(at - unit), across(at + unit))
    gap = np.flatnonzero((around >= RETURNING) & (across(at) <= LEFT * around))
    if not gap.size:
        return None
    whole = gap[at[gap] - at[gap[0]] <= unit]  # the same change
    moment = at[whole[across(at[whole]).argmin()]]
    return pd.Timestamp(int(moment), unit=ends["min"].dt.unit, tz="UTC")


def _who(quotes: pd.DataFrame) -> pd.Series[Any]:
    """The name of the customer of each row, of a guest that of the session; None where the log has neither."""
    customer = quotes[schema.USER_KEY].astype(object)
    return customer.where(customer.notna(), quotes[schema.GUEST_KEY].astype(object))


def customers_of(
    followed: Followed, outcomes: pd.DataFrame, window_days: float, unit: int, now: datetime
) -> pd.DataFrame:
    """One row a customer or session: arm, first page, whether its window is over, pages, profit, bought, moved.

    The index is their name; ``guest`` are sessions, ``excluded`` names that a change of the user key makes doubtful.

    Args:
        followed: Quoted items of the experiment.
        outcomes: Bought items of its pages.
        window_days: Days from the first page that count.
        unit: Minor units in a unit of the currency.
        now: The present.
    """
    known = followed.quotes[followed.quotes[WHO].notna()]
    by_key = known.groupby(WHO, observed=True)
    found = pd.DataFrame(
        {
            "first": by_key[schema.TS].min(),
            schema.ARM: by_key[schema.ARM].first(),
            "pages": by_key[schema.QUOTE_ID].nunique(),
            "moved": by_key[schema.ARM].nunique() > 1,
            GUEST: by_key[schema.USER_KEY].count() == 0,
        }
    )
    window = timedelta(days=window_days)
    found["whole"] = found["first"] + window <= now
    costs = known[[schema.QUOTE_ID, schema.ITEM_ID, WHO, schema.UNIT_COST_MINOR]]
    sold = _sold(outcomes, costs, unit)
    inside = sold[schema.TS] <= sold[WHO].map(found["first"]) + window
    sold = sold[inside.to_numpy(dtype=bool)]
    found[PROFIT] = sold["earned"].groupby(sold[WHO]).sum().reindex(found.index).fillna(0.0)
    found[CONVERSION] = found.index.isin(sold[WHO].unique()).astype(float)
    found["excluded"] = False
    if followed.changed is not None:
        found["excluded"] = (found["first"] + window > followed.changed) & ~found.index.isin(followed.named)
    return found.sort_values("first", kind="stable")


def uncounted(followed: Followed, outcomes: pd.DataFrame, customers: pd.DataFrame, unit: int) -> Uncounted:
    """What takes no part: pages that name nobody, and names that a change of the user key makes doubtful.

    Args:
        followed: Quoted items of the experiment.
        outcomes: Bought items of its pages.
        customers: Of :func:`customers_of`.
        unit: Minor units in a unit of the currency.
    """
    guests = followed.quotes[followed.quotes[WHO].isna()]
    sold = _sold(outcomes, guests[[schema.QUOTE_ID, schema.ITEM_ID, schema.UNIT_COST_MINOR]], unit)
    left_out = int(customers["excluded"].sum())
    changed = followed.changed.to_pydatetime() if followed.changed is not None and left_out else None
    pages = int(guests[schema.QUOTE_ID].nunique())
    return Uncounted(pages, len(sold), float(sold["earned"].sum()), changed, left_out)


def _sold(outcomes: pd.DataFrame, quotes: pd.DataFrame, unit: int) -> pd.DataFrame:
    """The items bought from some quotes, with what they ``earned``, currency units; nothing at an unknown cost."""
    sold = outcomes.merge(quotes, on=[schema.QUOTE_ID, schema.ITEM_ID], how="inner")
    sold = sold[(sold[schema.QUANTITY] > 0).to_numpy(dtype=bool)]
    margin = (sold[schema.PRICE_MINOR] - sold[schema.UNIT_COST_MINOR]).fillna(0.0).astype(float)
    return sold.assign(earned=margin * sold[schema.QUANTITY].astype(float) / unit)
