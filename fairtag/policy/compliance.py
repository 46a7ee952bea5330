"""Quotes held to the version of the policy that they name: what the quote log shows of each rule, price by price.

    found = held_to(quotes, policy, accepted, day)
    (found["pin"] == Finding.BROKEN).sum()

The log shows a price, its list price, its cost and the bounds in force. It does not show MAP, a competitor's price, the
corridor, or whether a price was promised earlier in the day. So each rule sorts quotes into those that kept it, those
that an unseen bound may explain, those that only an earlier promise explains, and those that nothing explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import IntEnum
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fairtag.base import schema
from fairtag.base.types import Reason
from fairtag.policy.guardrails import GuardrailLimits
from fairtag.policy.item_terms import ItemTerms, item_terms, personal_place
from fairtag.policy.live_policy import FAIL_SAFE, STOPPED
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Findings = NDArray[np.int8]

RULES: Final = ("list", "personal", "ceiling", "discount", "margin", "exclusion", "pin", "promotion", "ending")
ROUNDING: Final = 2.0  # minor units: list price and cost are logged in whole ones, and bounds are rounded to whole ones
NO_SAFE_PRICE: Final = frozenset({Reason.INFEASIBLE, Reason.COST_UNKNOWN})  # list is served then, whatever else holds
FOR_WANT_OF_BETTER: Final = frozenset({Reason.LOW_CONFIDENCE_LIST, Reason.PRICES_NOT_ACCEPTED})
NAMED: Final = frozenset({Reason.PINNED, Reason.EXCLUDED, Reason.PROMOTION, Reason.EXPERIMENT})  # that end as they may

CEILINGS: Final = frozenset({Reason.LIST_CEILING, Reason.FAIRNESS_CORRIDOR, Reason.EXPERIMENT})


class Finding(IntEnum):
    """What the log says about one quote and one rule; the greatest is the worst."""

    KEPT = 0
    UNSEEN_BOUND = 1  # a bound that the log does not show may explain it
    PROMISE = 2  # an earlier quote of the same price day may explain it, and nothing else
    BROKEN = 3


def held_to(quotes: pd.DataFrame, policy: ShopPolicy, accepted: PricingPolicy, day: date) -> dict[str, Findings]:
    """Hold quotes of one price day to one version of the policy.

    An endpoint that could not trust or read the policy puts everything at list and says so; such a quote is held to
    that.

    Args:
        quotes: Rows of schema.QUOTES, (n,).
        policy: The version that they name, as far as there is evidence for it with the model that priced them.
        accepted: What that model's decision accepted.
        day: The date on which the price day begins, UTC.

    Returns:
        A :class:`Finding` of each quote, (n,), for each of :data:`RULES`.
    """
    found = {rule: np.zeros(len(quotes), dtype=np.int8) for rule in RULES}
    failed_safe = (quotes[schema.DEGRADED] == STOPPED).to_numpy(bool) & (not policy.at_list)
    for at, each in ((~failed_safe, policy), (failed_safe, FAIL_SAFE)):
        if at.any():
            for rule, findings in _rules(_Quotes(quotes[at]), each, accepted, day):
                found[rule][at] = findings
    return found


class _Quotes:
    """Columns of n quotes; amounts in minor units, NaN where absent."""

    def __init__(self, quotes: pd.DataFrame) -> None:
        def amount(name: str) -> Floats:
            return np.asarray(quotes[name].to_numpy(dtype=np.float64, na_value=np.nan))

        self.price, self.listed = amount(schema.PRICE_MINOR), amount(schema.LIST_PRICE_MINOR)
        self.low, self.high = amount(schema.LOW_MINOR), amount(schema.HIGH_MINOR)
        self.cost = amount(schema.UNIT_COST_MINOR)
        self.items, self.categories = quotes[schema.ITEM_ID].tolist(), quotes[schema.CATEGORY].astype(str).tolist()
        self.personal, self.places = quotes[schema.PERSONALISED].to_numpy(bool), quotes[schema.JURISDICTION]
        self._reasons = quotes[schema.REASONS]
        self.priced = ~self.gives(NO_SAFE_PRICE)

    def gives(self, reasons: frozenset[Reason]) -> Flags:
        """(n,) whether each gives one of some reasons."""
        return np.array([not reasons.isdisjoint(given) for given in self._reasons], dtype=bool)

    @property
    def one_price(self) -> Flags:
        """(n,) whether the bounds left one price alone, which was charged."""
        return np.asarray((self.low == self.high) & (self.price == self.low))

    def at(self, amount: Floats) -> Flags:
        """(n,) whether each price is an amount, but for rounding."""
        return np.asarray(np.abs(self.price - amount) < ROUNDING)


def _rules(quotes: _Quotes, policy: ShopPolicy, accepted: PricingPolicy, day: date) -> Iterator[tuple[str, Findings]]:
    limits, terms = policy.over(accepted).limits, item_terms(policy, quotes.items, quotes.categories, day)
    yield "personal", _personal(quotes, policy, terms)
    if policy.at_list:  # an endpoint that fails safe then looks the same, and keeps to what the model accepted
        yield "list", _list(quotes)
        yield "ceiling", _ceiling(quotes, max(limits.markup, accepted.limits.markup))
        return
    least = _floors(quotes, limits, terms)
    yield "ceiling", _ceiling(quotes, limits.markup)
    yield "discount", _discount(quotes, least.discount, terms)
    if not accepted.anchored:  # such prices do not say whose stock ages, which sells below its cost
        yield "margin", _margin(quotes, least.margin)
    yield "exclusion", _exclusion(quotes, terms)
    yield "pin", _pin(quotes, terms.pin * limits.minor_per_unit, least, limits)
    yield "promotion", _promotion(quotes, terms, least)
    yield "ending", _ending(quotes, limits)


@dataclass(frozen=True)
class _Floors:
    """Lowest prices that two limits allow, (n,) minor units, ``ROUNDING`` below what they say."""

    discount: Floats
    margin: Floats

    @property
    def higher(self) -> Floats:
        return np.fmax(self.discount, self.margin)


def _floors(quotes: _Quotes, limits: GuardrailLimits, terms: ItemTerms) -> _Floors:
    """An accepted promotion may cut deeper than any other discount."""
    deepest = np.maximum(limits.max_discount, terms.cut)
    return _Floors(
        quotes.listed * (1 - deepest) - ROUNDING,
        quotes.cost / (1 - limits.min_margin) - ROUNDING,
    )


def _list(quotes: _Quotes) -> Findings:
    """Everything at list: a price lies elsewhere only where a bound has moved it, to its own end."""
    moved_down = (quotes.price < quotes.listed) & (quotes.price >= quotes.high)
    moved_up = (quotes.price > quotes.listed) & (quotes.price <= quotes.low)
    return _found(broken=quotes.priced & ~quotes.at(quotes.listed) & ~moved_down & ~moved_up)


def _personal(quotes: _Quotes, policy: ShopPolicy, terms: ItemTerms) -> Findings:
    """No customer's data where the policy has that off; a price that it names may be lowered by a personal promise."""
    place, places = pd.factorize(quotes.places, use_na_sentinel=False)
    allowed = [personal_place(policy, None if pd.isna(each) else str(each)) for each in places]
    off = ~np.array(allowed, dtype=bool)[place] | ~terms.personal | policy.at_list
    return _found(broken=quotes.personal & off, promise=quotes.personal & terms.settled)


def _ceiling(quotes: _Quotes, markup: float) -> Findings:
    """Nobody pays more than list and the markup on it; nor is the upper bound higher, where no promise raised it."""
    most = quotes.listed * (1 + markup) + ROUNDING
    return _found(broken=(quotes.price > most) | ((quotes.price < quotes.high) & (quotes.high > most)))


def _discount(quotes: _Quotes, least: Floats, terms: ItemTerms) -> Findings:
    """No deeper cut than allowed, nor a lower bound that would allow one; a promise that lies deeper is its own bound.

    A ceiling below the deepest cut leaves one price, and is its reason, unless the policy or an experiment names it.
    """
    capped = quotes.gives(CEILINGS) | terms.settled | (terms.cut > 0)
    least = np.where(capped, np.minimum(least, quotes.high), least)
    beyond = quotes.priced & (quotes.low < least)
    below = quotes.priced & (quotes.price < np.minimum(least, quotes.low))
    return _found(broken=below | (beyond & ((quotes.price > quotes.low) | quotes.one_price)), promise=beyond)


def _margin(quotes: _Quotes, least: Floats) -> Findings:
    """The smallest margin; not of stock that ages, nor where the reasons do not say whether it does."""
    silent = quotes.gives(frozenset({Reason.EXPLORATION, Reason.STOCK_AGEING}) | NAMED | FOR_WANT_OF_BETTER)
    beyond = quotes.priced & ~silent & (quotes.price < np.minimum(least, quotes.high))
    return _found(broken=beyond & (quotes.price > quotes.low), promise=beyond)


def _exclusion(quotes: _Quotes, terms: ItemTerms) -> Findings:
    at = terms.excluded & quotes.priced
    elsewhere = at & ~quotes.at(quotes.listed)
    return _found(
        broken=at & ~quotes.gives(frozenset({Reason.EXCLUDED})),
        promise=elsewhere & ~quotes.one_price,
        unseen=elsewhere,
    )


def _pin(quotes: _Quotes, pin: Floats, least: _Floors, limits: GuardrailLimits) -> Findings:
    """A pin is held inside the limits: a price lies above it at a floor alone, below it at the ceiling or a promise."""
    at = ~np.isnan(pin) & quotes.priced
    elsewhere = at & ~quotes.at(pin)
    above, ceiling = elsewhere & (quotes.price > pin), quotes.listed * (1 + limits.markup)
    seen = np.where(above, quotes.price <= least.higher + 2 * ROUNDING, quotes.at(ceiling))
    return _found(
        broken=(at & ~quotes.gives(frozenset({Reason.PINNED}))) | (above & ~quotes.one_price),
        promise=elsewhere & ~quotes.one_price,
        unseen=elsewhere & ~seen,
    )


def _promotion(quotes: _Quotes, terms: ItemTerms, least: _Floors) -> Findings:
    """Nobody pays more than the promotion's list price, unless a floor lies above it."""
    at = (terms.cut > 0) & np.isnan(terms.pin) & quotes.priced
    beyond = at & (quotes.price > quotes.listed * (1 - terms.cut) + ROUNDING)
    return _found(
        broken=beyond & (quotes.price > quotes.low),
        unseen=beyond & (quotes.price > least.higher + 2 * ROUNDING),
    )


def _ending(quotes: _Quotes, limits: GuardrailLimits) -> Findings:
    """The endings that the shop has written; list, and what the policy names, may end in anything."""
    if not limits.endings:
        return np.zeros(len(quotes.price), dtype=np.int8)
    free = quotes.at(quotes.listed) | quotes.gives(NAMED | FOR_WANT_OF_BETTER) | ~quotes.priced
    ends = np.isin(np.mod(quotes.price, limits.ending_period), limits.endings)
    return _found(promise=~free & ~ends)


def _found(*, broken: Flags | None = None, promise: Flags | None = None, unseen: Flags | None = None) -> Findings:
    """The worst finding that each quote (n,) is flagged with."""
    named = ((Finding.BROKEN, broken), (Finding.PROMISE, promise), (Finding.UNSEEN_BOUND, unseen))
    given = [(flags, finding) for finding, flags in named if flags is not None]
    return np.select([flags for flags, _ in given], [int(finding) for _, finding in given], Finding.KEPT).astype(
        np.int8
    )
