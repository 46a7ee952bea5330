"""Units and weights count in demand as a planted truth, a whole log or repeated rows say they must."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.demand.calibration import calibrate
from fairtag.demand.config import DemandConfig
from fairtag.demand.control_function import PriceVariation, first_stages
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.elasticity import check_elasticity
from fairtag.demand.fit import fit_demand

SLOPE, ITEMS, SIZE = 4.0, 8, 4
CATALOGUE = pd.DataFrame({schema.ITEM_ID: [f"i{i}" for i in range(ITEMS)], schema.CATEGORY: "cups"})
ROWS = np.arange(ITEMS)


def log(pages, seed=0, level=1.0, stock_up=0.0):
    """Pages of a planted logit at random prices; with ``stock_up`` the mean units of a purchase fall with its price."""
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.choice(ITEMS, SIZE, replace=False) for _ in range(pages)])
    page = np.repeat(np.arange(pages), SIZE)
    y = rng.choice([0.7, 0.8, 0.9, 1.0, 1.1], item.size)
    u = level + 0.1 * (item % 4) - SLOPE * y + rng.gumbel(size=item.size)
    best = u.reshape(pages, SIZE).max(axis=1)
    bought = (u == best[page]) & (best > rng.gumbel(size=pages))[page]
    more = rng.random(item.size) < (1.2 * np.exp(-stock_up * (y - 1.1)) - 1.0) / 3.0
    return pd.DataFrame(
        {
            schema.PAGE_ID: [f"p{p}" for p in page],
            schema.ITEM_ID: [f"i{i}" for i in item],
            schema.PRICE: 10.0 * y,
            schema.LIST_PRICE: 10.0,
            schema.PURCHASED: bought,
            schema.QUANTITY: bought * (np.where(more, 4, 1) if stock_up else 1),
        }
    )


def sold(frame):
    """(rows,) whether something was bought on the page of each row."""
    return frame.groupby(schema.PAGE_ID)[schema.PURCHASED].transform("any").to_numpy()


def thinned(frame, keep, seed):
    """Every page with a purchase, and a share of the others with the weight that makes up for it."""
    rng, pages = np.random.default_rng(seed), frame[schema.PAGE_ID].unique()
    drawn = frame[schema.PAGE_ID].isin(pages[rng.random(pages.size) < keep]).to_numpy()
    kept = frame[sold(frame) | drawn]
    return kept.assign(**{schema.WEIGHT: np.where(sold(kept), 1.0, 1.0 / keep)})


def read(frame, **settings):
    return demand_data(frame, Assortment.of(CATALOGUE), similarity=np.ones(len(frame)), **settings)


def fit(frame, **settings):
    return fit_demand(read(frame, **settings))


def mean(model):
    """Mean utility at list price, and mean slope, each with its standard error: (2, 2)."""
    a, b = model.page(ROWS, np.ones(ITEMS))
    drawn_a, drawn_b = model.draws(ROWS, np.ones(ITEMS), n_draws=800)
    spread = [(drawn_a - drawn_b).mean(axis=1).std(), drawn_b.mean(axis=1).std()]
    return np.array([[(a - b).mean(), b.mean()], spread])


def assert_same(first, second):
    for (name, one), other in zip(first.arrays().items(), second.arrays().values(), strict=True):
        if name != "units":
            np.testing.assert_array_equal(one, other, err_msg=name)


def test_weights_of_one_value_and_purchases_of_one_size_change_nothing_bit_for_bit():
    plain = log(2_100)
    bare, found = fit(plain.drop(columns=schema.QUANTITY)), fit(plain)
    assert_same(fit(plain.assign(**{schema.WEIGHT: 1.0})), bare)
    assert_same(fit(plain.assign(**{schema.WEIGHT: 1.0}), weights="counts"), bare)
    assert_same(fit(plain.assign(**{schema.WEIGHT: 7.0})), bare)
    assert_same(fit(plain.assign(**{schema.QUANTITY: 6 * plain[schema.PURCHASED]})), bare)
    assert_same(found, bare)
    assert fit(plain.assign(**{schema.QUANTITY: 6 * plain[schema.PURCHASED]})).units.tolist() == [6.0]


def test_a_page_that_counts_equal_visits_is_that_many_pages():
    plain = log(2_100, seed=3)
    times = plain[schema.PAGE_ID].map(lambda name: 1 + int(name[1:]) % 3)
    repeated = pd.concat(
        [plain[times > k].assign(**{schema.PAGE_ID: plain[schema.PAGE_ID] + f"-{k}"}) for k in range(3)]
    )
    counted = fit(plain.assign(**{schema.WEIGHT: times.astype(float)}), weights="counts")
    again = fit(repeated)
    np.testing.assert_allclose(counted.posterior.theta, again.posterior.theta, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(counted.posterior.effects, again.posterior.effects, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mean(counted), mean(again), rtol=1e-4)


@pytest.mark.slow
def test_a_thinned_log_with_its_weights_gives_the_demand_of_the_whole_within_its_intervals():
    whole = log(8_000, seed=1)
    (truth, _), part = mean(fit(whole)), thinned(whole, 0.1, seed=2)
    value, error = mean(fit(part))
    assert (abs(value - truth) < 1.96 * error).all()
    wrong, its_error = mean(fit(part.drop(columns=schema.WEIGHT)))
    assert wrong[0] - truth[0] > 10 * its_error[0]
    (checked,) = check_elasticity(fit(part), read(part)).categories
    assert checked.low <= checked.model <= checked.high


@pytest.mark.slow
def test_errors_of_weighted_pages_are_those_of_their_spread_around_the_truth():
    """Errors that took a page of weight ten for ten would be three times too small, Kish's three times too large."""
    found = np.array([mean(fit(thinned(log(5_000, seed=seed), 0.1, seed))) for seed in range(10, 22)])
    truth = np.array([1.0 + 0.1 * 1.5 - SLOPE, SLOPE])
    z = (found[:, 0] - truth) / found[:, 1]
    assert (np.sqrt((z**2).mean(axis=0)) < 1.6).all(), z
    assert (np.sqrt((z**2).mean(axis=0)) > 0.5).all(), z


@pytest.mark.slow
def test_the_slope_is_one_of_units_where_customers_stock_up_at_a_discount():
    frame = log(5_000, seed=5, stock_up=1.5)
    (_, slope), (_, error) = mean(fit(frame))
    (_, purchases), (_, its_error) = mean(fit(frame.drop(columns=schema.QUANTITY)))
    assert abs(purchases - SLOPE) < 1.96 * its_error
    assert abs(slope - SLOPE - 1.5) < 1.96 * error
    assert error > its_error  # purchases of several units tell less than as many purchases
    model = fit(frame)
    assert model.units[0] == pytest.approx(frame[schema.QUANTITY][frame[schema.PURCHASED]].mean())
    assert model.report["counts"]["units"] == frame[schema.QUANTITY].sum()


@pytest.mark.slow
def test_calibration_of_a_sampled_log_counts_the_visits_that_it_stands_for():
    model = fit(log(5_000, seed=6, stock_up=1.5))
    whole = log(5_000, seed=7, stock_up=1.5)
    part = thinned(whole, 0.2, seed=8)
    found = calibrate(model, read(part), read(part))
    assert found.slope.low <= 1.0 <= found.slope.high
    assert found.units["sold"] == pytest.approx(whole[schema.QUANTITY].sum())
    assert found.units["expected"] == pytest.approx(found.units["sold"], rel=0.1)
    assert found.expected == pytest.approx(found.purchases, rel=0.1)


def test_the_first_stage_of_repeated_rows_is_that_of_their_weight():
    rng = np.random.default_rng(4)
    n = 600
    item, period = rng.integers(0, 5, n), rng.integers(0, 40, n)
    cost = (0.5 + 0.1 * rng.normal(size=(5, 40)))[item, period]
    y, times = 1.0 + 0.6 * cost + 0.1 * rng.normal(size=n), rng.integers(1, 4, n)
    fold = rng.integers(0, 5, n)
    nothing, code = np.zeros((n, 0)), np.zeros(n, dtype=np.int64)
    once = PriceVariation(y, {"cost": cost}, nothing, item, code, period, fold, times.astype(float))
    k = np.repeat(np.arange(n), times)
    often = PriceVariation(y[k], {"cost": cost[k]}, nothing[k], item[k], code[k], period[k], fold[k])
    weighted, repeated = (first_stages(each, ("cups",)) for each in (once, often))
    np.testing.assert_allclose(repeated.nu, weighted.nu[k], rtol=1e-9, atol=1e-12)
    assert weighted.categories[0].units == repeated.categories[0].units
    assert weighted.categories[0].f_statistic == pytest.approx(repeated.categories[0].f_statistic, rel=0.02)


def test_a_page_of_weight_zero_is_left_out_and_counted():
    frame = log(50)
    weight = np.where(frame[schema.PAGE_ID] == "p3", 0.0, 1.0)
    data = read(frame.assign(**{schema.WEIGHT: weight}))
    assert data.left_out["weight of 0"] == SIZE
    assert data.starts.size == 49


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_none_is_refused_with_its_rule(wrong):
    frame = log(50).assign(**{schema.WEIGHT: 1.0})
    frame.loc[4:7, schema.WEIGHT] = wrong
    with pytest.raises(DataError, match=r"impressions.weight: 4 values"):
        read(frame)


def test_two_weights_on_a_page_are_refused():
    frame = log(50).assign(**{schema.WEIGHT: 1.0})
    frame.loc[5, schema.WEIGHT] = 3.0
    with pytest.raises(DataError, match="not the same on all rows of a page"):
        read(frame)


def test_a_meaning_of_weights_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="sampling, counts"):
        DemandConfig(weights="frequency")


def test_a_part_of_the_pages_keeps_their_weights():
    data = read(thinned(log(300), 0.5, seed=1))
    keep = np.arange(data.starts.size) % 2 == 0
    part = data.pages(keep)
    np.testing.assert_array_equal(part.weight, data.weight[keep])
    np.testing.assert_array_equal(part.bought.sum(), data.bought[keep[data.page]].sum())
    assert replace(part).counts == data.counts
