"""The gain of a personal choice over the best single arm, against planted outcomes."""

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.evaluation.personal_gain import personal_gain

N, ARMS = 6_000, 3


def trial(seed, spread):
    """Three arms of equal mean but for the last; ``spread`` is how much customers differ in their best one."""
    rng = np.random.default_rng(seed)
    taste = spread * rng.normal(size=(N, ARMS)) + np.array([0.0, 0.0, 0.2])
    arm = rng.integers(0, ARMS, N)
    return taste, arm, taste[np.arange(N), arm] + rng.normal(size=N), np.arange(N) % 5


def test_the_estimates_are_the_planted_values():
    taste, arm, outcome, fold = trial(0, 0.5)
    found = personal_gain(outcome, arm, np.full(N, 1 / ARMS), taste, fold=fold)
    truth = taste.max(axis=1).mean() - taste[:, 2].mean()
    assert set(found.best.tolist()) == {2}
    assert abs(found.gain.value - truth) < 3 * found.gain.standard_error
    assert found.personalise
    assert found.verdict.startswith("personalise: the gain over the best single arm is")


def test_where_customers_do_not_differ_the_product_refuses_to_personalise_and_says_so():
    taste, arm, outcome, fold = trial(1, 0.0)
    guess = taste + np.random.default_rng(2).normal(scale=0.3, size=taste.shape)
    found = personal_gain(outcome, arm, np.full(N, 1 / ARMS), guess, fold=fold)
    assert not found.personalise
    assert found.verdict.startswith("do not personalise")


def test_no_difference_is_called_one_no_more_often_than_its_level():
    called = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        arm, fold = rng.integers(0, 2, 500), np.arange(500) % 5
        found = personal_gain(rng.normal(size=500), arm, np.full(500, 0.5), rng.normal(size=(500, 2)), fold=fold)
        called += found.personalise
    assert called <= 12  # 5 are expected at a one-sided 2.5 %; more than 12 with probability 0.002


def test_a_fold_is_never_scored_by_the_arm_that_its_own_rows_like():
    fold = np.repeat([0, 1], 10)
    arm = np.tile([0, 1], 10)
    outcome = np.where(fold == 0, arm, 1 - arm).astype(float)
    found = personal_gain(outcome, arm, np.full(20, 0.5), np.zeros((20, 2)), fold=fold)
    assert found.best.tolist() == [0, 1]
    assert found.single.value == 0.0


def test_one_fold_or_wrong_lengths_are_refused():
    with pytest.raises(DataError, match="one fold"):
        personal_gain([1.0, 2.0], [0, 1], [0.5, 0.5], np.zeros((2, 2)), fold=[0, 0])
    with pytest.raises(DataError, match="2 rows"):
        personal_gain([1.0, 2.0], [0, 1], [0.5, 0.5], np.zeros((3, 2)), fold=[0, 1])
