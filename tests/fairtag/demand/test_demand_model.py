import io
import json
from dataclasses import replace

import numpy as np
import pytest

from fairtag.base.errors import ConfigError, ModelFolderError
from fairtag.demand.demand_model import DemandModel, SlopeCorrection
from fairtag.demand.features import Layout

ITEMS = np.array([4, 0, 17, 33])
SIMILARITY = np.array([0.9, 0.3, 0.6, 0.5])
BEHAVIOUR = np.array([20.0, 4.0, 150.0, 0.7])


def test_a_page_equals_the_formula_written_out(model):
    a, b = model.page(ITEMS, SIMILARITY, BEHAVIOUR)
    value = {name: entry["value"] for name, entry in model.coefficients().items()}
    z = (BEHAVIOUR - model.scaling.mean) / model.scaling.scale
    for i, item in enumerate(ITEMS):
        category = model.categories[model.category[item]]
        s = SIMILARITY[i] - model.scaling.similarity
        text, names = model.text[item], range(model.layout.n_text)
        expected_a = (
            value["alpha"] + value[f"alpha[{category}]"] + value["kappa"] * s + model.posterior.effects[item, 0]
        )
        expected_b = value["beta"] + value[f"beta[{category}]"] + value["beta_s"] * s + model.posterior.effects[item, 1]
        expected_a += sum(value[f"alpha_text[{j}]"] * text[j] for j in names)
        expected_b += sum(value[f"beta_text[{j}]"] * text[j] for j in names)
        for k, feature in enumerate(("recency_days", "orders_90d", "spend_90d", "promotion_response")):
            expected_a += value[f"eta[{feature}]"] * z[k]
            expected_b += value[f"omega[{feature}]"] * z[k]
        assert a[i] == pytest.approx(expected_a, rel=1e-12)
        assert b[i] == pytest.approx(expected_b, rel=1e-12)


def test_many_rows_at_once_equal_pages_one_by_one(model):
    behaviour = np.tile(BEHAVIOUR, (4, 1))
    np.testing.assert_allclose(
        model.utilities(ITEMS, SIMILARITY, behaviour, np.zeros(4)), model.page(ITEMS, SIMILARITY, BEHAVIOUR), rtol=1e-12
    )


def test_the_control_function_moves_utility_alone(model):
    behaviour = np.tile(BEHAVIOUR, (4, 1))
    a0, b0 = model.utilities(ITEMS, SIMILARITY, behaviour, np.zeros(4))
    a1, b1 = model.utilities(ITEMS, SIMILARITY, behaviour, np.full(4, 0.1))
    np.testing.assert_allclose(a1 - a0, 0.1 * model.coefficients()["phi"]["value"])
    np.testing.assert_array_equal(b1, b0)


def test_nobody_in_particular_is_priced_like_unknown_behaviour_and_like_an_opt_out(model):
    nobody = model.page(ITEMS, SIMILARITY)
    np.testing.assert_array_equal(nobody, model.page(ITEMS, SIMILARITY, np.full(4, np.nan)))
    np.testing.assert_array_equal(nobody, model.page(ITEMS, SIMILARITY, BEHAVIOUR, personalise=False))
    assert not np.array_equal(nobody, model.page(ITEMS, SIMILARITY, BEHAVIOUR))


def test_at_one_similarity_and_without_personal_terms_everybody_sees_the_same_demand(model):
    mean = np.full(4, model.scaling.similarity)
    first = model.page(ITEMS, mean, BEHAVIOUR, personalise=False)
    np.testing.assert_array_equal(first, model.page(ITEMS, mean, 2 * BEHAVIOUR, personalise=False))
    drawn = model.draws(ITEMS, mean, BEHAVIOUR, seed=1, personalise=False)
    np.testing.assert_array_equal(drawn, model.draws(ITEMS, mean, None, seed=1))


def test_behaviour_beyond_what_was_seen_counts_as_the_edge(model):
    high = model.page(ITEMS, SIMILARITY, model.scaling.high)
    np.testing.assert_array_equal(model.page(ITEMS, SIMILARITY, np.full(4, 1e300)), high)


@pytest.mark.parametrize("broken", [np.inf, -np.inf, np.nan])
def test_behaviour_that_is_no_number_is_unknown_as_it_was_to_the_fit(model, broken):
    nobody = model.page(ITEMS, SIMILARITY)
    np.testing.assert_array_equal(model.page(ITEMS, SIMILARITY, np.full(4, broken)), nobody)


def test_the_slope_never_falls_below_its_floor_and_demand_at_the_usual_price_stays(model):
    theta = model.posterior.theta.copy()
    theta[model.layout.half] = -50.0
    from dataclasses import replace

    broken = replace(model, posterior=replace(model.posterior, theta=theta))
    a, b = broken.page(ITEMS, SIMILARITY, BEHAVIOUR)
    assert np.all(b == model.b_min)
    free_a, free_b = model.page(ITEMS, SIMILARITY, BEHAVIOUR)
    usual = model.usual_ratio[model.category[ITEMS]]
    shift = -50.0 - model.posterior.theta[model.layout.half]
    np.testing.assert_allclose(a - b * usual, free_a - (free_b + shift) * usual, rtol=1e-9)


def test_draws_have_the_mode_as_mean_and_the_posterior_as_spread(model):
    a, b = model.page(ITEMS, SIMILARITY, BEHAVIOUR)
    a_draws, b_draws = model.draws(ITEMS, SIMILARITY, BEHAVIOUR, n_draws=20_000, seed=5)
    assert a_draws.shape == b_draws.shape == (20_000, 4)
    error = b_draws.std(axis=0) / np.sqrt(20_000)
    assert np.all(np.abs(b_draws.mean(axis=0) - b) < 5 * error)
    assert np.all(np.abs(a_draws.mean(axis=0) - a) < 5 * a_draws.std(axis=0) / np.sqrt(20_000))
    posterior, item, half = model.posterior, ITEMS[0], model.layout.half
    z = model.scaling.behaviour(BEHAVIOUR)
    row = model.layout.rows(
        model.category[[item]], SIMILARITY[:1] - model.scaling.similarity, z[None, :], model.text[[item]]
    )[0]
    full = np.zeros(model.layout.size)
    full[half : 2 * half] = row
    full = full - posterior.gain[item, 1]
    own = posterior.conditional[item] @ posterior.conditional[item].T
    variance = full @ posterior.factor @ posterior.factor.T @ full + own[1, 1]
    assert b_draws[:, 0].std() == pytest.approx(np.sqrt(variance), rel=0.03)


def test_equal_seeds_give_equal_draws_and_others_do_not(model):
    first = model.draws(ITEMS, SIMILARITY, BEHAVIOUR, n_draws=8, seed=3)
    np.testing.assert_array_equal(first, model.draws(ITEMS, SIMILARITY, BEHAVIOUR, n_draws=8, seed=3))
    assert not np.array_equal(first, model.draws(ITEMS, SIMILARITY, BEHAVIOUR, n_draws=8, seed=4))


def test_a_model_survives_the_way_to_disk_and_back_without_a_pickle(model):
    buffer = io.BytesIO()
    np.savez(buffer, **model.arrays())
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as stored:
        arrays = dict(stored.items())
    metadata = json.loads(json.dumps(model.metadata(), allow_nan=False))
    again = DemandModel.from_arrays(arrays, metadata)
    np.testing.assert_array_equal(again.page(ITEMS, SIMILARITY, BEHAVIOUR), model.page(ITEMS, SIMILARITY, BEHAVIOUR))
    np.testing.assert_array_equal(
        again.draws(ITEMS, SIMILARITY, BEHAVIOUR, seed=9), model.draws(ITEMS, SIMILARITY, BEHAVIOUR, seed=9)
    )
    assert again.coefficients() == model.coefficients()
    assert again.report == model.report


@pytest.mark.parametrize("change", [{"format": "fairtag.demand/0"}, {"behaviour": ["age"]}])
def test_a_model_of_another_format_or_allow_list_is_refused(model, change):
    with pytest.raises(ModelFolderError, match="train the model folder again"):
        DemandModel.from_arrays(model.arrays(), model.metadata() | change)


def test_a_reaction_scales_the_slope_and_keeps_demand_at_the_usual_price(model):
    scaled = model.with_correction(
        SlopeCorrection(np.array([0.5, 1.0, 2.0]), np.ones(3, dtype=bool)), {"elasticity": []}
    )
    a, b = model.page(ITEMS, SIMILARITY, BEHAVIOUR)
    new_a, new_b = scaled.page(ITEMS, SIMILARITY, BEHAVIOUR)
    factor = np.array([0.5, 1.0, 2.0])[model.category[ITEMS]]
    usual = model.usual_ratio[model.category[ITEMS]]
    np.testing.assert_allclose(new_b, factor * b, rtol=1e-12)
    np.testing.assert_allclose(new_a - new_b * usual, a - b * usual, rtol=1e-12)
    assert scaled.report["elasticity"] == []


def test_categories_that_may_not_be_priced_are_named_item_by_item(model):
    closed = model.with_correction(SlopeCorrection(np.ones(3), np.array([True, False, True])))
    np.testing.assert_array_equal(closed.priceable(ITEMS), model.category[ITEMS] != 1)
    assert model.priceable(ITEMS).all()


@pytest.mark.parametrize("scale", [np.ones(2), np.array([1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0])])
def test_a_reaction_that_does_not_fit_is_refused(model, scale):
    with pytest.raises(ConfigError, match="correction"):
        model.with_correction(SlopeCorrection(scale, np.ones(3, dtype=bool)))


def test_an_unknown_category_counts_as_the_mean_over_categories(model, shop):
    a, b = model.cold_start("sofas", shop.embeddings[:2])
    known = np.array([model.cold_start(name, shop.embeddings[:2]) for name in model.categories])
    assert known[:, 1].min() <= b[0] <= known[:, 1].max()
    assert np.isfinite(a).all()


def test_an_empty_page_is_empty(model):
    a, b = model.page(np.zeros(0, dtype=np.int64), np.zeros(0), BEHAVIOUR)
    assert a.size == b.size == 0
    assert model.draws(np.zeros(0, dtype=np.int64), np.zeros(0), n_draws=4)[0].shape == (4, 0)


def test_a_page_costs_a_few_array_operations(model, monkeypatch):
    """What is the same for every page is worked out once: no page after the first builds features of the catalogue."""
    items, similarity = np.arange(24), np.linspace(0, 1, 24)
    first = model.page(items, similarity, BEHAVIOUR)

    def refused(*_):
        raise AssertionError("a page built rows of features")

    monkeypatch.setattr(Layout, "rows", refused)
    again = model.page(items, similarity, BEHAVIOUR)
    assert (again[0] == first[0]).all()
    assert (again[1] == first[1]).all()


def test_draws_have_the_moments_of_the_posterior(model):
    """``a_i, b_i`` are Gaussian: mean the mode, covariance ``J Sigma J' + C_i`` with ``J`` the row less the gain."""
    model = replace(model, b_min=-np.inf)
    items, n_draws = np.arange(5), 40_000
    similarity = np.full(5, model.scaling.similarity)
    a, b = model.draws(items, similarity, n_draws=n_draws, seed=3)
    mode = model.page(items, similarity)
    posterior, half = model.posterior, model.layout.half
    sigma = posterior.factor @ posterior.factor.T
    nobody = np.zeros((5, len(model.scaling.mean)))
    rows = model.layout.rows(model.category[items], np.zeros(5), nobody, model.text[items])
    for i in items:
        J = -posterior.gain[i]
        J[0, :half] += rows[i]
        J[1, half : 2 * half] += rows[i]
        own = posterior.conditional[i] @ posterior.conditional[i].T
        expected = J @ sigma @ J.T + own
        error = np.sqrt(np.diag(expected) / n_draws)
        assert abs(a[:, i].mean() - mode[0][i]) < 5 * error[0]
        assert abs(b[:, i].mean() - mode[1][i]) < 5 * error[1]
        found = np.cov(a[:, i], b[:, i])
        scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
        assert (np.abs(found - expected) < 0.05 * scale).all()


def test_an_item_s_own_effect_gives_back_what_the_shared_slope_gains(model):
    """With one shared coefficient alone uncertain every draw moves along ``row - gain``, and by a normal step."""
    half, size = model.layout.half, model.layout.size
    factor = np.zeros((size, size))
    factor[half, half] = 0.3  # of the mean slope
    still = np.zeros_like(model.posterior.conditional)
    model = replace(model, b_min=-np.inf, posterior=replace(model.posterior, factor=factor, conditional=still))
    items = np.arange(5)
    similarity = np.full(5, model.scaling.similarity)
    a, b = (
        drawn - mode
        for drawn, mode in zip(
            model.draws(items, similarity, n_draws=4_000, seed=2), model.page(items, similarity), strict=True
        )
    )
    level, slope = -model.posterior.gain[:5, 0, half], 1.0 - model.posterior.gain[:5, 1, half]
    assert np.abs(level).max() > 1e-3
    assert a * slope == pytest.approx(b * level, abs=1e-9)
    assert b.std(axis=0) == pytest.approx(0.3 * np.abs(slope), rel=0.05)
