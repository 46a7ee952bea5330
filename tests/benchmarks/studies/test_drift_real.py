"""The study of real drift: receipts become quotes, and a change is flagged in the stretch where it begins."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import drift_real
from benchmarks.studies.drift_real import Record, check_stretches, counts, receipts
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.base.types import Status
from fairtag.data import load

RECORD = Record("complete-journey", 4, "W", recorded=True)


def test_receipts_become_quotes_at_the_list_price_of_their_time(receipts_folder):
    tables = load("complete-journey", receipts_folder)
    quotes = receipts(tables)
    assert len(quotes) == len(tables.orders)
    assert (quotes[schema.LIST_PRICE_MINOR] >= 1).all()
    assert set(quotes[schema.ITEM_ID]) <= set(tables.items[schema.ITEM_ID].astype(str))


@pytest.fixture
def receipts_folder(tmp_path):
    """Twelve weeks of receipts of 40 households; from the ninth week on everything costs half as much again."""
    folder = tmp_path / "complete_journey"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for week in range(1, 13):
        level = 1.5 if week > 8 else 1.0
        for basket in range(300):
            product = int(rng.integers(0, 6))
            time = pd.Timestamp("2017-01-02") + pd.Timedelta(days=7 * (week - 1) + int(rng.integers(0, 7)), hours=9)
            paid = round((2 + product) * level * rng.uniform(0.9, 1.0), 2)
            off = round((2 + product) * level - paid, 2)
            rows.append((str(basket % 40), "s", f"{week}-{basket}", str(product), 1.0, paid, off, 0.0, week, time))
    columns = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc"]
    sold = pd.DataFrame(rows, columns=[*columns, "coupon_match_disc", "week", "transaction_timestamp"])
    sold.to_parquet(folder / "transactions_sample.parquet")
    words = ["MILK", "SOUP", "BREAD", "CEREAL", "JUICE", "RICE"]
    products = pd.DataFrame(
        {"product_id": [str(k) for k in range(6)], "product_type": words, "product_category": words}
    )
    fixed = {"manufacturer_id": "1", "department": "GROCERY", "brand": "National", "package_size": "1 LB"}
    products.assign(**fixed).to_parquet(folder / "products.parquet")
    people = pd.DataFrame({"household_id": ["0"], "age": ["25-34"], "income": ["35-49K"], "household_size": ["2"]})
    people.to_parquet(folder / "demographics.parquet")
    return tmp_path


def test_a_rise_of_all_prices_is_flagged_when_it_comes_and_not_before(receipts_folder):
    quotes = receipts(load("complete-journey", receipts_folder))
    found = check_stretches(quotes, RECORD)
    urgent = [when for when, checks in found.items() if any(check.status is Status.URGENT for check in checks)]
    assert list(found) == sorted(found)
    assert urgent
    assert min(urgent) == f"{pd.Timestamp('2017-01-02') + pd.Timedelta(weeks=8):%Y-%m-%d}"
    rows = {row.metric: row for row in counts("shop", RECORD, found)}
    assert rows[f"shop_{Status.URGENT}"].value == len(urgent)
    assert rows[f"shop_{Status.URGENT}"].unit == f"of {len(found)} weeks"
    again = check_stretches(quotes, RECORD, again=True)
    flagged = [when for when, checks in again.items() if any(check.status is Status.URGENT for check in checks)]
    assert set(flagged) <= set(urgent)


def test_a_folder_without_the_data_is_refused(tmp_path):
    with pytest.raises(MissingDataError):
        drift_real.run(tmp_path)
