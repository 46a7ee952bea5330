"""The table of prices over a fitted model: its figures are the model's and the quote log's, and filters do filter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from console.price_table import HOURS, ROWS, PriceTable, elasticity, elasticity_interval
from console.quotes import QuoteReader
from fairtag.base import schema
from fairtag.base.errors import RequestError
from fairtag.model.pricing_model import PricingModel, load_pricing_model

ASKED = {"q": "", "category": "", "only": "", "page": "", "sort": "title"}


@pytest.fixture(scope="module")
def model(model_folder: Path) -> PricingModel:
    return load_pricing_model(model_folder)


@pytest.fixture
def quotes(model: PricingModel, tmp_path: Path) -> QuoteReader:
    """The first item was offered twice today and once last week, the second once."""
    now = datetime.now(UTC)
    first, second = model.item_ids[:2]
    listed = int(model.market.list_price[0] * 100)
    rows = [
        (now - timedelta(hours=1), first, listed - 100, True),
        (now - timedelta(hours=2), first, listed, False),
        (now - timedelta(days=7), first, 1, False),
        (now - timedelta(hours=1), second, 777, False),
    ]
    frame = pd.DataFrame(rows, columns=[schema.TS, schema.ITEM_ID, schema.PRICE_MINOR, schema.PERSONALISED])
    frame.to_parquet(tmp_path / f"quotes-{now:%Y%m%dT%H%M%S}-a.parquet")
    return QuoteReader(str(tmp_path))


def test_the_range_is_that_of_the_last_day_in_the_quote_log(model, quotes):
    frame = PriceTable(quotes).frame(model).set_index("item")
    first = frame.loc[model.item_ids[0]]
    listed = int(model.market.list_price[0] * 100)
    assert (first["low"], first["high"], first["quotes"], first["personal"]) == (listed - 100, listed, 2, 0.5)
    assert frame["quotes"].notna().sum() == 2


def test_margin_and_index_are_of_the_median_offer_or_of_list(model, quotes):
    frame = PriceTable(quotes).frame(model)
    price = np.rint(model.market.list_price * 100)
    price[0], price[1] = (frame["low"][0] + frame["high"][0]) / 2, 777
    np.testing.assert_allclose(frame["margin"], 1 - model.market.unit_cost * 100 / price)
    np.testing.assert_allclose(frame["index"], price / model.market.competitor_price)


def test_elasticity_is_the_slope_of_log_demand_at_list(model):
    rows = np.arange(20, dtype=np.int64)
    a, b = model.demand.page(rows, np.full(20, model.demand.scaling.similarity))
    step = 1e-5

    def bought(y: float) -> np.ndarray:
        return np.exp(a - b * y) / (1 + np.exp(a - b * y))

    slope = (np.log(bought(1 + step)) - np.log(bought(1 - step))) / (np.log1p(step) - np.log1p(-step))
    np.testing.assert_allclose(elasticity(model, rows), slope, rtol=1e-5)
    low, high = elasticity_interval(model, rows)
    assert (low < high).all()
    assert np.mean((low <= elasticity(model, rows)) & (elasticity(model, rows) <= high)) > 0.9


def test_filters_orders_and_pages(model, quotes):
    prices = PriceTable(quotes)
    everything = prices.page(model, ASKED)
    assert everything.total == len(model.item_ids)
    assert len(everything.rows) == min(ROWS, everything.total)
    titles = [row["title"].lower() for row in everything.rows]
    assert titles == sorted(titles)
    assert prices.page(model, ASKED | {"only": "quoted"}).total == 2
    category = str(model.categories[0])
    found = prices.page(model, ASKED | {"category": category, "sort": "-list"}).rows
    assert {row["category"] for row in found} == {category}
    assert [row["list"] for row in found] == sorted((row["list"] for row in found), reverse=True)
    second = prices.page(model, ASKED | {"page": "2"})
    assert not {row["item"] for row in second.rows} & {row["item"] for row in everything.rows}
    title = everything.rows[0]["title"]
    assert title in {row["title"] for row in prices.page(model, ASKED | {"q": title.lower()}).rows}


@pytest.mark.parametrize("sort", ["low", "-low"])
def test_what_is_not_known_comes_last_in_either_order(model, quotes, sort):
    rows = PriceTable(quotes).page(model, ASKED | {"sort": sort}).rows
    assert [row["low"] is None for row in rows] == [False, False] + [True] * (len(rows) - 2)


@pytest.mark.parametrize("wrong", [{"sort": "colour"}, {"only": "nonsense"}])
def test_an_order_or_a_filter_that_does_not_exist_is_refused(model, wrong):
    with pytest.raises(RequestError):
        PriceTable(None).page(model, ASKED | wrong)


def test_the_table_is_made_once_until_the_log_or_the_model_changes(model, quotes, tmp_path: Path):
    clock = [datetime.now(UTC)]
    reader = QuoteReader(str(tmp_path), now=lambda: clock[0])
    prices = PriceTable(reader)
    first = prices.frame(model)
    assert prices.frame(model) is first
    now = clock[0]
    row = {schema.TS: [now], schema.ITEM_ID: [model.item_ids[2]], schema.PRICE_MINOR: [555], schema.PERSONALISED: False}
    pd.DataFrame(row).to_parquet(tmp_path / f"quotes-{now:%Y%m%dT%H%M%S}-b.parquet")
    clock[0] += timedelta(seconds=3)
    assert prices.frame(model)["quotes"].notna().sum() == 3
    same_log = prices.frame(model)
    assert prices.frame(replace(model, manifest={**model.manifest, "version": "another"})) is not same_log


def test_ranges_are_those_of_all_single_quotes(tmp_path: Path):
    """The oracle is pandas over every row; the reader keeps counts by item, hour and price alone."""
    rng, now = np.random.default_rng(0), datetime.now(UTC)
    frames = []
    for part in range(3):
        frame = pd.DataFrame(
            {
                schema.TS: [now - timedelta(minutes=float(each)) for each in rng.uniform(0, 600, 400)],
                schema.ITEM_ID: rng.choice(["a", "b", "c"], 400, p=[0.6, 0.39, 0.01]),
                schema.PRICE_MINOR: rng.integers(90, 110, 400),
                schema.PERSONALISED: rng.random(400) < 0.3,
            }
        )
        frame.to_parquet(tmp_path / f"quotes-{now:%Y%m%dT%H%M%S}-{part}.parquet")
        frames.append(frame)
    rows, found = pd.concat(frames), QuoteReader(str(tmp_path)).ranges(HOURS)
    oracle = rows.groupby(schema.ITEM_ID)[schema.PRICE_MINOR]
    for name, expected in (("low", oracle.min()), ("middle", oracle.median()), ("high", oracle.max())):
        np.testing.assert_array_equal(found[name], expected)
    np.testing.assert_array_equal(found["quotes"], oracle.size())
    np.testing.assert_allclose(found["personal"], rows.groupby(schema.ITEM_ID)[schema.PERSONALISED].mean())


def test_a_damaged_file_of_the_quote_log_is_counted_and_the_others_are_read(quotes, tmp_path: Path):
    (tmp_path / f"quotes-{datetime.now(UTC):%Y%m%dT%H%M%S}-b.parquet").write_text("not parquet")
    state = quotes.state(24)
    assert (state.files, state.rows, len(state.unreadable)) == (1, 3, 1)


def test_the_page_shows_the_table_and_one_item(console, model_folder: Path, model, quotes, tmp_path: Path):
    browser = console(model_folder=model_folder, quotes=str(tmp_path))
    html = browser.see("/prices?only=quoted")
    assert "2 items; prices in" in html
    assert model.item_ids[0] in html
    html = browser.see(f"/prices/item?item={model.item_ids[0]}")
    assert html.count('<tr><th scope="row">20') >= 2, "offered today and a week ago"
    assert "2 quotes, 50 % personal" in html
