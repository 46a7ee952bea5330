"""Fits against statsmodels, L-BFGS and the full Hessian; bounds, priors and data without an optimum."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fairtag.base.errors import ConfigError, NotConverged
from fairtag.demand.choices import (
    Choices,
    log_likelihood,
    probabilities,
    score,
)
from fairtag.demand.logit import LogitFit, Prior, effect_variances, fit_logit, laplace, shared_variances


def statsmodels_table(choices):
    """The same choices for statsmodels: the outside option is one more row of zeros on every page."""
    rows, chosen, groups = [], [], []
    for p in range(choices.n_pages):
        on_page = choices.page == p
        rows.append(np.vstack([choices.X[on_page], np.zeros(choices.X.shape[1])]))
        chosen.append(np.r_[choices.bought[on_page], choices.outside[p]])
        groups.append(np.full(int(on_page.sum()) + 1, p))
    return np.concatenate(chosen), np.vstack(rows), np.concatenate(groups)


def test_coefficients_and_errors_equal_those_of_statsmodels_conditional_logit(rng, simulate):
    from statsmodels.discrete.conditional_models import ConditionalLogit

    choices, _ = simulate(rng, pages=400, features=4)
    fit = fit_logit(choices)
    chosen, rows, groups = statsmodels_table(choices)
    reference = ConditionalLogit(chosen, rows, groups=groups).fit(method="newton", disp=False)  # its BFGS stops at 4e-5
    np.testing.assert_allclose(fit.theta, reference.params, atol=1e-6)
    np.testing.assert_allclose(laplace(choices, fit).standard_errors, reference.bse, atol=1e-4)
    assert fit.log_likelihood == pytest.approx(reference.llf, abs=1e-7)


def test_pages_of_equal_items_equal_statsmodels_multinomial_logit(rng, simulate):
    from statsmodels.discrete.discrete_model import MNLogit

    pages, items = 500, 3
    covariate = rng.normal(size=pages)
    intercept = np.tile(np.eye(items), (pages, 1))
    X = np.hstack([intercept, intercept * np.repeat(covariate, items)[:, None]])
    choices, _ = simulate(rng, pages=pages, features=6, sizes=(items, items + 1))
    choices = Choices(X, choices.starts, choices.bought, choices.outside)
    fit = fit_logit(choices)
    won = choices.bought.reshape(pages, items)
    outcome = np.where(won.any(axis=1), won.argmax(axis=1) + 1, 0)
    exog = np.column_stack([np.ones(pages), covariate])
    reference = MNLogit(outcome, exog).fit(method="newton", disp=False, tol=1e-12)
    np.testing.assert_allclose(fit.theta, np.asarray(reference.params).ravel(), atol=1e-6)
    np.testing.assert_allclose(laplace(choices, fit).standard_errors, np.asarray(reference.bse).ravel(), atol=1e-4)


def test_several_purchases_on_a_page_count_as_that_many_pages(rng, simulate):
    choices, _ = simulate(rng, pages=80, repeat=4)
    rows = np.concatenate([np.flatnonzero(choices.page == p) for p in choices.page[np.flatnonzero(choices.bought)]])
    pages, bought, outside = [], [], []
    for i in np.flatnonzero(choices.bought):
        on_page = np.flatnonzero(choices.page == choices.page[i])
        for _ in range(int(choices.bought[i])):
            pages.append(on_page)
            bought.append((on_page == i).astype(float))
            outside.append(0.0)
    for p in range(choices.n_pages):
        for _ in range(int(choices.outside[p])):
            pages.append(np.flatnonzero(choices.page == p))
            bought.append(np.zeros(pages[-1].size))
            outside.append(1.0)
    starts = np.concatenate([[0], np.cumsum([p.size for p in pages])[:-1]])
    single = Choices(choices.X[np.concatenate(pages)], starts, np.concatenate(bought), np.array(outside))
    assert rows.size > 0
    np.testing.assert_allclose(fit_logit(choices).theta, fit_logit(single).theta, atol=1e-9)


def test_the_posterior_mode_equals_lbfgs_on_the_same_objective(rng, simulate):
    choices, _ = simulate(rng, pages=300, groups=20, sizes=(3, 10))
    prior = Prior(np.array([0.2, 0.0, -0.1]), np.array([1.0, 0.0, 4.0]), np.array([6.0, 9.0]))
    fit = fit_logit(choices, prior)

    def loss(point):
        theta, effects = point[:3], point[3:].reshape(20, 2)
        utility = choices.utility(theta, effects)
        q, _ = probabilities(utility, choices.starts, choices.page)
        shared, own = score(choices, q)
        away = theta - prior.mean
        value = log_likelihood(choices, utility) - 0.5 * (
            prior.precision @ away**2 + np.sum(prior.effects * effects**2)
        )
        slope = np.concatenate([shared - prior.precision * away, (own - prior.effects * effects).ravel()])
        return -value, -slope

    other = minimize(
        loss, np.zeros(43), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 0, "gtol": 1e-8}
    )
    found = np.concatenate([fit.theta, fit.effects.ravel()])
    np.testing.assert_allclose(found, other.x, atol=2e-6)


def test_the_covariance_of_theta_is_that_of_the_full_hessian_with_groups(rng, simulate, dense_information):
    choices, _ = simulate(rng, pages=300, groups=20, sizes=(3, 10))
    prior = Prior(np.zeros(3), np.zeros(3), np.array([6.0, 9.0]))
    fit = fit_logit(choices, prior)
    spread = laplace(choices, fit, prior)
    q, _ = probabilities(choices.utility(fit.theta, fit.effects), choices.starts, choices.page)
    precision = np.concatenate([np.zeros(3), np.tile(prior.effects, 20)])
    full = np.linalg.inv(dense_information(choices, q) + np.diag(precision))
    np.testing.assert_allclose(spread.shared, full[:3, :3], rtol=1e-6, atol=1e-10)
    cross = -np.einsum("gmk,kl->gml", spread.gain, spread.shared).reshape(40, 3)
    np.testing.assert_allclose(cross, full[3:, :3], rtol=1e-5, atol=1e-9)
    total = spread.conditional + np.einsum("gmk,kl,gnl->gmn", spread.gain, spread.shared, spread.gain)
    exact = np.array([full[3 + 2 * g : 5 + 2 * g, 3 + 2 * g : 5 + 2 * g] for g in range(20)])
    ratio = np.sqrt(np.diagonal(total, axis1=1, axis2=2) / np.diagonal(exact, axis1=1, axis2=2))
    assert np.all((ratio > 0.95) & (ratio <= 1.0 + 1e-9))  # groups apart, given theta: at most 5 % of an error is lost


def test_variances_of_the_effects_are_the_inverse_of_their_own_block(rng, simulate):
    choices, _ = simulate(rng, pages=100, groups=12, sizes=(3, 8))
    prior = Prior(np.zeros(3), np.ones(3), np.array([2.0, 3.0]))
    fit = fit_logit(choices, prior)
    spread = laplace(choices, fit, prior)
    expected = np.diagonal(spread.conditional, axis1=1, axis2=2)
    np.testing.assert_allclose(effect_variances(choices, fit, prior), expected, rtol=1e-12)


def test_variances_of_the_shared_coefficients_are_exact_without_groups_and_close_with_them(rng, simulate):
    plain, _ = simulate(rng, pages=300)
    fit = fit_logit(plain)
    np.testing.assert_allclose(
        shared_variances(plain, fit, Prior.flat(3)), np.diag(laplace(plain, fit).shared), rtol=1e-10
    )
    grouped, _ = simulate(rng, pages=300, groups=20, sizes=(3, 10))
    prior = Prior(np.zeros(3), np.zeros(3), np.array([6.0, 9.0]))
    fit = fit_logit(grouped, prior)
    exact = np.diag(laplace(grouped, fit, prior).shared)
    found = shared_variances(grouped, fit, prior)
    assert np.all(found <= exact * (1 + 1e-9))
    np.testing.assert_allclose(found, exact, rtol=0.1)


def test_planted_coefficients_lie_within_four_errors(rng, simulate):
    choices, theta = simulate(rng, pages=20_000, features=5)
    fit = fit_logit(choices)
    assert np.abs((fit.theta - theta) / laplace(choices, fit).standard_errors).max() < 4


def test_a_coefficient_below_its_bound_rests_on_it_and_the_others_are_the_optimum_given_it(rng, simulate):
    choices, _ = simulate(rng, pages=2_000, theta=np.array([-1.0, 0.5, 0.8]))
    lower = np.array([0.2, -np.inf, -np.inf])
    fit = fit_logit(choices, lower=lower)
    assert fit.theta[0] == 0.2
    assert fit.bound.tolist() == [True, False, False]
    q, _ = probabilities(choices.utility(fit.theta, fit.effects), choices.starts, choices.page)
    gradient, _ = score(choices, q)
    assert gradient[0] < 0
    np.testing.assert_allclose(gradient[1:], 0, atol=1e-5)
    covariance = laplace(choices, fit).shared
    assert np.all(covariance[0] == 0)
    assert np.all(np.diag(covariance)[1:] > 0)


def test_a_bound_that_does_not_bind_changes_nothing(rng, simulate):
    choices, _ = simulate(rng, pages=500, theta=np.array([1.0, 0.5, 0.8]))
    np.testing.assert_allclose(fit_logit(choices, lower=np.full(3, -5.0)).theta, fit_logit(choices).theta, atol=1e-8)


def test_a_start_at_the_optimum_ends_at_once(rng, simulate):
    choices, _ = simulate(rng, pages=300, groups=20, sizes=(3, 10))
    prior = Prior(np.zeros(3), np.zeros(3), np.array([6.0, 9.0]))
    fit = fit_logit(choices, prior)
    again = fit_logit(choices, prior, start=fit)
    assert again.iterations == 1
    np.testing.assert_allclose(again.theta, fit.theta, atol=1e-6)


def test_separated_data_are_refused_without_a_prior_and_fitted_with_one():
    X = np.array([[1.0], [-1.0]] * 20)
    choices = Choices(X, np.arange(0, 40, 2), np.tile([1.0, 0.0], 20), np.zeros(20))
    with pytest.raises(NotConverged, match="prior"):
        fit_logit(choices)
    fit = fit_logit(choices, Prior(np.zeros(1), np.ones(1), np.zeros(0)))
    assert 0 < fit.theta[0] < 10


def test_data_without_a_purchase_are_refused_without_a_prior_and_fitted_with_one():
    choices = Choices(np.ones((40, 1)), np.arange(0, 40, 2), np.zeros(40), np.ones(20))
    with pytest.raises(NotConverged, match="prior"):
        fit_logit(choices)
    assert fit_logit(choices, Prior(np.zeros(1), np.ones(1), np.zeros(0))).theta[0] < -1


def test_collinear_features_are_refused_without_a_prior(rng, simulate):
    choices, _ = simulate(rng, pages=200, features=2)
    twice = Choices(np.hstack([choices.X, choices.X[:, :1]]), choices.starts, choices.bought, choices.outside)
    with pytest.raises(NotConverged, match="collinear"):
        fit_logit(twice)


def test_one_item_pages_are_a_logistic_regression(rng):
    from statsmodels.discrete.discrete_model import Logit

    n = 400
    X = np.column_stack([np.ones(n), rng.normal(size=n)])
    y = (rng.random(n) < 1 / (1 + np.exp(-X @ [0.3, 1.1]))).astype(float)
    fit = fit_logit(Choices(X, np.arange(n), y, 1 - y))
    reference = Logit(y, X).fit(disp=False, tol=1e-12)
    np.testing.assert_allclose(fit.theta, reference.params, atol=1e-6)


def test_features_of_very_unequal_scale_reach_the_same_likelihood(rng, simulate):
    choices, _ = simulate(rng, pages=400, features=3)
    scaled = Choices(choices.X * [1e6, 1.0, 1e-6], choices.starts, choices.bought, choices.outside)
    plain, extreme = fit_logit(choices), fit_logit(scaled)
    assert extreme.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-9)
    np.testing.assert_allclose(extreme.theta * [1e6, 1.0, 1e-6], plain.theta, rtol=1e-4)


def test_group_effects_without_a_prior_are_refused(rng, simulate):
    choices, _ = simulate(rng, pages=50, groups=12)
    with pytest.raises(ConfigError, match="above 0"):
        fit_logit(choices)
    with pytest.raises(ConfigError, match="above 0"):
        fit_logit(choices, Prior(np.zeros(3), np.zeros(3), np.zeros(2)))


def test_a_prior_of_another_length_is_refused(rng, simulate):
    choices, _ = simulate(rng, pages=50)
    with pytest.raises(ConfigError, match="2 means for 3 features"):
        fit_logit(choices, Prior.flat(2))


def test_fits_are_frozen_values():
    fit = LogitFit(np.zeros(1), np.zeros((0, 0)), np.zeros(1, dtype=bool), 0.0, 1)
    with pytest.raises(AttributeError):
        fit.iterations = 2
