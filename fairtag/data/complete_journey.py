"""The Complete Journey grocery receipts as a shop's tables, with derived pages.

Receipts contain no searches and no shelves. A *page* is therefore a set of items of one product type, its query is the
name of that type, and a trip that bought none of them is the outside option (docs/pricing-model.md, section 12).
Everything learned from it is observational: the store set the prices, for reasons that also move demand.

Other receipts decide which items are on a page (:mod:`fairtag.data.receipt_pages`). The receipts are a 7 % sample of
lines: on pages of everything *sold* in a store and week, nearly every item was bought exactly once, whatever it cost,
and no response to price can be seen. :func:`read_sold` derives those pages, for comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.tables import Tables, coerce
from fairtag.data import home_depot
from fairtag.data.folders import dataset_folder, read_columns
from fairtag.data.point_in_time import BELOW_LIST, behaviour_snapshots
from fairtag.data.receipt_pages import page_impressions, page_rows

FOLDER = "complete_journey"
SAMPLED = 100_000 / 1_469_307  # share of all receipt lines that are in the sample
PRODUCT_TYPES = 40  # the best-selling types; the others have too few lines in the sample to fill pages
STATED_MARGIN = 0.27  # gross margin on the shelf price: an assumption, as costs are not in the data
STOCK_WEEKS = 4.0  # weeks of the item's mean sales, so that stock never binds: an assumption, as it is not in the data
NOT_PRICED = ("FUEL", "MISCELLANEOUS")  # departments without product texts, or with quantities in thousands
REGULATED = ("CIGARETTES", "BEER", "WINE", "LIQUOR", "TOBACCO")  # types with prices set or limited by law
AUDITED = {"age": "age", "income": "income", "household_size": "household_size"}

SOLD_PAGES = "page = items of one product type sold in one store and week, nearly all of them exactly once"
PAGES = (
    "page = items of one product type that other receipts show: another one of the store, and others of the chain in "
    f"the week, whose mean price level is the price; {SAMPLED:.1%} of the trips without a purchase, as of the lines"
)

TRANSACTIONS = (
    *("household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc"),
    *("coupon_match_disc", "week", "transaction_timestamp"),
)
PRODUCTS = (
    *("product_id", "manufacturer_id", "department", "brand", "product_category", "product_type", "package_size"),
)
DEMOGRAPHICS = ("household_id", *AUDITED.values())


def read(data: Path, *, seed: int = 0) -> Tables:
    """Read the receipts under ``data`` and derive pages, snapshots and audit groups.

    Pages do not depend on the customer's own receipt, and most purchases are not on them. Judgements of the Home Depot
    search set are added if its folder is beside this one.

    Args:
        data: Folder that contains ``complete_journey``, or that folder.
        seed: Seed of the draw of visits without a purchase.

    Raises:
        MissingDataError: The folder, a file or a column is absent.
        DataError: No line is left to derive a page from.
    """
    return _tables(dataset_folder(data, FOLDER), partial(_impressions, seed=seed), PAGES)


def read_sold(data: Path) -> Tables:
    """As :func:`read`, but a page has every item of its type that was sold in the store and week.

    Raises:
        MissingDataError: The folder, a file or a column is absent.
        DataError: No line is left to derive a page from.
    """
    return _tables(dataset_folder(data, FOLDER), _sold_impressions, SOLD_PAGES)


def _tables(folder: Path, derive: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame], pages: str) -> Tables:
    lines = _lines(folder)
    priced = _priced_types(lines)
    items = _items(priced)
    impressions = derive(priced, lines)
    judged = home_depot.judgements_beside(folder)
    return Tables(
        items=items,
        users=_users(lines, set(items[schema.ITEM_ID])),
        impressions=impressions,
        orders=_orders(priced),
        judgements=judged,
        audit_groups=_audit_groups(folder),
        metadata=_metadata(priced, judged is not None, pages),
    )


def _lines(folder: Path) -> pd.DataFrame:
    """Receipt lines with product text, shelf price and price paid with the loyalty card, both per unit."""
    sold = read_columns(folder / "transactions_sample.parquet", TRANSACTIONS)
    products = read_columns(folder / "products.parquet", PRODUCTS)
    lines = sold.merge(products, on="product_id", how="inner", validate="many_to_one")
    lines = lines[(lines["quantity"] > 0) & (lines["sales_value"] > 0) & lines["product_type"].notna()]
    lines = lines[~lines["department"].isin(NOT_PRICED)].reset_index(drop=True)
    if lines.empty:
        raise DataError(f"{folder}: no receipt line has a positive quantity and value", table="transactions")
    matched = lines["sales_value"] + lines["coupon_match_disc"]
    start = lines.groupby("week")["transaction_timestamp"].transform("min").dt.floor("D")
    return lines.assign(
        shelf=(matched + lines["retail_disc"]) / lines["quantity"],
        paid=matched / lines["quantity"],
        week_start=start.dt.tz_localize("UTC"),
        ts=lines["transaction_timestamp"].dt.tz_localize("UTC"),
    )


def _priced_types(lines: pd.DataFrame) -> pd.DataFrame:
    regulated = lines["product_type"].str.contains("|".join(REGULATED), regex=True)
    counts = (
        lines.loc[~regulated, "product_type"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    )
    return lines[lines["product_type"].isin(counts.index[:PRODUCT_TYPES])]


def _items(priced: pd.DataFrame) -> pd.DataFrame:
    """One snapshot for each item and week in which it sold, at the chain's median shelf price."""
    weeks = priced.groupby(["product_id", "week_start"], as_index=False).agg(shelf=("shelf", "median"))
    weeks["shelf"] = weeks["shelf"].round(2).clip(lower=0.01)
    n_weeks = max(priced["week"].nunique(), 1)
    mean_sales = priced.groupby("product_id")["quantity"].sum() / n_weeks
    texts = priced.drop_duplicates("product_id").set_index("product_id").loc[weeks["product_id"]]
    frame = pd.DataFrame(
        {
            schema.ITEM_ID: weeks["product_id"],
            schema.UPDATED_AT: weeks["week_start"],
            schema.TITLE: [_title(row) for row in texts.itertuples()],
            schema.DESCRIPTION: [_words(text) for text in texts["product_category"]],
            schema.CATEGORY: [_words(text) for text in texts["product_category"]],
            schema.BRAND: texts["brand"].to_numpy(),
            schema.UNIT_COST: (weeks["shelf"] * (1.0 - STATED_MARGIN)).clip(lower=0.01),
            schema.LIST_PRICE: weeks["shelf"],
            schema.STOCK: np.maximum(
                STOCK_WEEKS, np.ceil(STOCK_WEEKS * mean_sales.loc[weeks["product_id"]].to_numpy())
            ),
        }
    )
    return coerce(frame, schema.ITEMS)


def _title(product: Any) -> str:
    size = f" {product.package_size.strip().lower()}" if isinstance(product.package_size, str) else ""
    label = "store brand" if product.brand == "Private" else f"brand {product.manufacturer_id}"
    return f"{_words(product.product_type)}{size}, {label}"


def _words(text: object) -> str:
    """Words of a receipt text: lower case, letters and digits, without brackets (truncation leaves some open)."""
    shown = re.sub(r"\([^)]*\)?", " ", str(text).lower())
    return " ".join(re.sub(r"[^a-z0-9%&/ ]", " ", shown).split())


def _sold_impressions(priced: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Each trip to a store gets a page of every product type that sold there in that week."""
    cell = ["store_id", "week", "product_type"]
    shown = priced.groupby([*cell, "product_id"], as_index=False).agg(
        price=("paid", "median"), shelf=("shelf", "median")
    )
    shown["shelf"] = shown["shelf"].round(2).clip(lower=0.01)
    visits = shown.merge(_visits(lines), on=["store_id", "week"])
    bought = priced.groupby(["basket_id", "product_id"], as_index=False)["quantity"].sum()
    rows = visits.merge(bought, on=["basket_id", "product_id"], how="left")
    return _pages(rows.assign(quantity=rows["quantity"].fillna(0.0)), priced)


def _impressions(priced: pd.DataFrame, lines: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Each trip gets pages of what other receipts show to be on sale, at the price level of those receipts."""
    rows = page_rows(priced, _visits(lines), share=SAMPLED, seed=seed)
    weeks = priced.groupby(["product_id", "week"], as_index=False).agg(shelf=("shelf", "median"))
    rows = rows.merge(weeks.assign(shelf=weeks["shelf"].round(2).clip(lower=0.01)), on=["product_id", "week"])
    return _pages(rows.assign(price=rows["shelf"] * rows["level"]), priced)


def _visits(lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each trip."""
    return lines.drop_duplicates("basket_id")[["basket_id", "household_id", "store_id", "week", "ts"]]


def _pages(rows: pd.DataFrame, priced: pd.DataFrame) -> pd.DataFrame:
    """Impressions at prices in whole cents."""
    return page_impressions(rows.assign(price=rows["price"].round(2).clip(lower=0.01)), priced, _words)


def _orders(priced: pd.DataFrame) -> pd.DataFrame:
    grouped = priced.assign(value=priced["paid"] * priced["quantity"]).groupby(
        ["basket_id", "product_id"], as_index=False
    )
    lines = grouped.agg(
        ts=("ts", "first"), user=("household_id", "first"), units=("quantity", "sum"), value=("value", "sum")
    )
    frame = pd.DataFrame(
        {
            schema.ORDER_ID: lines["basket_id"],
            schema.ITEM_ID: lines["product_id"],
            schema.TS: lines["ts"],
            schema.USER_ID: lines["user"],
            schema.QUANTITY: lines["units"],
            schema.PRICE: (lines["value"] / lines["units"]).round(4),
        }
    )
    return coerce(frame, schema.ORDERS)


def _users(lines: pd.DataFrame, items: set[str]) -> pd.DataFrame:
    """Behaviour from all receipt lines, at the start of each week with a trip and once after the last trip."""
    orders = pd.DataFrame(
        {
            schema.ORDER_ID: lines["basket_id"],
            schema.ITEM_ID: lines["product_id"],
            schema.TS: lines["ts"],
            schema.USER_ID: lines["household_id"],
            schema.QUANTITY: lines["quantity"],
            schema.PRICE: lines["paid"],
            BELOW_LIST: lines["retail_disc"] > 0,
        }
    )
    visited = lines[["household_id", "week_start"]].drop_duplicates()
    closing = lines[["household_id"]].drop_duplicates().assign(week_start=lines["ts"].max().ceil("D"))
    moments = pd.concat([visited, closing]).drop_duplicates().sort_values(["household_id", "week_start"])
    named = moments.rename(columns={"household_id": schema.USER_ID, "week_start": schema.UPDATED_AT})
    return behaviour_snapshots(orders, named, items)


def _audit_groups(folder: Path) -> pd.DataFrame:
    people = read_columns(folder / "demographics.parquet", DEMOGRAPHICS).rename(
        columns={"household_id": schema.USER_ID}
    )
    long = people.rename(columns={column: name for name, column in AUDITED.items()}).melt(
        id_vars=schema.USER_ID, var_name=schema.ATTRIBUTE, value_name=schema.GROUP
    )
    return coerce(long.dropna(), schema.AUDIT_GROUPS)


def _metadata(priced: pd.DataFrame, judged: bool, pages: str) -> dict[str, Any]:
    margin = f"unit_cost is (1 - {STATED_MARGIN:.2f}) x shelf price: a stated assumption, costs are not recorded"
    provenance = {
        "items": f"derived: texts recorded, list price the week's median shelf price; {margin}; stock is "
        f"{STOCK_WEEKS:g} weeks of mean sales; no competitor price, MAP or MSRP",
        "users": "derived: behaviour computed from a 7 % sample of receipt lines, so counts are low",
        "impressions": f"derived: {pages}; query = the type's words; a trip without a purchase is the outside option; "
        "clicks are not recorded and equal purchases",
        "orders": "recorded: a simple random sample of receipt lines, so baskets are broken",
        "audit_groups": "recorded: about a third of the households answered",
    }
    if judged:
        provenance["judgements"] = home_depot.PROVENANCE
    return {
        "dataset": "complete-journey",
        "currency": "USD",
        "provenance": provenance,
        "observational": True,
        "notes": [
            f"The {priced['product_type'].nunique()} best-selling product types, "
            f"{priced['product_id'].nunique()} items; fuel, tobacco and alcohol are left out.",
            "Only weeks in which an item sold show its price, so that the price response is understated.",
            f"Profit figures rest on the stated margin of {STATED_MARGIN:.0%}; nothing about cost is recorded.",
        ],
    }
