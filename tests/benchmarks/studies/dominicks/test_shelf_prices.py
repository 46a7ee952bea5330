"""The juice study on a panel whose demand is planted: elasticities are found, the scorer is anchored, policies help."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.studies.dominicks import shelf_prices
from benchmarks.studies.dominicks.panel import clustered_slope, own_elasticities, panel_arrays, within
from benchmarks.studies.dominicks.policies import (
    STEP,
    best_prices,
    best_uniform,
    brand_range,
    change_limits,
    fit_shelf,
    held_out_rounds,
    make_scorer,
    policy_profits,
)
from fairtag.base.errors import DataError

STORES, WEEKS, BRANDS = 12, 40, 11
OWN = -3.0


@pytest.fixture(scope="module")
def frame():
    """Log-log demand: own elasticity -3, every cross elasticity 0.2; the shop prices 10 % under a 30 % markup."""
    rng = np.random.default_rng(0)
    cost = rng.uniform(0.02, 0.03, BRANDS) * np.exp(rng.normal(0, 0.05, (STORES, WEEKS, BRANDS)))
    price = 1.17 * cost * np.exp(rng.normal(0, 0.1, cost.shape))
    deal = (rng.random(cost.shape) < 0.1).astype(float)
    cross = np.full((BRANDS, BRANDS), 0.2) + (OWN - 0.2) * np.eye(BRANDS)
    log_sold = 12 + rng.normal(0, 0.3, (STORES, 1, BRANDS)) + np.log(price / 0.03) @ cross.T + 0.3 * deal
    log_sold = log_sold + rng.normal(0, 0.1, cost.shape)
    store, week, brand = np.indices(cost.shape)
    columns = {"store": store + 2, "week": week + 40, "brand": brand + 1, "price": price, "cost": cost}
    columns |= {"ounces": np.exp(log_sold), "deal": deal, "feat": rng.permuted(deal, axis=1)}
    return pd.DataFrame({name: values.ravel() for name, values in columns.items()})


@pytest.fixture(scope="module")
def panel(frame):
    return panel_arrays(frame.sample(frac=1, random_state=0))  # the order of the rows does not matter


def test_a_panel_with_a_hole_is_refused(frame):
    with pytest.raises(DataError, match="all eleven"):
        panel_arrays(frame.iloc[1:])


def test_the_planted_elasticity_is_found_with_an_honest_interval(panel):
    found = own_elasticities(panel)
    assert set(shelf_prices.KNOWN) <= set(found)
    for name in ("elasticity_brand_store", "elasticity_brand_store_promo"):
        assert abs(found[name].value - OWN) < 4 * found[name].error
        assert found[name].error < 0.1


def test_within_takes_group_means_off_and_the_slope_is_least_squares(panel):
    rng = np.random.default_rng(1)
    group = rng.integers(0, 5, 300)
    X = rng.normal(size=(300, 2))
    y = X @ [2.0, -1.0] + group + rng.normal(0, 0.1, 300)
    np.testing.assert_allclose(np.bincount(group, weights=within(y, group)), 0, atol=1e-9)
    dummies = np.column_stack([X, np.eye(5)[group]])
    slope = np.linalg.lstsq(dummies, y, rcond=None)[0][0]
    assert clustered_slope(y, X, group, group).value == pytest.approx(slope)


def test_at_the_shops_own_prices_the_score_is_the_recorded_profit(panel):
    scorer = make_scorer(panel, panel.n_stores)
    elasticities = scorer.elasticities(np.ones(panel.n_stores))
    recorded = np.bincount(panel.store, (panel.ounces * (panel.price - panel.cost)).sum(axis=1))
    np.testing.assert_allclose(scorer.profit(panel.price, elasticities), recorded)
    assert np.diag(elasticities) == pytest.approx(OWN, abs=0.2)


def test_policies_leave_promotions_alone_and_keep_their_bounds(panel):
    model, (low, high) = fit_shelf(panel), brand_range(panel)
    free, held = best_prices(model, panel, low, high), best_prices(model, panel, *change_limits(panel, low, high))
    for prices in (free, held):
        np.testing.assert_array_equal(prices[panel.promoted], panel.price[panel.promoted])
    open_ = ~panel.promoted
    assert (free[open_] >= np.broadcast_to(low, free.shape)[open_] - 1e-12).all()
    assert (free[open_] <= np.broadcast_to(high, free.shape)[open_] + 1e-12).all()
    assert np.abs(held / panel.price - 1).max() <= STEP + 1e-9


def test_the_best_uniform_price_is_not_beaten_by_its_neighbours(panel):
    model, (low, high) = fit_shelf(panel), brand_range(panel)
    best = best_uniform(model, panel, low, high)

    def value(prices):
        from fairtag.solver.page_solver import page_value

        y = np.where(panel.promoted, panel.price, prices) / model.unit
        return page_value(y, model.utilities(panel), model.b, panel.cost / model.unit)[0].mean()

    for brand in range(BRANDS):
        for step in (0.99, 1.01):
            other = best.copy()
            other[brand] = np.clip(other[brand] * step, low[brand], high[brand])
            assert value(other) <= value(best) + 1e-9


def test_a_shop_that_prices_too_low_is_improved_on_in_weeks_never_seen(panel):
    rounds = held_out_rounds(panel)
    totals = policy_profits(rounds, np.ones(panel.n_stores))
    assert totals["learned_within_limit"] > 1.05 * totals["shop"]
    assert totals["learned"] > totals["shop"]
    assert sum(len(each.scorer.panel.week) for each in rounds) == STORES * WEEKS
    first = panel.rows(panel.store == 0)
    recorded = (first.ounces * (first.price - first.cost)).sum()
    assert policy_profits(rounds, 2 * np.eye(panel.n_stores)[0])["shop"] == pytest.approx(2 * recorded)


@pytest.mark.data
def test_the_known_elasticities_are_reproduced():
    folder = Path(os.environ.get("FAIRTAG_DATA", Path(__file__).parents[5] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set FAIRTAG_DATA to its folder")
    from fairtag.data.dominicks import read_panel

    found = own_elasticities(panel_arrays(read_panel(folder)))
    for name, known in shelf_prices.KNOWN.items():
        assert found[name].value == pytest.approx(known, abs=0.005), name
    brands = {name: c.value for name, c in found.items() if name.startswith("elasticity_of_brand_")}
    assert max(brands, key=brands.get) == "elasticity_of_brand_11"
    assert min(brands, key=brands.get) == "elasticity_of_brand_4"
