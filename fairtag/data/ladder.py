"""The ladder: what a shop's tables are enough for, and what each further table or column would unlock.

>>> from fairtag.simulator.shop_design import TINY
>>> from fairtag.simulator.simulation import simulate_shop
>>> [rung.name for rung in ladder(simulate_shop(TINY).tables) if not rung.reached]
[]
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import Tables

DERIVED = "derived"  # begins the provenance of pages that nobody logged, whoever derived them
LEAST_VARIATION = 1e-6  # range of an item's price over list below which it never varied


@dataclass(frozen=True)
class Rung:
    """One rung.

    Args:
        name: What it is called.
        reached: Whether the tables are enough to try it; whether a model passes is the decision's.
        gives: What a shop gets from it.
        needs: What is missing, in words; empty where it is reached.
    """

    name: str
    reached: bool
    gives: str
    needs: str = ""


def ladder(shop: Tables) -> tuple[Rung, ...]:
    """Every rung, from the first up.

    Args:
        shop: Completed tables (:func:`fairtag.data.derived_tables.complete_tables`).
    """
    return tuple(_rungs(shop))


def _rungs(shop: Tables) -> Iterator[Rung]:
    yield Rung("search", len(shop.items) > 0, "search and quotes at list price", "" if len(shop.items) else "items")
    yield _rung(
        "costs",
        "prices below list that keep the margin",
        ""
        if shop.items[schema.UNIT_COST].notna().any()
        else "the column unit_cost in items; without it prices stay at list",
    )
    yield _rung(
        "stock",
        "prices that follow scarce and ageing stock; items that are sold out are not shown",
        "" if shop.items[schema.STOCK].notna().any() else "the column stock in items",
    )
    yield _rung(
        "customers",
        "personal prices, where the law allows them",
        "" if len(shop.users) else "a table users, or orders with user_id, from which it is derived",
    )
    yield _rung("uniform prices", "prices that demand asks for", _demand_needs(shop))
    recorded = not str(shop.metadata.get("provenance", {}).get("impressions", "")).startswith(DERIVED)
    logged = len(shop.impressions) > 0 and recorded
    yield _rung(
        "logged pages",
        "demand from what was shown and not bought, in place of pages derived from orders",
        "" if logged else "a table impressions: every item that was shown, bought or not",
    )
    randomised = schema.PROPENSITY in shop.impressions and shop.impressions[schema.PROPENSITY].notna().any()
    yield _rung(
        "off-policy gates",
        "new prices judged by the log alone",
        "" if randomised else "prices drawn at random, with the column propensity in impressions",
    )
    judged = shop.judgements is not None and len(shop.judgements) > 0
    yield _rung(
        "tuned relevance", "an encoder and a re-ranker tuned to the shop", "" if judged else "a table judgements"
    )
    groups = shop.audit_groups is not None and len(shop.audit_groups) > 0
    yield _rung("fairness audit", "a report of what groups pay", "" if groups else "a table audit_groups")


def _rung(name: str, gives: str, needs: str) -> Rung:
    return Rung(name, not needs, gives, needs)


def _demand_needs(shop: Tables) -> str:
    pages = shop.impressions
    if pages.empty:
        return "a table impressions, or orders of several customers a week, from which pages are derived"
    bought = pages[schema.PURCHASED].astype(bool)
    if not bought.any():
        return "pages on which something was bought"
    if not _varies(pages):
        return "prices that vary: every item was always shown at the same share of its list price"
    return ""


def _varies(pages: pd.DataFrame) -> bool:
    ratio = pages[schema.PRICE] / pages[schema.LIST_PRICE]
    return bool(ratio.max() - ratio.min() > LEAST_VARIATION)
