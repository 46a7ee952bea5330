"""The stock job: warnings before an item runs out, and money that lies in the shelf."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.tables import Tables, write_tables
from fairtag.base.types import Status
from monitoring.__main__ import main
from monitoring.job_report import read_report

END = datetime(2026, 6, 1, tzinfo=UTC)


def tables(stock, days=140, seed=0):
    """A shop of forty items that each sell about two units a day."""
    rng = np.random.default_rng(seed)
    ids = [f"i{k:02d}" for k in range(40)]
    start = pd.Timestamp(END) - pd.Timedelta(days=days)
    lines = [
        (f"o{item}-{day}", item, start + pd.Timedelta(days=day, hours=12), "u1", float(units), 10.0)
        for item in ids
        for day, units in enumerate(rng.poisson(2.0, days))
        if units
    ]
    counted = pd.Timestamp(END)
    columns = [schema.ORDER_ID, schema.ITEM_ID, schema.TS, schema.USER_ID, schema.QUANTITY, schema.PRICE]
    items = pd.DataFrame(
        {
            schema.ITEM_ID: ids, schema.UPDATED_AT: counted, schema.TITLE: "a thing", schema.DESCRIPTION: None,
            schema.CATEGORY: "things", schema.BRAND: None, schema.UNIT_COST: 5.0, schema.LIST_PRICE: 10.0,
            schema.STOCK: stock,
        }
    )  # fmt: skip
    users = pd.DataFrame(
        {
            schema.USER_ID: ["u1"], schema.UPDATED_AT: [start], schema.RECENCY_DAYS: [1.0], schema.ORDERS_90D: [1.0],
            schema.SPEND_90D: [1.0], schema.PROMOTION_RESPONSE: [0.5], schema.HISTORY_ITEMS: [[]],
            schema.HISTORY_AGE_DAYS: [[]],
        }
    )  # fmt: skip
    impressions = pd.DataFrame(columns=list(schema.IMPRESSIONS.required_names))
    return Tables(items, users, impressions, pd.DataFrame(lines, columns=columns), metadata={"currency": "EUR"})


def run(tmp_path, shop):
    write_tables(shop, tmp_path / "tables")
    arguments = [
        "--quotes",
        "none",
        "--model-folder",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
        "--end",
        END.isoformat(),
    ]
    code = main(["stock", *arguments, "--tables", str(tmp_path / "tables")])
    return code, {check.name: check for check in read_report(tmp_path / "out" / "stock.json").checks}


def test_enough_stock_of_everything_passes(tmp_path):
    code, checks = run(tmp_path, tables(np.full(40, 60.0)))
    assert code == 0, checks


def test_one_item_that_may_run_out_warns_with_its_name_before_the_event(tmp_path):
    stock = np.full(40, 60.0)
    stock[7] = 16.0  # about a week's demand of 14: it may last, and may not
    code, checks = run(tmp_path, tables(stock))
    assert code == 1
    assert checks["stock_out"].status is Status.WARN
    assert checks["stock_out"].examples[0].startswith("i07 a thing: 16 in stock")


def test_an_emptying_shelf_is_urgent(tmp_path):
    code, checks = run(tmp_path, tables(np.full(40, 5.0)))
    assert code == 2
    assert checks["stock_out"].detail["items"] == 40


def test_stock_that_lies_for_a_year_warns(tmp_path):
    code, checks = run(tmp_path, tables(np.full(40, 2.0 * 365 * 2)))
    assert code == 1
    assert checks["stock_ageing"].status is Status.WARN
    assert checks["stock_out"].status is Status.PASS


@pytest.mark.parametrize("days", [0, 3])
def test_too_few_orders_are_never_a_pass(tmp_path, days):
    code, checks = run(tmp_path, tables(np.full(40, 60.0), days=days))
    assert code == 3
    assert checks["stock_data"].status is Status.UNKNOWN


def test_stock_that_was_counted_long_ago_is_never_a_pass(tmp_path):
    shop = tables(np.full(40, 60.0))
    old = shop.items.assign(**{schema.UPDATED_AT: pd.Timestamp(END) - pd.Timedelta(hours=49)})
    code, checks = run(tmp_path, dataclasses.replace(shop, items=old))
    assert code == 3
    assert checks["stock_age"].status is Status.UNKNOWN


def test_items_without_a_stock_level_warn_and_the_others_are_checked(tmp_path):
    stock = np.full(40, 60.0)
    stock[3] = np.nan
    code, checks = run(tmp_path, tables(stock))
    assert code == 1
    assert checks["stock_levels"].status is Status.WARN
    assert checks["stock_out"].n == 39


def test_the_alarm_of_an_item_is_that_of_the_stock_policy(tmp_path):
    from fairtag.stock.forecast import forecast_demand
    from fairtag.stock.replenishment import WARNING, stock_report

    shop = tables(np.linspace(5.0, 40.0, 40))
    ids = shop.items[schema.ITEM_ID].to_numpy(dtype=object)
    forecast = forecast_demand(shop.orders, ids, pd.Timestamp(END))
    report = stock_report(forecast, shop.items.set_index(schema.ITEM_ID)[schema.STOCK])
    _, checks = run(tmp_path, shop)
    assert checks["stock_out"].detail["items"] == (report[WARNING] == "STOCK_OUT").sum() > 0
