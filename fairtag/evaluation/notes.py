"""Items with an outcome of their own, such as those of unknown cost, as the decision names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.text import normalise
from fairtag.model.pricing_model import PricingModel
from fairtag.search.near_titles import NEAR, near_groups

EXAMPLES = 5


def special_items(model: PricingModel, training_set: pd.DataFrame, near_titles: float = NEAR) -> list[dict[str, Any]]:
    """Items or categories with an outcome of their own: what, how many, which, and what happens to them.

    Args:
        model: The model folder.
        training_set: Impressions with features; no rows where there are none.
        near_titles: Similarity from which on two titles are nearly the same.
    """
    ids = np.array(model.item_ids, dtype=object)
    cost, listed = model.market.unit_cost, model.market.list_price
    nest = model.demand.nest
    twin = np.bincount(nest, minlength=nest.size)[nest] > 1
    titles = model.catalogue[schema.TITLE].map(normalise).str.casefold()
    same = titles.duplicated(keep=False).to_numpy() & ~twin
    near = _nearly_the_same(model.catalogue[schema.TITLE].tolist(), near_titles) & ~same & ~twin
    still = _never_varied(training_set)
    found = [
        ("items of unknown cost", ids[np.isnan(cost)], "at list price: without a cost no other price is safe"),
        ("items that cost nothing", ids[cost == 0], "priced as others; their floor is the smallest coin"),
        (
            "items that cost as much as list or more",
            ids[cost >= listed],
            "at list price: no other covers cost and margin",
        ),
        (
            "near-identical items",
            ids[twin],
            "one price response, and one price where cost and list price are the same",
        ),
        (
            "items with the title of another",
            ids[same],
            "searched and priced one by one; the rest of their texts differs, so demand counts each as an item of its "
            "own",
        ),
        (
            "items with nearly the title of another",
            ids[near],
            "searched and priced one by one; the rest of their texts differs, so demand counts each as an item of its "
            "own: keep one of a product that is listed twice",
        ),
        *_kept_at_list(model),
        ("items whose price never varied", still, "priced by the response of their category, if it is priced at all"),
    ]
    notes = [_note(what, which, outcome) for what, which, outcome in found if len(which)]
    notes += [*_counts(model), *_covariates(model)]
    notes += [
        {"what": f"category {row['category']}", "count": 1, "examples": [], "outcome": row["reason"]}
        for row in model.demand.report.get("elasticity", [])
        if not row["priced"]
    ]
    return [*notes, *_nested_categories(model)]


def _nested_categories(model: PricingModel) -> Iterator[dict[str, Any]]:
    """What the log says of the near-identical items of each category that has any."""
    for row in model.demand.report.get("nests", []):
        if row["nests"]:
            groups = f"{row['nests']} group{'s' if row['nests'] > 1 else ''}"
            outcome = f"{groups}, seen together on {row['pages']:,} pages; {row['reason']}"
            what = f"category {row['category']}: near-identical items"
            yield {"what": what, "count": row["items"], "examples": [], "outcome": outcome}


def _kept_at_list(model: PricingModel) -> Iterator[tuple[str, list[str], str]]:
    """Items that stay at list by what their own purchases say, by reason."""
    items = model.demand.report.get("items_at_list", [])
    for reason in sorted({row["reason"] for row in items}):
        yield f"items at list: {reason}", [row["item"] for row in items if row["reason"] == reason], "at list price"


def _counts(model: PricingModel) -> Iterator[dict[str, Any]]:
    """How units and weights of the log counted, where they did."""
    found = model.demand.report.get("counts", {})
    if not found:
        return
    purchases, told = found["purchases"], found["effective_purchases"]
    worth = f"the log tells as much as {told:,.0f} purchases of one unit on pages of one visit"
    if abs(found["units_per_purchase"] - 1.0) > 1e-9:
        outcome = (
            f"demand counts units: {found['units']:,.0f} in {purchases:,} purchases, {found['units_per_purchase']:.2f} "
            f"each; {worth}"
        )
        yield _note("column quantity of impressions", ("quantity",), outcome)
    if found["weights"] != "none":
        kinds = {"sampling": "each page as one sampled visit", "counts": "each page as that many equal visits"}
        outcome = f"demand uses it, {kinds[found['weights']]}: {found['visits']:,.0f} visits; {worth}"
        yield _note("column weight of impressions", ("weight",), outcome)


def _covariates(model: PricingModel) -> Iterator[dict[str, Any]]:
    """What shifts demand beside the price, and what demand could not use."""
    found = model.demand.report.get("covariates", [])
    effects = model.demand.covariate_effects() if found else {}
    for row in found:
        name, outcome = row["name"], f"not used by demand: {row['reason']}"
        if name in effects:
            (value, low, high), mean = effects[name], model.demand.covariates.mean_of(name)
            outcome = (
                f"demand uses it: {value:+.2f} [{low:+.2f}, {high:+.2f}] on the utility for a unit; "
                f"prices are set at its mean, {mean:.3g}"
            )
        yield {"what": f"column {name} of impressions", "count": 1, "examples": [], "outcome": outcome}


def _nearly_the_same(titles: Sequence[object], near: float) -> np.ndarray:
    """(n,) which titles are in a group with another."""
    found = np.zeros(len(titles), dtype=bool)
    found[[row for group in near_groups(titles, near) for row in group]] = True
    return found


def _never_varied(training_set: pd.DataFrame) -> np.ndarray:
    if training_set.empty:
        return np.zeros(0, dtype=object)
    ratio = training_set[schema.PRICE] / training_set[schema.LIST_PRICE]
    spread = ratio.groupby(training_set[schema.ITEM_ID]).agg(lambda values: values.max() - values.min())
    return np.array(spread.index[spread < 1e-6], dtype=object)


def _note(what: str, which: Sequence[str], outcome: str) -> dict[str, Any]:
    return {"what": what, "count": len(which), "examples": [str(item) for item in which[:EXAMPLES]], "outcome": outcome}
