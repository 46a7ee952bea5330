"""A/A tests of 1,000 days on the simulated shop: does the report of an experiment keep its level when read every day?

Both arms are shown list prices, so that whatever the report decides is wrong. Assignment and reading are the product's:
:mod:`fairtag.policy.experiments` and :mod:`fairtag.evaluation.experiment_report`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.result import Result, Row, share_row
from benchmarks.studies.ab_test import (
    MARGIN,
    MORE_VISITS,
    SCALE,
    SEED,
    TRAINING_ROWS,
    Outcomes,
    customers_of_a_week,
    outcomes_of,
)
from benchmarks.studies.synthetic import simulate
from fairtag.base import schema
from fairtag.base.normal import Z95
from fairtag.evaluation.experiment import Advice, split_check
from fairtag.evaluation.experiment_customers import CONVERSION, PROFIT
from fairtag.evaluation.experiment_report import compare_with_control
from fairtag.policy.experiments import Experiment

DAYS, A_DAY = 1_000, 40  # length of a test, and customers who come for the first time each day
TESTS = 200
WINDOW_DAYS = 7.0
WARM_UP = 7  # days before the first look of the fixed test: large samples
START = datetime(2026, 1, 1, tzinfo=UTC)


def quick() -> Result:
    """The same rows from a tenth of the tests."""
    return run(TESTS // 10)


def run(tests: int = TESTS) -> Result:
    """Simulate A/A tests, and count those that ever decide."""
    outcomes = outcomes_of(simulate(TRAINING_ROWS, seed=SEED))
    experiments = [experiment_of(outcomes, seed) for seed in range(tests)]
    wrong = fixed = broken = looks = 0
    for seed, experiment in enumerate(experiments):
        customers = simulated_customers(experiment, outcomes, seed)
        compared = compare_with_control(experiment, "b", customers)
        counts = customers[schema.ARM].value_counts()
        wrong += compared.advice in (Advice.SHIP, Advice.STOP)
        broken += split_check({arm: int(counts[arm]) for arm in ("a", "b")}, experiment.split).broken
        fixed += fixed_test_rejects(customers)
        looks = compared.looks
    notes = (
        f"{tests} A/A tests of {DAYS:,} days with {A_DAY} new customers a day, each watched for {WINDOW_DAYS:g} days; "
        "read at the end of every day by the report of an experiment, at a nominal 5 % for gain, loss and guardrail.",
        "false_decision_fixed: a test for a single look at profit, repeated every day.",
    )
    rows = (
        share_row("false_decision_sequential", wrong, tests, reference="<= 0.05"),
        share_row("false_decision_fixed", fixed, tests, reference="<= 0.05"),
        share_row("sound_split_called_broken", broken, tests, reference="<= 0.001"),
        Row("looks", float(looks), unit="days read"),
    )
    return Result(rows, notes)


def experiment_of(outcomes: Outcomes, seed: int) -> Experiment:
    """An A/A test of the simulated shop."""
    base = float(outcomes.expected()[0]) * (1.0 + MORE_VISITS)
    halves = [{"name": name, "share": 0.5, "prices": "list"} for name in ("a", "b")]
    return Experiment(
        name=f"a/a {seed}", arms=halves, effect=SCALE * base, margin=MARGIN, window_days=WINDOW_DAYS, holdout=0.0
    )


def simulated_customers(experiment: Experiment, outcomes: Outcomes, seed: int) -> pd.DataFrame:
    """The customers of a test as the report counts them, all of them watched for their whole window."""
    rng, n = np.random.default_rng(seed), DAYS * A_DAY
    profit, purchases = customers_of_a_week(outcomes, np.zeros(n, dtype=bool), rng)
    day = np.sort(rng.uniform(0.0, DAYS, n))
    return pd.DataFrame(
        {
            "first": pd.Timestamp(START) + pd.to_timedelta(day, unit="D"),
            schema.ARM: [experiment.split.arm(f"{seed} {unit}") for unit in range(n)],
            "whole": True,
            PROFIT: profit,
            CONVERSION: (purchases > 0).astype(float),
        }
    )


def fixed_test_rejects(customers: pd.DataFrame) -> bool:
    """Whether a test for a single look rejects at the end of any day."""
    day = ((customers["first"] - START) / timedelta(days=1)).to_numpy().astype(np.int64)
    value, treated = customers[PROFIT].to_numpy(), (customers[schema.ARM] == "b").to_numpy()

    def running(weights: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(day[chosen], weights=weights[chosen], minlength=DAYS).cumsum()

    means, errors = [], []
    for chosen in (~treated, treated):
        n, total, squares = (running(weights, chosen) for weights in (np.ones(len(value)), value, value**2))
        means.append(total / n)
        errors.append((squares - total**2 / n) / (n - 1) / n)
    z = (means[1] - means[0]) / np.sqrt(errors[0] + errors[1])
    return bool((np.abs(z[WARM_UP:]) > Z95).any())
