"""Errors clustered by customer: equal to statsmodels where it can do the model, wider where pages repeat each other."""

import numpy as np
import pytest
import statsmodels.api as sm

from fairtag.demand.calibration import clustered_covariance
from fairtag.demand.choices import Choices
from fairtag.demand.logit import Prior, fit_logit, laplace


def one_item_pages(n=600, clusters=60, seed=3):
    """Pages of one item and the outside option: an ordinary logit. Customers differ in what the model does not know."""
    rng = np.random.default_rng(seed)
    customer = rng.integers(0, clusters, n)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, 2))])
    utility = X @ np.array([-0.3, 0.8, -0.5]) + rng.normal(0, 1.2, clusters)[customer]
    bought = (rng.random(n) < 1 / (1 + np.exp(-utility))).astype(float)
    return Choices(X, np.arange(n), bought, 1 - bought), customer


def test_it_is_statsmodels_clustered_covariance():
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
