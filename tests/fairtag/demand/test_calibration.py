import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.demand.calibration import calibrate, reliability
from fairtag.demand.fit import DemandConfig, fit_demand


@pytest.fixture(scope="module")
def parts(shops):
    """Training pages, held-out pages and a model of the former."""
    data = shops(pages=5_000, seed=7).data()
    later = np.arange(data.starts.size) >= 3_000
    training, held_out = data.pages(~later), data.pages(later)
    return training, held_out, fit_demand(training, DemandConfig(components=3))


def scaled(model, factor):
    """The model with all shared coefficients and item effects times a factor: too sure, or not sure enough."""
    posterior = model.posterior
    return replace(
        model, posterior=replace(posterior, theta=factor * posterior.theta, effects=factor * posterior.effects)
    )


def test_a_model_of_the_right_form_is_calibrated_on_pages_it_has_not_seen(parts):
    training, held_out, model = parts
    found = calibrate(model, held_out, training)
    assert 0.85 < found.slope.value < 1.15
    assert found.slope.low < 1 < found.slope.high
    assert found.intercept.low < 0 < found.intercept.high
    assert found.price_slope.low < 1 < found.price_slope.high
    assert found.expected == pytest.approx(found.purchases, rel=0.08)
    assert found.pages == 2_000


def test_a_model_that_is_too_sure_gets_a_slope_below_one(parts):
    training, held_out, model = parts
    honest = calibrate(model, held_out, training).slope.value
    found = calibrate(scaled(model, 2.0), held_out, training).slope
    assert found.value == pytest.approx(honest / 2, rel=1e-4)
    assert found.high < 0.9


def test_a_wrong_price_response_shows_in_the_price_slope(parts):
    from fairtag.demand.demand_model import Reaction

    training, held_out, model = parts
    half = model.with_reaction(Reaction(np.full(3, 0.5), np.ones(3, dtype=bool)))
    honest = calibrate(model, held_out, training).price_slope.value
    assert calibrate(half, held_out, training).price_slope.value == pytest.approx(2 * honest, rel=0.15)


def test_the_model_beats_the_baselines_and_these_are_ordered(parts):
    training, held_out, model = parts
    found = calibrate(model, held_out, training)
    assert found.log_loss < found.baselines["no price"] - 0.01
    assert found.baselines["no price"] <= found.baselines["constant"] + 1e-3


def test_the_log_loss_is_the_mean_over_pages_of_what_was_done(parts):
    training, held_out, model = parts
    few = np.zeros(held_out.starts.size, dtype=bool)
    few[:50] = True
    part = held_out.pages(few)
    a, b = model.utilities(part.item, part.similarity, part.behaviour[part.page], part.first_stage.nu)
    weights = np.exp(a - b * part.y)
    losses = []
    for p in range(50):
        rows = part.page == p
        total = 1 + weights[rows].sum()
        chosen = weights[rows] @ part.bought[rows] if part.bought[rows].any() else 1.0
        losses.append(-np.log(chosen / total))
    assert calibrate(model, part, training).log_loss == pytest.approx(np.mean(losses), rel=1e-10)


def test_held_out_pages_without_a_purchase_cannot_be_scored(parts):
    training, held_out, model = parts
    nothing = held_out.pages(held_out.outside > 0)
    with pytest.raises(DataError, match="no purchase"):
        calibrate(model, nothing, training)


def test_the_report_is_json(parts):
    training, held_out, model = parts
    report = json.loads(json.dumps(calibrate(model, held_out, training).as_json(), allow_nan=False))
    assert len(report["bins"]) == 10
    assert report["slope"]["low"] < report["slope"]["value"] < report["slope"]["high"]


def test_bins_hold_all_rows_in_rising_order_of_prediction():
    rng = np.random.default_rng(0)
    q = rng.beta(1, 20, size=10_003)
    bins = reliability(q, (rng.random(q.size) < q).astype(float))
    assert sum(b.rows for b in bins) == q.size
    assert all(a.predicted <= b.predicted for a, b in itertools.pairwise(bins))
    assert sum(b.low <= b.predicted <= b.high for b in bins) >= 8


def test_the_wilson_interval_equals_that_of_statsmodels():
    from statsmodels.stats.proportion import proportion_confint

    bought = np.r_[np.ones(3), np.zeros(47)]
    (only,) = reliability(np.full(50, 0.06), bought, n_bins=1)
    low, high = proportion_confint(3, 50, method="wilson")
    assert (only.low, only.high) == pytest.approx((low, high), abs=1e-7)


def test_fewer_rows_than_bins_give_fewer_bins():
    assert [b.rows for b in reliability(np.array([0.1, 0.2, 0.3]), np.zeros(3))] == [1, 1, 1]
