"""Off-policy estimators against Open Bandit Pipeline, their naive forms, and a market whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from fairtag.base.errors import DataError
from fairtag.evaluation import off_policy as ope

FIXTURE = json.loads((Path(__file__).parents[2] / "fixtures" / "obp.json").read_text())


def fixture_log():
    log = FIXTURE["log"]
    return ope.bandit_log(log["reward"], log["action"], log["propensity"]), log["policy"], log["model"]


@pytest.mark.parametrize("name", sorted(FIXTURE["values"]))
def test_values_equal_open_bandit_pipeline(name):
    log, policy, model = fixture_log()
    clip = FIXTURE["clip"]
    ours = {
        "ips": lambda: ope.ips(log, policy),
        "ips_clipped": lambda: ope.ips(log, policy, clip),
        "snips": lambda: ope.snips(log, policy),
        "dm": lambda: ope.direct(log, policy, model),
        "dr": lambda: ope.doubly_robust(log, policy, model),
        "dr_clipped": lambda: ope.doubly_robust(log, policy, model, clip),
        "switch": lambda: ope.switch(log, policy, model, FIXTURE["threshold"]),
    }[name]()
    assert ours.value == pytest.approx(FIXTURE["values"][name], abs=1e-9)


def test_the_fixture_separates_the_estimators():
    assert len({round(value, 6) for value in FIXTURE["values"].values()}) == len(FIXTURE["values"])


def simulate(seed, n=4_000, actions=5, repeat=1, confounded=False):
    """Logged prices whose true value under every action is known; ``repeat`` rows share a customer and its noise."""
    rng = np.random.default_rng(seed)
    customers = n // repeat
    context = np.repeat(rng.normal(size=customers), repeat)
    mean = 2 + context[:, None] * np.linspace(-1, 1, actions) + np.linspace(0, 0.5, actions)
    logits = 0.3 * context[:, None] * np.linspace(-1, 1, actions)
    logging = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)).sum(axis=1).clip(0, actions - 1)
    shared = np.repeat(rng.normal(size=customers), repeat)
    reward = mean[np.arange(n), action] + shared + rng.normal(size=n)
    policy = np.full((n, actions), 0.02 / (actions - 1))
    policy[np.arange(n), np.where(context > 0, actions - 1, 0)] = 0.98
    log = ope.bandit_log(reward, action, logging[np.arange(n), action], np.repeat(np.arange(customers), repeat))
    return log, policy, mean, float((policy * mean).sum(axis=1).mean())


def test_the_naive_forms_of_every_estimator():
    log, policy, _, _ = simulate(1, n=50)
    model = np.random.default_rng(2).normal(size=policy.shape)
    w = [policy[i, log.action[i]] / log.propensity[i] for i in range(50)]
    r = log.reward
    assert ope.ips(log, policy).value == pytest.approx(sum(w[i] * r[i] for i in range(50)) / 50)
    assert ope.snips(log, policy).value == pytest.approx(sum(w[i] * r[i] for i in range(50)) / sum(w))
    dm = [sum(policy[i, a] * model[i, a] for a in range(5)) for i in range(50)]
    assert ope.direct(log, policy, model).value == pytest.approx(sum(dm) / 50)
    correct = [r[i] - model[i, log.action[i]] for i in range(50)]
    dr = sum(dm[i] + w[i] * correct[i] for i in range(50)) / 50
    assert ope.doubly_robust(log, policy, model).value == pytest.approx(dr)
    sw = sum(dm[i] + (w[i] if w[i] <= 1 else 0) * correct[i] for i in range(50)) / 50
    assert ope.switch(log, policy, model, 1.0).value == pytest.approx(sw)
    assert ope.effective_sample_size(np.array(w)) == pytest.approx(sum(w) ** 2 / sum(x * x for x in w))


def test_the_standard_error_is_the_textbook_one_without_clusters():
    log, policy, _, _ = simulate(3)
    rows = ope.ips(log, policy)
    assert rows.standard_error == pytest.approx(rows.numerator.std(ddof=1) / np.sqrt(log.size), rel=1e-9)


@pytest.mark.parametrize("repeat", [1, 10])
def test_intervals_cover_the_truth_as_often_as_they_say_also_when_customers_return(repeat):
    hits = 0
    for seed in range(200):
        log, policy, mean, truth = simulate(seed, n=1_500, repeat=repeat)
        low, high = ope.doubly_robust(log, policy, 0.5 * mean).interval(0.9)
        hits += low <= truth <= high
    assert 165 <= hits <= 195  # binomial(200, 0.9): 4 standard errors of 4.2; the truth itself varies with the draw


def test_ignoring_that_rows_belong_to_customers_would_understate_the_error():
    log, _, _, _ = simulate(5, repeat=20)
    alone = ope.bandit_log(log.reward, log.action, log.propensity)
    grouped = ope.on_policy(log).standard_error
    assert grouped > 2 * ope.on_policy(alone).standard_error


def test_doubly_robust_survives_a_wrong_model_or_wrong_propensities_but_not_both():
    log, policy, mean, truth = simulate(7, n=40_000)
    wrong_model = np.zeros_like(mean)
    wrong_log = ope.bandit_log(log.reward, log.action, np.clip(log.propensity * 2, 0, 1))
    good = 5 * ope.doubly_robust(log, policy, mean).standard_error
    assert abs(ope.doubly_robust(log, policy, wrong_model).value - truth) < 3 * good
    assert abs(ope.doubly_robust(wrong_log, policy, mean).value - truth) < good
    assert abs(ope.doubly_robust(wrong_log, policy, wrong_model).value - truth) > 3 * good
    assert abs(ope.direct(log, policy, wrong_model).value - truth) > 3 * good


def test_the_bootstrap_agrees_with_the_normal_interval_and_is_the_same_for_the_same_seed():
    log, policy, _, _ = simulate(9, n=3_000, repeat=3)
    estimate = ope.snips(log, policy)
    first = ope.bootstrap_interval(estimate, seed=4, replicates=2_000)
    assert first == ope.bootstrap_interval(estimate, seed=4, replicates=2_000)
    assert first != ope.bootstrap_interval(estimate, seed=5, replicates=2_000)
    np.testing.assert_allclose(first, estimate.interval(0.95), atol=0.25 * estimate.standard_error)


def test_a_paired_difference_has_the_value_and_a_smaller_error_than_two_estimates_apart():
    log, policy, mean, _ = simulate(11)
    new, old = ope.doubly_robust(log, policy, mean), ope.on_policy(log)
    uplift = ope.difference(new, old)
    assert uplift.value == pytest.approx(new.value - old.value)
    assert uplift.standard_error < np.hypot(new.standard_error, old.standard_error)
    ratio = ope.difference(ope.snips(log, policy), old)
    assert ratio.value == pytest.approx(ope.snips(log, policy).value - old.value)


def test_clipping_and_the_switch_meet_their_limits():
    log, policy, mean, _ = simulate(13)
    assert ope.switch(log, policy, mean, np.inf).value == ope.doubly_robust(log, policy, mean).value
    assert ope.switch(log, policy, mean, 0.0).value == pytest.approx(ope.direct(log, policy, mean).value)
    assert ope.weights(log, policy, 1.5).max() == 1.5
    assert ope.ips(log, policy, 0.0).value == 0.0


def test_a_policy_the_log_never_tried_has_no_support():
    log = ope.bandit_log([1.0, 2.0], [0, 0], [0.5, 0.5])
    never = [[0.0, 1.0], [0.0, 1.0]]
    assert ope.effective_sample_size(ope.weights(log, never)) == 0.0
    assert ope.ips(log, never).value == 0.0
    with pytest.raises(DataError, match="cannot evaluate"):
        ope.snips(log, never)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": [np.nan, 1.0]}, "finite"),
        ({"reward": []}, "one length"),
        ({"reward": [1.0]}, "one length"),
        ({"propensity": [0.0, 0.5]}, "could not be drawn"),
        ({"propensity": [np.nan, 0.5]}, "could not be drawn"),
        ({"propensity": [1.2, 0.5]}, "could not be drawn"),
        ({"action": [-1, 0]}, "index of the menu"),
    ],
)
def test_a_broken_log_is_refused_with_its_values(change, message):
    good = {"reward": [1.0, 2.0], "action": [0, 1], "propensity": [0.5, 0.5]}
    with pytest.raises(DataError, match=message):
        ope.bandit_log(**{**good, **change})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ([[0.5, 0.4], [0.5, 0.5]], "sum to 1"),
        ([[1.5, -0.5], [0.5, 0.5]], "0 or more"),
        ([[np.nan, 1.0], [0.5, 0.5]], "0 or more"),
        ([[1.0], [1.0]], "only 1 actions"),
        ([[0.5, 0.5]], "shape"),
    ],
)
def test_a_broken_policy_is_refused(policy, message):
    log = ope.bandit_log([1.0, 2.0], [0, 1], [0.5, 0.5])
    with pytest.raises(DataError, match=message):
        ope.ips(log, policy)


def test_a_broken_model_is_refused():
    log = ope.bandit_log([1.0, 2.0], [0, 1], [0.5, 0.5])
    with pytest.raises(DataError, match="rows x actions"):
        ope.direct(log, np.full((2, 2), 0.5), np.zeros((2, 3)))
    with pytest.raises(DataError, match="finite reward"):
        ope.direct(log, np.full((2, 2), 0.5), np.full((2, 2), np.inf))


def test_one_customer_gives_no_error_and_says_so():
    log = ope.bandit_log([1.0, 2.0], [0, 1], [0.5, 0.5], ["u", "u"])
    assert np.isnan(ope.on_policy(log).standard_error)
