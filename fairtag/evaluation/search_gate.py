"""Does search find the shop's own items? Each is looked for by its own title, as a guest would."""

from __future__ import annotations

import pandas as pd

from fairtag.base import schema
from fairtag.base.text import normalise
from fairtag.model.decision import GateResult
from fairtag.model.pricing_model import PricingModel

NAME = "items_found"


def search_gate(model: PricingModel, pages: pd.DataFrame, share: float) -> GateResult:
    """At least a share of the items in stock is on the first page for its own title.

    An item of the same title counts as found: nobody can tell the two apart by it. A sold-out item is not shown.

    Args:
        model: The model folder.
        pages: Pages of :func:`fairtag.page.catalogue_pages.catalogue_pages`.
        share: Smallest share.
    """
    rule = f"at least {share:.0%} of the items in stock are on the first page of a search for their own title"
    sold_out = model.catalogue[schema.TITLE][model.market.stock <= 0].map(normalise)
    title = dict(zip(model.item_ids, model.catalogue[schema.TITLE].map(normalise), strict=True))
    hits = pages[schema.ITEM_ID].map(title) == pages[schema.QUERY].map(normalise)
    found = hits.groupby(pages[schema.QUERY]).any()
    found = found[[normalise(query) not in set(sold_out) or bool(hit) for query, hit in found.items()]]
    if found.empty:
        return GateResult(NAME, None, rule, "not applicable", note="every item is out of stock")
    value = float(found.mean())
    missed = ", ".join(repr(query) for query in found.index[~found][:3])
    return GateResult(
        NAME,
        value,
        rule,
        "pass" if value >= share else "fail",
        threshold=share,
        note=f"{len(found)} titles" + (f", not found: {missed}" if missed else ""),
        needs="" if value >= share else "titles that say what the item is, or an encoder that knows the language",
    )
