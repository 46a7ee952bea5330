import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from fairtag.base.errors import DataError
from fairtag.demand.calibration import calibrate, clustered_covariance, reliability
from fairtag.demand.choices import Choices
from fairtag.demand.config import DemandConfig
from fairtag.demand.fit import fit_demand
from fairtag.demand.logit import Prior, fit_logit, laplace


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
    from fairtag.demand.demand_model import SlopeCorrection

    training, held_out, model = parts
    half = model.with_correction(SlopeCorrection(np.full(3, 0.5), np.ones(3, dtype=bool)))
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


def one_item_pages(n=600, clusters=60, seed=3):
    """Pages of one item and the outside option: an ordinary logit. Customers differ in what the model does not know."""
    rng = np.random.default_rng(seed)
    customer = rng.integers(0, clusters, n)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    utility = X @ np.array([-0.3, 0.8, -0.5]) + rng.normal(0, 1.2, clusters)[customer]
    bought = (rng.random(n) < 1 / (1 + np.exp(-utility))).astype(float)
    return Choices(X, np.arange(n), bought, 1 - bought), customer


def test_clustered_errors_equal_those_of_statsmodels():
    choices, customer = one_item_pages()
    fit, prior = fit_logit(choices), Prior.flat(3)
    with_groups = sm.Logit(choices.bought, choices.X).fit(
        disp=0, tol=1e-12, maxiter=100, cov_type="cluster", cov_kwds={"groups": customer}
    )
    assert clustered_covariance(choices, fit, prior, customer) == pytest.approx(with_groups.cov_params(), rel=1e-6)


def test_every_page_twice_leaves_the_errors_as_they_were_and_the_inverse_hessian_halves_them():
    choices, _ = one_item_pages(clusters=600)
    twice = Choices(
        np.repeat(choices.X, 2, axis=0), np.arange(1_200), np.repeat(choices.bought, 2), np.repeat(choices.outside, 2)
    )
    fit, prior = fit_logit(choices), Prior.flat(3)
    alone = clustered_covariance(choices, fit, prior, np.arange(600))
    again = clustered_covariance(twice, fit_logit(twice), prior, np.repeat(np.arange(600), 2))
    assert np.diag(again) == pytest.approx(np.diag(alone), rel=0.01)
    assert np.diag(laplace(twice, fit, prior).shared) == pytest.approx(
        np.diag(laplace(choices, fit, prior).shared) / 2, rel=1e-6
    )


def test_pages_of_several_items_sum_their_scores_by_customer():
    rng = np.random.default_rng(0)
    n_pages, size = 200, 4
    X = rng.normal(size=(n_pages * size, 2))
    choice = rng.integers(0, size + 1, n_pages)
    bought = (choice[:, None] == np.arange(size)).astype(float).ravel()
    choices = Choices(X, np.arange(0, n_pages * size, size), bought, (choice == size).astype(float))
    fit, prior, customer = fit_logit(choices), Prior.flat(2), rng.integers(0, 40, n_pages)
    expected = np.zeros((2, 2))
    utility = (X @ fit.theta).reshape(n_pages, size)
    q = np.exp(utility) / (1 + np.exp(utility).sum(axis=1, keepdims=True))
    for one in np.unique(customer):
        mine = customer == one
        s = np.einsum("ps,psk->k", bought.reshape(n_pages, size)[mine] - q[mine], X.reshape(n_pages, size, 2)[mine])
        expected += np.outer(s, s)
    bread = laplace(choices, fit, prior).shared
    present = np.unique(customer).size
    few = present / (present - 1) * 199 / 198
    assert clustered_covariance(choices, fit, prior, customer) == pytest.approx(
        few * bread @ expected @ bread, rel=1e-9
    )


def test_one_customer_alone_tells_nothing_of_the_spread_between_customers():
    choices, _ = one_item_pages(n=50)
    fit, prior = fit_logit(choices), Prior.flat(3)
    found = clustered_covariance(choices, fit, prior, np.zeros(50, dtype=np.int64))
    assert found == pytest.approx(laplace(choices, fit, prior).shared)
