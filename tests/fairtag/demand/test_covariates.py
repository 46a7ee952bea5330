"""Covariates are controls of demand: promotions in a display do not bias the slope, and no price hangs on them."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.demand.calibration import calibrate
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.demand_model import DemandModel
from fairtag.demand.elasticity import check_elasticity
from fairtag.demand.fit import fit_demand

SLOPE, LIFT, ITEMS, SIZE = 4.0, 1.2, 12, 4


def displayed_shop(pages=2_000, seed=4):
    """Pages of one category on which what is in the display is 15 % cheaper, and sells better for being there."""
    rng = np.random.default_rng(seed)
    item = np.concatenate([rng.choice(ITEMS, SIZE, replace=False) for _ in range(pages)])
    page = np.repeat(np.arange(pages), SIZE)
    display = rng.random(item.size) < 0.25
    cost = rng.uniform(0.4, 0.8, item.size)
    y = np.clip(1.0 + 0.5 * (cost - 0.6) - 0.15 * display + 0.05 * rng.normal(size=item.size), 0.5, 1.3)
    u = 1.5 + 0.1 * (item % 4) - SLOPE * y + LIFT * display + rng.gumbel(size=item.size)
    best = u.reshape(pages, SIZE).max(axis=1)
    bought = (u == best[page]) & (best > rng.gumbel(size=pages))[page]
    training = pd.DataFrame(
        {
            schema.PAGE_ID: page.astype(str),
            schema.ITEM_ID: [f"i{i:02d}" for i in item],
            schema.PRICE: 10.0 * y,
            schema.LIST_PRICE: 10.0,
            schema.UNIT_COST: 10.0 * cost,
            schema.PURCHASED: bought,
            schema.DISPLAY: display.astype(float),
        }
    )
    catalogue = pd.DataFrame({schema.ITEM_ID: [f"i{i:02d}" for i in range(ITEMS)], schema.CATEGORY: "cheese"})
    return training, Assortment.of(catalogue)


def read(training, assortment, *, covariates=(), instruments=False):
    frame = training if instruments else training.drop(columns=schema.UNIT_COST)
    return demand_data(frame, assortment, similarity=np.ones(len(frame)), covariates=covariates)


def mean_slope(model):
    """Slope of the mean item, and its standard error."""
    rows = np.arange(ITEMS)
    _, drawn = model.draws(rows, np.ones(ITEMS), n_draws=500)
    return model.page(rows, np.ones(ITEMS))[1].mean(), drawn.mean(axis=1).std()


@pytest.fixture(scope="module")
def shop():
    return displayed_shop()


@pytest.fixture(scope="module")
def data(shop):
    return read(*shop, covariates=(schema.DISPLAY,))


@pytest.fixture(scope="module")
def model(data):
    return fit_demand(data)


def test_without_the_display_its_effect_counts_as_the_prices(shop):
    slope, error = mean_slope(fit_demand(read(*shop)))
    assert slope - SLOPE > 4 * error


def test_with_the_display_slope_and_effect_lie_in_their_intervals(model):
    slope, error = mean_slope(model)
    assert abs(slope - SLOPE) < 1.96 * error
    value, low, high = model.covariate_effects()[schema.DISPLAY]
    assert low < LIFT < high
    assert low < value < high


def test_a_cost_that_moves_prices_helps_only_beside_the_display(shop):
    """The control function of a display that the first stage does not know carries the display into nu."""
    with_display = read(*shop, covariates=(schema.DISPLAY,), instruments=True)
    without = read(*shop, instruments=True)
    shown = with_display.covariates[:, 0]
    assert with_display.first_stage.used
    assert abs(np.corrcoef(with_display.first_stage.nu, shown)[0, 1]) < 0.03
    assert np.corrcoef(without.first_stage.nu, shown)[0, 1] < -0.5
    slope, error = mean_slope(fit_demand(with_display))
    assert abs(slope - SLOPE) < 1.96 * error


def test_the_cross_check_controls_for_the_display_as_well(shop, data, model):
    (found,) = check_elasticity(model, data).categories
    assert found.low <= found.model <= found.high
    naive = read(*shop)
    (biased,) = check_elasticity(fit_demand(naive), naive).categories
    assert biased.check < found.low


def test_a_page_is_priced_as_if_every_covariate_were_at_its_training_mean(data, model):
    rows, similarity = np.arange(3), np.ones(3)
    usual = np.full((3, 1), data.covariates.mean())
    nobody = np.full((3, len(schema.USER_PRICING_FEATURES)), np.nan)
    page = model.page(rows, similarity)
    np.testing.assert_allclose(model.utilities(rows, similarity, nobody, np.zeros(3), usual), page, rtol=1e-12)
    np.testing.assert_allclose(model.utilities(rows, similarity, nobody, np.zeros(3)), page, rtol=1e-12)
    np.testing.assert_array_equal(
        model.utilities(rows, similarity, nobody, np.zeros(3), np.full((3, 1), np.nan))[0], page[0]
    )


def test_logged_values_move_utilities_and_their_draws_by_the_effect_and_no_slope(model):
    rows, similarity, shown = np.arange(3), np.ones(3), np.ones((3, 1))
    effect = model.covariate_effects()[schema.DISPLAY][0] * (1.0 - model.covariates.mean_of(schema.DISPLAY))
    nobody = np.full((3, len(schema.USER_PRICING_FEATURES)), np.nan)
    a0, b0 = model.utilities(rows, similarity, nobody, np.zeros(3))
    a1, b1 = model.utilities(rows, similarity, nobody, np.zeros(3), shown)
    np.testing.assert_allclose(a1 - a0, effect, rtol=1e-9)
    np.testing.assert_array_equal(b1, b0)
    usual, moved = (model.draws(rows, similarity, n_draws=2_000, covariates=each) for each in (None, shown))
    assert (moved[0] - usual[0]).mean() == pytest.approx(effect, abs=0.02)
    np.testing.assert_array_equal(moved[1], usual[1])


def test_calibration_reads_what_later_pages_logged(model, data):
    later = read(*displayed_shop(1_500, seed=1), covariates=(schema.DISPLAY,))
    found = calibrate(model, later, data)
    assert found.slope.low <= 1.0 <= found.slope.high
    unread = calibrate(model, replace(later, covariates=np.full_like(later.covariates, np.nan)), data)
    assert found.log_loss < unread.log_loss


def test_a_covariate_that_does_not_vary_in_a_part_of_the_log_moves_nothing(shop):
    training, assortment = shop
    still = read(training.assign(**{schema.DISPLAY: 1.0}), assortment, covariates=(schema.DISPLAY,))
    model = fit_demand(still)
    assert model.coefficients()["gamma[display]"]["value"] == pytest.approx(0.0)
    assert mean_slope(model)[0] == pytest.approx(mean_slope(fit_demand(read(*shop)))[0], rel=1e-3)


def test_a_saved_model_keeps_its_covariates(model):
    again = DemandModel.from_arrays(model.arrays(), json.loads(json.dumps(model.metadata())))
    assert again.covariates.names == (schema.DISPLAY,)
    assert again.covariate_effects() == model.covariate_effects()
    for drawn, before in zip(
        again.draws(np.arange(3), np.ones(3), covariates=np.ones((3, 1))),
        model.draws(np.arange(3), np.ones(3), covariates=np.ones((3, 1))),
        strict=True,
    ):
        np.testing.assert_array_equal(drawn, before)


@pytest.mark.parametrize("names", [("clicked",), ("price",), ("x",), (schema.DISPLAY, schema.DISPLAY)])
def test_a_name_that_demand_may_not_use_is_refused(names):
    with pytest.raises(ConfigError, match="covariates"):
        DemandConfig(covariates=names)
