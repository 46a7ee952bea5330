"""The proxy check: silent on innocent features, loud on a group under another name."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.types import Status
from fairtag.fairness.proxy import (
    NOT_CHECKED,
    ONE_BY_ONE,
    ProxyLimits,
    auc,
    auc_error,
    out_of_fold,
    overall,
    proxy_check,
)


def customers(seed, *, leak=0.0, n=1_500):
    rng = np.random.default_rng(seed)
    member = rng.random(n) < 0.4
    features = pd.DataFrame(rng.normal(size=(n, 4)), columns=list(schema.USER_PRICING_FEATURES))
    features[schema.SPEND_90D] += leak * member
    features.loc[rng.random(n) < 0.1, schema.RECENCY_DAYS] = np.nan
    features[schema.USER_KEY] = [f"k{u}" for u in range(n)]
    groups = pd.DataFrame({schema.USER_KEY: features[schema.USER_KEY], schema.ATTRIBUTE: "sex"})
    return features, groups.assign(**{schema.GROUP: np.where(member, "b", "a")})


def test_the_auc_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    score, member = rng.integers(0, 8, 300), rng.random(300) < 0.3
    assert auc(score, member) == pytest.approx(roc_auc_score(member, score))


def test_the_error_of_an_auc_is_its_spread_over_samples():
    rng = np.random.default_rng(1)
    member = np.arange(400) < 150
    values = [auc(rng.normal(size=400) + 0.7 * member, member) for _ in range(400)]
    assert auc_error(float(np.mean(values)), 150, 250) == pytest.approx(np.std(values), rel=0.15)


def test_innocent_features_pass():
    findings = proxy_check(*customers(2), seed=1)
    assert overall(findings) is Status.PASS
    assert {finding.group for finding in findings} == {"a", "b"}
    assert findings[0].auc == pytest.approx(0.5, abs=0.06)


def test_a_feature_that_is_the_group_under_another_name_warns_and_is_named():
    finding = proxy_check(*customers(3, leak=2.0), seed=1)[1]
    assert finding.status is Status.WARN
    assert max(finding.by_feature, key=finding.by_feature.get) == schema.SPEND_90D
    assert finding.by_feature[schema.SPEND_90D] > 0.85 > finding.by_feature[schema.ORDERS_90D]


def test_a_group_told_by_two_features_together_is_found_though_each_alone_knows_nothing():
    features, groups = customers(4, n=2_000)
    hidden = (features[schema.SPEND_90D] * features[schema.ORDERS_90D] > 0).to_numpy()
    finding = proxy_check(features, groups.assign(**{schema.GROUP: np.where(hidden, "b", "a")}), seed=1)[1]
    assert max(finding.by_feature.values()) < 0.6
    assert finding.status is Status.WARN


def test_scores_come_from_trees_that_never_saw_the_customer():
    rng = np.random.default_rng(5)
    X, member = rng.normal(size=(600, 4)), rng.random(600) < 0.5
    assert abs(auc(out_of_fold(X, member, seed=0), member) - 0.5) < 0.1  # in sample the trees would reach 0.9


def test_a_group_too_small_for_a_classifier_is_checked_one_feature_at_a_time():
    features, groups = customers(6, n=150)
    innocent = proxy_check(features, groups, seed=1)[1]
    assert innocent.checked == ONE_BY_ONE
    assert innocent.status is Status.UNKNOWN, "together they might still tell it"
    assert innocent.low < innocent.auc < innocent.high
    copied = proxy_check(*customers(6, leak=8.0, n=150), seed=1)[1]
    assert copied.status is Status.WARN
    assert copied.copies == (schema.SPEND_90D,)


def test_a_copy_of_the_group_blocks_and_a_hint_of_it_does_not():
    assert proxy_check(*customers(3, leak=8.0), seed=1)[1].copies == (schema.SPEND_90D,)
    assert proxy_check(*customers(3, leak=0.5), seed=1)[1].copies == ()
    strict = ProxyLimits(block_above=0.55)
    assert proxy_check(*customers(3, leak=0.5), seed=1, limits=strict)[1].copies == (schema.SPEND_90D,)


def test_a_handful_of_customers_is_not_checked_and_says_so():
    features, groups = customers(6, n=30)
    findings = proxy_check(features, groups, seed=1)
    assert {finding.checked for finding in findings} == {NOT_CHECKED}
    assert {finding.status for finding in findings} == {Status.UNKNOWN}
    assert overall(()) is Status.UNKNOWN


def test_two_rows_of_one_customer_are_refused():
    features, groups = customers(7, n=50)
    with pytest.raises(DataError, match="more than one row"):
        proxy_check(pd.concat([features, features]), groups, seed=1)
