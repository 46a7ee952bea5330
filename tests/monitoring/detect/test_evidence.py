"""Evidence for one look and for hourly looks: level, power, recovery, too little data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from fairtag.profile.measures import Estimate
from monitoring.detect.evidence import LAMBDAS, Change, EDetector, change_of, normal_scores, p_values


def change(value, se, clusters=200.0):
    return Change(
        *(np.atleast_1d(np.asarray(each, dtype=float)) for each in (value, se, np.full_like(value, clusters)))
    )


def test_a_p_value_is_students_tail_beyond_the_margin():
    found = p_values(change(np.array([0.05]), np.array([0.01])), np.array([0.02]))
    assert found[0] == pytest.approx(2 * stats.t.sf(3.0, 199), rel=1e-9)
    assert p_values(change(np.array([-0.05]), np.array([0.01])), np.array([0.02]))[0] == pytest.approx(found[0])


def test_scores_bring_students_t_to_the_normal_scale_on_both_sides_and_far_out():
    scores = normal_scores(change(np.array([0.1, -0.1, 0.5]), np.full(3, 0.01), 20.0), np.zeros(3))
    assert scores[0, 0] == pytest.approx(stats.norm.isf(stats.t.sf(10.0, 19)), rel=1e-6)
    assert scores[1, 0] == pytest.approx(-scores[0, 0])
    assert scores[1, 1] == pytest.approx(scores[0, 0])
    assert np.isfinite(scores).all()
    assert scores[0, 2] > scores[0, 0]


def test_a_component_with_few_customers_is_not_tested():
    few = change(np.array([5.0]), np.array([0.01]), 9.0)
    assert not few.testable.any()
    assert p_values(few, np.zeros(1))[0] == 1.0
    assert np.isneginf(normal_scores(few, np.zeros(1))).all()
    assert EDetector.fresh(1).update(normal_scores(few, np.zeros(1)), 10.0).evidence == EDetector.fresh(1).evidence


def test_an_estimate_may_not_claim_less_than_the_null_variance():
    sure = Estimate(np.zeros(1), np.zeros(1), np.full(1, 10.0), np.full(1, 50.0))
    assert change_of(sure, np.zeros(1), np.full(1, 0.04)).se[0] == pytest.approx(0.2)


def run_length(rng, mean, threshold, components, limit):
    detector = EDetector.fresh(components)
    for hour in range(limit):
        detector = detector.update(rng.normal(size=(2, components)) + mean, np.log(threshold))
        if detector.evidence >= np.log(threshold):
            return hour + 1
    return limit


def test_the_mean_time_between_false_alarms_is_at_least_the_threshold():
    rng = np.random.default_rng(0)
    threshold = 50.0  # small, so that alarms are seen at all: the guarantee holds at every threshold
    lengths = [run_length(rng, 0.0, threshold, 3, 2_000) for _ in range(60)]
    assert np.mean(lengths) > threshold


@pytest.mark.parametrize(("mean", "hours"), [(0.75, 60), (1.5, 20), (6.0, 2)])
def test_a_change_is_found_soon_and_a_larger_one_sooner(mean, hours):
    rng = np.random.default_rng(1)
    lengths = [run_length(rng, np.array([[mean], [-mean]]), 24_000.0, 1, 500) for _ in range(20)]
    assert np.mean(lengths) <= hours


def test_the_detector_clears_after_the_change_has_ended():
    rng = np.random.default_rng(2)
    threshold = np.log(24_000.0)
    detector = EDetector.fresh(2)
    for _ in range(200):  # a week of a huge change must not take a week to forget
        detector = detector.update(rng.normal(size=(2, 2)) + np.array([[8.0], [-8.0]]), threshold)
    assert detector.evidence >= threshold
    hours = 0
    while detector.evidence >= threshold:
        detector = detector.update(rng.normal(size=(2, 2)) - 2.0, threshold)
        hours += 1
    assert hours <= 24


def test_a_detector_survives_its_json():
    detector = EDetector.fresh(2).update(np.array([[1.0, -2.0], [0.5, 3.0]]), 10.0)
    again = EDetector.from_json(detector.as_json())
    np.testing.assert_allclose(again.log_wealth, detector.log_wealth, atol=1e-4)
    assert again.log_wealth.shape == (len(LAMBDAS), 2, 2)


def test_scores_are_those_of_students_t_far_into_both_tails():
    t = np.array([-50.0, -3.0, -0.1, 0.0, 0.1, 2.0, 8.0, 30.0])
    change = Change(t, np.ones(8), np.array([11.0, 30, 500, 12, 80, 11, 1000, 25]))
    found = normal_scores(change, np.zeros(8))[0]
    exact = np.where(
        t > 0,
        -special.ndtri_exp(stats.t.logsf(t, change.clusters - 1)),
        special.ndtri_exp(stats.t.logcdf(t, change.clusters - 1)),
    )
    np.testing.assert_allclose(found, exact, rtol=1e-9, atol=1e-12)
    beyond = normal_scores(Change(np.array([1e6]), np.ones(1), np.array([1000.0])), np.zeros(1))
    assert np.isfinite(beyond).all()
    assert beyond[0, 0] > 35
