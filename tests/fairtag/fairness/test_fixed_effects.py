"""The within estimator against plain regressions, and its error rates against markets with planted gaps."""

import numpy as np
import pytest
import statsmodels.api as sm

from fairtag.fairness import fixed_effects as fe


def market(seed, *, users=300, strata=120, visits=8, effect=0.0, lasting=0.02, group_visits=1.0):
    """Customers with a lasting tendency of their own, seeing some strata; the group pays ``effect`` more."""
    rng = np.random.default_rng(seed)
    group = rng.random(users) < 0.3
    count = rng.poisson(visits * np.where(group, group_visits, 1.0)) + 1
    user = np.repeat(np.arange(users), count)
    stratum = rng.integers(0, strata, len(user))
    tendency = rng.normal(0, lasting, users) * np.where(group, 2.0, 1.0)
    noise = rng.normal(0, 0.02, (users, strata))[user, stratum]  # a sticky price: seen twice, it is the same
    outcome = rng.normal(0, 1, strata)[stratum] + tendency[user] + noise + effect * group[user]
    return fe.panel(user, stratum, outcome), group


def test_the_gap_equals_a_regression_on_one_dummy_a_stratum():
    data, group = market(1, users=60, strata=12, effect=0.1)
    dummies = np.eye(data.strata)[data.stratum]
    X = np.column_stack([group[data.user].astype(float), dummies[:, dummies.any(axis=0)]])
    plain = sm.OLS(data.outcome, X).fit()
    estimate = fe.gap(data, group)
    assert estimate.value == pytest.approx(plain.params[0], abs=1e-12)
    clustered = plain.get_robustcov_results("cluster", groups=data.user, use_correction=False)
    assert estimate.standard_error == pytest.approx(clustered.bse[0], rel=0.15)  # theirs ignores the strata's means


def test_each_score_is_the_exact_change_that_leaving_the_customer_out_makes():
    data, group = market(2, users=40, strata=15, effect=0.05)
    full = fe.gap(data, group)
    for left_out in range(0, 40, 7):
        without = fe.gap(data.take(data.user != left_out), group).value
        member = fe.demean(group[data.user].astype(float), data.stratum, data.strata)
        counts = np.bincount(data.stratum, minlength=data.strata)[data.stratum]
        mine = data.user == left_out
        lost = (member[mine] ** 2 * counts[mine] / np.maximum(counts[mine] - 1, 1)).sum()
        predicted = full.value - full.score[left_out] / (full.weight.sum() - lost)
        assert without == pytest.approx(predicted, abs=1e-12)


def test_repeated_rows_of_a_sticky_price_count_once():
    once = fe.panel(np.array([0, 1, 2]), np.array([0, 0, 0]), np.array([1.0, 2.0, 3.0]))
    often = fe.panel(np.array([0, 0, 0, 1, 2]), np.zeros(5, int), np.array([1.0, 1.0, 1.0, 2.0, 3.0]))
    group = np.array([True, False, False])
    assert fe.gap(once, group).value == fe.gap(often, group).value == pytest.approx(-1.5)
    assert fe.gap(once, group).standard_error == fe.gap(often, group).standard_error
    assert often.rows.tolist() == [3, 1, 1]


@pytest.mark.parametrize(
    "shape",
    [{}, {"strata": 2_400}, {"group_visits": 3.0, "strata": 300}],
    ids=["ordinary", "two rows a stratum", "a group that comes more often"],
)
def test_intervals_and_p_values_keep_their_level(shape):
    hits = rejected = 0
    for seed in range(150):
        data, group = market(seed, **shape)
        low, high = np.quantile(fe.bootstrap(fe.gap(data, group), seed=seed, replicates=199), [0.05, 0.95])
        hits += low <= 0 <= high
        rejected += fe.permutation_p_value(data, group, seed=seed, permutations=99) <= 0.05
    assert hits >= 122  # 90 % of 150 is 135; 3.5 standard errors below
    assert rejected <= 17  # 5 % of 150 is 7.5; 3.5 standard errors above


def test_rows_taken_for_independent_would_raise_false_alarms():
    """What the clustering is for: customers with a lasting tendency, and errors by row instead."""
    alarms = 0
    for seed in range(100):
        data, group = market(seed, visits=30, strata=60)
        alone = fe.Panel(np.arange(len(data.user)), data.stratum, data.outcome, data.rows, len(data.user), data.strata)
        naive = fe.gap(alone, group[data.user])
        alarms += abs(naive.value) > 1.645 * naive.standard_error
    assert alarms > 30  # at a nominal 10


def test_a_planted_gap_is_found():
    found = 0
    for seed in range(30):
        data, group = market(seed, effect=0.02, lasting=0.01)
        found += fe.permutation_p_value(data, group, seed=seed, permutations=99) <= 0.05
    assert found >= 28


def test_the_fast_permutation_equals_one_that_fits_anew_each_time():
    data, group = market(3, users=50, strata=20)
    design = fe._Design.of(data)
    rng = np.random.default_rng(1)
    labels = np.stack([rng.permutation(group) for _ in range(5)], axis=1)
    fast = design.studentised(labels.astype(float))
    outcome = fe.demean(data.outcome, data.stratum, data.strata)
    counts = np.bincount(data.stratum, minlength=data.strata)[data.stratum]
    for column, t in enumerate(fast):
        member = fe.demean(labels[data.user, column].astype(float), data.stratum, data.strata)
        rows = member * outcome * counts / np.maximum(counts - 1, 1)
        by_user = [rows[data.user == u].sum() for u in range(50)]
        assert t == pytest.approx((member * outcome).sum() / np.sqrt(np.square(by_user).sum()))


def test_labels_move_only_between_customers_of_equal_activity():
    rng = np.random.default_rng(5)
    activity = np.repeat([0, 1, 50], [20, 100, 100])
    bands = fe._bands(activity)
    assert sum(map(len, bands)) == 200
    group = np.concatenate([np.zeros(20), np.ones(100), np.zeros(100)]).astype(bool)
    shuffled = fe._shuffled(rng, group, bands)
    np.testing.assert_array_equal(shuffled, group)  # a group told apart by activity alone has nowhere to go


def test_p_values_are_never_zero_and_count_ties():
    data = fe.panel(np.arange(8), np.zeros(8, int), np.zeros(8))
    assert fe.permutation_p_value(data, np.arange(8) < 4, seed=0, permutations=19) == 1.0
    big, group = market(1, effect=1.0)
    assert fe.permutation_p_value(big, group, seed=0, permutations=19) == 1 / 20


def test_pooling_into_blocks_keeps_the_error(monkeypatch):
    data, group = market(9, users=2_000)
    estimate = fe.gap(data, group)
    monkeypatch.setattr(fe, "MAX_BLOCKS", 300)
    draws = fe.bootstrap(estimate, seed=0, replicates=2_000)
    assert draws.std() == pytest.approx(estimate.standard_error, rel=0.15)


def test_the_same_seed_gives_the_same_answers():
    data, group = market(4)
    estimate = fe.gap(data, group)
    np.testing.assert_array_equal(
        fe.bootstrap(estimate, seed=3, replicates=100), fe.bootstrap(estimate, seed=3, replicates=100)
    )
    assert fe.permutation_p_value(data, group, seed=3, permutations=50) == fe.permutation_p_value(
        data, group, seed=3, permutations=50
    )


@pytest.mark.parametrize("group", [np.zeros(4, bool), np.ones(4, bool), np.array([True, True, False, False])])
def test_no_stratum_with_both_sides_is_no_answer(group):
    data = fe.panel(np.arange(4), np.array([0, 0, 1, 1]), np.arange(4.0))
    estimate = fe.gap(data, group)
    assert np.isnan(estimate.value)
    assert np.isnan(estimate.standard_error)
    assert np.isnan(fe.bootstrap(estimate, seed=0, replicates=5)).all()
    assert np.isnan(fe.permutation_p_value(data, group, seed=0, permutations=5))


def test_benjamini_hochberg_is_the_step_up_by_hand():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(fe.benjamini_hochberg(p), [0.02, np.nan, 0.04, 0.04, 0.02])
    assert np.isnan(fe.benjamini_hochberg(np.array([np.nan]))).all()
    from statsmodels.stats.multitest import multipletests

    many = np.random.default_rng(0).random(50) ** 3
    np.testing.assert_allclose(fe.benjamini_hochberg(many), multipletests(many, method="fdr_bh")[1])
