"""Forecasts over the lead time: exact on hand-made blocks, calibrated and sharper than naive on a known truth."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import poisson

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.stock.forecast import (
    ForecastConfig,
    backtest,
    demand_blocks,
    forecast_demand,
    pinball,
    weighted_pinball,
)

NOW = pd.Timestamp("2026-06-01", tz="UTC")
PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)


def orders(rows):
    frame = pd.DataFrame(rows, columns=[schema.ITEM_ID, "days_ago", schema.QUANTITY])
    return frame.assign(**{schema.TS: NOW - pd.to_timedelta(frame["days_ago"], unit="D")})


def poisson_shop(rates, n_blocks, seed=0, lead_days=7):
    rng = np.random.default_rng(seed)
    sold = rng.poisson(rates[:, None], (len(rates), n_blocks))
    rows = [(f"i{i:03d}", lead_days * b + 3.0, q) for i, row in enumerate(sold) for b, q in enumerate(row) if q]
    return orders(rows)


@pytest.fixture(scope="module")
def shop():
    rates = np.geomspace(0.5, 60, 240)
    return rates, poisson_shop(rates, 40)


@pytest.fixture(scope="module")
def forecast(shop):
    rates, sold = shop
    return forecast_demand(sold, [f"i{i:03d}" for i in range(len(rates))], NOW)


def test_blocks_end_now_and_know_nothing_of_the_future():
    sold = orders(
        [("a", 1, 2.0), ("a", 6.9, 3.0), ("a", 7.1, 1.0), ("a", 30, 4.0), ("b", 8, 5.0), ("b", -1, 9.0), ("b", 0, 7.0)]
    )
    blocks = demand_blocks(sold, NOW, 7).set_index(["unique_id", "ds"])["y"]
    assert blocks.loc["a"].to_dict() == {-5: 4.0, -4: 0.0, -3: 0.0, -2: 1.0, -1: 5.0}
    assert blocks.loc["b"].to_dict() == {-2: 5.0, -1: 0.0}  # an order at the very instant is not past


def test_quantiles_cover_what_was_promised_on_unseen_blocks(shop, forecast):
    """Of Poisson demand, the forecast's quantiles hold their probability, within what counts allow."""
    rates, _ = shop
    quantiles = forecast.quantiles(PROBABILITIES)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    covered = poisson.cdf(np.floor(quantiles), rates[:, None]).mean(axis=0)
    below = poisson.cdf(np.ceil(quantiles) - 1, rates[:, None]).mean(axis=0)
    for probability, at_most, under in zip(PROBABILITIES, covered, below, strict=True):
        assert under - 0.04 < probability < at_most + 0.04


def test_the_chance_of_exceeding_stock_is_the_truth_within_a_few_percent(shop, forecast):
    rates, _ = shop
    stock = np.ceil(rates * np.random.default_rng(1).uniform(0.4, 2.2, len(rates)))
    truth = 1.0 - poisson.cdf(stock, rates)
    at_least = 1.0 - poisson.cdf(stock - 1, rates)
    assert truth.mean() - 0.03 < forecast.exceeds(stock).mean() < at_least.mean() + 0.03
    assert np.corrcoef(forecast.exceeds(stock), truth)[0, 1] > 0.9
    assert (forecast.exceeds(1e9) == 0).all()


def test_the_mean_is_near_the_rate(shop, forecast):
    rates, _ = shop
    assert forecast.mean.sum() == pytest.approx(rates.sum(), rel=0.05)


def test_exceeding_and_quantiles_are_inverse(forecast):
    q = forecast.quantiles([0.9])[:, 0]
    busy = forecast.level > 5
    np.testing.assert_allclose(forecast.exceeds(q)[busy], 0.1, atol=0.01)


def test_it_beats_the_naive_forecast_of_the_same_library(shop):
    from statsforecast.models import Naive

    _, sold = shop
    blocks = demand_blocks(sold, NOW, 7)
    ours, naive = backtest(blocks, ForecastConfig()), backtest(blocks, ForecastConfig(), Naive())
    np.testing.assert_array_equal(ours["y"], naive["y"])
    assert np.abs(ours["y"] - ours["level"]).sum() < 0.85 * np.abs(naive["y"] - naive["level"]).sum()


def test_an_item_that_never_sold_is_not_expected_to(shop):
    _, sold = shop
    forecast = forecast_demand(sold, ["unknown", "i239"], NOW)
    assert forecast.quantiles([0.5, 0.99])[0].tolist() == [0.0, 0.0]
    assert forecast.exceeds([0.0, 0.0])[0] == 0.0
    assert forecast.mean[1] > 30


def test_a_short_history_still_gives_a_forecast_when_others_are_long(shop):
    _, sold = shop
    newcomer = orders([("new", 2, 10.0)])
    forecast = forecast_demand(pd.concat([sold, newcomer]), ["new"], NOW)
    assert forecast.level.tolist() == [10.0]
    assert forecast.quantiles([0.95])[0, 0] > 10


def test_no_past_sales_and_too_short_a_past_are_refused():
    with pytest.raises(DataError, match="none before"):
        forecast_demand(orders([("a", -3, 1.0)]), ["a"], NOW)
    with pytest.raises(DataError, match="no item has 12 blocks"):
        forecast_demand(orders([("a", 3, 1.0), ("a", 15, 1.0)]), ["a"], NOW)
    with pytest.raises(ConfigError, match="lead_days"):
        ForecastConfig(lead_days=0)


def test_pinball_loss_is_the_definition_and_the_true_quantile_minimises_it():
    assert pinball([10.0], [[8.0, 12.0]], [0.5, 0.9]).tolist() == [(0.5 * 2 + 0.1 * 2) / 2]
    draws = np.random.default_rng(0).gamma(2.0, 3.0, 4_000)
    losses = [pinball(draws, np.full((4_000, 1), q), [0.8]).mean() for q in np.quantile(draws, (0.7, 0.8, 0.9))]
    assert losses[1] == min(losses)
    assert weighted_pinball([10.0, 1.0], [[8.0], [1.0]], [0.5], [2.0, 5.0]) == pytest.approx(2 * 1.0 / (20 + 5))
