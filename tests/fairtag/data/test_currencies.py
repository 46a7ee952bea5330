"""A shop has one currency: stated, in a column, or refused with what was found."""

import json

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.data import load
from fairtag.simulator.simulation import TINY, simulate_shop


@pytest.fixture(scope="module")
def tables():
    return simulate_shop(TINY, seed=1).tables


@pytest.fixture
def folder(tables, tmp_path):
    for name, frame in tables.frames().items():
        lists = {
            c.name: frame[c.name].map(json.dumps) for c in schema.table(name).columns if c.kind in ("ids", "numbers")
        }
        frame.assign(**lists).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def edit(folder, name, **columns):
    file = folder / f"{name}.csv"
    pd.read_csv(file, dtype=str, keep_default_na=False).assign(**columns).to_csv(file, index=False)


def test_a_currency_column_of_one_code_is_the_shops_currency(folder):
    edit(folder, "items", Currency="JPY")
    edit(folder, "orders", currency="JPY")
    found = load("csv", folder)
    assert found.metadata["currency"] == "JPY"
    assert "Currency" not in found.items.columns


def test_several_currencies_in_one_catalogue_are_refused_with_their_counts(folder):
    count = len(pd.read_csv(folder / "items.csv"))
    edit(folder, "items", currency=["EUR"] * 2 + ["USD"] * (count - 2))
    with pytest.raises(DataError, match=r"items\.csv: currency: .*EUR in 2 rows.*one folder of tables for each"):
        load("csv", folder)


def test_tables_in_different_currencies_are_refused(folder):
    (folder / "metadata.json").write_text('{"currency": "EUR"}')
    edit(folder, "items", currency="USD")
    with pytest.raises(DataError, match=r"metadata\.json says EUR, items\.csv says USD"):
        load("csv", folder)


@pytest.mark.parametrize(
    ("stated", "sign", "meant"), [("USD", "€", "EUR"), (None, "¥", "JPY or CNY"), ("EUR", "kr", "DKK")]
)
def test_money_with_the_sign_of_another_currency_is_refused(folder, stated, sign, meant):
    if stated:
        (folder / "metadata.json").write_text(json.dumps({"currency": stated}))
    prices = pd.read_csv(folder / "items.csv", dtype=str)[schema.LIST_PRICE]
    edit(folder, "items", **{schema.LIST_PRICE: prices + f" {sign}"})
    with pytest.raises(DataError, match=f"list_price: .* is in {meant}"):
        load("csv", folder)


def test_money_with_the_shops_own_sign_is_read(folder, tables):
    (folder / "metadata.json").write_text('{"currency": "USD"}')
    prices = pd.read_csv(folder / "items.csv", dtype=str)[schema.LIST_PRICE]
    edit(folder, "items", **{schema.LIST_PRICE: "$" + prices})
    assert load("csv", folder).fingerprint() == tables.fingerprint()


@pytest.mark.parametrize(
    ("code", "sign"),
    [("COP", "$"), ("TWD", "$"), ("MDL", "lei"), ("BYN", "\u0440\u0443\u0431."), ("ISK", "kr."), ("LKR", "Rs")],
)
def test_a_sign_is_that_of_every_currency_that_is_written_so(folder, code, sign):
    (folder / "metadata.json").write_text(json.dumps({"currency": code}))
    prices = pd.read_csv(folder / "items.csv", dtype=str)[schema.LIST_PRICE]
    edit(folder, "items", **{schema.LIST_PRICE: prices + f" {sign}"})
    assert load("csv", folder).metadata["currency"] == code


@pytest.mark.parametrize("menu", [[80, 90, 100], [1.0], "0.8", [0.8, "0.9"], [0.0, 1.0], [True, 0.5]])
def test_a_price_menu_that_is_no_list_of_shares_is_refused(folder, menu):
    (folder / "metadata.json").write_text(json.dumps({"price_menu": menu}))
    with pytest.raises(DataError, match="write two or more shares of list"):
        load("csv", folder)
