"""The launch gate: each condition alone decides, on both sides of its threshold."""

import numpy as np
import pytest

from fairtag.evaluation import off_policy as ope
from fairtag.evaluation.launch_gate import launch_report
from fairtag.evaluation.limits import LaunchLimits
from fairtag.model.decision import make_decision

N, ACTIONS = 2_000, 5
RNG = np.random.default_rng(3)
ACTION = RNG.integers(0, ACTIONS, size=N)
MEAN = np.tile([1.0, 1.1, 1.2, 1.3, 2.0], (N, 1))
REWARD = MEAN[np.arange(N), ACTION] + RNG.normal(size=N) * 0.5
LOG = ope.bandit_log(REWARD, ACTION, np.full(N, 0.2))
BEST = np.tile(np.eye(ACTIONS)[4], (N, 1))


def verdicts(report):
    return {gate.name.removeprefix("off_policy_"): gate.status for gate in report.gates}


def test_a_better_policy_on_a_sound_log_passes_everything():
    report = launch_report(LOG, BEST, MEAN, placebo=RNG.normal(size=N))
    assert set(verdicts(report).values()) == {"pass"}
    assert report.passes
    assert report.uplift.value == pytest.approx(2.0 - REWARD.mean(), abs=0.1)


def test_no_placebo_is_not_applicable_and_still_passes():
    report = launch_report(LOG, BEST, MEAN)
    assert verdicts(report)["placebo"] == "not applicable"
    assert report.passes


def test_too_small_an_effective_sample_is_no_answer():
    keep = slice(0, 900)  # about 180 rows show the best price
    log = ope.bandit_log(REWARD[keep], ACTION[keep], np.full(900, 0.2))
    report = launch_report(log, BEST[keep], MEAN[keep])
    assert ope.effective_sample_size(ope.weights(log, BEST[keep])) < 200
    assert verdicts(report)["support"] == "could not tell"
    assert not report.passes
    assert verdicts(launch_report(log, BEST[keep], MEAN[keep], limits=LaunchLimits(ess=100)))["support"] == "pass"


def test_the_share_of_the_log_counts_too():
    ess = ope.effective_sample_size(ope.weights(LOG, BEST))
    report = launch_report(LOG, BEST, MEAN, limits=LaunchLimits(ess_share=(ess + 1) / N))
    assert verdicts(report)["support"] == "could not tell"


def test_a_worse_policy_fails_the_uplift():
    worst = np.tile(np.eye(ACTIONS)[0], (N, 1))
    assert verdicts(launch_report(LOG, worst, MEAN))["uplift"] == "fail"


def test_a_policy_that_changes_nothing_passes_the_uplift_no_more_often_than_its_level():
    passes = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        action = rng.integers(0, ACTIONS, size=N)
        log = ope.bandit_log(MEAN[np.arange(N), action] + rng.normal(size=N) * 0.5, action, np.full(N, 0.2))
        same = launch_report(log, np.full((N, ACTIONS), 0.2), MEAN)
        passes += verdicts(same)["uplift"] == "pass"
    assert 2 <= passes <= 20  # 10 expected at 5 %; outside this with probability under 0.002


def test_the_champion_is_the_baseline_when_there_is_one():
    report = launch_report(LOG, BEST, MEAN, champion=BEST)
    assert report.uplift.value == 0.0
    assert verdicts(report)["uplift"] == "fail"


def test_a_wrong_reward_model_fails_the_agreement():
    assert verdicts(launch_report(LOG, BEST, MEAN + 0.3))["agreement"] == "fail"


def test_wrong_propensities_fail_the_balance():
    log = ope.bandit_log(REWARD, ACTION, np.where(ACTION == 4, 0.1, 0.2))
    assert verdicts(launch_report(log, BEST, MEAN))["balance"] == "fail"


def test_prices_drawn_on_something_the_propensities_leave_out_fail_the_placebo():
    earlier = RNG.normal(size=N) + 0.5 * (ACTION == 4)
    assert verdicts(launch_report(LOG, BEST, MEAN, placebo=earlier))["placebo"] == "fail"


def test_a_constant_placebo_passes_without_a_division_by_zero():
    assert verdicts(launch_report(LOG, BEST, MEAN, placebo=np.ones(N)))["placebo"] == "pass"


def test_one_customer_is_no_evidence():
    log = ope.bandit_log(REWARD, ACTION, np.full(N, 0.2), np.zeros(N))
    report = launch_report(log, BEST, MEAN)
    assert verdicts(report)["uplift"] == "could not tell"
    assert not report.passes


def test_the_gates_fit_the_decision_document():
    gates = launch_report(LOG, BEST, MEAN).gates
    model = {"version": "1", "model_digest": "d"}
    decision = make_decision(challenger=model, champion=None, data_fingerprint="f", gates=gates, metrics={})
    assert decision["accepted"]
