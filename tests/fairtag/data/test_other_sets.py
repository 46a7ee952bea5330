"""Home Depot, Online Retail and Dominick's: what is kept, what is derived, and what is said about it."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.tables import read_tables, write_tables
from fairtag.data import load
from fairtag.data.dominicks import BRANDS, read_panel
from fairtag.data.online_retail import STATED_MARGIN, category


def test_home_depot_relevance_is_scaled_and_repeated_pairs_are_averaged(searches):
    judged = load("home-depot", searches).judgements.set_index([schema.QUERY, schema.ITEM_ID])[schema.RELEVANCE]
    assert judged.to_dict() == {("deck screws", "100"): 0.75, ("chair", "101"): 0.0}


def test_a_set_without_prices_has_empty_tables_that_survive_the_disk(searches, tmp_path):
    shop = load("home-depot", searches)
    assert [len(shop.frame(name)) for name in ("items", "users", "impressions", "orders")] == [0, 0, 0, 0]
    write_tables(shop, tmp_path / "out")
    assert len(read_tables(tmp_path / "out").judgements) == 2


def test_invoice_lines_that_sold_nothing_are_left_out_and_counted(invoices):
    shop = load("online-retail", invoices)
    assert shop.metadata["left_out"] == {
        "exact duplicate": 1,
        "cancellation": 1,
        "quantity not positive": 1,
        "price not positive": 1,
        "not a product": 1,
    }
    assert len(shop.orders) == 3
    guest = shop.orders.set_index(schema.ORDER_ID).loc["3"]
    assert (guest[schema.QUANTITY], guest[schema.PRICE], guest[schema.USER_ID]) == (4, 4.5, "guest-3")


def test_one_item_whatever_the_case_of_its_code_with_a_monthly_list_price(invoices):
    items = load("online-retail", invoices).items.set_index(schema.ITEM_ID)
    heart = items.loc["85123A"]
    assert heart[schema.LIST_PRICE] == pytest.approx(2.45)  # 90 % quantile of 2.5 and 2.0
    assert heart[schema.UNIT_COST] == pytest.approx((1 - STATED_MARGIN) * 2.45)
    assert heart[schema.TITLE] == "white hanging heart t-light holder"
    assert heart[schema.CATEGORY] == "holder"
    assert items.loc["22086", schema.CATEGORY] == "paper"


def test_guests_have_no_features_and_no_page_is_made_up(invoices):
    shop = load("online-retail", invoices)
    assert set(shop.users[schema.USER_ID]) == {"17850", "17851"}
    assert len(shop.impressions) == 0
    assert "no pages" in shop.metadata["provenance"]["impressions"]
    assert shop.audit_groups.set_index(schema.USER_ID)[schema.GROUP].to_dict() == {
        "17850": "United Kingdom",
        "17851": "elsewhere",
    }


def test_invoices_without_one_sale_are_refused(invoices):
    file = invoices / "online_retail" / "online_retail.parquet"
    pd.read_parquet(file).assign(UnitPrice=0.0).to_parquet(file)
    with pytest.raises(DataError, match="no line is a sale"):
        load("online-retail", invoices)


@pytest.mark.parametrize(
    ("title", "word"),
    [("set of 3 cake tins", "other"), ("gift cards", "card"), ("paper bag small", "bag"), ("", "other")],
)
def test_the_last_category_word_names_the_category(title, word):
    assert category(title) == word


def test_a_package_of_juice_has_its_own_price_cost_and_whole_units(juice):
    shop = load("dominicks", juice)
    first = shop.orders.set_index([schema.ORDER_ID, schema.ITEM_ID]).loc[("S002-W40", "OJ02")]
    assert first[schema.QUANTITY] == 64 * 3
    assert first[schema.PRICE] == pytest.approx(96 * (0.02 + 0.002 + 0.004))
    np.testing.assert_allclose(shop.items[schema.UNIT_COST], 0.75 * shop.items[schema.LIST_PRICE])
    assert len(shop.latest_items()) == len(BRANDS)
    assert set(shop.audit_groups[schema.ATTRIBUTE]) == {"area_income", "area_age_60", "area_ethnic"}


def test_the_panel_gives_cost_from_the_recorded_margin(juice):
    panel = read_panel(juice)
    np.testing.assert_allclose(panel["cost"], 0.75 * panel["price"])


def test_an_unknown_brand_and_a_free_juice_are_refused(juice):
    file = juice / "dominicks_oj" / "yx.parquet"
    panel = pd.read_parquet(file)
    panel.assign(price3=0.0).to_parquet(file)
    with pytest.raises(DataError, match="not above 0"):
        load("dominicks", juice)
    panel.assign(brand=12).to_parquet(file)
    with pytest.raises(DataError, match="brand"):
        load("dominicks", juice)


@pytest.mark.data
def test_the_real_juice_panel_sells_whole_packages(real_data):
    """The column called logmove counts ounces: each is a whole number of that brand's packages."""
    panel = read_panel(real_data)
    units = panel["ounces"] / panel["brand"].map({brand: ounces for brand, (_, ounces) in BRANDS.items()})
    assert (units - units.round()).abs().max() < 1e-3


@pytest.mark.data
@pytest.mark.slow
def test_the_real_invoices_and_judgements_keep_the_contract(real_data):
    for name in ("online-retail", "home-depot", "dominicks"):
        shop = load(name, real_data)
        for table in schema.TABLES:
            frame = shop.frame(table.name)
            assert frame is None or not frame.duplicated(list(table.key)).any(), (name, table.name)
        assert shop.orders[schema.ITEM_ID].isin(shop.items[schema.ITEM_ID]).all()
