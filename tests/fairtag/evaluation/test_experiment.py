"""Live tests: assignment that needs no store, a split that is watched, advice that holds at every look."""

import math

import numpy as np
import pytest
from scipy import stats

from fairtag.base.errors import ConfigError, DataError
from fairtag.evaluation.experiment import Advice, Metric, Sums, effect, read_experiment, split_check, sums
from fairtag.policy.experiments import Split

HALF = Split("prices-1", {"control": 0.5, "treatment": 0.5})
METRICS = (Metric("profit", 0.1), Metric("complaints", 0.02, margin=0.05, higher_is_better=False))


def test_assignment_is_the_same_always_and_follows_the_shares():
    three = Split("x", {"a": 0.2, "b": 0.3, "c": 0.5})
    units = [f"user {k}" for k in range(20_000)]
    arms = [three.arm(unit) for unit in units]
    assert arms == [three.arm(unit) for unit in units]
    for arm, share in three.shares.items():
        assert abs(arms.count(arm) / 20_000 - share) < 4 * math.sqrt(share * (1 - share) / 20_000)


def test_experiments_split_customers_independently():
    other = Split("prices-2", HALF.shares)
    both = [(HALF.arm(f"u{k}"), other.arm(f"u{k}")) for k in range(8_000)]
    table = [[both.count((a, b)) for b in HALF.shares] for a in HALF.shares]
    assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("arms", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}, {"a": 1.5, "b": -0.5}])
def test_shares_that_are_none_are_refused(arms):
    with pytest.raises(ConfigError, match="shares"):
        Split("bad", arms)


def test_sums_merge_and_give_welch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, 300), rng.normal(1.5, 2, 200)
    difference, error = effect(sums(x), sums(y[:50]) + sums(y[50:]))
    assert difference == pytest.approx(y.mean() - x.mean())
    assert difference / error == pytest.approx(stats.ttest_ind(y, x, equal_var=False).statistic)
    assert math.isnan(effect(sums([]), sums(y))[0])
    with pytest.raises(DataError, match="not finite"):
        sums([1.0, np.nan])


@pytest.mark.slow
def test_the_split_is_found_broken_when_it_is_and_rarely_otherwise_at_any_look():
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        arrivals = rng.random(20_000) < 0.5
        looks = range(500, 20_001, 500)
        alarms += any(
            split_check({"control": int(n - arrivals[:n].sum()), "treatment": int(arrivals[:n].sum())}, HALF).broken
            for n in looks
        )
    assert alarms <= 1  # at 1 in 1,000 over all looks
    assert split_check({"control": 50_000, "treatment": 51_500}, HALF).broken
    assert split_check({"control": 50_000, "treatment": 51_500}, HALF).p_value < 1e-5
    assert not split_check({"control": 500, "treatment": 515}, HALF).broken
    assert not split_check({}, HALF).broken
    with pytest.raises(DataError, match="do not fit"):
        split_check({"other": 1}, HALF)
    with pytest.raises(DataError, match="do not fit"):
        split_check({"control": -1}, HALF)


def run(seed, *, lift=0.0, complaints=0.0, looks=20, batch=400):
    """Readings of an experiment look by look until it says more than CONTINUE."""
    rng = np.random.default_rng(seed)
    totals = {arm: {metric.name: Sums(0, 0.0, 0.0) for metric in METRICS} for arm in HALF.shares}
    reading, states = None, None
    for _ in range(looks):
        for arm, on in (("control", 0), ("treatment", 1)):
            totals[arm]["profit"] += sums(rng.normal(1 + lift * on, 1, batch))
            totals[arm]["complaints"] += sums(rng.random(batch) < 0.1 + complaints * on)
        reading = read_experiment(HALF, METRICS, totals, states)
        states = reading.states
        if reading.advice is not Advice.CONTINUE:
            return reading
    return reading


def test_a_better_treatment_ships_and_a_worse_one_stops():
    assert [run(seed, lift=0.15).advice for seed in range(10)].count(Advice.SHIP) >= 9
    assert [run(seed, lift=-0.15).advice for seed in range(10)].count(Advice.STOP) >= 9


def test_a_guardrail_stops_a_treatment_that_earns_more():
    readings = [run(seed, lift=0.15, complaints=0.15) for seed in range(10)]
    assert [reading.advice for reading in readings].count(Advice.STOP) >= 9
    assert "complaints" in readings[0].why


def test_no_effect_rarely_ships_or_stops_over_all_looks():
    decided = sum(run(seed).advice is not Advice.CONTINUE for seed in range(60))
    assert decided <= 6  # 5 % of 60, with room


def test_an_open_guardrail_holds_the_launch_back():
    arms = {
        arm: {"profit": sums(np.full(5_000, 1.0) + 0.5 * on + np.tile([-0.1, 0.1], 2_500))}
        for on, arm in enumerate(HALF.shares)
    }
    for by_metric in arms.values():
        by_metric["complaints"] = sums(np.tile([0.0, 1.0], 100))
    reading = read_experiment(HALF, METRICS, arms)
    assert reading.advice is Advice.CONTINUE
    assert "complaints" in reading.why


def test_a_wrong_split_outranks_every_finding():
    arms = {
        "control": {metric.name: sums(np.random.default_rng(0).normal(size=5_000)) for metric in METRICS},
        "treatment": {metric.name: sums(5 + np.random.default_rng(1).normal(size=6_000)) for metric in METRICS},
    }
    assert read_experiment(HALF, METRICS, arms).advice is Advice.BROKEN


def test_nothing_seen_yet_goes_on():
    empty = {arm: {metric.name: sums([]) for metric in METRICS} for arm in HALF.shares}
    assert read_experiment(HALF, METRICS, empty).advice is Advice.CONTINUE


def test_a_reading_that_cannot_be_made_is_refused():
    whole = {arm: {metric.name: sums([1.0, 2.0]) for metric in METRICS} for arm in HALF.shares}
    with pytest.raises(DataError, match="lacks complaints"):
        read_experiment(HALF, METRICS, {**whole, "treatment": {"profit": sums([1.0])}})
    with pytest.raises(ConfigError, match="margin"):
        read_experiment(HALF, (METRICS[0], Metric("x", 1.0)), whole)
    with pytest.raises(ConfigError, match="two arms"):
        read_experiment(Split("x", {"a": 0.2, "b": 0.3, "c": 0.5}), METRICS, whole)
