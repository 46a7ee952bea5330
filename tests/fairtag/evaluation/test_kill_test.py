"""The evaluation is alive: it accepts a sound log, and visibly fails when a planted confounder is left out."""

import pytest

from fairtag.evaluation.kill_test import confounder_kill_test


def verdicts(report):
    return {gate.name: gate.status for gate in report.gates}


def test_with_the_confounder_logged_every_gate_passes_and_the_interval_holds_the_truth():
    result = confounder_kill_test(seed=1)
    assert set(verdicts(result.complete).values()) == {"pass"}
    low, high = result.complete.uplift.interval()
    assert low <= result.truth <= high
    assert result.alive


def test_with_the_confounder_left_out_the_placebo_fails_and_the_estimate_has_the_wrong_sign():
    result = confounder_kill_test(seed=1)
    assert result.caught
    assert verdicts(result.omitted)["off_policy_placebo"] == "fail"
    assert result.truth > 0
    assert result.omitted.uplift.interval()[1] < 0


def test_without_a_confounder_the_careless_log_is_as_good_as_the_complete_one():
    result = confounder_kill_test(seed=1, strength=0.0)
    assert result.omitted.passes
    assert not result.caught
    assert result.omitted.uplift.value == pytest.approx(result.complete.uplift.value, abs=0.01)


def test_the_test_itself_rarely_errs():
    results = [confounder_kill_test(seed=seed) for seed in range(40)]
    assert all(result.caught for result in results)
    assert sum(result.complete.passes for result in results) >= 33  # the agreement gate alone refuses 1 sound log in 20
