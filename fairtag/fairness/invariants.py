"""Invariants of every quoted price, checked on the quote log: corridor, list, floor, ceiling, disclosure, stickiness.

    failed = violations(check_invariants(quotes, rho=1.25, disclosures=read_disclosures()))

One violation is one too many: the fairness job then reports ``urgent`` (docs/pricing-model.md, sections 6 and 7).

- ``list``: nobody pays more than list, or more than list and the markup that the policy allows.
- ``floor`` and ``ceiling`` do not apply to a fallback price (:data:`FALLBACKS`), which is lawful but need
  not meet commercial bounds, nor to a price lock, which holds while the bounds move.
- ``sticky``: a customer sees one price for an item on a price day. A page served without features (``degraded``) locks
  only an upper limit: later prices may be lower, never higher. A locked price above today's list does not hold, and a
  later version of the live policy may lower one.
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
Floats = NDArray[np.float64]

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
# A price lock is for one value of each of these; a customer who opts out or moves gets a new lock.
STICKY: Final = (
    schema.USER_KEY,
    schema.ITEM_ID,
    schema.EPOCH,
    schema.MODEL_VERSION,
    schema.CURRENCY,
    schema.JURISDICTION,
)
# With one of these a price is list, whatever the commercial bounds say.
FALLBACKS: Final = frozenset(
    {
        Reason.INFEASIBLE,
        Reason.LOW_CONFIDENCE_LIST,
        Reason.PRICES_NOT_ACCEPTED,
        Reason.COST_UNKNOWN,
        Reason.EXPERIMENT,
    }
)
REFUSALS: Final = frozenset(
    {Reason.OPTED_OUT, Reason.JURISDICTION_OFF, Reason.PERSONAL_NOT_ACCEPTED, Reason.PERSONAL_STOPPED}
)
# Columns of an example: enough to find the quote, nothing about the customer.
SHOWN: Final = (schema.QUOTE_ID, schema.ITEM_ID, schema.EPOCH, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR)


@dataclass(frozen=True)
class InvariantCheck:
    """One invariant, checked on a window of quotes.

    Args:
        rule: Name of the invariant.
        count: Quoted prices that violate it.
        checked: Quoted prices that were checked.
        examples: At most three violations: quote, item, epoch, price and list price.
    """

    rule: str
    count: int
    checked: int
    examples: tuple[dict[str, Any], ...]


def check_invariants(
    quotes: pd.DataFrame,
    *,
    rho: float | Floats,
    disclosures: DisclosureTable,
    markup: float | Floats = 0.0,
    examples: int = 3,
) -> tuple[InvariantCheck, ...]:
    """Check all invariants on a window of the quote log; one entry for each, violated or not.

    Args:
        quotes: Rows of schema.QUOTES.
        rho: Width of the corridor that the quotes were priced with, or that of each, (n,).
        disclosures: The table in force.
        markup: How far above list a price may lie, as a share of list (``GuardrailLimits.markup``), or that of each.
        examples: Largest number of examples for each invariant.

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


def violations(checks: tuple[InvariantCheck, ...]) -> tuple[InvariantCheck, ...]:
    """The invariants that are violated."""
    return tuple(entry for entry in checks if entry.count)


def _broken(
    quotes: pd.DataFrame, rho: float | Floats, markup: float | Floats, disclosures: DisclosureTable
) -> Iterator[tuple[str, Flags]]:
    price = quotes[schema.PRICE_MINOR].to_numpy(np.int64)
    bound = ~(quotes[schema.REASONS].map(_fallback).to_numpy(bool) | _relocked(quotes))
    personal = quotes[schema.PERSONALISED].to_numpy(bool)
    yield "corridor", _outside_corridor(quotes, price, rho)
    highest = _highest_allowed(quotes, markup)
    yield "list", price > highest
    yield "floor", (price < quotes[schema.LOW_MINOR].to_numpy(np.int64)) & bound
    yield "ceiling", (price > quotes[schema.HIGH_MINOR].to_numpy(np.int64)) & bound
    allowed, text = _rules(quotes, disclosures)
    shown = quotes[schema.DISCLOSURE].fillna("").to_numpy(object)
    yield "disclosure", personal & (~allowed | (shown != text))
    yield "opt_out", personal & quotes[schema.REASONS].map(_refused).to_numpy(bool)
    yield "sticky", _lock_violations(quotes, highest)


def _highest_allowed(quotes: pd.DataFrame, markup: float | Floats) -> NDArray[np.int64]:
    """Highest price that list allows for each row, in whole minor units: list and the markup on it."""
    listed = quotes[schema.LIST_PRICE_MINOR].to_numpy(np.int64)
    return np.floor(listed * (1.0 + markup) * (1.0 + ROUNDING)).astype(np.int64)


def _fallback(reasons: Any) -> bool:
    return not FALLBACKS.isdisjoint(reasons)


def _refused(reasons: Any) -> bool:
    return not REFUSALS.isdisjoint(reasons)


def _outside_corridor(quotes: pd.DataFrame, price: NDArray[np.int64], rho: float | Floats) -> Flags:
    """Rows above ``rho`` times the lowest comparable price of their item, price day and currency.

    Not comparable: an offer whose own list price is more than ``rho`` below the price (list changed during the day, or
    differs between stores). Nobody could have paid so much for that offer; the gap is one of public list prices.
    """
    keys = [schema.ITEM_ID, schema.EPOCH, schema.CURRENCY]
    group = quotes.groupby(keys, sort=False, observed=True).ngroup().to_numpy(np.int64)
    listed = quotes[schema.LIST_PRICE_MINOR].to_numpy(np.int64)
    top = int(max(listed.max(initial=0), price.max(initial=0)))
    order = np.lexsort((-listed, group))
    place = group * (top + 1) + (top - listed)  # rises with the group, and within it as list falls
    lowest = (
        pd.Series(price[order]).groupby(group[order]).cummin().to_numpy()
    )  # among offers with a list price at least as high
    comparable = np.ceil(price / rho * (1 - ROUNDING)).astype(np.int64)  # the lowest list price that is comparable
    last = np.searchsorted(place[order], group * (top + 1) + (top - comparable), side="right") - 1
    # A price above rho times its own list may have nothing to be compared with; the invariant ``list`` finds that one.
    known = (last >= 0) & (group[order][last] == group)
    result: Flags = known & (price > rho * lowest[last] * (1 + ROUNDING))
    return result


def _relocked(quotes: pd.DataFrame) -> Flags:
    """Rows whose customer was quoted the item earlier on the same day by the same model, within this window."""
    order = _by_time(quotes)
    again = _groups(quotes).iloc[order].duplicated().to_numpy()
    result = np.zeros(len(quotes), dtype=bool)
    result[order] = again
    return result & quotes[schema.USER_KEY].notna().to_numpy()


def _lock_violations(quotes: pd.DataFrame, highest: NDArray[np.int64]) -> Flags:
    """Rows whose customer was quoted another price before, or a lower one on an earlier degraded page."""
    order = _by_time(quotes)
    groups = _groups(quotes).iloc[order]
    price = quotes[schema.PRICE_MINOR].iloc[order].astype(float)
    most = highest[order]
    whole = quotes[schema.DEGRADED].isna().iloc[order] & quotes[schema.USER_KEY].notna().iloc[order]
    keys = [groups[name] for name in groups]
    locked = price.where(whole).groupby(keys, sort=False, observed=True, dropna=False).transform("first")
    ceiling = _first_so_far(price.mask(whole), keys)
    version = _policy_version(quotes).iloc[order]
    began = version.where(whole).groupby(keys, sort=False, observed=True, dropna=False).transform("first")
    kept = (price == locked) | ((price < locked) & (version > began))
    moved = ~kept & (locked <= most)
    result = np.zeros(len(quotes), dtype=bool)
    result[order] = (whole & (moved | (price > ceiling))).to_numpy()
    return result


def _policy_version(quotes: pd.DataFrame) -> pd.Series[Any]:
    """Version of the live policy of each row; 0 in a log from before there was one."""
    if schema.POLICY_VERSION not in quotes:
        return pd.Series(0, index=quotes.index)
    return quotes[schema.POLICY_VERSION].fillna(0).astype("int64")


def _first_so_far(values: pd.Series[float], keys: list[pd.Series[Any]]) -> pd.Series[float]:
    """First value of each group at or before the row; NaN if there is none."""
    first = values.groupby(keys, sort=False, observed=True, dropna=False).transform("first")
    seen = values.groupby(keys, sort=False, observed=True, dropna=False).ffill()
    return first.where(seen.notna())


def _by_time(quotes: pd.DataFrame) -> NDArray[np.intp]:
    return np.argsort(quotes[schema.TS].to_numpy(), kind="stable")


def _groups(quotes: pd.DataFrame) -> pd.DataFrame:
    """Key of the price lock of each row."""
    opted_out = quotes[schema.REASONS].map(lambda reasons: Reason.OPTED_OUT in reasons)
    return quotes[list(STICKY)].assign(opted_out=opted_out)


def _rules(quotes: pd.DataFrame, disclosures: DisclosureTable) -> tuple[Flags, NDArray[np.object_]]:
    """Whether personal prices were allowed for each row, and the text it had to carry."""
    place, places = pd.factorize(quotes[schema.JURISDICTION].fillna("").astype(str))  # no place is unknown
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
