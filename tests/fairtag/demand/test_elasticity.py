import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from fairtag.demand.choices import probabilities
from fairtag.demand.config import DemandConfig
from fairtag.demand.demand_model import SlopeCorrection
from fairtag.demand.elasticity import (
    SCALE_RANGE,
    _category_elasticity,
    _controls,
    _double_machine_learning,
    _slopes,
    check_elasticity,
    with_cross_check,
)
from fairtag.demand.fit import fit_demand


@pytest.fixture(scope="module")
def checked(data, model):
    return check_elasticity(model, data)


def test_the_check_agrees_with_a_model_of_the_right_form(checked):
    for category in checked.categories:
        assert category.low <= category.model <= category.high
        assert category.high < 0
        assert category.scale == 1
        assert category.priced


def test_the_models_figure_is_its_elasticity_averaged_over_what_was_shown(data, model, checked):
    a, b = model.utilities(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu)
    q, _ = probabilities(a - b * data.y, data.starts, data.page)
    for k, category in enumerate(checked.categories):
        of = model.category[data.item] == k
        direct = -(b * data.y * q * (1 - q))[of].sum() / q[of].sum()
        assert category.model == pytest.approx(direct, rel=0.15)


def test_a_slope_that_is_wrong_is_rescaled_towards_the_truth(data, model):
    wrong = replace(model, posterior=_with_slope(model, 2.0))
    found = check_elasticity(wrong, data)
    for category in found.categories:
        assert category.scale == pytest.approx(0.5, abs=0.2)
        assert category.priced
        assert "excludes" in category.reason
    corrected = with_cross_check(wrong, found)
    similarity = np.full(model.n_items, model.scaling.similarity)
    _, true_b = model.page(np.arange(model.n_items), similarity)
    _, b = corrected.page(np.arange(model.n_items), similarity)
    assert np.median(np.abs(b / true_b - 1)) < 0.35
    assert corrected.report["elasticity"] == found.as_json()


def test_a_correction_never_exceeds_its_range(data, model):
    found = check_elasticity(replace(model, posterior=_with_slope(model, 6.0)), data, DemandConfig(most_elasticity=1e3))
    assert {category.scale for category in found.categories} == {SCALE_RANGE[0]}


def test_a_category_whose_demand_does_not_fall_with_the_price_is_not_priced(shops):
    shop = shops(slopes=(0.0, 5.0, 7.0), omega=0.0, level=-2.0, pages=4_000)
    data = shop.data()
    model = fit_demand(data, DemandConfig(components=3))
    found = check_elasticity(model, data)
    assert [category.priced for category in found.categories] == [False, True, True]
    assert "list price" in found.categories[0].reason
    items = np.arange(6)
    np.testing.assert_array_equal(with_cross_check(model, found).priceable(items), model.category[items] != 0)


@pytest.mark.parametrize(
    ("low", "high", "own", "scale", "priced"),
    [
        (-3.0, -1.0, -2.0, 1.0, True),  # the interval holds the model's figure
        (-3.0, -2.0, -1.6, 2.5 / 1.6, True),  # it does not: rescaled to the check's point
        (-2.0, 0.0, -1.0, 1.0, False),  # not shown to fall with the price
        (-2.0, 0.1, -5.0, 1.0, False),
        (np.nan, np.nan, -2.0, 1.0, False),  # a check that failed shows nothing
    ],
)
def test_the_rule_for_one_category(low, high, own, scale, priced):
    judged = _category_elasticity("sofas", 500, [(low + high) / 2, low, high, own], DemandConfig())
    assert judged.priced is priced
    assert judged.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("low", "high", "own", "why"),
    [
        (-22.6, -15.5, -3.0, "beyond -10"),  # a weak instrument's interval, narrow and far away
        (-11.0, -9.1, -12.0, "the model's elasticity -12.00"),
        (-8.5, -7.5, -2.0, "more than 3 times the model's"),
        (-30.0, -2.0, -3.0, ""),  # says little, contradicts nothing
    ],
)
def test_estimates_that_differ_implausibly_are_a_refusal_and_no_rescaling(low, high, own, why):
    judged = _category_elasticity("sofas", 500, [(low + high) / 2, low, high, own], DemandConfig())
    assert judged.scale == 1.0
    assert judged.priced is (why == "")
    assert why in judged.reason


def test_what_is_implausible_is_a_setting():
    found = [-8.0, -8.5, -7.5, -2.0]
    assert _category_elasticity("sofas", 500, found, DemandConfig(most_disagreement=5.0)).priced
    assert not _category_elasticity("sofas", 500, found, DemandConfig(most_elasticity=1.5)).priced


def test_prices_that_were_set_together_are_one_observation():
    """Every impression ten times over says nothing new; errors that count rows would shrink by the root of ten."""
    times, n = 10, 2_000
    unit, one_hot = np.arange(n), np.ones((n, 1))
    rng = np.random.default_rng(0)
    treated = rng.normal(size=n)
    outcome = -0.3 * treated + rng.normal(size=n)
    _, single = _slopes(outcome, treated, one_hot, unit)
    _, repeated = _slopes(*(np.repeat(x, times, axis=0) for x in (outcome, treated, one_hot, unit)))
    np.testing.assert_allclose(repeated, single, rtol=1e-3)


def test_errors_equal_those_of_least_squares_with_clusters():
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    group = np.sort(rng.integers(0, 3, 600))
    unit = group * 20 + rng.integers(0, 20, 600)
    treated, one_hot = rng.normal(size=600), np.eye(3)[group]
    outcome = treated * np.array([-1.0, -2.0, 0.5])[group] + rng.normal(size=60)[unit]
    fit = sm.OLS(outcome, one_hot * treated[:, None]).fit(cov_type="cluster", cov_kwds={"groups": unit})
    slope, half = _slopes(outcome, treated, one_hot, unit)
    np.testing.assert_allclose(slope, fit.params, rtol=1e-9)
    np.testing.assert_allclose(half, 1.959963984540054 * fit.bse, rtol=1e-9)


def test_a_category_with_too_few_purchases_is_priced_by_the_response_of_all(data, model):
    rare = data.bought.copy()
    rare[np.flatnonzero((model.category[data.item] == 0) & (rare > 0))[5:]] = 0.0
    found = check_elasticity(model, replace(data, bought=rare))
    assert found.categories[0].purchases == 5
    assert found.categories[0].priced
    assert "all categories together" in found.categories[0].reason
    assert "together" not in found.categories[1].reason
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("own", "pooled", "priced"),
    [
        ([-3.0, -7.0, 1.0, -3.0], [-3.5, -4.0, -3.0, -3.4], True),  # says nothing against the others
        (None, [-3.5, -4.0, -3.0, -3.4], True),
        ([0.0, -0.5, 0.5, -3.0], [-3.5, -4.0, -3.0, -3.4], False),  # differs from them: it does not fall
        ([-3.0, -7.0, 1.0, -3.0], [-1.0, -2.5, 0.5, -1.0], False),  # together they do not tell either
        ([-3.0, -7.0, 1.0, -3.0], [-20.0, -21.0, -19.0, -3.0], False),  # implausible
        ([-3.0, -7.0, 1.0, -3.0], None, False),
    ],
)
def test_what_cannot_be_told_apart_borrows_one_response(own, pooled, priced):
    judged = _category_elasticity("sofas", 40 if own else 3, own, DemandConfig(), "", pooled)
    assert judged.priced is priced
    assert judged.scale == 1.0


def test_a_category_whose_price_never_varied_borrows_nothing(data, model):
    still = model.category[data.item] == 0
    found = check_elasticity(model, replace(data, y=np.where(still, 1.0, data.y)))
    assert not found.categories[0].priced


def test_without_purchases_nothing_is_priced(data, model):
    found = check_elasticity(model, replace(data, bought=np.zeros(data.n_rows)))
    assert not found.correction.priced.any()


def test_a_category_whose_prices_never_vary_stays_at_list_and_says_why(data, model):
    still = model.category[data.item] == 0
    found = check_elasticity(model, replace(data, y=np.where(still, 1.0, data.y)))
    assert [category.priced for category in found.categories[:2]] == [False, True]
    assert "never varied" in found.categories[0].reason
    nothing = check_elasticity(model, replace(data, y=np.ones(data.n_rows)))
    assert not nothing.correction.priced.any()


def test_a_category_without_a_page_that_ended_without_a_purchase_stays_at_list_and_says_why(data, model):
    pages = np.unique(data.page[model.category[data.item] == 0])
    outside = data.outside.copy()
    outside[pages] = 0.0
    found = check_elasticity(model, replace(data, outside=outside))
    assert not found.categories[0].priced
    assert "every page with it ended in a purchase" in found.categories[0].reason


def test_hidden_demand_in_the_price_does_not_fool_the_check(shops):
    shop = shops(shock=2.0, omega=0.0, seed=4)
    data = shop.data()
    found = check_elasticity(fit_demand(data, DemandConfig(components=3)), data)
    assert all(category.priced and category.scale == 1 for category in found.categories)


def test_the_check_is_the_same_in_every_run(data, model, checked):
    assert check_elasticity(model, data) == checked


def test_large_data_are_sampled_by_whole_pages(data, model, monkeypatch):
    monkeypatch.setattr("fairtag.demand.elasticity.ROWS", 8_000)
    found = check_elasticity(model, data, seed=3)
    total = sum(category.purchases for category in found.categories)
    assert 0.3 < total / data.bought.sum() < 0.5


def test_a_check_that_changes_nothing_leaves_prices_as_they_were(data, model, checked):
    items, similarity = np.arange(9), np.full(9, 0.7)
    np.testing.assert_array_equal(
        with_cross_check(model, checked).page(items, similarity), model.page(items, similarity)
    )
    assert isinstance(checked.correction, SlopeCorrection)


def test_the_estimator_gives_the_figures_of_econml(data, model):
    category = model.category[data.item]
    seen = np.unique(category)
    fold = data.fold[data.page]
    with warnings.catch_warnings():  # of its imports and of its dependencies, about their own future
        warnings.simplefilter("ignore")
        from econml.dml import LinearDML
        from sklearn.linear_model import Ridge

        theirs = LinearDML(
            model_y=Ridge(),
            model_t=Ridge(),
            fit_cate_intercept=False,
            cv=[(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in np.unique(fold)],
        )
        theirs.fit(
            data.bought,
            np.log(data.y),
            X=(category[:, None] == seen).astype(float),
            W=_controls(model, data, np.arange(data.n_rows), fold),
            cache_values=True,
            inference="statsmodels",
        )
        unit = np.eye(seen.size)
        expected = [theirs.const_marginal_effect(unit), *theirs.const_marginal_effect_interval(unit, alpha=0.05)]
        residual = theirs.residuals_[1]
    *found, treated = _double_machine_learning(model, data, category, seen)
    np.testing.assert_allclose(found, [np.ravel(each) for each in expected], rtol=1e-6)
    np.testing.assert_allclose(treated, np.ravel(residual), atol=1e-9)


def _with_slope(model, factor):
    """The posterior with every slope times a factor; utility at the usual price stays."""
    half, posterior = model.layout.half, model.posterior
    theta, effects = posterior.theta.copy(), posterior.effects.copy()
    usual = model.usual_ratio.mean()
    theta[:half] += (factor - 1) * usual * theta[half : 2 * half]
    theta[half : 2 * half] *= factor
    effects[:, 0] += (factor - 1) * usual * effects[:, 1]
    effects[:, 1] *= factor
    return replace(posterior, theta=theta, effects=effects)
