"""Promises about every quoted price, checked on the quote log itself: counts and examples. Trusts no other record.

Corridor, list, floor, ceiling, disclosure and stickiness (PRICING.md sections 6 and 7). One breach is one too many: the
fairness job pages on any. Two kinds of quote are exempt from floor and ceiling, and from nothing else: the fallback
(INFEASIBLE, LOW_CONFIDENCE_LIST), which is lawful but need not meet commercial bounds, and a price already promised in
the epoch, which stands while the bounds move under it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pricing import schema
from pricing.errors import MissingDataError
from pricing.fairness.disclosure import DisclosureTable
from pricing.reasons import Reason

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
)
# What one price is promised for.
STICKY: Final = (schema.USER_KEY, schema.ITEM_ID, schema.EPOCH, schema.MODEL_VERSION, schema.CURRENCY)
# What one example shows: enough to find the quote, nothing about the customer.
SHOWN: Final = (schema.QUOTE_ID, schema.ITEM_ID, schema.EPOCH, schema.PRICE_MINOR, schema.LIST_PRICE_MINOR)


@dataclass(frozen=True)
class Breach:
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
    quotes: pd.DataFrame, *, rho: float, disclosures: DisclosureTable, examples: int = 3
) -> tuple[Breach, ...]:
    """Check every promise on a window of the quote log; one entry a promise, also where nothing is broken.

    Args:
        quotes: Rows of schema.QUOTES.
        rho: Width of the corridor the log was priced with.
        disclosures: The table in force.
        examples: Rows shown of each breach.

    Raises:
        MissingDataError: A column is absent.
    """
    missing = [name for name in NEEDED if name not in quotes.columns]
    if missing:
        raise MissingDataError(f"quotes: column {', '.join(missing)} is missing", table="quotes", column=missing[0])
    return tuple(
        Breach(rule, int(broken.sum()), len(quotes), _rows(quotes, broken, examples))
        for rule, broken in _broken(quotes, rho, disclosures)
    )


def breaches(checked: tuple[Breach, ...]) -> tuple[Breach, ...]:
    """Those that are broken."""
    return tuple(entry for entry in checked if entry.count)


def _broken(quotes: pd.DataFrame, rho: float, disclosures: DisclosureTable) -> Iterator[tuple[str, Flags]]:
    price = quotes[schema.PRICE_MINOR].to_numpy(np.int64)
    bound = ~(quotes[schema.REASONS].map(_fallback).to_numpy(bool) | _promised(quotes))
    personal = quotes[schema.PERSONALISED].to_numpy(bool)
    yield "corridor", _outside_corridor(quotes, price, rho)
    yield "list", price > quotes[schema.LIST_PRICE_MINOR].to_numpy(np.int64)
    yield "floor", (price < quotes[schema.LOW_MINOR].to_numpy(np.int64)) & bound
    yield "ceiling", (price > quotes[schema.HIGH_MINOR].to_numpy(np.int64)) & bound
    allowed, text = _rules(quotes, disclosures)
    shown = quotes[schema.DISCLOSURE].fillna("").to_numpy(object)
    yield "disclosure", personal & (~allowed | (shown != text))
    yield "opt_out", personal & quotes[schema.REASONS].map(_refused).to_numpy(bool)
    yield "sticky", _not_sticky(quotes)


def _fallback(reasons: Any) -> bool:
    return Reason.INFEASIBLE in reasons or Reason.LOW_CONFIDENCE_LIST in reasons


def _refused(reasons: Any) -> bool:
    return Reason.OPTED_OUT in reasons or Reason.JURISDICTION_OFF in reasons


def _outside_corridor(quotes: pd.DataFrame, price: NDArray[np.int64], rho: float) -> Flags:
    """Rows above ``rho`` times the lowest price of their item, epoch and currency."""
    lowest = quotes.groupby([schema.ITEM_ID, schema.EPOCH, schema.CURRENCY], sort=False, observed=True)[
        schema.PRICE_MINOR
    ].transform("min")
    result: Flags = price > rho * lowest.to_numpy(np.float64) * (1 + ROUNDING)
    return result


def _promised(quotes: pd.DataFrame) -> Flags:
    """Rows whose customer was quoted the item before in the epoch, by the same model, inside this window."""
    order = np.argsort(quotes[schema.TS].to_numpy(), kind="stable")
    again = quotes[list(STICKY)].iloc[order].duplicated().to_numpy()
    result = np.zeros(len(quotes), dtype=bool)
    result[order] = again
    return result & quotes[schema.USER_KEY].notna().to_numpy()


def _not_sticky(quotes: pd.DataFrame) -> Flags:
    """Rows whose customer was quoted another price for the same item in the same epoch by the same model."""
    known = quotes[schema.USER_KEY].notna()
    first = quotes[known].groupby(list(STICKY), sort=False, observed=True)[schema.PRICE_MINOR].transform("first")
    result = np.zeros(len(quotes), dtype=bool)
    result[known.to_numpy()] = (quotes.loc[known, schema.PRICE_MINOR] != first).to_numpy()
    return result


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
