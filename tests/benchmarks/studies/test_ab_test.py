"""The rehearsal of a live test: it is fooled seldom, sees a real gain, and what it counts is what was planted."""

import numpy as np
import pytest

from benchmarks.studies import ab_test
from benchmarks.studies.synthetic import simulate
from fairtag.evaluation.experiment import Advice


@pytest.fixture(scope="module")
def outcomes():
    return ab_test.outcomes_of(simulate(8_000, seed=5))


def test_the_outcomes_are_the_planted_ones(outcomes):
    assert np.allclose(outcomes.chance[..., -1], 1.0)
    assert (np.diff(outcomes.chance, axis=-1) >= -1e-12).all()
    base, better = outcomes.expected()
    assert better > base > 0
    rng = np.random.default_rng(0)
    treated = rng.random(ab_test.CUSTOMERS) < 0.5
    profit, purchases = ab_test.customers_of_a_week(outcomes, treated, rng)
    visits = 1 + ab_test.MORE_VISITS
    for arm, mean in ((~treated, base), (treated, better)):
        error = profit[arm].std() / np.sqrt(arm.sum())
        assert abs(profit[arm].mean() - visits * mean) < 4 * error
    assert purchases.max() > 1


@pytest.mark.slow
def test_equal_arms_are_seldom_told_apart_and_a_fixed_test_read_daily_is_fooled_more_often(outcomes):
    rows = {row.metric: row.value for row in ab_test.false_alarm_rows(outcomes, 40)}
    assert rows["false_decision_sequential"] <= 0.1
    assert rows["false_decision_fixed"] > rows["false_decision_sequential"]


def test_better_prices_ship(outcomes):
    reading = ab_test.simulate_test(outcomes, 1, same=False)
    assert reading.advice is Advice.SHIP
    assert 1 < reading.day <= ab_test.DAYS
    rows = {row.metric: row for row in ab_test.power_rows(outcomes, 5)}
    assert rows["better_prices_shipped"].value >= 0.8
    assert rows["better_prices_stopped"].value == 0


def test_a_test_that_loses_customers_says_so():
    rows = {row.metric: row.value for row in ab_test.split_rows(20)}
    assert rows["sound_split_called_broken"] == 0
    assert rows["broken_split_found"] > 0.5
