"""Completes the tables of a shop that has few: columns of items, behaviour of customers, pages of receipts.

    tables = complete_tables(frames, metadata)

It runs after validation, on rows that keep the contract. What it adds is derived or assumed, and ``provenance`` in the
metadata says so table by table:

- a catalogue without ``updated_at`` holds for the whole time; without categories it is one category;
- without ``users``, behaviour is computed from the orders before each day (point in time);
- without ``impressions``, pages are derived from the orders as :mod:`fairtag.data.receipt_pages` does, and everything
  learned from them is observational.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import Tables, coerce, no_rows
from fairtag.base.values import read_times
from fairtag.data.point_in_time import BELOW_LIST, behaviour_snapshots
from fairtag.data.receipt_pages import page_impressions, page_rows

AS_OF = "as_of"  # in the metadata: when the catalogue was exported, ISO 8601
ONE_CATEGORY = "all items"  # of a catalogue without categories
DERIVED_USERS = "derived: behaviour computed from the orders before each day"
DERIVED_PAGES = (
    "derived from orders: an item is on the page of a visit because other orders of the week show it was on sale; "
    "query = the category; an order without the category is the outside option; clicks equal purchases; observational"
)
MOST_PAGE_ROWS = 400_000  # derived impressions: the newest orders are used, as many as give about so many rows


def complete_tables(frames: Mapping[str, pd.DataFrame], metadata: Mapping[str, Any], *, seed: int = 0) -> Tables:
    """The tables of a shop with everything that can be derived from what it has.

    Args:
        frames: Validated tables by name; only ``items`` must be there.
        metadata: What is known of them; ``provenance`` is extended.
        seed: Seed of the draw of visits without a purchase.
    """
    provenance = dict(metadata.get("provenance", {}))
    given = {name: frame for name, frame in frames.items() if len(frame)}
    orders = given.get("orders", no_rows(schema.ORDERS))
    impressions = given.get("impressions", no_rows(schema.IMPRESSIONS))
    items = _completed_items(frames["items"], _first_and_last(orders, impressions, metadata.get(AS_OF)), provenance)
    observational = bool(metadata.get("observational", True))
    if len(orders) and impressions.empty:
        impressions = derive_pages(orders, items, seed=seed)
        provenance["impressions"], observational = DERIVED_PAGES, True
    users = given.get("users", no_rows(schema.USERS))
    if len(orders) and users.empty:
        users = derive_users(orders, items, impressions)
        provenance["users"] = DERIVED_USERS
    return Tables(
        items=items,
        users=users,
        impressions=impressions,
        orders=orders,
        judgements=given.get("judgements"),
        audit_groups=given.get("audit_groups"),
        metadata={**metadata, "provenance": provenance, "observational": observational},
    )


def impressions_derived(metadata: Mapping[str, Any]) -> bool:
    """Whether the pages were derived from orders rather than logged."""
    return bool(metadata.get("provenance", {}).get("impressions") == DERIVED_PAGES)


def derive_users(orders: pd.DataFrame, items: pd.DataFrame, impressions: pd.DataFrame) -> pd.DataFrame:
    """The users table at the start of each day on which a customer ordered or saw a page, and once after the end.

    A snapshot knows only orders strictly before its day, so that no feature of a page knows what was bought on it.
    """
    lines = orders.assign(**{BELOW_LIST: orders[schema.PRICE] < _list_price_at(orders, items) * (1 - 1e-9)})
    days = pd.concat([frame[[schema.USER_ID, schema.TS]] for frame in (orders, impressions) if len(frame)])
    days = days.assign(**{schema.UPDATED_AT: days[schema.TS].dt.floor("D")}).drop(columns=schema.TS)
    closing = days[[schema.USER_ID]].drop_duplicates()
    closing = closing.assign(**{schema.UPDATED_AT: days[schema.UPDATED_AT].max() + pd.Timedelta(days=1)})
    moments = pd.concat([days, closing]).drop_duplicates().sort_values([schema.USER_ID, schema.UPDATED_AT])
    return behaviour_snapshots(lines, moments, set(items[schema.ITEM_ID]))


def derive_pages(orders: pd.DataFrame, items: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Impressions from orders: one page for each order and category, with what other orders show was on sale.

    Empty where no item is shown by two orders of one week.
    """
    category = items.drop_duplicates(schema.ITEM_ID, keep="last").set_index(schema.ITEM_ID)[schema.CATEGORY]
    lines = pd.DataFrame(
        {
            "basket_id": orders[schema.ORDER_ID],
            "household_id": orders[schema.USER_ID],
            "store_id": "",
            "week": _week(orders[schema.TS]),
            "ts": orders[schema.TS],
            "product_id": orders[schema.ITEM_ID],
            "product_type": orders[schema.ITEM_ID].map(category),
            "paid": orders[schema.PRICE],
            "shelf": _list_price_at(orders, items),
            "quantity": orders[schema.QUANTITY],
        }
    )
    lines = lines[lines["shelf"].notna() & lines["product_type"].notna()].sort_values("ts", ascending=False)
    visits = lines.drop_duplicates("basket_id")[["basket_id", "household_id", "store_id", "week", "ts"]]
    visits = visits.head(max(1, MOST_PAGE_ROWS // max(1, lines["product_id"].nunique())))
    lines = lines[lines["basket_id"].isin(visits["basket_id"])]
    if lines.empty:
        return no_rows(schema.IMPRESSIONS)
    rows = page_rows(lines, visits, share=1.0, seed=seed)
    shelf = lines.groupby(["product_id", "week"], as_index=False).agg(shelf=("shelf", "median"))
    rows = rows.merge(shelf, on=["product_id", "week"])
    return page_impressions(rows.assign(price=rows["shelf"] * rows["level"]), lines)


def _list_price_at(rows: pd.DataFrame, items: pd.DataFrame) -> pd.Series[float]:
    """List price of each row's item when the row happened; that of the first snapshot before it."""
    snapshots = items[[schema.ITEM_ID, schema.UPDATED_AT, schema.LIST_PRICE]].sort_values(schema.UPDATED_AT)
    left = rows[[schema.ITEM_ID, schema.TS]].reset_index(drop=True).reset_index().sort_values(schema.TS)
    joined = pd.merge_asof(
        left, snapshots, left_on=schema.TS, right_on=schema.UPDATED_AT, by=schema.ITEM_ID
    ).sort_values("index")
    first = snapshots.drop_duplicates(schema.ITEM_ID).set_index(schema.ITEM_ID)[schema.LIST_PRICE]
    listed = joined[schema.LIST_PRICE].fillna(joined[schema.ITEM_ID].map(first))
    return pd.Series(listed.to_numpy(dtype=np.float64), index=rows.index)


def _week(times: pd.Series[Any]) -> pd.Series[Any]:
    day = times.dt.floor("D")
    week: pd.Series[Any] = day - pd.to_timedelta(day.dt.dayofweek, unit="D")
    return week


def _first_and_last(
    orders: pd.DataFrame, impressions: pd.DataFrame, as_of: str | None
) -> tuple[pd.Timestamp, pd.Timestamp]:
    """The span for which a catalogue without times holds: from the first event to the export."""
    moments = [frame[schema.TS].agg(["min", "max"]) for frame in (orders, impressions) if len(frame)]
    exported = read_times(pd.Series([as_of], dtype=object)).iloc[0] if as_of else None
    known = [*(moment for pair in moments for moment in pair), *([exported] if exported is not None else [])]
    return (min(known), max(known)) if known else (pd.Timestamp(0, tz="UTC"), pd.Timestamp(0, tz="UTC"))


def _completed_items(
    items: pd.DataFrame, span: tuple[pd.Timestamp, pd.Timestamp], provenance: dict[str, str]
) -> pd.DataFrame:
    """Items with every column that the rest of the code reads; what was added is named in the provenance."""
    assumed: list[str] = []
    if schema.UPDATED_AT not in items:
        times = sorted(set(span))
        items = pd.concat([items.assign(**{schema.UPDATED_AT: moment}) for moment in times], ignore_index=True)
        assumed.append(f"the catalogue is taken to hold from {times[0]:%Y-%m-%d} to {times[-1]:%Y-%m-%d}")
    for name, words in (
        (schema.UNIT_COST, "no unit cost: such items stay at list price"),
        (schema.STOCK, "no stock: every item counts as in stock"),
    ):
        if name not in items:
            assumed.append(words)
    if schema.CATEGORY not in items or items[schema.CATEGORY].isna().any():
        assumed.append(f"items without a category are of the category {ONE_CATEGORY!r}")
    filled = items.reindex(columns=[*items.columns, *(n for n in _READ if n not in items)])
    filled[schema.CATEGORY] = (
        filled[schema.CATEGORY].astype(object).where(filled[schema.CATEGORY].notna(), ONE_CATEGORY)
    )
    if assumed:
        before = provenance.get("items", "recorded: as given by the shop")
        provenance["items"] = "; ".join([before, *(f"assumed: {words}" for words in assumed)])
    return coerce(filled, schema.ITEMS)


_READ = (schema.DESCRIPTION, schema.CATEGORY, schema.BRAND, schema.UNIT_COST, schema.STOCK)  # read without asking
