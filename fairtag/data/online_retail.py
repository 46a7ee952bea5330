"""The UCI Online Retail invoices as a shop's items, orders and customers, without pages.

An invoice line shows what was bought, never what was seen beside it. Impressions are therefore empty, and demand on a
page cannot be learned; prices from text, demand over time and baskets can.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.tables import Tables, coerce, no_rows
from fairtag.data.folders import dataset_folder, read_columns
from fairtag.data.point_in_time import BELOW_LIST, behaviour_snapshots

FOLDER = "online_retail"
COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
PRODUCT_CODE = r"^\d{5}[A-Za-z]*$"  # all others are postage, fees, samples and corrections
STATED_MARGIN = 0.4  # gross margin on the list price: an assumption, as costs are not in the data
LIST_QUANTILE = 0.9  # list price of a month: above are a few odd lines, below are quantity discounts
STOCK_WEEKS = 4.0  # weeks of the item's mean sales: an assumption, as stock is not in the data
BELOW = 0.999  # a price under this share of list is a discount, not rounding
OTHER = "other"
CATEGORIES = (  # the last of these words in a description is its category
    *("bag", "box", "mug", "bowl", "cup", "plate", "candle", "holder", "light", "lights", "lantern", "clock", "frame"),
    *("cushion", "card", "cards", "wrap", "paper", "ribbon", "sign", "decoration", "garland", "necklace", "bracelet"),
    *("earrings", "ring", "tin", "jar", "napkins", "mirror", "bottle", "hook", "tray", "doormat", "notebook", "stand"),
    *(
        "case",
        "cases",
        "drawer",
        "cutlery",
        "charm",
        "toy",
        "game",
        "kit",
        "tile",
        "umbrella",
        "apron",
        "towel",
        "pencils",
    ),
)


def read(data: Path) -> Tables:
    """Read the invoices under ``data``.

    Raises:
        MissingDataError: The folder, the file or a column is absent.
        DataError: No line is a sale of a product.
    """
    lines, dropped = _sales(dataset_folder(data, FOLDER))
    items = _items(lines)
    return Tables(
        items=items,
        users=_users(lines, set(items[schema.ITEM_ID])),
        impressions=no_rows(schema.IMPRESSIONS),
        orders=_orders(lines),
        audit_groups=_audit_groups(lines),
        metadata=_metadata(dropped),
    )


def _sales(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Lines that are sales of products, and the number of lines that each rule excluded."""
    lines = read_columns(folder / "online_retail.parquet", COLUMNS)
    code = lines["StockCode"].astype(str)
    rules = {
        "exact duplicate": lines.duplicated(),
        "cancellation": lines["InvoiceNo"].astype(str).str.startswith("C"),
        "quantity not positive": lines["Quantity"] <= 0,
        "price not positive": lines["UnitPrice"] <= 0,
        "not a product": ~code.str.match(PRODUCT_CODE) | lines["Description"].isna(),
    }
    left, dropped = pd.Series(True, index=lines.index), {}
    for rule, broken in rules.items():
        dropped[rule] = int((left & broken).sum())
        left &= ~broken
    if not left.any():
        raise DataError(f"{folder}: no line is a sale of a product: {dropped}", table="online_retail", rule="not empty")
    kept = lines[left].reset_index(drop=True)
    ts = pd.to_datetime(kept["InvoiceDate"]).dt.tz_localize("UTC")
    month = (ts.dt.floor("D") - pd.to_timedelta(ts.dt.day - 1, unit="D")).astype("datetime64[us, UTC]")
    guest = "guest-" + kept["InvoiceNo"].astype(str)
    known = kept["CustomerID"].notna()
    user = kept["CustomerID"].astype("string").where(known, guest).astype(object)
    item = kept["StockCode"].astype(str).str.upper()
    kept = kept.assign(ts=ts, month=month, user=user, known=known, item=item)
    listed = kept.groupby(["item", "month"])["UnitPrice"].quantile(LIST_QUANTILE).rename("list").reset_index()
    return kept.merge(listed, on=["item", "month"]), dropped


def _items(lines: pd.DataFrame) -> pd.DataFrame:
    """One snapshot for each item and month in which it sold."""
    months = lines.groupby(["item", "month"], as_index=False).agg(list=("list", "first"))
    listed = months["list"].round(2).clip(lower=0.01)
    counts = lines.value_counts(["item", "Description"]).reset_index(name="lines")
    commonest = counts.sort_values(["lines", "Description"], ascending=[False, True]).drop_duplicates("item")
    named = commonest.set_index("item")["Description"]
    titles = named.loc[months["item"]].str.strip().str.lower().str.split().str.join(" ").to_numpy(object)
    weeks = max((lines["ts"].max() - lines["ts"].min()).days / 7.0, 1.0)
    mean_sales = (lines.groupby("item")["Quantity"].sum() / weeks).loc[months["item"]].to_numpy()
    frame = pd.DataFrame(
        {
            schema.ITEM_ID: months["item"],
            schema.UPDATED_AT: months["month"],
            schema.TITLE: titles,
            schema.DESCRIPTION: None,
            schema.CATEGORY: [category(str(title)) for title in titles],
            schema.BRAND: None,
            schema.UNIT_COST: (listed * (1.0 - STATED_MARGIN)).clip(lower=0.001),
            schema.LIST_PRICE: listed,
            schema.STOCK: np.ceil(np.maximum(STOCK_WEEKS * mean_sales, 1.0)),
        }
    )
    return coerce(frame, schema.ITEMS)


def category(title: str) -> str:
    """The last category word of a title, in the singular if both are listed; "other" if there is none.

    >>> category("red retrospot lunch bag"), category("glass jar lights"), category("party bunting")
    ('bag', 'light', 'other')
    """
    found = [word for word in title.split() if word in CATEGORIES]
    if not found:
        return OTHER
    return found[-1][:-1] if found[-1].endswith("s") and found[-1][:-1] in CATEGORIES else found[-1]


def _orders(lines: pd.DataFrame) -> pd.DataFrame:
    valued = lines.assign(value=lines["UnitPrice"] * lines["Quantity"])
    merged = valued.groupby(["InvoiceNo", "item"], as_index=False).agg(
        ts=("ts", "first"), user=("user", "first"), units=("Quantity", "sum"), value=("value", "sum")
    )
    frame = pd.DataFrame(
        {
            schema.ORDER_ID: merged["InvoiceNo"],
            schema.ITEM_ID: merged["item"],
            schema.TS: merged["ts"],
            schema.USER_ID: merged["user"],
            schema.QUANTITY: merged["units"],
            schema.PRICE: merged["value"] / merged["units"],
        }
    )
    return coerce(frame.sort_values(schema.TS, kind="stable").reset_index(drop=True), schema.ORDERS)


def _users(lines: pd.DataFrame, items: set[str]) -> pd.DataFrame:
    """Behaviour of customers with an id at the start of each month after their first order."""
    known = lines[lines["known"]]
    orders = pd.DataFrame(
        {
            schema.ORDER_ID: known["InvoiceNo"].astype(str),
            schema.ITEM_ID: known["item"],
            schema.TS: known["ts"],
            schema.USER_ID: known["user"],
            schema.QUANTITY: known["Quantity"].astype(float),
            schema.PRICE: known["UnitPrice"],
            BELOW_LIST: known["UnitPrice"] < BELOW * known["list"],
        }
    )
    first = known.groupby("user")["month"].min().rename("first").reset_index()
    closing = known["ts"].max().ceil("D")
    starts = [*sorted(known["month"].unique()), closing]
    grid = first.merge(pd.DataFrame({schema.UPDATED_AT: starts}), how="cross")
    moments = grid[grid[schema.UPDATED_AT] >= grid["first"]].rename(columns={"user": schema.USER_ID})
    return behaviour_snapshots(orders, moments[[schema.USER_ID, schema.UPDATED_AT]], items)


def _audit_groups(lines: pd.DataFrame) -> pd.DataFrame:
    country = lines[lines["known"]].drop_duplicates("user")
    frame = pd.DataFrame(
        {
            schema.USER_ID: country["user"],
            schema.ATTRIBUTE: "country",
            schema.GROUP: np.where(country["Country"] == "United Kingdom", "United Kingdom", "elsewhere"),
        }
    )
    return coerce(frame.reset_index(drop=True), schema.AUDIT_GROUPS)


def _metadata(dropped: dict[str, int]) -> dict[str, Any]:
    margin = f"unit_cost is (1 - {STATED_MARGIN:.1f}) x list price: a stated assumption, costs are not recorded"
    return {
        "dataset": "online-retail",
        "currency": "GBP",
        "provenance": {
            "items": f"derived: texts recorded; list price is the month's {LIST_QUANTILE:.0%} quantile of line prices; "
            f"category is a word of the title; {margin}; stock is {STOCK_WEEKS:g} weeks of mean sales",
            "users": "derived: behaviour from the invoices of customers with an id; guests have none",
            "impressions": "absent: invoices do not show what was seen, so there are no pages",
            "orders": "recorded: invoice lines without cancellations; a line without a customer is a guest of its own",
            "audit_groups": "recorded: country of the first invoice",
        },
        "observational": True,
        "notes": ["Mostly wholesale customers: quantity discounts are prices below list."],
        "left_out": dropped,
    }
