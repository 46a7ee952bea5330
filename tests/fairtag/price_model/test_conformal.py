"""Intervals hold their share on new rows, group by group."""

import numpy as np
import pytest

from fairtag.price_model.conformal import MIN_GROUP, _conformal_quantile, fit_intervals


def draw(rng, n):
    groups = rng.choice(["calm", "wild", "rare"], n, p=[0.5, 0.48, 0.02]).tolist()
    scale = np.array([{"calm": 0.1, "wild": 0.8, "rare": 0.3}[name] for name in groups])
    features = rng.normal(size=(n, 1))
    residual = scale * np.exp(0.4 * features[:, 0]) * rng.standard_t(4, n)
    return residual, features, groups


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_new_rows_fall_inside_as_often_as_promised_in_every_group(coverage):
    rng = np.random.default_rng(0)
    intervals = fit_intervals(*draw(rng, 1500), coverage=coverage)
    residual, features, groups = draw(rng, 20_000)
    low, high = intervals.ends(features, groups)
    inside = (residual >= low) & (residual <= high)
    assert inside.mean() == pytest.approx(coverage, abs=0.02)
    for name in ("calm", "wild"):
        assert inside[np.array(groups) == name].mean() == pytest.approx(coverage, abs=0.03)


def test_a_pooled_interval_would_fail_the_groups():
    rng = np.random.default_rng(1)
    residual, features, groups = draw(rng, 3000)
    pooled = fit_intervals(residual, features, ["all"] * 3000)
    low, high = pooled.ends(features, ["all"] * 3000)
    inside = (residual >= low) & (residual <= high)
    assert inside[np.array(groups) == "wild"].mean() < 0.86  # what the group corrections are for


def test_a_group_too_small_or_unknown_takes_the_pooled_correction():
    rng = np.random.default_rng(2)
    residual, features, groups = draw(rng, 800)
    intervals = fit_intervals(residual, features, groups)
    assert groups.count("rare") < MIN_GROUP
    assert intervals.groups == ("", "calm", "wild")
    rare, unknown = (intervals.ends(features[:5], [name] * 5) for name in ("rare", "never seen"))
    np.testing.assert_array_equal(rare, unknown)


def test_the_lower_end_is_never_above_the_upper_even_far_outside_the_features():
    rng = np.random.default_rng(3)
    intervals = fit_intervals(*draw(rng, 400))
    low, high = intervals.ends(np.array([[-50.0], [0.0], [50.0]]), ["calm"] * 3)
    assert (low <= high).all()


def test_the_conformal_quantile_is_the_finite_sample_one():
    assert _conformal_quantile(np.arange(1.0, 20.0), 0.9) == 18.0  # ceil(20 * 0.9)
    assert _conformal_quantile(np.arange(1.0, 21.0), 0.9) == 19.0  # ceil(21 * 0.9); without the row to come it is 18
    assert _conformal_quantile(np.arange(1.0, 6.0), 0.95) == 5.0  # too few: the largest
