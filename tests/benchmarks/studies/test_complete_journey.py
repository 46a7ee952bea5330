"""The receipts study on receipts drawn from a planted logit: it runs whole, cuts by week, audits the right prices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies import complete_journey as study
from fairtag.base import schema
from fairtag.base.errors import MissingDataError
from fairtag.data.complete_journey import read, read_sold
from fairtag.demand.config import DemandConfig
from fairtag.demand.fit import fit_demand

HOUSEHOLDS, STORES, WEEKS, TYPES, ITEMS = 60, 4, 53, 4, 3
SLOPE = 12.0
TYPE_WORDS = (
    "FLUID MILK WHITE ONLY FRESH",
    "CONDENSED SOUP TOMATO RED CANNED",
    "BREAD WHEAT SLICED LARGE LOAF",
    "CEREAL KIDS SWEET MORNING BOX",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Receipts of households that choose one item of each type or none; half of them tell their age."""
    root = tmp_path_factory.mktemp("data")
    inner = root / "complete_journey"
    inner.mkdir()
    rng = np.random.default_rng(0)
    shelf = rng.uniform(2, 6, (TYPES, ITEMS)).round(2)
    rows = []
    for week in range(1, WEEKS + 1):
        ratio = np.where(rng.random((TYPES, ITEMS)) < 0.5, rng.uniform(0.6, 0.95, (TYPES, ITEMS)), 1.0)
        for household in range(HOUSEHOLDS):
            store, basket = household % STORES, f"{week:02d}{household:03d}"
            time = pd.Timestamp("2017-01-02") + pd.Timedelta(days=7 * (week - 1) + int(rng.integers(0, 6)), hours=9)
            for kind in range(TYPES):
                utility = np.append(8.5 - SLOPE * ratio[kind], 0.0) + rng.gumbel(size=ITEMS + 1)
                item = int(np.argmax(utility))
                if item < ITEMS:
                    paid = round(shelf[kind, item] * ratio[kind, item], 2)
                    discount = shelf[kind, item] - paid
                    product = str(kind * ITEMS + item)
                    rows.append((str(household), str(store), basket, product, 1.0, paid, discount, 0.0, week, time))
    columns = ["household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc"]
    sold = pd.DataFrame(rows, columns=[*columns, "coupon_match_disc", "week", "transaction_timestamp"])
    sold.to_parquet(inner / "transactions_sample.parquet")
    kinds = np.repeat(TYPE_WORDS, ITEMS)
    products = pd.DataFrame({"product_id": [str(i) for i in range(TYPES * ITEMS)], "product_type": kinds})
    fixed = {"manufacturer_id": "1", "department": "GROCERY", "brand": "National", "package_size": "1 LB"}
    products.assign(product_category=kinds, **fixed).to_parquet(inner / "products.parquet")
    people = pd.DataFrame({"household_id": [str(i) for i in range(0, HOUSEHOLDS, 2)]})
    ages = np.where(people.index % 4 < 2, "25-34", "65+")
    people.assign(age=ages, income="35-49K", household_size="2").to_parquet(inner / "demographics.parquet")
    return root


@pytest.fixture(scope="module")
def tables(folder):
    return read_sold(folder)


@pytest.fixture(scope="module")
def tables_of_others(folder):
    return read(folder)


@pytest.fixture(scope="module")
def shop(tables_of_others):
    return study.prepare(tables_of_others)


@pytest.fixture(scope="module")
def model(shop):
    return fit_demand(shop.train, DemandConfig(tau=(0.3, 0.3)))


def test_the_weeks_are_cut_where_they_should_be(shop, tables_of_others):
    assert set(shop.week) == set(range(study.HOLD_OUT_FROM, WEEKS + 1))
    pages = [part.starts.size for part in (shop.train, shop.tune, shop.held_out)]
    assert sum(pages) == tables_of_others.impressions[schema.PAGE_ID].nunique()
    first = tables_of_others.impressions[schema.TS].min().normalize()
    assert (shop.rows[schema.TS] >= first + pd.Timedelta(weeks=study.HOLD_OUT_FROM - 1)).all()
    assert not shop.train.first_stage.used


def test_a_price_response_that_is_there_is_found_on_the_held_out_weeks(shop, model):
    from fairtag.demand.calibration import calibrate

    rows = {row.metric: row for row in study.calibration_rows(calibrate(model, shop.held_out, shop.train))}
    assert rows["calibration_slope"].low < 1 < rows["calibration_slope"].high
    assert rows["price_slope"].low < 1 < rows["price_slope"].high
    assert rows["log_loss"].value < rows["log_loss_no_price"].value


def test_the_planted_slope_is_in_the_interval_of_the_mean_slope_and_prices_beat_no_prices(shop, model):
    mean, spread = study.response_rows("", model)
    assert mean.low < SLOPE < mean.high
    assert mean.high - mean.low < 4
    assert (mean.reference, spread.metric) == (None, "spread_of_item_slopes")
    with_prices = study.calibrate(model, shop.held_out, shop.train).log_loss
    assert with_prices < study.without_price(shop).log_loss - 0.05


def test_paid_prices_are_the_orders_with_the_shelf_price_of_their_week(tables):
    paid = study.paid_prices(tables)
    assert len(paid) == len(tables.orders)
    assert paid[schema.PRICE_MINOR].sum() == pytest.approx((tables.orders[schema.PRICE] * 100).round().sum(), abs=5)
    assert paid[schema.EPOCH].max() == (WEEKS - 1) // study.PERIOD_WEEKS


def test_policy_prices_are_inside_the_guardrails_and_only_of_audited_households(shop, model, tables):
    asked = study.policy_prices(model, shop, tables)
    assert set(asked[schema.USER_KEY]) <= set(study.audit_groups(tables)[schema.USER_KEY])
    ratio = asked[schema.PRICE_MINOR] / asked[schema.LIST_PRICE_MINOR]
    assert ratio.max() <= 1
    assert ratio.min() >= 0.7 - 0.01  # the largest discount, and a cent
    assert (ratio < 1).mean() > 0.2


def test_every_page_is_priced_once_whatever_its_size():
    pages = pd.Series(list("abbcccda"))
    found = [rows.tolist() for rows in study._by_size(pages)]
    assert found == [[[6]], [[0, 7], [1, 2]], [[3, 4, 5]]]


def test_receipts_without_demographics_cannot_be_audited(tables):
    with pytest.raises(MissingDataError, match="no demographics"):
        study.audit_groups(replace(tables, audit_groups=None))


@pytest.mark.slow
def test_the_whole_study_runs_and_names_its_rows(folder):
    result = study.run(folder)
    metrics = [row.metric for row in result.rows]
    assert len(set(metrics)) == len(metrics)
    assert {
        "calibration_slope",
        "sold_pages_price_slope",
        "weeks_37_42_calibration_slope",
        "gap_paid_age_65+",
        "gap_policy_age_25-34",
    } <= set(metrics)
