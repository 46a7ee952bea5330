"""Private averages: near the truth where groups are large, bounded in what one customer can do, honest in error."""

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.fairness.privacy import PrivacyBudget, private_means


def log(users=2_000, visits=10, gap=0.05, seed=0):
    rng = np.random.default_rng(seed)
    member = rng.random(users) < 0.5
    user = np.repeat(np.arange(users), visits)
    discount = 0.05 + gap * member[user] + rng.uniform(0, 0.04, len(user))
    quotes = pd.DataFrame(
        {
            schema.USER_KEY: [f"k{u}" for u in user],
            schema.LIST_PRICE_MINOR: 10_000,
            schema.PRICE_MINOR: np.round(10_000 * (1 - discount)).astype(int),
        }
    )
    keys = [f"k{u}" for u in range(users)]
    groups = pd.DataFrame({schema.USER_KEY: keys, schema.ATTRIBUTE: "sex", schema.GROUP: np.where(member, "b", "a")})
    return quotes, groups


def exact(quotes, groups):
    joined = quotes.merge(groups, on=schema.USER_KEY)
    return np.log(joined[schema.PRICE_MINOR] / joined[schema.LIST_PRICE_MINOR]).groupby(joined[schema.GROUP]).mean()


@pytest.mark.slow
def test_large_groups_come_out_near_the_truth_and_within_the_stated_error():
    quotes, groups = log()
    truth = exact(quotes, groups)
    budget = PrivacyBudget(epsilon=1.0, rows=10, bound=0.3)
    errors = [
        (released.mean - truth[released.group]) / released.error
        for seed in range(100)
        for released in private_means(quotes, groups, budget, seed=seed)
    ]
    assert np.std(errors) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(errors)) < 0.3
    assert private_means(quotes, groups, budget, seed=0)[0].error < 0.002


def test_less_budget_is_more_noise_and_attributes_share_it():
    quotes, groups = log()
    two = pd.concat([groups, groups.assign(**{schema.ATTRIBUTE: "age"})])
    error = [
        private_means(quotes, table, PrivacyBudget(epsilon=epsilon), seed=1)[0].error
        for table, epsilon in ((groups, 2.0), (groups, 1.0), (two, 2.0))
    ]
    assert error[1] == pytest.approx(2 * error[0], rel=0.1)
    assert error[2] == pytest.approx(2 * error[0], rel=0.1)


def test_one_customer_moves_sum_and_count_by_no_more_than_the_noise_was_scaled_for():
    quotes, groups = log(users=50, visits=3)
    wild = pd.DataFrame({schema.USER_KEY: "wild", schema.LIST_PRICE_MINOR: 10_000, schema.PRICE_MINOR: [1] * 1_000})
    more = pd.concat([groups, groups.iloc[:1].assign(**{schema.USER_KEY: "wild", schema.GROUP: "b"})])
    budget = PrivacyBudget(epsilon=1e9, rows=5, bound=0.3)  # no noise to speak of: the bounds are seen bare
    before = {r.group: r for r in private_means(quotes, groups, budget, seed=0)}
    after = {r.group: r for r in private_means(pd.concat([quotes, wild]), more, budget, seed=0)}
    assert after["b"].rows - before["b"].rows == pytest.approx(5, abs=1e-3)
    total = after["b"].mean * after["b"].rows - before["b"].mean * before["b"].rows
    assert total == pytest.approx(-5 * 0.3, abs=1e-3)
    assert after["a"].mean == pytest.approx(before["a"].mean, abs=1e-6)


@pytest.mark.slow
def test_the_noise_has_the_laplace_distribution_it_promises():
    quotes, groups = log(users=20, visits=1)
    budget = PrivacyBudget(epsilon=1.0, rows=5, bound=0.3)
    rows = np.array([private_means(quotes, groups, budget, seed=s)[0].rows for s in range(400)])
    kept = rows[rows > 0]
    assert np.median(np.abs(kept - 10)) < 20  # scale 10: half the mass within 6.9
    assert (rows == 0).mean() > 0.05  # and small groups drown, as they should


def test_an_empty_group_is_released_as_noise_or_nothing():
    quotes, groups = log(users=20, visits=1)
    lonely = pd.concat([groups, groups.iloc[:1].assign(**{schema.USER_KEY: "none", schema.GROUP: "c"})])
    names = [released.group for released in private_means(quotes, lonely, PrivacyBudget(), seed=3)]
    assert names == ["a", "b", "c"]  # leaving it out would tell that it is empty


@pytest.mark.parametrize("change", [{"epsilon": 0.0}, {"epsilon": np.inf}, {"rows": 0}, {"bound": 0.0}])
def test_a_budget_that_promises_nothing_is_refused(change):
    with pytest.raises(ConfigError, match="above 0"):
        PrivacyBudget(**change)
