"""Which columns of the impressions demand uses beside the price, and why it does not use the others."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError, ForbiddenAttribute
from fairtag.data.dominicks import BRANDS, read_panel
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.fit import fit_demand
from fairtag.training.covariates import choose_covariates, in_words, judge_covariates

FOLLOWS = "it follows from the price"


def log(rows=1_200, seed=0):
    """Ten items over twelve weeks, each at one of four prices a page; a display that mostly comes with a low one."""
    rng = np.random.default_rng(seed)
    ratio = rng.choice([0.7, 0.8, 0.9, 1.0], rows)
    return pd.DataFrame(
        {
            schema.ITEM_ID: rng.integers(10, size=rows).astype(str),
            schema.TS: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(84, size=rows), unit="D"),
            schema.PRICE: 20.0 * ratio,
            schema.LIST_PRICE: 20.0,
            schema.RANK: rng.integers(1, 9, rows),
            schema.DISPLAY: (rng.random(rows) < 1.2 - ratio).astype(float),
        }
    )


def reason(frame, name):
    return {each.name: each.reason for each in judge_covariates(frame, (name,))}[name]


def test_a_display_that_often_comes_with_a_low_price_is_used():
    config, found = choose_covariates(log(), DemandConfig())
    assert config.covariates == (schema.DISPLAY,)
    assert [(each.name, each.used, each.reason) for each in found] == [(schema.DISPLAY, True, "")]


def test_without_a_column_of_the_known_names_none_is_used():
    assert choose_covariates(log().drop(columns=schema.DISPLAY), DemandConfig())[0].covariates == ()


def test_rank_and_a_column_of_the_shops_own_are_used_where_they_are_named():
    frame = log().assign(x_shelf=lambda frame: frame[schema.RANK] % 3)
    assert choose_covariates(frame, DemandConfig())[0].covariates == (schema.DISPLAY,)
    named = DemandConfig(covariates=("rank", "x_shelf"))
    assert choose_covariates(frame, named)[0].covariates == ("rank", "x_shelf")


@pytest.mark.parametrize(
    "deal",
    [
        pytest.param(lambda ratio: ratio < 1.0, id="a flag of every price below list"),
        pytest.param(lambda ratio: 1.0 - ratio, id="the discount"),
        pytest.param(lambda ratio: (ratio - 0.85) ** 2, id="a curve of the price"),
    ],
)
def test_a_column_that_follows_from_the_price_is_left_out_and_says_so(deal):
    frame = log()
    frame = frame.assign(deal=deal(frame[schema.PRICE] / frame[schema.LIST_PRICE]).astype(float))
    assert reason(frame, schema.DEAL).startswith(FOLLOWS)
    config, found = choose_covariates(frame, DemandConfig())
    assert config.covariates == (schema.DISPLAY,)
    assert {each.name: each.used for each in found} == {schema.DISPLAY: True, schema.DEAL: False}


def test_a_flag_of_prices_that_differ_by_item_is_found_within_items():
    frame = log()
    item = frame[schema.ITEM_ID].astype(int)
    usual = 1.0 - 0.02 * item
    ratio = np.where(frame[schema.DISPLAY] > 0, usual - 0.03 - 0.005 * item, usual)
    assert reason(frame.assign(price=20.0 * ratio, deal=frame[schema.DISPLAY]), schema.DEAL).startswith(FOLLOWS)


def test_a_display_set_by_the_week_beside_a_price_set_by_the_week_is_no_function_of_it():
    """Every week has a price of its own, so that the price of a week tells its display; the next week's does not."""
    rng = np.random.default_rng(1)
    week, item = np.repeat(np.arange(52), 60), np.tile(np.repeat(np.arange(6), 10), 52)
    shown = rng.random((52, 6)) < 0.3
    ratio = 0.9 - 0.1 * shown + 0.06 * rng.normal(size=(52, 6))
    frame = pd.DataFrame(
        {
            schema.ITEM_ID: item.astype(str),
            schema.TS: pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(7 * week, unit="D"),
            schema.PRICE: 10.0 * ratio[week, item],
            schema.LIST_PRICE: 10.0,
            schema.DISPLAY: shown[week, item].astype(float),
        }
    )
    assert reason(frame, schema.DISPLAY) == ""


def test_noise_is_never_taken_for_a_function_of_the_price():
    for seed in range(20):
        frame = log(rows=80, seed=seed)
        noise = np.random.default_rng(1_000 + seed).integers(2, size=80).astype(float)
        assert reason(frame.assign(ad=noise), schema.AD) == ""


def test_a_constant_column_is_left_out_and_says_so():
    assert reason(log().assign(ad=1.0), schema.AD) == "it never varies: 1 throughout"


@pytest.mark.parametrize("value", [None, "yes", np.inf])
def test_a_missing_value_or_a_text_is_refused_with_its_column_and_remedy(value):
    frame = log()
    frame[schema.DISPLAY] = frame[schema.DISPLAY].astype(object)
    frame.loc[[3, 5], schema.DISPLAY] = value
    with pytest.raises(DataError, match=r"impressions.display: 2 values are missing or no number.*0 where"):
        choose_covariates(frame, DemandConfig())
    assert choose_covariates(frame, DemandConfig(covariates=()))[1] == ()


def test_a_column_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(DataError, match="no column feature; name one of those they have: display, rank"):
        choose_covariates(log(), DemandConfig(covariates=("feature",)))


def test_a_protected_attribute_is_refused():
    with pytest.raises(ForbiddenAttribute, match="income"):
        choose_covariates(log().assign(x_income=1.0), DemandConfig(covariates=("x_income",)))


def test_a_check_says_what_is_used_what_may_be_named_and_what_is_not_used():
    frame = log().assign(ad=0.0, x_shelf=lambda frame: frame[schema.RANK] % 3)
    assert in_words(judge_covariates(frame)) == (
        "demand uses display",
        "demand does not use ad: it never varies: 0 throughout",
        """demand may use x_shelf where it is named: fairtag run --demand '{"covariates": ["display", "x_shelf"]}'""",
    )


def orange_juice():
    """A trip drawn from each store-week of the real panel, half of them without juice; feature and deal as logged."""
    folder = Path(os.environ.get("FAIRTAG_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
    if not (folder / "dominicks_oj" / "yx.parquet").is_file():
        pytest.skip(f"no orange juice data at {folder}; set FAIRTAG_DATA to the folder that holds dominicks_oj/")
    panel = read_panel(folder).sort_values(["store", "week", "brand"], kind="stable")
    panel = panel[panel.groupby(["store", "week"])["brand"].transform("size") == len(BRANDS)]
    units = (panel["ounces"] / panel["brand"].map({brand: size for brand, (_, size) in BRANDS.items()})).to_numpy()
    units = units.reshape(-1, len(BRANDS))
    rng = np.random.default_rng(0)
    before = units.cumsum(axis=1) / units.sum(axis=1, keepdims=True)
    drawn = (before < rng.random((len(units), 1))).sum(axis=1)[:, None] == np.arange(len(BRANDS))
    return pd.DataFrame(
        {
            schema.PAGE_ID: panel["store"].astype(str) + "-" + panel["week"].astype(str),
            schema.ITEM_ID: panel["brand"].astype(str),
            schema.TS: pd.Timestamp("1989-09-14", tz="UTC") + pd.to_timedelta(7 * panel["week"], unit="D"),
            schema.PRICE: panel["price"],
            schema.LIST_PRICE: panel.groupby("brand")["price"].transform("quantile", 0.9),
            schema.PURCHASED: (drawn & (rng.random((len(units), 1)) < 0.5)).ravel(),
            schema.FEATURE: panel["feat"],
            schema.DEAL: panel["deal"],
        }
    )


@pytest.mark.data
def test_a_leaflet_sells_orange_juice_and_its_sales_are_no_longer_counted_as_the_prices():
    log = orange_juice()
    shop = Assortment.of(pd.DataFrame({schema.ITEM_ID: sorted(log[schema.ITEM_ID].unique()), schema.CATEGORY: "juice"}))
    config, found = choose_covariates(log, DemandConfig())
    assert {each.name: each.used for each in found} == {schema.FEATURE: True, schema.DEAL: True}
    ones = np.ones(len(log))
    without = fit_demand(demand_data(log, shop, similarity=ones))
    model = fit_demand(demand_data(log, shop, similarity=ones, covariates=config.covariates))
    _, low, _ = model.covariate_effects()[schema.FEATURE]
    assert low > 0
    assert (model.slopes[0] < without.slopes[0]).all()
    assert 0.6 < model.slopes[0].mean() / without.slopes[0].mean() < 0.8  # 3.17 against 4.43
