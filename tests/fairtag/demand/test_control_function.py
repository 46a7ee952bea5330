import numpy as np
import pytest

from fairtag.demand.control_function import WEAK, price_residual


@pytest.fixture
def first_stage():
    """Prices from cost, a control, an item level and a hidden shock."""
    rng = np.random.default_rng(3)
    n, items = 4_000, 40
    item, fold = rng.integers(0, items, n), rng.integers(0, 5, n)
    cost, control, shock = rng.normal(size=n), rng.normal(size=(n, 1)), rng.normal(size=n)
    y = 0.8 + 0.1 * rng.normal(size=items)[item] + 0.06 * cost + 0.02 * control[:, 0] + 0.05 * shock
    return {"y": y, "cost": cost, "control": control, "item": item, "fold": fold, "shock": shock}


def residual(stage, **instruments):
    chosen = instruments or {"cost": stage["cost"]}
    return price_residual(stage["y"], chosen, stage["control"], stage["item"], stage["fold"])


def test_the_residual_is_the_hidden_shock(first_stage):
    found = residual(first_stage)
    assert found.used
    assert np.corrcoef(found.nu, first_stage["shock"])[0, 1] > 0.98
    assert abs(np.corrcoef(found.nu, first_stage["cost"])[0, 1]) < 0.03


@pytest.mark.parametrize("others", [0, 2], ids=["one instrument", "three instruments"])
def test_f_equals_the_wald_statistic_of_least_squares_with_item_dummies(first_stage, others):
    import statsmodels.api as sm

    noise = np.random.default_rng(1).normal(size=(others, first_stage["y"].size))
    instruments = {"cost": first_stage["cost"], **{f"noise-{n}": values for n, values in enumerate(noise)}}
    dummies = np.eye(40)[first_stage["item"]]
    exog = np.column_stack([*instruments.values(), first_stage["control"], dummies])
    test = sm.OLS(first_stage["y"], exog).fit().f_test(np.eye(exog.shape[1])[: len(instruments)])
    assert residual(first_stage, **instruments).f_statistic == pytest.approx(float(test.fvalue), rel=1e-8)


def test_the_residual_of_a_fold_does_not_use_its_prices(first_stage):
    before = residual(first_stage)
    moved = dict(first_stage)
    held = first_stage["fold"] == 2
    moved["y"] = first_stage["y"] + np.where(held, 0.3, 0.0)
    after = residual(moved)
    np.testing.assert_allclose(after.nu[held], before.nu[held] + 0.3, atol=1e-12)


def test_an_irrelevant_instrument_is_called_weak_and_left_unused(first_stage):
    found = residual(first_stage, noise=np.random.default_rng(0).normal(size=first_stage["y"].size))
    assert found.f_statistic < WEAK
    assert not found.used
    assert np.all(found.nu == 0)


def test_an_instrument_that_is_constant_within_items_does_not_count(first_stage):
    found = residual(first_stage, cost=first_stage["item"].astype(float))
    assert found.instruments == ()
    assert found.f_statistic == 0


def test_without_any_known_instrument_there_is_no_correction(first_stage):
    found = residual(first_stage, cost=np.full(first_stage["y"].size, np.nan))
    assert not found.used
    assert np.all(found.nu == 0)


def test_unknown_values_count_as_the_mean_of_their_item(first_stage):
    holes = first_stage["cost"].copy()
    holes[::10] = np.nan
    found = residual(first_stage, cost=holes)
    assert np.isfinite(found.nu).all()
    known = np.isfinite(holes)
    assert np.corrcoef(found.nu[known], first_stage["shock"][known])[0, 1] > 0.97


def test_an_item_that_only_one_fold_holds_has_a_finite_residual(first_stage):
    item = np.where(first_stage["fold"] == 0, 40, first_stage["item"])
    found = residual({**first_stage, "item": item})
    assert np.isfinite(found.nu).all()


def test_fewer_rows_than_items_give_no_correction():
    rng = np.random.default_rng(0)
    found = price_residual(rng.random(5), {"cost": rng.random(5)}, np.zeros((5, 0)), np.arange(5), np.arange(5))
    assert not found.used
