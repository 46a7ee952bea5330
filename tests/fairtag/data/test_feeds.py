"""Exports of shop systems become tables: variants, markup, sales, stock, refunds, several lines an order."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError, MissingDataError
from fairtag.data import load
from fairtag.data.feed_map import PACKAGED, columns_of, evaluate, map_text, read_map
from fairtag.data.feeds import read_feed

SAMPLES = Path(__file__).parents[2] / "data"


@pytest.fixture
def exports(tmp_path):
    """A copy of a system's sample exports, to change."""

    def copy(name):
        return Path(shutil.copytree(SAMPLES / name, tmp_path / name))

    return copy


def by_id(tables):
    return tables.items.set_index(schema.ITEM_ID)


def lines(tables):
    return tables.orders.set_index([schema.ORDER_ID, schema.ITEM_ID])


def test_shopify_s_variants_are_items_with_their_product_s_text():
    items = by_id(load("shopify", SAMPLES / "shopify"))
    assert set(items.index) == {"LW-001", "LW-002", "linen-apron-Sand-M", "linen-apron-Sand-L", "GIFT"}
    board = items.loc["LW-002"]
    assert (board.title, board.description) == ("Oak board - Large", "Solid oak, oiled & sanded.")
    assert (board.category, board.brand, board.list_price, board.unit_cost) == (
        "Home > Kitchen",
        "Larkwood",
        49.9,
        19.0,
    )
    assert items.loc["GIFT", "title"] == "Gift card"
    assert items.loc["GIFT", "unit_cost"] == 0.0


def test_the_price_of_a_sale_is_what_anyone_pays_and_the_struck_out_one_is_no_list_price():
    items = by_id(load("shopify", SAMPLES / "shopify"))
    assert items.loc["LW-001", ["list_price", "msrp"]].tolist() == [29.9, 39.9]
    assert pd.isna(items.loc["LW-002", "msrp"])
    kettle = by_id(load("woocommerce", SAMPLES / "woocommerce")).loc["KE-1"]
    assert (kettle.list_price, kettle.msrp) == (24.5, 29.0)


def test_shopify_s_orders_have_a_line_for_each_item_less_its_discount():
    tables = load("shopify", SAMPLES / "shopify")
    sold = lines(tables)
    assert sold.loc[("#1001", "LW-001"), ["quantity", "price"]].tolist() == [2.0, 27.4]
    assert ("#1001", "linen-apron-Sand-L") in sold.index  # found by the name of its line, as it has no SKU
    assert set(tables.orders[schema.ORDER_ID]) == {"#1001", "#1003"}  # refunded and cancelled orders are gone
    assert sold.loc[("#1001", "LW-001"), schema.TS] == pd.Timestamp("2026-03-01T09:04:59Z")
    assert tables.metadata["left_out"]["lines of cancelled orders"] == 1
    assert tables.metadata["left_out"]["lines of refunded or voided orders"] == 1
    assert tables.metadata["left_out"]["lines without a customer"] == 1
    assert any("partial refund" in line for line in tables.metadata["lacks"])


def test_a_customer_is_a_pseudonym_and_no_address_enters_a_table():
    tables = load("shopify", SAMPLES / "shopify")
    assert tables.orders[schema.USER_ID].nunique() == 2
    assert not tables.orders[schema.USER_ID].str.contains("@").any()
    again = load("woocommerce", SAMPLES / "woocommerce")
    assert set(tables.orders[schema.USER_ID]) == set(again.orders[schema.USER_ID])  # the same people, however spelled


def test_woocommerce_s_variations_take_what_they_lack_from_their_product_whichever_way_they_name_it():
    items = by_id(load("woocommerce", SAMPLES / "woocommerce"))
    assert set(items.index) == {"KE-1", "TO-G", "TO-R", "47"}
    for sku in ("TO-G", "TO-R"):
        assert items.loc[sku, ["category", "brand", "description"]].tolist() == [
            "Home > Throws",
            "Norrland",
            "Pure wool",
        ]
    assert items.loc["TO-R", "stock"] == 0.0
    assert pd.isna(items.loc["TO-G", "stock"])  # in stock, but not counted
    assert items.loc["TO-G", "list_price"] == 89.0  # written with a decimal comma


def test_woocommerce_s_refunds_are_no_sales():
    tables = load("woocommerce", SAMPLES / "woocommerce")
    assert set(tables.orders[schema.ORDER_ID]) == {"501", "502"}
    assert lines(tables).loc[("502", "47"), "quantity"] == 4.0


def test_magento_s_lines_count_once_less_what_was_cancelled_and_refunded():
    tables = load("magento", SAMPLES / "magento")
    assert tables.metadata["currency"] == "GBP"
    assert set(by_id(tables).index) == {"MS-S", "LT"}
    sold = lines(tables)
    assert sold.loc[("000000012", "MS-S"), ["quantity", "price"]].tolist() == [1.0, 44.1]
    assert sold.loc[("000000014", "LT"), "quantity"] == 2.0
    assert tables.metadata["left_out"]["free lines"] == 1
    assert tables.orders[schema.ORDER_ID].str.startswith("0000000").all()


@pytest.mark.parametrize("folder", ["google-merchant", "google-merchant-xml"])
def test_a_google_feed_is_the_same_as_tsv_and_as_xml(folder):
    tables = load("google-merchant", SAMPLES / folder)
    jacket = by_id(tables).loc["00123"]
    assert (jacket.title, jacket.list_price, jacket.msrp, jacket.unit_cost) == (
        "Rain jacket, blue, M",
        99.0,
        119.0,
        48.0,
    )
    assert jacket.description == "Waterproof & light"
    assert tables.metadata["currency"] == "EUR"
    assert by_id(tables).loc["00200", "list_price"] == 1049.0
    assert tables.orders.empty
    assert any(line.startswith("no orders") for line in tables.metadata["lacks"])


def test_what_an_export_lacks_is_named_with_its_consequence(exports):
    folder = exports("shopify")
    file = folder / "products_export.csv"
    pd.read_csv(file, dtype=str).drop(columns=["Cost per item", "Variant Inventory Qty"]).to_csv(file, index=False)
    tables = load("shopify", folder)
    assert schema.UNIT_COST not in tables.items
    assert any("every item stays at list price" in line for line in tables.metadata["lacks"])
    assert any("counts as in stock" in line for line in tables.metadata["lacks"])


def test_tables_of_the_contract_beside_the_exports_are_read_as_they_are(exports):
    folder = exports("google-merchant")
    (folder / "judgements.csv").write_text("query,item_id,title,relevance\ncoat,00123,Rain jacket,1\n")
    (folder / "orders.csv").write_text(
        "order_id,item_id,ts,user_id,quantity,price\nO1,00123,2026-01-01T10:00:00Z,u1,1,99.00\n"
    )
    tables = load("google-merchant", folder)
    assert len(tables.judgements) == len(tables.orders) == 1
    assert not any(line.startswith("no orders") for line in tables.metadata["lacks"])


def test_a_column_that_the_mapping_needs_is_named_with_what_to_do(exports):
    folder = exports("shopify")
    file = folder / "orders_export.csv"
    pd.read_csv(file, dtype=str).drop(columns="Lineitem price").to_csv(file, index=False)
    with pytest.raises(MissingDataError, match=r"Lineitem price is missing for orders.*copy the mapping and change it"):
        load("shopify", folder)


def test_orders_of_another_shop_are_refused_and_not_left_out_line_by_line(exports):
    """Each line names an item that the catalogue lacks: the exports do not belong together."""
    folder = exports("magento")
    file = folder / "order_lines.csv"
    orders = pd.read_csv(file, dtype=str)
    orders.assign(sku="X-" + orders["sku"]).to_csv(file, index=False)
    with pytest.raises(DataError, match=r"orders: \d of \d lines name an item that is not in the catalogue.*from sku"):
        load("magento", folder)


def test_how_an_export_is_written_is_reported_with_its_decimal_sign(exports):
    assert load("shopify", exports("shopify")).metadata["files"] == {
        "orders_export.csv": "utf-8, separated by ,, decimal point",
        "products_export.csv": "utf-8, separated by ,, decimal point",
    }


def test_a_folder_without_an_export_of_items_says_which_file_it_needs(tmp_path):
    with pytest.raises(MissingDataError, match=r"no export of the items.*columns Handle, Title, Variant Price"):
        load("shopify", tmp_path)


def test_several_currencies_are_refused_and_an_unknown_one_is_asked_for(exports):
    folder = exports("google-merchant")
    feed = folder / "feed.tsv"
    text = feed.read_text()
    feed.write_text(text.replace("1,049.00 EUR", "1,049.00 USD"))
    with pytest.raises(DataError, match="several currencies"):
        load("google-merchant", folder)
    feed.write_text(text.replace(" EUR", ""))
    with pytest.raises(DataError, match="no export names the currency"):
        load("google-merchant", folder)
    (folder / "metadata.json").write_text('{"currency": "SEK"}')
    assert load("google-merchant", folder).metadata["currency"] == "SEK"


def test_a_shop_s_own_mapping_reads_columns_of_its_own(exports, tmp_path):
    folder = exports("google-merchant")
    own = tmp_path / "own.yaml"
    own.write_text(map_text("google-merchant").replace("brand: brand", "brand: {constant: House}"))
    assert (read_feed(folder, read_map(own)).items[schema.BRAND] == "House").all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("columns:", "colums:"), "colums is refused; it may hold"),
        (("item_id: id", "item_ids: id"), "item_ids is not in the contract"),
        (("brand: brand", "brand: {joined: [brand]}"), "must be one of join, constant"),
        (("  items:", "  customers:"), "a mapping has items and orders"),
        (("name: google-merchant", "name: [google"), "not YAML"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(tmp_path, change, words):
    own = tmp_path / "own.yaml"
    own.write_text(map_text("google-merchant").replace(*change))
    with pytest.raises(ConfigError, match=words):
        read_map(own)


@pytest.mark.parametrize("name", PACKAGED)
def test_every_packaged_mapping_gives_the_required_columns(name):
    for table, how in read_map(name).tables.items():
        assert set(schema.table(table).required_names) <= set(how.columns)
        assert set(how.needs) <= {column for each in how.columns.values() for column in columns_of(each)} | {"Handle"}


def test_expressions_give_nothing_where_there_is_nothing():
    rows = pd.DataFrame({"a": ["1", None, "x"], "b": ["2", "4", "0"]})
    assert evaluate(["a", "b"], rows).tolist() == ["1", "4", "x"]
    assert evaluate({"minus": ["b", "a"]}, rows).tolist() == ["1", "4", "0"]
    assert evaluate({"per_unit": "a", "quantity": "b"}, rows).tolist() == ["0.5", None, None]
    assert evaluate({"map": "a", "values": {"X": "yes"}}, rows).tolist() == [None, None, "yes"]
    assert evaluate("absent", rows).tolist() == [None] * 3


def test_shopify_s_newer_export_is_read_as_the_older_one(exports):
    """Since 2025 the columns have other names; the values are the same."""
    folder = exports("shopify")
    before = load("shopify", folder)
    file = folder / "products_export.csv"
    newer = {
        "Handle": "URL handle",
        "Body (HTML)": "Description",
        "Product Category": "Product category",
        "Published": "Published on online store",
        "Option1 Name": "Option1 name",
        "Option1 Value": "Option1 value",
        "Option2 Value": "Option2 value",
        "Variant SKU": "SKU",
        "Variant Inventory Qty": "Inventory quantity",
        "Variant Price": "Price",
        "Variant Compare At Price": "Compare-at price",
    }
    pd.read_csv(file, dtype=str).rename(columns=newer).to_csv(file, index=False)
    pd.testing.assert_frame_equal(load("shopify", folder).items, before.items)


GERMAN = {
    "Type": "Typ",
    "SKU": "Artikelnummer",
    "Published": "Veröffentlicht",
    "Short description": "Kurzbeschreibung",
    "Description": "Beschreibung",
    "In stock?": "Vorrätig?",
    "Stock": "Bestand",
    "Backorders allowed?": "Lieferrückstände erlaubt?",
    "Sale price": "Angebotspreis",
    "Regular price": "Regulärer Preis",
    "Categories": "Kategorien",
    "Brands": "Marken",
    "Parent": "Übergeordnet",
}


def test_woocommerce_writes_its_export_in_the_language_of_the_site(exports):
    folder = exports("woocommerce")
    before = load("woocommerce", folder)
    file = folder / "wc-product-export.csv"
    pd.read_csv(file, dtype=str).rename(columns=GERMAN).to_csv(file, index=False)
    pd.testing.assert_frame_equal(load("woocommerce", folder).items, before.items)


def test_orders_cancelled_in_another_language_are_no_sales_and_an_unknown_status_is_named(exports):
    folder = exports("woocommerce")
    file = folder / "orders.csv"
    text = file.read_text().replace("Cancelled", "Storniert").replace("Refunded", "Rückerstattet")
    file.write_text(text.replace("Processing", "Versandt"))
    tables = load("woocommerce", folder)
    assert set(tables.orders[schema.ORDER_ID]) == {"501", "502"}
    assert any("Order Status: the mapping does not know 'versandt'; such rows count" in line
               for line in tables.metadata["lacks"])  # fmt: skip


def test_what_nobody_counts_or_sells_beyond_its_stock_is_not_sold_out(exports):
    folder = exports("shopify")
    file = folder / "products_export.csv"
    rows = pd.read_csv(file, dtype=str)
    tracked = rows["Variant SKU"].where(rows["Variant SKU"] != "LW-001").notna()
    rows["Variant Inventory Tracker"] = "shopify"
    rows.loc[~tracked, ["Variant Inventory Tracker", "Variant Inventory Qty"]] = ["", "0"]
    rows["Variant Inventory Policy"] = "deny"
    rows.loc[rows["Variant SKU"] == "LW-002", ["Variant Inventory Policy", "Variant Inventory Qty"]] = [
        "continue",
        "-2",
    ]
    rows.loc[rows["Variant SKU"] == "GIFT", "Variant Inventory Qty"] = "-3"
    rows.to_csv(file, index=False)
    tables = load("shopify", folder)
    stock = by_id(tables)["stock"]
    assert stock[["LW-001", "LW-002"]].isna().all()
    assert stock["GIFT"] == 0.0
    assert any(line.startswith("1 items with a stock below 0") for line in tables.metadata["lacks"])


def test_a_word_for_stock_that_the_mapping_does_not_know_is_named(exports):
    folder = exports("google-merchant")
    file = folder / "feed.tsv"
    file.write_text(file.read_text().replace("in_stock", "auf Lager").replace("in stock", "auf Lager"))
    lacks = load("google-merchant", folder).metadata["lacks"]
    assert any("availability: the mapping does not know 'auf Lager'" in line for line in lacks)


def test_a_price_that_cannot_be_read_is_named_and_no_picture(exports):
    folder = exports("shopify")
    file = folder / "products_export.csv"
    file.write_text(file.read_text().replace("49.90", "from 49.90"))
    tables = load("shopify", folder)
    assert by_id(tables).loc["LW-002", "list_price"] == "from 49.90"
    orders = folder / "orders_export.csv"
    orders.write_text(orders.read_text().replace(",2,Oak board - Small", ",two,Oak board - Small"))
    assert "two" in load("shopify", folder).orders[schema.QUANTITY].tolist()


@pytest.mark.parametrize("written", ["USD", "{}USD", "US$ {}"])
def test_an_export_in_another_currency_than_the_shop_states_is_refused(exports, written):
    folder = exports("google-merchant")
    feed = folder / "feed.tsv"
    text = feed.read_text()
    feed.write_text(
        text.replace(" EUR", " USD") if written == "USD" else re.sub(r"([\d.,]+) EUR", written.format(r"\1"), text)
    )
    assert load("google-merchant", folder).metadata["currency"] == "USD"
    (folder / "metadata.json").write_text('{"currency": "EUR"}')
    with pytest.raises(DataError, match=r"metadata.json says EUR, the exports say USD"):
        load("google-merchant", folder)


@pytest.mark.parametrize("write", [str.upper, lambda name: name.replace("_", " ").title(), "g:{}".format])
def test_a_column_is_found_however_its_name_is_written(exports, write):
    """A sale price that is not found would be a list price that nobody pays."""
    folder = exports("google-merchant")
    before, feed = load("google-merchant", folder), folder / "feed.tsv"
    header, _, rest = feed.read_text().partition("\n")
    feed.write_text("\t".join(map(write, header.split("\t"))) + "\n" + rest)
    pd.testing.assert_frame_equal(load("google-merchant", folder).items, before.items)


def test_two_variants_of_one_id_are_named(exports):
    folder = exports("shopify")
    file = folder / "products_export.csv"
    file.write_text(file.read_text().replace("LW-002", "LW-001"))
    assert any("the id 'LW-001' stands at several items" in line for line in load("shopify", folder).metadata["lacks"])
