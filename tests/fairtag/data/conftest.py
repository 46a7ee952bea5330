"""Small files in the shape of each real data set, and the folder of the real ones where it stands."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def real_data():
    """The folder of the real data sets; tests that need it skip, with the reason, where it is absent."""
    folder = Path(os.environ.get("FAIRTAG_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FAIRTAG_DATA to its folder")
    return folder


@pytest.fixture
def receipts(tmp_path):
    """Two households, two stores' worth of receipts: one milk page with two items, one trip that buys no milk."""
    folder = tmp_path / "complete_journey"
    folder.mkdir()
    products = pd.DataFrame(
        {
            "product_id": ["1", "2", "3", "4"],
            "manufacturer_id": ["69", "2", "5", "6"],
            "department": ["GROCERY", "GROCERY", "GROCERY", "FUEL"],
            "brand": ["Private", "National", "National", "National"],
            "product_category": ["FLUID MILK PRODUCTS", "FLUID MILK PRODUCTS", "SOUP", "FUEL"],
            "product_type": ["FLUID MILK (WHITE ONLY", "FLUID MILK (WHITE ONLY", "CONDENSED SOUP", "GASOLINE"],
            "package_size": ["1 GA", None, "10.75 OZ", None],
        }
    )
    rows = [  # household, store, basket, product, quantity, sales, retail discount, coupon match, week, time
        ("a", "s1", "b1", "1", 2.0, 3.00, 1.00, 0.0, 1, "2017-01-02 10:00"),
        ("a", "s1", "b1", "4", 900.0, 30.0, 0.0, 0.0, 1, "2017-01-02 10:00"),
        ("b", "s1", "b2", "2", 1.0, 2.50, 0.00, 0.0, 1, "2017-01-03 11:00"),
        ("b", "s1", "b3", "3", 1.0, 0.75, 0.25, 0.25, 1, "2017-01-04 12:00"),
        ("a", "s1", "b4", "1", 1.0, 2.00, 0.00, 0.0, 2, "2017-01-09 09:00"),
        ("a", "s1", "b5", "3", 0.0, 0.00, 0.00, 0.0, 2, "2017-01-10 09:00"),
    ]
    columns = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc"]
    sold = pd.DataFrame(rows, columns=[*columns, "coupon_match_disc", "week", "transaction_timestamp"])
    sold["transaction_timestamp"] = pd.to_datetime(sold["transaction_timestamp"])
    people = pd.DataFrame(
        {
            "household_id": ["a", "b"],
            "age": ["25-34", None],
            "income": ["35-49K", "15-24K"],
            "household_size": ["2", "1"],
        }
    )
    products.to_parquet(folder / "products.parquet")
    sold.to_parquet(folder / "transactions_sample.parquet")
    people.to_parquet(folder / "demographics.parquet")
    return tmp_path


@pytest.fixture
def searches(tmp_path):
    """Home Depot judgements with one pair judged twice."""
    folder = tmp_path / "home_depot_search"
    folder.mkdir(exist_ok=True)
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3],
            "product_uid": [100, 100, 101],
            "product_title": ["Deck screw", "Deck screw", "Café chair"],
            "search_term": ["deck screws", "deck screws", " chair "],
            "relevance": [3.0, 2.0, 1.0],
        }
    )
    frame.to_csv(folder / "train.csv.gz", index=False)
    return tmp_path


@pytest.fixture
def invoices(tmp_path):
    """Online Retail lines: two sales, a guest, and one line for every rule that keeps lines out."""
    folder = tmp_path / "online_retail"
    folder.mkdir()
    rows = [
        ("1", "85123a", "WHITE HANGING HEART T-LIGHT HOLDER", 6, "2011-01-05 10:00", 2.5, 17850, "United Kingdom"),
        ("2", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 20, "2011-01-20 10:00", 2.0, 17851, "France"),
        ("3", "22086", "PAPER LUNCH BAGS", 3, "2011-02-05 10:00", 4.0, None, "United Kingdom"),
        ("3", "22086", "PAPER LUNCH BAGS", 1, "2011-02-05 10:00", 6.0, None, "United Kingdom"),
        ("3", "22086", "PAPER LUNCH BAGS", 1, "2011-02-05 10:00", 6.0, None, "United Kingdom"),
        ("C4", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 6, "2011-02-06 10:00", 2.5, 17850, "United Kingdom"),
        ("5", "85123A", "damaged", -4, "2011-02-06 10:00", 2.5, None, "United Kingdom"),
        ("6", "85123A", "WHITE HANGING HEART T-LIGHT HOLDER", 1, "2011-02-06 10:00", 0.0, None, "United Kingdom"),
        ("7", "POST", "POSTAGE", 1, "2011-02-06 10:00", 18.0, 17850, "United Kingdom"),
    ]
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
    frame = pd.DataFrame(rows, columns=names)
    frame["InvoiceDate"] = pd.to_datetime(frame["InvoiceDate"])
    frame["CustomerID"] = frame["CustomerID"].astype("Int64")
    frame.to_parquet(folder / "online_retail.parquet")
    return tmp_path


@pytest.fixture
def juice(tmp_path):
    """Three stores, four weeks, eleven brands of orange juice: ounces are whole packages, margins are 25 %."""
    folder = tmp_path / "dominicks_oj"
    folder.mkdir()
    stores, weeks = (2, 5, 8), range(40, 44)
    rows = [(store, brand, week) for store in stores for week in weeks for brand in range(1, 12)]
    frame = pd.DataFrame(rows, columns=["store", "brand", "week"])
    frame["logmove"] = np.log(64.0 * 96 * (1 + frame["store"]))
    for brand in range(1, 12):
        frame[f"price{brand}"] = 0.02 + 0.001 * brand + 0.0001 * frame["week"]
    frame = frame.assign(constant=1, deal=0, feat=0.0, profit=25.0)
    frame.to_parquet(folder / "yx.parquet")
    areas = pd.DataFrame({"STORE": stores, "AGE60": [0.1, 0.2, 0.3], "ETHNIC": [0.3, 0.1, 0.2], "INCOME": [10, 11, 12]})
    areas.to_csv(folder / "storedemo.csv.gz", index=False)
    return tmp_path
