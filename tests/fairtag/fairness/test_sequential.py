"""Peeking: the level holds over all looks together, the fixed test's does not, and real gaps are still found."""

import json
import math

import numpy as np
import pytest
from scipy import integrate, stats

from fairtag.base.errors import ConfigError, DataError
from fairtag.fairness import fixed_effects as fe
from fairtag.fairness.sequential import SequentialState, log_e_value, look, radius

SCALE = 0.01


def hourly(seed, *, effect=0.0, hours=60, users=400, lasting=0.01):
    """Running estimates of an audit looked at every hour; customers come back, and carry a tendency of their own."""
    rng = np.random.default_rng(seed)
    group = rng.random(users) < 0.4
    tendency = rng.normal(0, lasting, users)
    user = rng.integers(0, users, hours * 60)
    stratum = rng.integers(0, 20, len(user)) + 20 * (np.arange(len(user)) // (24 * 60))
    outcome = tendency[user] + rng.normal(0, 0.03, len(user)) + effect * group[user]
    for hour in range(4, hours + 1):
        seen = slice(0, hour * 60)
        estimate = fe.gap(fe.panel(user[seen], stratum[seen], outcome[seen]), group)
        yield estimate.value, estimate.standard_error


def test_the_e_value_is_the_mixture_by_numerical_integration():
    estimate, error = 0.013, 0.006
    density = stats.norm(scale=error)

    def integrand(theta):
        return stats.norm.pdf(theta, scale=SCALE) * density.pdf(estimate - theta)

    mixed, _ = integrate.quad(integrand, -0.2, 0.2, points=[estimate])
    assert log_e_value(estimate, error, SCALE) == pytest.approx(math.log(mixed / density.pdf(estimate)), abs=1e-8)


def test_the_radius_is_where_the_e_value_reaches_one_over_alpha():
    for error in (1e-4, 0.01, 1.0):
        assert log_e_value(radius(error, SCALE, 0.05), error, SCALE) == pytest.approx(math.log(20))


@pytest.mark.slow
def test_hourly_peeking_keeps_the_level_where_a_fixed_test_loses_it():
    sequential = fixed = wrong = 0
    for seed in range(100):
        state, peeked = SequentialState(), False
        for estimate, error in hourly(seed):
            state = look(state, estimate, error, scale=SCALE)
            peeked |= abs(estimate) > 1.96 * error
        sequential += state.p_value <= 0.05
        wrong += not state.low <= 0 <= state.high
        fixed += peeked
    assert sequential == wrong  # the p-value and the confidence sequence are one statement
    assert sequential <= 5
    assert fixed >= 12


def test_a_real_gap_is_found_and_enclosed():
    found = enclosed = 0
    for seed in range(20):
        state = SequentialState()
        for estimate, error in hourly(seed, effect=0.012):
            state = look(state, estimate, error, scale=SCALE)
        found += state.p_value <= 0.05
        enclosed += state.low <= 0.012 <= state.high
    assert found >= 18
    assert enclosed >= 18


def test_the_state_survives_json_at_any_look():
    for state in (SequentialState(), look(SequentialState(), 0.01, 0.002, scale=SCALE)):
        back = SequentialState.from_json(json.loads(json.dumps(state.to_json(), allow_nan=False)))
        assert repr(back) == repr(state)
    with pytest.raises(DataError, match="state"):
        SequentialState.from_json({"looked": 3})


def test_evidence_is_never_forgotten():
    state = look(SequentialState(), 0.05, 0.005, scale=SCALE)
    later = look(state, 0.0, 0.005, scale=SCALE)
    assert later.p_value == state.p_value < 0.05
    assert later.low == state.low
    assert later.low > later.high  # an effect that was there and is gone
    assert state.low <= state.high


@pytest.mark.parametrize(("estimate", "error"), [(math.nan, 0.1), (0.1, math.nan), (0.1, 0.0), (0.1, math.inf)])
def test_a_look_without_enough_data_counts_and_changes_nothing_else(estimate, error):
    state = look(SequentialState(), 0.01, 0.002, scale=SCALE)
    after = look(state, estimate, error, scale=SCALE)
    assert after.looks == state.looks + 1
    assert (after.p_value, after.low, after.high) == (state.p_value, state.low, state.high)


@pytest.mark.parametrize("change", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.nan}, {"confidence": 1.0}])
def test_a_test_that_cannot_be_meant_is_refused(change):
    with pytest.raises(ConfigError):
        look(SequentialState(), 0.0, 1.0, **{"scale": SCALE, **change})


def test_an_overwhelming_effect_neither_overflows_nor_gives_less_than_nothing():
    state = look(SequentialState(), 1e3, 1e-9, scale=SCALE)
    assert state.p_value == 0.0
    assert math.isfinite(state.low)
