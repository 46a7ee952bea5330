"""First stages by category: the residual is the hidden shock, F is that of least squares with clustered errors."""

import numpy as np
import pytest

from fairtag.demand.control_function import WEAK, PriceVariation, first_stages, price_units


@pytest.fixture
def prices():
    """Prices from cost, a control, an item level and a hidden shock."""
    rng = np.random.default_rng(3)
    n, items = 4_000, 40
    item, fold = rng.integers(0, items, n), rng.integers(0, 5, n)
    cost, control, shock = rng.normal(size=n), rng.normal(size=(n, 1)), rng.normal(size=n)
    y = 0.8 + 0.1 * rng.normal(size=items)[item] + 0.06 * cost + 0.02 * control[:, 0] + 0.05 * shock
    return {"y": y, "cost": cost, "control": control, "item": item, "fold": fold, "shock": shock}


def staged(prices, *, category=None, period=None, names=("cups", "lamps"), **instruments):
    chosen = instruments or {"cost": prices["cost"]}
    code = np.zeros(prices["y"].size, dtype=np.int64) if category is None else category
    data = PriceVariation(prices["y"], chosen, prices["control"], prices["item"], code, period, prices["fold"])
    return first_stages(data, names)


def test_the_residual_is_the_hidden_shock(prices):
    found = staged(prices)
    assert found.used
    assert np.corrcoef(found.nu, prices["shock"])[0, 1] > 0.98
    assert abs(np.corrcoef(found.nu, prices["cost"])[0, 1]) < 0.03


@pytest.mark.parametrize("others", [0, 2], ids=["one instrument", "three instruments"])
@pytest.mark.parametrize("periods", [0, 12], ids=["each row alone", "item and period"])
def test_f_equals_the_clustered_wald_test_of_least_squares_with_item_dummies(prices, others, periods):
    import statsmodels.api as sm

    n = prices["y"].size
    noise = np.random.default_rng(1).normal(size=(others, n))
    instruments = {"cost": prices["cost"], **{f"noise-{k}": values for k, values in enumerate(noise)}}
    period = np.arange(n) % periods if periods else None
    dummies = np.eye(40)[prices["item"]]
    exog = np.column_stack([*instruments.values(), prices["control"], dummies])
    cluster = prices["item"] * periods + period if periods else np.arange(n)
    fit = sm.OLS(prices["y"], exog).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    test = fit.f_test(np.eye(exog.shape[1])[: len(instruments)])
    (stage,) = staged(prices, period=period, **instruments).categories
    assert stage.f_statistic == pytest.approx(float(test.fvalue), rel=1e-8)
    assert stage.units == (480 if periods else n)


def test_a_weak_instrument_does_not_hide_behind_a_strong_one_in_another_category(prices):
    """Cost moves the prices of cups and not of lamps; all impressions together call it very strong."""
    rng = np.random.default_rng(5)
    lamps = prices["item"] >= 30
    y = np.where(lamps, 0.8 + 0.05 * rng.normal(size=lamps.size), prices["y"])
    weak = {**prices, "y": y}
    together = staged(weak).categories[0]
    cups, own = staged(weak, category=lamps.astype(np.int64)).categories
    assert together.used
    assert cups.used
    assert own.f_statistic < WEAK
    assert not own.used
    found = staged(weak, category=lamps.astype(np.int64))
    assert np.all(found.nu[lamps] == 0)
    assert np.all(found.nu[~lamps] != 0)


def test_a_cost_that_moved_once_is_two_observations_however_often_the_item_was_shown():
    """Ten items, one change of cost each, 20,000 impressions; shocks to the price last as long as the cost."""
    rng = np.random.default_rng(2)
    n, items = 20_000, 10
    item, half = rng.integers(0, items, n), rng.integers(0, 2, n)
    cost, shock = rng.normal(size=(items, 2))[item, half], rng.normal(size=(items, 2))[item, half]
    y = 0.8 + 0.01 * cost + 0.05 * shock + 0.001 * rng.normal(size=n)
    prices = {"y": y, "cost": cost, "control": np.zeros((n, 0)), "item": item, "fold": rng.integers(0, 5, n)}
    (stage,) = staged(prices, period=26 * half + rng.integers(0, 26, n)).categories
    assert stage.units == 2 * items
    assert not stage.used
    centred = [x - (np.bincount(item, weights=x) / np.bincount(item))[item] for x in (y, cost)]
    correlation = np.corrcoef(*centred)[0, 1]
    assert (n - items) * correlation**2 / (1 - correlation**2) > 200  # F that counts impressions


def test_the_least_f_is_a_setting(prices):
    data = PriceVariation(
        prices["y"],
        {"cost": prices["cost"]},
        prices["control"],
        prices["item"],
        np.zeros(4_000, dtype=np.int64),
        None,
        prices["fold"],
    )
    assert not first_stages(data, ("cups",), least_f=1e9).used


def test_the_residual_of_a_fold_does_not_use_its_prices(prices):
    before = staged(prices)
    held = prices["fold"] == 2
    after = staged({**prices, "y": prices["y"] + np.where(held, 0.3, 0.0)})
    np.testing.assert_allclose(after.nu[held], before.nu[held] + 0.3, atol=1e-12)


def test_an_irrelevant_instrument_is_called_weak_and_left_unused(prices):
    found = staged(prices, noise=np.random.default_rng(0).normal(size=prices["y"].size))
    assert found.categories[0].f_statistic < WEAK
    assert not found.used
    assert np.all(found.nu == 0)


def test_an_instrument_that_is_constant_within_items_does_not_count(prices):
    (stage,) = staged(prices, cost=prices["item"].astype(float)).categories
    assert stage.instruments == ()
    assert stage.f_statistic == 0


def test_without_any_known_instrument_there_is_no_correction(prices):
    found = staged(prices, cost=np.full(prices["y"].size, np.nan))
    assert not found.used
    assert np.all(found.nu == 0)


def test_unknown_values_count_as_the_mean_of_their_item(prices):
    holes = prices["cost"].copy()
    holes[::10] = np.nan
    found = staged(prices, cost=holes)
    assert np.isfinite(found.nu).all()
    known = np.isfinite(holes)
    assert np.corrcoef(found.nu[known], prices["shock"][known])[0, 1] > 0.97


def test_an_item_that_only_one_fold_holds_has_a_finite_residual(prices):
    item = np.where(prices["fold"] == 0, 40, prices["item"])
    assert np.isfinite(staged({**prices, "item": item}).nu).all()


def test_fewer_rows_than_items_give_no_correction():
    rng = np.random.default_rng(0)
    few = {"y": rng.random(5), "control": np.zeros((5, 0)), "item": np.arange(5), "fold": np.arange(5)}
    assert not staged(few, cost=rng.random(5)).used


def test_periods_of_an_item_with_the_same_instruments_are_one_unit():
    item = np.array([0, 0, 0, 1, 1, 1])
    period = np.array([0, 1, 2, 0, 1, 1])
    cost = np.array([[0.5], [0.5], [0.6], [0.5], [0.4], [0.7]])
    unit = price_units(item, period, cost)
    assert unit[0] == unit[1] != unit[2]
    assert unit[4] == unit[5]
    assert len(set(unit)) == 4
