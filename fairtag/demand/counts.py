"""What a log's purchases count: units bought, and pages that stand for more visits than one.

A purchase counts as its units over those of an average purchase: so the slope is one of units, which earn the profit,
and the level is one of purchases. A page with a weight stands for several visits, and so do its purchases. Neither is
as sure as if each unit and each visit had been seen, so all counts are scaled until they tell no more than the rows do:

>>> sampled = count_purchases(
...     np.array([1.0, 0.0, 0.0, 0.0]), np.ones(4), np.zeros(4, dtype=np.int64), np.arange(4),
...     np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, 5.0, 5.0, 5.0]),
... )
>>> (sampled.bought[:1] / sampled.outside[1:]).round(9).tolist()
[0.2, 0.2, 0.2]
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.demand.choices import Floats, Ints
from fairtag.demand.covariates import number_column

Weights = Literal["sampling", "counts"]

BORROWED = 10.0  # purchases of the shop's mean size that count with a category's own: a few tell a mean poorly


@dataclass(frozen=True)
class Counts:
    """The counts of a demand fit.

    Args:
        bought: (N,) how often each row was bought, in purchases of average size times the page's weight.
        outside: (P,) how often nothing was bought.
        weight: (P,) what each page counts; 1 on a log without weights.
        units: (C,) mean units of a purchase in each category; 1 where every purchase is of one unit.
        report: What was counted, as JSON.
    """

    bought: Floats
    outside: Floats
    weight: Floats
    units: Floats
    report: dict[str, Any]


def count_purchases(
    purchased: Floats,
    quantity: Floats,
    category: Ints,
    starts: Ints,
    outside: Floats,
    weight: Floats,
    *,
    categories: int = 1,
    kind: Weights = "sampling",
) -> Counts:
    """Count purchases by their units and their page's weight.

    With weights of one value, and purchases of one size, the counts are those of the log without either, bit for bit.

    Args:
        purchased: (N,) 1 where the row was bought.
        quantity: (N,) units bought; what is not above 0 counts as one unit where the row was bought.
        category: (N,) category of each row.
        starts: (P,) first row of each page.
        outside: (P,) 1 where nothing was bought.
        weight: (P,) weight of each page, above 0.
        categories: C.
        kind: ``sampling``: a page was kept with a probability of one over its weight. It is one observation, whatever
            it stands for (Horvitz and Thompson 1952). ``counts``: the page is that many equal, independent visits.
    """
    page = np.repeat(np.arange(starts.size), np.diff(starts, append=purchased.size))
    number = _units(purchased, quantity)
    units = _mean_units(number, purchased, category, weight[page], categories)
    sized = number / units[category]
    relative = weight / weight.mean() if kind == "sampling" else weight
    if not ((relative == 1.0).all() and (sized == purchased).all()):
        seen = _information(purchased, starts, outside, np.ones(starts.size), 1)
        told = _information(sized, starts, outside, relative, 2 if kind == "sampling" else 1)
        relative = relative * (told / seen)
    report = {
        "purchases": int(purchased.sum()),
        "units": float((number * weight[page]).sum()),
        "units_per_purchase": float(number.sum() / max(purchased.sum(), 1.0)),
        "visits": float(weight.sum()),
        "weights": kind if np.ptp(weight) > 0 or (weight != 1.0).any() else "none",
        "effective_purchases": float((sized * relative[page]).sum()),
    }
    return Counts(sized * relative[page], outside * relative, relative, units, report)


def units_bought(impressions: pd.DataFrame) -> Floats:
    """(n,) units bought of each impression: those of ``quantity``, or one where something was bought without it."""
    purchased = np.asarray(impressions[schema.PURCHASED].astype("boolean").fillna(value=False), dtype=np.float64)
    return _units(purchased, number_column(impressions, schema.QUANTITY))


def _units(purchased: Floats, quantity: Floats) -> Floats:
    return np.asarray(np.where(quantity > 0, quantity, 1.0) * purchased, dtype=np.float64)


def _mean_units(number: Floats, purchased: Floats, category: Ints, weight: Floats, categories: int) -> Floats:
    """(C,) mean units of a purchase by category, shrunk to that of the shop."""
    if not purchased.any():
        return np.ones(categories)
    shop = float((weight * number).sum() / (weight * purchased).sum())
    scale = float(weight[purchased > 0].mean())
    sums, counts = (
        np.bincount(category, weights=weight * x / scale, minlength=categories) for x in (number, purchased)
    )
    return np.asarray((sums + BORROWED * shop) / (counts + BORROWED), dtype=np.float64)


def _information(bought: Floats, starts: Ints, outside: Floats, weight: Floats, power: int) -> float:
    """Information about how often a page sells over the variance of its score, both at the mean; 1 for plain choices.

    The likelihood of weighted counts is not that of what was seen. Scaled by this number its curvature is that of the
    score's variance (Pauli, Racugno and Ventura 2011), so that intervals and the pull of the priors are right in size.
    """
    sold = np.add.reduceat(bought, starts)
    trials = sold + outside
    share = float((weight * sold).sum() / max((weight * trials).sum(), 1e-300))
    variance = float((weight**power * (sold - trials * share) ** 2).sum())
    information = float((weight * trials).sum()) * share * (1.0 - share)
    return information / variance if variance > 0 and information > 0 else 1.0


def in_words(impressions: pd.DataFrame) -> tuple[str, ...]:
    """What demand reads of the units and weights of a log, a line each, as ``fairtag check`` says it.

    >>> log = pd.DataFrame({"page_id": ["a", "b"], "purchased": [True, False], "quantity": [3, 0], "weight": [1, 20.0]})
    >>> quantity, weight = in_words(log)
    >>> quantity, weight[:52]
    ('demand uses quantity: 3.00 units a purchase', 'demand uses weight: 2 pages stand for 21 visits (as ')
    """
    if impressions.empty:
        return ()
    units = units_bought(impressions)
    lines = []
    if units.any():
        size = float(units[units > 0].mean())
        lines.append(f"demand uses quantity: {size:.2f} units a purchase")
    if schema.WEIGHT in impressions:
        pages = impressions.drop_duplicates(schema.PAGE_ID)[schema.WEIGHT]
        named = json.dumps({"weights": "counts"})
        lines.append(
            f"demand uses weight: {len(pages):,} pages stand for {float(pages.sum()):,.0f} visits (as samples: fairtag "
            f"run --demand '{named}' where each is that many equal visits)"
        )
    return tuple(lines)
