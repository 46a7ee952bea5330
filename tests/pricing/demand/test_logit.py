import numpy as np
import pytest
from scipy.optimize import minimize

from pricing.demand.choices import (
    BLOCK_ROWS,
    Choices,
    information,
    information_times,
    log_likelihood,
    probabilities,
    score,
)
from pricing.demand.logit import LogitFit, Prior, effect_variances, fit_logit, laplace, shared_variances
from pricing.errors import ConfigError, DataError, NotConverged


def simulate(rng, pages=600, features=3, groups=0, sizes=(1, 9), repeat=1, theta=None):
    """Pages of unequal size with choices drawn from known coefficients."""
    size = rng.integers(*sizes, pages)
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    n = int(size.sum())
    X = rng.normal(size=(n, features))
    theta = rng.normal(size=features) * 0.7 if theta is None else theta
    utility = X @ theta
    group = Z = None
    if groups:
        group = np.concatenate([rng.choice(groups, k, replace=False) for k in size])
        Z = np.column_stack([np.ones(n), rng.normal(size=n)])
        utility = utility + (Z * (0.5 * rng.normal(size=(groups, 2)))[group]).sum(axis=1)
    page = np.repeat(np.arange(pages), size)
    bought, outside = np.zeros(n), np.zeros(pages)
    for _ in range(repeat):
        noisy = utility + rng.gumbel(size=n)
        none = rng.gumbel(size=pages)
        best = np.maximum.reduceat(noisy, starts)
        bought += (noisy == best[page]) & (best[page] > none[page])
        outside += best <= none
    return Choices(X, starts, bought, outside, group, Z, groups), theta


def dense_information(choices, q):
    """Minus the Hessian, written out page by page over all coefficients, groups included."""
    columns = [choices.X]
    if choices.Z is not None:
        one_hot = np.eye(choices.n_groups)[choices.group]
        columns.append((one_hot[:, :, None] * choices.Z[:, None, :]).reshape(choices.n_rows, -1))
    full = np.hstack(columns)
    total = np.zeros((full.shape[1], full.shape[1]))
    for p in range(choices.n_pages):
        rows = choices.page == p
        W = np.diag(q[rows]) - np.outer(q[rows], q[rows])
        total += choices.trials[p] * full[rows].T @ W @ full[rows]
    return total


def statsmodels_table(choices):
    """The same choices for statsmodels: the outside option is one more row of zeros on every page."""
    rows, chosen, groups = [], [], []
    for p in range(choices.n_pages):
        on_page = choices.page == p
        rows.append(np.vstack([choices.X[on_page], np.zeros(choices.X.shape[1])]))
        chosen.append(np.r_[choices.bought[on_page], choices.outside[p]])
        groups.append(np.full(int(on_page.sum()) + 1, p))
    return np.concatenate(chosen), np.vstack(rows), np.concatenate(groups)


def test_coefficients_and_errors_equal_those_of_statsmodels_conditional_logit(rng):
    from statsmodels.discrete.conditional_models import ConditionalLogit

    choices, _ = simulate(rng, pages=400, features=4)
    fit = fit_logit(choices)
    chosen, rows, groups = statsmodels_table(choices)
    reference = ConditionalLogit(chosen, rows, groups=groups).fit(method="newton", disp=False)  # its BFGS stops at 4e-5
    np.testing.assert_allclose(fit.theta, reference.params, atol=1e-6)
    np.testing.assert_allclose(laplace(choices, fit).standard_errors, reference.bse, atol=1e-4)
    assert fit.log_likelihood == pytest.approx(reference.llf, abs=1e-7)


def test_pages_of_equal_items_equal_statsmodels_multinomial_logit(rng):
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


def test_several_purchases_on_a_page_count_as_that_many_pages(rng):
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


@pytest.mark.parametrize("groups", [0, 12])
def test_the_gradient_equals_finite_differences(rng, groups):
    choices, _ = simulate(rng, pages=60, groups=groups, sizes=(1, 8))
    theta, effects = rng.normal(size=3), rng.normal(size=(groups, choices.n_loadings))
    q, _ = probabilities(choices.utility(theta, effects), choices.starts, choices.page)
    shared, own = score(choices, q)
    analytic = np.concatenate([shared, own.ravel()])

    def value(point):
        return log_likelihood(choices, choices.utility(point[:3], point[3:].reshape(effects.shape)))

    at, h = np.concatenate([theta, effects.ravel()]), 1e-5
    numeric = [(value(at + h * e) - value(at - h * e)) / (2 * h) for e in np.eye(at.size)]
    np.testing.assert_allclose(analytic, numeric, atol=2e-6)


@pytest.mark.parametrize("groups", [0, 12])
def test_the_hessian_equals_finite_differences_of_the_gradient(rng, groups):
    choices, _ = simulate(rng, pages=60, groups=groups, sizes=(1, 8))
    at, h = rng.normal(size=3 + 2 * groups), 1e-5

    def gradient(point):
        effects = point[3:].reshape(groups, choices.n_loadings)
        q, _ = probabilities(choices.utility(point[:3], effects), choices.starts, choices.page)
        shared, own = score(choices, q)
        return np.concatenate([shared, own.ravel()])

    numeric = -np.array([(gradient(at + h * e) - gradient(at - h * e)) / (2 * h) for e in np.eye(at.size)])
    q, _ = probabilities(
        choices.utility(at[:3], at[3:].reshape(groups, choices.n_loadings)), choices.starts, choices.page
    )
    np.testing.assert_allclose(dense_information(choices, q), numeric, atol=1e-5)


def test_the_arrow_form_holds_the_parts_of_the_full_hessian(rng):
    choices, _ = simulate(rng, pages=50, groups=9, sizes=(2, 8))
    q, _ = probabilities(choices.X @ np.ones(3), choices.starts, choices.page)
    full, arrow = dense_information(choices, q), information(choices, q)
    np.testing.assert_allclose(arrow.shared, full[:3, :3], atol=1e-12)
    np.testing.assert_allclose(arrow.border.reshape(18, 3), full[3:, :3], atol=1e-12)
    for g in range(9):
        block = slice(3 + 2 * g, 5 + 2 * g)
        np.testing.assert_allclose(arrow.blocks[g], full[block, block], atol=1e-12)
    majorised = full.copy()
    majorised[3:, 3:] = 0.0
    for g in range(9):
        block = slice(3 + 2 * g, 5 + 2 * g)
        majorised[block, block] = arrow.majorant[g]
    assert np.linalg.eigvalsh(majorised - full)[0] > -1e-10
    direction, own = rng.normal(size=3), rng.normal(size=(9, 2))
    shared, groups = information_times(choices, q, direction, own)
    expected = full @ np.concatenate([direction, own.ravel()])
    np.testing.assert_allclose(np.concatenate([shared, groups.ravel()]), expected, atol=1e-10)


def test_blocks_of_pages_add_up_to_the_whole(rng, monkeypatch):
    choices, _ = simulate(rng, pages=100, groups=12, sizes=(1, 8))
    q, _ = probabilities(choices.X @ np.ones(3), choices.starts, choices.page)
    whole = information(choices, q)
    monkeypatch.setattr("pricing.demand.choices.BLOCK_ROWS", 10)
    slices = list(choices.blocks())
    assert len(slices) > 20
    assert [rows.start for rows, _ in slices[1:]] == [rows.stop for rows, _ in slices[:-1]]
    pieces = information(choices, q)
    np.testing.assert_allclose(pieces.shared, whole.shared, rtol=1e-12)
    np.testing.assert_allclose(pieces.border, whole.border, atol=1e-12)


def test_a_page_larger_than_a_block_is_kept_whole():
    n = BLOCK_ROWS + 5
    choices = Choices(np.zeros((n, 1)), np.array([0]), np.zeros(n), np.ones(1))
    assert [(rows.start, rows.stop) for rows, _ in choices.blocks()] == [(0, n)]


def test_the_posterior_mode_equals_lbfgs_on_the_same_objective(rng):
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


def test_the_covariance_of_theta_is_that_of_the_full_hessian_with_groups(rng):
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


def test_variances_of_the_effects_are_the_inverse_of_their_own_block(rng):
    choices, _ = simulate(rng, pages=100, groups=12, sizes=(3, 8))
    prior = Prior(np.zeros(3), np.ones(3), np.array([2.0, 3.0]))
    fit = fit_logit(choices, prior)
    spread = laplace(choices, fit, prior)
    expected = np.diagonal(spread.conditional, axis1=1, axis2=2)
    np.testing.assert_allclose(effect_variances(choices, fit, prior), expected, rtol=1e-12)


def test_variances_of_the_shared_coefficients_are_exact_without_groups_and_close_with_them(rng):
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


def test_planted_coefficients_lie_within_four_errors(rng):
    choices, theta = simulate(rng, pages=20_000, features=5)
    fit = fit_logit(choices)
    assert np.abs((fit.theta - theta) / laplace(choices, fit).standard_errors).max() < 4


def test_a_coefficient_below_its_bound_rests_on_it_and_the_others_are_the_optimum_given_it(rng):
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


def test_a_bound_that_does_not_bind_changes_nothing(rng):
    choices, _ = simulate(rng, pages=500, theta=np.array([1.0, 0.5, 0.8]))
    np.testing.assert_allclose(fit_logit(choices, lower=np.full(3, -5.0)).theta, fit_logit(choices).theta, atol=1e-8)


def test_a_start_at_the_optimum_ends_at_once(rng):
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


def test_collinear_features_are_refused_without_a_prior(rng):
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


@pytest.mark.parametrize("utility", [1e-300, 50.0, 800.0, 1e6, 1e300])
def test_probabilities_stay_finite_at_utilities_of_any_size(utility):
    starts, page = np.array([0, 2]), np.array([0, 0, 1])
    q, inclusive = probabilities(np.array([utility, 0.0, -utility]), starts, page)
    assert np.isfinite(q).all()
    assert np.isfinite(inclusive).all()
    assert q[:2].sum() <= 1 + 1e-12
    assert q[2] <= 0.5


def test_probabilities_equal_the_naive_form(rng):
    utility, starts = rng.normal(size=7), np.array([0, 3, 4])
    page = np.array([0, 0, 0, 1, 2, 2, 2])
    q, inclusive = probabilities(utility, starts, page)
    for p in range(3):
        weights = np.exp(utility[page == p])
        np.testing.assert_allclose(q[page == p], weights / (1 + weights.sum()), rtol=1e-14)
        assert inclusive[p] == pytest.approx(np.log(1 + weights.sum()), rel=1e-14)


def test_features_of_very_unequal_scale_reach_the_same_likelihood(rng):
    choices, _ = simulate(rng, pages=400, features=3)
    scaled = Choices(choices.X * [1e6, 1.0, 1e-6], choices.starts, choices.bought, choices.outside)
    plain, extreme = fit_logit(choices), fit_logit(scaled)
    assert extreme.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-9)
    np.testing.assert_allclose(extreme.theta * [1e6, 1.0, 1e-6], plain.theta, rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused_with_their_count(rng, bad):
    choices, _ = simulate(rng, pages=20)
    X = choices.X.copy()
    X[[1, 5], 0] = bad
    with pytest.raises(DataError, match="2 values of X") as refusal:
        Choices(X, choices.starts, choices.bought, choices.outside)
    assert refusal.value.count == 2


@pytest.mark.parametrize(
    ("X", "starts", "bought", "outside"),
    [
        (np.zeros((0, 1)), [], [], []),
        (np.zeros((2, 1)), [1], [0, 0], [1]),
        (np.zeros((2, 1)), [0, 0], [0, 0], [1, 1]),
        (np.zeros((2, 1)), [0, 2], [0, 0], [1, 1]),
        (np.zeros((2, 1)), [0], [0], [1]),
        (np.zeros((2, 1)), [0], [-1, 0], [1]),
    ],
    ids=["empty", "late start", "empty page", "start past the end", "short counts", "negative count"],
)
def test_pages_that_do_not_tile_the_rows_are_refused(X, starts, bought, outside):
    with pytest.raises(DataError):
        Choices(X, np.array(starts, dtype=np.int64), np.array(bought, dtype=float), np.array(outside, dtype=float))


def test_group_effects_without_a_prior_are_refused(rng):
    choices, _ = simulate(rng, pages=50, groups=12)
    with pytest.raises(ConfigError, match="above 0"):
        fit_logit(choices)
    with pytest.raises(ConfigError, match="above 0"):
        fit_logit(choices, Prior(np.zeros(3), np.zeros(3), np.zeros(2)))


def test_a_prior_of_another_length_is_refused(rng):
    choices, _ = simulate(rng, pages=50)
    with pytest.raises(ConfigError, match="2 means for 3 features"):
        fit_logit(choices, Prior.flat(2))


def test_fits_are_frozen_values():
    fit = LogitFit(np.zeros(1), np.zeros((0, 0)), np.zeros(1, dtype=bool), 0.0, 1)
    with pytest.raises(AttributeError):
        fit.iterations = 2


@pytest.fixture
def rng():
    return np.random.default_rng(20260701)
