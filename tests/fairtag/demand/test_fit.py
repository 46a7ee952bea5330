import itertools
from dataclasses import replace

import numpy as np
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.demand.choices import Choices, log_likelihood
from fairtag.demand.config import DemandConfig
from fairtag.demand.control_function import FirstStage
from fairtag.demand.demand_data import Assortment, demand_data
from fairtag.demand.elasticity import check_elasticity, with_cross_check
from fairtag.demand.fit import fit_demand

SMALL = DemandConfig(components=3)


def mean_slopes(model, draws=300):
    """Mean slope of each category's items at mean similarity and behaviour, with its posterior error."""
    items = np.arange(model.n_items)
    similarity = np.full(items.size, model.scaling.similarity)
    _, b = model.page(items, similarity)
    _, sampled = model.draws(items, similarity, n_draws=draws, seed=1)
    groups = [model.category == k for k in range(len(model.categories))]
    return np.array([b[g].mean() for g in groups]), np.array([sampled[:, g].mean(axis=1).std() for g in groups])


def test_planted_slopes_and_effects_lie_within_four_errors(shop, model):
    found, error = mean_slopes(model)
    planted = [shop.slope[model.category == k].mean() for k in range(3)]
    assert np.all(np.abs(found - planted) < 4 * error)
    assert np.all(error < 0.4)
    coefficients = model.coefficients()
    unit = model.scaling.scale[3] / 0.22
    for name, value, most in (("kappa", 1.5, 0.8), (f"omega[{schema.PROMOTION_RESPONSE}]", 0.8 * unit, 0.3)):
        estimate = coefficients[name]
        assert abs(estimate["value"] - value) < 4 * estimate["standard_error"]
        assert estimate["standard_error"] < most


@pytest.mark.slow
def test_errors_cover_the_planted_slopes_of_single_items(shop, model, shops, wide):
    """Items of one shop err together, with their category and text; hence several shops."""
    more = [shops(seed=seed) for seed in (1, 2)]
    pairs = [(shop, model), *((other, fit_demand(other.data(), wide)) for other in more)]
    covered = [_covered(truth, fitted) for truth, fitted in pairs]
    assert np.mean(covered) > 0.9


def _covered(shop, model):
    """Share of items whose planted slope lies in the 95 % interval of its posterior."""
    items = np.arange(model.n_items)
    similarity = np.full(items.size, model.scaling.similarity)
    _, b = model.page(items, similarity)
    _, sampled = model.draws(items, similarity, n_draws=400, seed=2)
    return np.mean(np.abs((b - shop.slope) / sampled.std(axis=0)) < 1.96)


def test_the_spread_of_items_around_their_text_is_found_whatever_their_slopes(model):
    tau = model.report["tau"]
    assert tau["utility"] == pytest.approx(0.2, abs=0.08)  # planted beside a slope whose spread is ten times that


@pytest.mark.slow
def test_endogenous_prices_bias_the_slope_and_the_control_function_corrects_it(shops):
    shop = shops(shock=2.0, omega=0.0, seed=4)
    data = shop.data()
    assert data.first_stage.used
    naive = replace(data, first_stage=FirstStage.none(data.n_rows))
    planted = np.array([shop.slope[data.assortment.category == k].mean() for k in range(3)])
    corrected, error = mean_slopes(fit_demand(data, SMALL))
    biased, _ = mean_slopes(fit_demand(naive, SMALL))
    assert np.all(np.abs(corrected - planted) < 4 * error)
    assert np.mean(planted - biased) > 1.5  # a price that rises with demand looks harmless
    assert np.abs(corrected - planted).mean() < 0.5 * np.abs(biased - planted).mean()


@pytest.mark.slow
def test_text_gives_items_that_were_never_shown_their_slope(shops, wide):
    shop = shops(items=90, never_shown=30, pages=4_000, omega=0.0)
    model = fit_demand(shop.data(), wide)
    unseen = np.arange(60, 90)
    _, b = model.page(unseen, np.full(30, model.scaling.similarity))
    within = b - np.array([b[model.category[unseen] == c].mean() for c in model.category[unseen]])
    planted = shop.slope[unseen] - np.array([3.0, 5.0, 7.0])[model.category[unseen]]
    assert np.corrcoef(within, planted)[0, 1] > 0.8
    blind = fit_demand(shop.data(), DemandConfig(components=0))
    _, without = blind.page(unseen, np.full(30, model.scaling.similarity))
    assert np.abs(b - shop.slope[unseen]).mean() < 0.6 * np.abs(without - shop.slope[unseen]).mean()
    for k in range(3):
        _, new = model.cold_start(model.categories[k], shop.embeddings[unseen])
        np.testing.assert_allclose(new[model.category[unseen] == k], b[model.category[unseen] == k], rtol=1e-12)


def test_an_item_without_impressions_is_as_uncertain_as_the_prior_says(shops):
    shop = shops(items=60, never_shown=30)
    model = fit_demand(shop.data(), SMALL)
    _, sampled = model.draws(np.arange(60), np.full(60, 0.6), n_draws=500, seed=0)
    spread = sampled.std(axis=0)
    assert spread[30:].mean() > spread[:30].mean()
    tau = model.report["tau"]["slope"]
    assert np.all(spread[30:] > 0.9 * tau)


@pytest.mark.slow
def test_the_spread_of_item_effects_is_found(shops):
    found = [
        fit_demand(shops(omega=0.0, noise=noise).data(), SMALL).report["tau"]["utility"] for noise in (0.0, 0.2, 0.8)
    ]
    assert found[0] < 0.15
    assert 0.1 < found[1] < 0.35
    assert 0.6 < found[2] < 1.05


@pytest.mark.slow
def test_the_spread_of_categories_follows_what_they_differ_by(shops):
    alike, apart = (
        fit_demand(shops(slopes=slopes, omega=0.0).data(), SMALL).report["spreads"]["slope category"]
        for slopes in ((5.0, 5.0, 5.0), (2.0, 5.0, 8.0))
    )
    assert alike < 1.0  # two thirds of the first guess: three alike categories cannot take it further down than half
    assert apart > 1.5


@pytest.mark.slow
def test_behaviour_that_moves_nothing_is_drawn_to_nothing(shops):
    spreads = [
        fit_demand(shops(omega=omega).data(), SMALL).report["spreads"]["slope behaviour"] for omega in (0.0, 1.5)
    ]
    assert spreads[0] < 0.6 < spreads[1]


def test_no_rounds_keep_every_spread_as_given(data):
    report = fit_demand(data, DemandConfig(components=3, rounds=0, text=0.7)).report
    assert report["spreads"]["slope text"] == 0.7
    assert report["tau"] == {"utility": 0.3, "slope": 0.3}


def test_spreads_that_are_given_are_kept(data):
    report = fit_demand(data, DemandConfig(components=3, tau=(0.9, 0.3))).report
    assert report["tau"] == {"utility": 0.9, "slope": 0.3}


def test_a_slope_that_the_data_put_below_zero_rests_on_the_floor(shops):
    shop = shops(slopes=(-2.0, -2.0, -2.0), level=-2.0, kappa=0.0, omega=0.0)
    model = fit_demand(shop.data(), DemandConfig(components=0, category_slope=0.05, tau=(0.2, 0.05)))
    assert model.report["mean_slope_at_floor"]
    assert len(model.report["items_at_list"]) == model.n_items
    items = np.arange(model.n_items)
    assert not model.priceable(items).any()
    _, b = model.page(items, np.full(items.size, 0.6))
    _, sampled = model.draws(items, np.full(items.size, 0.6), n_draws=50)
    assert b.min() >= 0.2
    assert sampled.min() >= 0.2


def test_the_fit_is_the_same_in_every_run_and_in_any_order_of_rows(shop, model, wide):
    order = np.random.default_rng(1).permutation(len(shop.training))
    shuffled = demand_data(shop.training.iloc[order], shop.assortment, similarity=shop.similarity[order])
    again = fit_demand(shuffled, wide)
    items = np.arange(model.n_items)
    np.testing.assert_allclose(again.page(items, np.full(60, 0.5)), model.page(items, np.full(60, 0.5)), atol=1e-3)


def test_one_item_pages_of_one_category_can_be_fitted(shops):
    shop = shops(pages=600, page_size=1, items=5, slopes=(4.0,), omega=0.0)
    model = fit_demand(shop.data(), SMALL)
    a, b = model.page(np.array([0]), np.array([0.5]))
    assert np.isfinite(a).all()
    assert b[0] > 0.2


def test_separated_purchases_still_give_a_finite_slope(shop):
    cheap = shop.training[schema.PRICE] / shop.training[schema.LIST_PRICE]
    first = ~shop.training[cheap < 0.8].duplicated(schema.PAGE_ID)
    bought = np.zeros(len(shop.training), dtype=bool)
    bought[np.flatnonzero(cheap < 0.8)[first.to_numpy()]] = True
    frame = shop.training.assign(**{schema.PURCHASED: bought})
    model = fit_demand(demand_data(frame, shop.assortment, similarity=shop.similarity), SMALL)
    a, b = model.page(np.arange(60), np.full(60, 0.6))
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()


def test_without_a_purchase_there_is_no_demand_to_estimate(shop):
    frame = shop.training.assign(**{schema.PURCHASED: False})
    with pytest.raises(DataError, match="nothing was bought"):
        fit_demand(demand_data(frame, shop.assortment, similarity=shop.similarity))


def test_behaviour_that_nobody_has_leaves_the_fit_finite(shop):
    frame = shop.training.assign(**dict.fromkeys(schema.USER_PRICING_FEATURES, np.nan))
    model = fit_demand(demand_data(frame, shop.assortment, similarity=shop.similarity), SMALL)
    assert np.isfinite(model.page(np.arange(4), np.full(4, 0.5), np.array([1.0, 2.0, 3.0, 0.4]))).all()


def test_a_catalogue_without_texts_can_be_fitted(shop):
    bare = demand_data(shop.training, Assortment.of(shop.catalogue), similarity=shop.similarity)
    assert fit_demand(bare).layout.n_text == 0


def test_identical_texts_add_no_component(shop):
    same = Assortment.of(shop.catalogue, np.ones((60, 4)))
    assert fit_demand(demand_data(shop.training, same, similarity=shop.similarity)).layout.n_text == 0


@pytest.mark.parametrize(
    "setting",
    [
        {"slope_spread": 0.0},
        {"text": np.nan},
        {"b_min": -1.0},
        {"tau": (0.0, 1.0)},
        {"components": -1},
        {"rounds": -1},
        {"nest_similarity": 1.1},
    ],
)
def test_settings_outside_their_range_are_refused(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        DemandConfig(**setting)


def test_few_pages_of_items_that_do_not_differ_leave_one_response_for_all(shops):
    alike = shops(pages=150, items=24, slopes=(5.0,), noise=0.0, omega=0.0, kappa=0.0, seed=3)
    alike.embeddings[:] = np.random.default_rng(0).normal(size=alike.embeddings.shape)
    small = fit_demand(alike.data(), DemandConfig(components=3))
    kept = fit_demand(alike.data(), DemandConfig(components=3, rounds=0))
    assert small.report["cross_validated_share"] < 1.0
    spread = [np.std(each.page(np.arange(24), np.full(24, 0.6))[1]) for each in (small, kept)]
    assert spread[0] < 0.3 * spread[1]


def test_large_logs_are_not_cross_validated(model):
    assert model.report["cross_validated_share"] == 1.0


def level_spread(model):
    """Posterior spread of the mean utility at a usual price."""
    items = np.arange(model.n_items)
    a, b = model.draws(items, np.full(items.size, 0.6), n_draws=256)
    return (a - 0.85 * b).mean(axis=1).std()


def test_without_a_page_that_sold_nothing_the_level_is_the_priors_as_wide_and_nothing_is_priced(shop, data, model):
    sold = data.outside == 0
    never = data.pages(sold)
    found = fit_demand(never, DemandConfig(components=3))
    assert found.report["level_from_prior"] == list(found.categories)
    assert model.report["level_from_prior"] == []
    assert level_spread(found) > 20 * level_spread(model)
    checked = with_cross_check(found, check_elasticity(found, never))
    assert not checked.priceable(np.arange(found.n_items)).any()


def test_the_report_is_json_and_counts_what_was_used(model, data):
    import json

    report = json.loads(json.dumps(model.report, allow_nan=False))
    assert report["rows"] == data.n_rows
    assert report["purchases"] == data.bought.sum()
    assert [stage["used"] for stage in report["first_stage"]] == [True] * 3
    assert all(count == 0 for count in report["left_out"].values())


def test_families_are_disjoint_and_leave_out_what_has_a_spread_of_its_own(model):
    covered = np.concatenate([np.arange(model.layout.size)[part] for part in model.layout.families.values()])
    names = model.layout.names(model.categories)
    assert covered.size == np.unique(covered).size
    assert {names[i] for i in set(range(model.layout.size)) - set(covered.tolist())} == {
        "alpha",
        "kappa",
        "beta",
        "beta_s",
        "phi",
    }


def test_every_coefficient_has_its_own_name(model):
    names = model.layout.names(model.categories)
    assert len(names) == model.layout.size == len(set(names))
    assert all(a != b for a, b in itertools.pairwise(names))


@pytest.mark.parametrize("shock", [0.0, 2.0])
def test_the_model_that_leaves_the_fit_says_of_its_data_what_the_fit_said(shops, shock):
    """Utilities, control function and its sign included, are those that were fitted: the likelihood is the same."""
    data = shops(pages=1_200, seed=5, shock=shock).data()
    assert data.first_stage.used
    assert np.ptp(data.first_stage.nu) > 0
    fitted = fit_demand(data, DemandConfig(components=3, tau=(0.1, 0.1)))
    model = replace(fitted, b_min=-np.inf)  # the floor of an item is none of the fit
    a, b = model.utilities(data.item, data.similarity, data.behaviour[data.page], data.first_stage.nu)
    utility = a - b * data.y
    choices = Choices(utility[:, None], data.starts, data.bought, data.outside)
    assert log_likelihood(choices, utility) == pytest.approx(model.report["log_likelihood"], rel=1e-12)
    without, slope = model.utilities(data.item, data.similarity, data.behaviour[data.page], np.zeros(data.n_rows))
    if shock:
        assert log_likelihood(choices, without - slope * data.y) < model.report["log_likelihood"] - 10
