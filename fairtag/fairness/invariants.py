"""Invariants of every quoted price, checked on the quote log: corridor, list, floor, ceiling, disclosure, stickiness.

    failed = violations(check_invariants(quotes, rho=1.25, disclosures=read_disclosures()))

One violation is one too many: the fairness job then reports ``urgent`` (docs/pricing-model.md, sections 6 and 7).

- ``list``: nobody pays more than list, or more than list and the markup that the policy allows.
- ``floor`` and ``ceiling`` do not apply to a fallback price (INFEASIBLE, LOW_CONFIDENCE_LIST), which is lawful but need
  not meet commercial bounds, nor to a price lock, which holds while the bounds move.
- ``sticky``: a customer sees one price for an item on a price day. A page served without features (``degraded``) locks
  only an upper limit: later prices may be lower, never higher. A locked price above today's list does not hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.types import Reason
from fairtag.policy.disclosure import DisclosureTable

Flags = NDArray[np.bool_]

ROUNDING: Final = 1e-9  # relative slack of a float comparison of integers, not of a price
NEEDED: Final = (
    schema.QUOTE_ID,
    schema.TS,
    schema.USER_KEY,
    schema.ITEM_ID,
    schema.LIST_PRICE_MINOR,
    schema.PRICE_MINOR,
    schema.LOW_MINOR,
    schema.HIGH_MINOR,
    schema.UNIT_COST_MINOR,
    schema.PERSONALISED,
    schema.REASONS,
    schema.MODEL_VERSION,
    schema.JURISDICTION,
    schema.DISCLOSURE,
    schema.CURRENCY,
    schema.EPOCH,
    schema.DEGRADED,
)
# What one price is promised for; who opts out, or moves, is promised anew.
STICKY: Final = (
    schema.USER_KEY,
    schema.ITEM_ID,
    schema.EPOCH,
    schema.MODEL_VERSION,
    schema.CURRENCY,
    schema.JURISDICTION,
)
# What one example shows: enough to find the quote, nothing about the customer.
SHOWN: Final = (schema.QUOTE_ID, schema.ITEM_ID, schema.EPOCH, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR)


@dataclass(frozen=True)
class InvariantCheck:
    """One promise and how often it was broken.

    Args:
        rule: Name of the promise.
        count: Quoted prices that break it.
        checked: Quoted prices it was checked on.
        examples: At most three rows: quote, item, epoch, price and list price.
    """

    rule: str
    count: int
    checked: int
    examples: tuple[dict[str, Any], ...]


def check_invariants(
    quotes: pd.DataFrame, *, rho: float, disclosures: DisclosureTable, markup: float = 0.0, examples: int = 3
) -> tuple[InvariantCheck, ...]:
    """Check every promise on a window of the quote log; one entry a promise, also where nothing is broken.

    Args:
        quotes: Rows of schema.QUOTES.
        rho: Width of the corridor the log was priced with.
        disclosures: The table in force.
        markup: Share of list that a price may lie above it, ``GuardrailLimits.markup``; 0 promises list.
        examples: Rows shown of each breach.

    Raises:
        MissingDataError: A column is absent.
    """
    missing = [name for name in NEEDED if name not in quotes.columns]
    if missing:
        raise MissingDataError(f"quotes: column {', '.join(missing)} is missing", table="quotes", column=missing[0])
    return tuple(
        InvariantCheck(rule, int(broken.sum()), len(quotes), _rows(quotes, broken, examples))
        for rule, broken in _broken(quotes, rho, markup, disclosures)
    )


def violations(checked: tuple[InvariantCheck, ...]) -> tuple[InvariantCheck, ...]:
    """Those that are broken."""
    return tuple(entry for entry in checked if entry.count)


def _broken(
    quotes: pd.DataFrame, rho: float, markup: float, disclosures: DisclosureTable
) -> Iterator[tuple[str, Flags]]:
    price = quotes[schema.PRICE_MINOR].to_numpy(np.int64)
    bound = ~(quotes[schema.REASONS].map(_fallback).to_numpy(bool) | _promised(quotes))
    personal = quotes[schema.PERSONALISED].to_numpy(bool)
    yield "corridor", _outside_corridor(quotes, price, rho)
    dearest = _dearest(quotes, markup)
    yield "list", price > dearest
    yield "floor", (price < quotes[schema.LOW_MINOR].to_numpy(np.int64)) & bound
    yield "ceiling", (price > quotes[schema.HIGH_MINOR].to_numpy(np.int64)) & bound
    allowed, text = _rules(quotes, disclosures)
    shown = quotes[schema.DISCLOSURE].fillna("").to_numpy(object)
    yield "disclosure", personal & (~allowed | (shown != text))
    yield "opt_out", personal & quotes[schema.REASONS].map(_refused).to_numpy(bool)
    yield "sticky", _not_sticky(quotes, dearest)


def _dearest(quotes: pd.DataFrame, markup: float) -> NDArray[np.int64]:
    """The dearest price that list allows each row, whole minor units: list, and the markup where there is one."""
    listed = quotes[schema.LIST_PRICE_MINOR].to_numpy(np.int64)
    return np.floor(listed * (1.0 + markup) * (1.0 + ROUNDING)).astype(np.int64)


def _fallback(reasons: Any) -> bool:
    return Reason.INFEASIBLE in reasons or Reason.LOW_CONFIDENCE_LIST in reasons


def _refused(reasons: Any) -> bool:
    return Reason.OPTED_OUT in reasons or Reason.JURISDICTION_OFF in reasons


def _outside_corridor(quotes: pd.DataFrame, price: NDArray[np.int64], rho: float) -> Flags:
    """Rows above ``rho`` times the lowest price of their item, epoch and currency that list alone did not make low.

    Where the list price itself moved within the epoch, or differs between stores, an offer whose list price lies more
    than ``rho`` below a price could not have been as dear for anybody; that gap is public and between no two customers.
    """
    keys = [schema.ITEM_ID, schema.EPOCH, schema.CURRENCY]
    group = quotes.groupby(keys, sort=False, observed=True).ngroup().to_numpy(np.int64)
    listed = quotes[schema.LIST_PRICE_MINOR].to_numpy(np.int64)
    top = int(max(listed.max(initial=0), price.max(initial=0)))
    order = np.lexsort((-listed, group))
    place = group * (top + 1) + (top - listed)  # rises with the group, and in it as list falls
    lowest = pd.Series(price[order]).groupby(group[order]).cummin().to_numpy()  # over all lists at least as high
    comparable = np.ceil(price / rho * (1 - ROUNDING)).astype(np.int64)  # the lowest list it is held against
    last = np.searchsorted(place[order], group * (top + 1) + (top - comparable), side="right") - 1
    # A price above rho times its own list may have nobody to be held against: the promise about list finds that one.
    known = (last >= 0) & (group[order][last] == group)
    result: Flags = known & (price > rho * lowest[last] * (1 + ROUNDING))
    return result


def _promised(quotes: pd.DataFrame) -> Flags:
    """Rows whose customer was quoted the item before in the epoch, by the same model, inside this window."""
    order = _by_time(quotes)
    again = _groups(quotes).iloc[order].duplicated().to_numpy()
    result = np.zeros(len(quotes), dtype=bool)
    result[order] = again
    return result & quotes[schema.USER_KEY].notna().to_numpy()


def _not_sticky(quotes: pd.DataFrame, dearest: NDArray[np.int64]) -> Flags:
    """Rows whose customer was quoted another price before, or a lower one on a degraded page before."""
    order = _by_time(quotes)
    groups = _groups(quotes).iloc[order]
    price = quotes[schema.PRICE_MINOR].iloc[order].astype(float)
    most = dearest[order]
    whole = quotes[schema.DEGRADED].isna().iloc[order] & quotes[schema.USER_KEY].notna().iloc[order]
    keys = [groups[name] for name in groups]
    promised = price.where(whole).groupby(keys, sort=False, observed=True, dropna=False).transform("first")
    ceiling = _first_so_far(price.mask(whole), keys)
    moved = (price != promised) & (promised <= most)
    result = np.zeros(len(quotes), dtype=bool)
    result[order] = (whole & (moved | (price > ceiling))).to_numpy()
    return result


def _first_so_far(values: pd.Series[float], keys: list[pd.Series[Any]]) -> pd.Series[float]:
    """The first value of each group that stands before the row or in it; NaN where none does."""
    first = values.groupby(keys, sort=False, observed=True, dropna=False).transform("first")
    seen = values.groupby(keys, sort=False, observed=True, dropna=False).ffill()
    return first.where(seen.notna())


def _by_time(quotes: pd.DataFrame) -> NDArray[np.intp]:
    return np.argsort(quotes[schema.TS].to_numpy(), kind="stable")


def _groups(quotes: pd.DataFrame) -> pd.DataFrame:
    """What one price is promised for, of each row."""
    opted_out = quotes[schema.REASONS].map(lambda reasons: Reason.OPTED_OUT in reasons)
    return quotes[list(STICKY)].assign(opted_out=opted_out)


def _rules(quotes: pd.DataFrame, disclosures: DisclosureTable) -> tuple[Flags, NDArray[np.object_]]:
    """Whether personal prices were allowed for each row, and the text it had to carry."""
    place, places = pd.factorize(quotes[schema.JURISDICTION].fillna("").astype(str))  # no place is an unknown one
    day, days = pd.factorize(quotes[schema.TS].dt.normalize())
    pairs, codes = np.unique(np.stack([place, day], axis=1), axis=0, return_inverse=True)
    rules = [disclosures.rule(str(places[p]), days[d].date()) for p, d in pairs]
    return (
        np.array([rule.personalisation for rule in rules], dtype=bool)[codes],
        np.array([rule.text or "" for rule in rules], dtype=object)[codes],
    )


def _rows(quotes: pd.DataFrame, broken: Flags, examples: int) -> tuple[dict[str, Any], ...]:
    shown = quotes.loc[broken, list(SHOWN)].head(examples)
    return tuple({str(name): value for name, value in row.items()} for row in shown.to_dict("records"))
