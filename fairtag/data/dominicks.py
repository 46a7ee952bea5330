"""Dominick's orange juice: weekly sales, prices and real margins by store and brand, without customers or pages.

The panel records ounces sold (always whole packages), dollars per ounce and the gross margin, so the unit cost is
known: ``price * (1 - margin)``. In the tables each store takes the place of a customer. :func:`read_panel` returns the
panel itself, for the study of elasticities and policies.
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

FOLDER = "dominicks_oj"
BRANDS = {  # brand -> (name, ounces per package)
    1: ("Tropicana Premium", 64),
    2: ("Tropicana Premium", 96),
    3: ("Florida's Natural", 64),
    4: ("Tropicana", 64),
    5: ("Minute Maid", 64),
    6: ("Minute Maid", 96),
    7: ("Citrus Hill", 64),
    8: ("Tree Fresh", 64),
    9: ("Florida Gold", 64),
    10: ("Dominick's", 64),
    11: ("Dominick's", 128),
}
PRICES = tuple(f"price{brand}" for brand in BRANDS)
COLUMNS = ("store", "brand", "week", "logmove", *PRICES, "deal", "feat", "profit")
AREA = {"area_income": "INCOME", "area_age_60": "AGE60", "area_ethnic": "ETHNIC"}  # audit attribute -> column
TERCILES = ("lowest third", "middle third", "highest third")
FIRST_WEEK = pd.Timestamp("1989-09-14", tz="UTC")  # week 1 of the Dominick's calendar
STOCK_WEEKS = 4.0
LIST_QUANTILE = 0.9  # over stores: the chain's price of the week without discounts


def read_panel(data: Path) -> pd.DataFrame:
    """The panel, one row for each store, week and brand.

    Returns:
        ``store``, ``brand``, ``week``, ``ounces`` sold, ``price`` (dollars per ounce), ``rivals`` columns
        ``price1`` to ``price11``, ``deal``, ``feat``, and ``cost`` (dollars per ounce).

    Raises:
        MissingDataError: The folder, the file or a column is absent.
        DataError: A brand is not one of the eleven, or a price is not positive.
    """
    panel = read_columns(dataset_folder(data, FOLDER) / "yx.parquet", COLUMNS)
    unknown = sorted(set(panel["brand"]) - set(BRANDS))
    if unknown:
        raise DataError(f"dominicks: brand {unknown} is unknown; it must be 1 to 11", column="brand", examples=unknown)
    own = panel[list(PRICES)].to_numpy()[np.arange(len(panel)), panel["brand"].to_numpy() - 1]
    if not (own > 0).all():
        count = int((own <= 0).sum())
        raise DataError(
            f"dominicks: {count} prices are not above 0; check the file", column="price", rule="above 0", count=count
        )
    cost = own * (1.0 - panel["profit"] / 100.0)
    return panel.assign(ounces=np.exp(panel["logmove"]), price=own, cost=cost)


def read(data: Path) -> Tables:
    """Read the panel under ``data`` as tables.

    Raises:
        MissingDataError: The folder, a file or a column is absent.
        DataError: See :func:`read_panel`.
    """
    panel = _packages(read_panel(data))
    items = _items(panel)
    return Tables(
        items=items,
        users=_users(panel, set(items[schema.ITEM_ID])),
        impressions=no_rows(schema.IMPRESSIONS),
        orders=_orders(panel),
        audit_groups=_audit_groups(dataset_folder(data, FOLDER)),
        metadata=_metadata(),
    )


def _packages(panel: pd.DataFrame) -> pd.DataFrame:
    """The panel in packages: units, dollars per package, and the chain's list price of the week."""
    size = panel["brand"].map({brand: ounces for brand, (_, ounces) in BRANDS.items()})
    frame = panel.assign(
        item="OJ" + panel["brand"].astype(str).str.zfill(2),
        user="S" + panel["store"].astype(str).str.zfill(3),
        ts=FIRST_WEEK + pd.to_timedelta((panel["week"] - 1) * 7, unit="D"),
        units=(panel["ounces"] / size).round(),
        paid=panel["price"] * size,
        unit_cost=panel["cost"] * size,
    )
    listed = frame.groupby(["item", "week"])["paid"].quantile(LIST_QUANTILE).rename("list").reset_index()
    return frame.merge(listed, on=["item", "week"])


def _items(panel: pd.DataFrame) -> pd.DataFrame:
    weeks = panel.groupby(["item", "ts"], as_index=False).agg(
        brand=("brand", "first"), list=("list", "first"), cost=("unit_cost", "median")
    )
    total = panel.groupby("item")["units"].sum() / panel["week"].nunique()
    names = [BRANDS[int(brand)] for brand in weeks["brand"]]
    frame = pd.DataFrame(
        {
            schema.ITEM_ID: weeks["item"],
            schema.UPDATED_AT: weeks["ts"],
            schema.TITLE: [f"{name} orange juice, {ounces} oz" for name, ounces in names],
            schema.DESCRIPTION: "Refrigerated orange juice.",
            schema.CATEGORY: "orange juice",
            schema.BRAND: [name for name, _ in names],
            schema.UNIT_COST: weeks["cost"].clip(lower=0.01),
            schema.LIST_PRICE: weeks["list"],
            schema.STOCK: np.ceil(STOCK_WEEKS * total.loc[weeks["item"]].to_numpy()),
        }
    )
    return coerce(frame, schema.ITEMS)


def _orders(panel: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            schema.ORDER_ID: panel["user"] + "-W" + panel["week"].astype(str),
            schema.ITEM_ID: panel["item"],
            schema.TS: panel["ts"],
            schema.USER_ID: panel["user"],
            schema.QUANTITY: panel["units"],
            schema.PRICE: panel["paid"],
        }
    )
    return coerce(frame, schema.ORDERS)


def _users(panel: pd.DataFrame, items: set[str]) -> pd.DataFrame:
    orders = _orders(panel).assign(**{BELOW_LIST: (panel["paid"] < 0.99 * panel["list"]).to_numpy()})
    moments = orders[[schema.USER_ID, schema.TS]].drop_duplicates().rename(columns={schema.TS: schema.UPDATED_AT})
    return behaviour_snapshots(orders, moments, items)


def _audit_groups(folder: Path) -> pd.DataFrame:
    areas = read_columns(folder / "storedemo.csv.gz", ("STORE", *AREA.values()))
    parts = [
        pd.DataFrame(
            {
                schema.USER_ID: "S" + areas["STORE"].astype(str).str.zfill(3),
                schema.ATTRIBUTE: attribute,
                schema.GROUP: pd.qcut(areas[column], 3, labels=list(TERCILES)).astype(str),
            }
        )
        for attribute, column in AREA.items()
    ]
    return coerce(pd.concat(parts, ignore_index=True), schema.AUDIT_GROUPS)


def _metadata() -> dict[str, Any]:
    return {
        "dataset": "dominicks",
        "currency": "USD",
        "provenance": {
            "items": "recorded: eleven juices; cost from the recorded gross margin (median over stores); list price is "
            f"the {LIST_QUANTILE:.0%} quantile over stores; stock is {STOCK_WEEKS:g} weeks of mean sales (derived)",
            "users": "derived: each store takes the place of a customer; its behaviour is that of all its customers",
            "impressions": "absent: totals by store and week contain no single choices, so there are no pages",
            "orders": "recorded: packages sold in a store and week as one line",
            "audit_groups": "derived: thirds of the stores by recorded demographics of their area",
        },
        "observational": True,
        "notes": ["Kilts Center data: academic use, with acknowledgement."],
    }
