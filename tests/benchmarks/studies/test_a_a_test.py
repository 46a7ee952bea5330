"""The A/A study finds nothing where nothing is, and would find what is planted."""

import pytest

from benchmarks.studies import a_a_test
from benchmarks.studies.ab_test import outcomes_of
from benchmarks.studies.synthetic import simulate
from fairtag.base import schema
from fairtag.evaluation.experiment import Advice
from fairtag.evaluation.experiment_report import PROFIT, compare_with_control


@pytest.fixture(scope="module")
def outcomes():
    return outcomes_of(simulate(8_000, seed=5))


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(a_a_test, "DAYS", 60)


def test_equal_arms_are_not_decided_and_a_planted_gain_is(outcomes, short):
    experiment = a_a_test.experiment_of(outcomes, 0)
    customers = a_a_test.simulated_customers(experiment, outcomes, 0)
    assert len(customers) == 60 * a_a_test.A_DAY
    assert compare_with_control(experiment, "b", customers).advice is Advice.CONTINUE
    better = customers.assign(**{PROFIT: customers[PROFIT] * (1.0 + 0.6 * (customers[schema.ARM] == "b"))})
    assert compare_with_control(experiment, "b", better).profit.low > 0
    assert a_a_test.fixed_test_rejects(better)


def test_daily_looks_at_a_fixed_test_reject_far_above_its_level(outcomes, short):
    rejected = 0
    for seed in range(30):
        experiment = a_a_test.experiment_of(outcomes, seed)
        rejected += a_a_test.fixed_test_rejects(a_a_test.simulated_customers(experiment, outcomes, seed))
    assert rejected >= 4  # of 30; at its level 1.5
