"""The audit on quote logs with planted gaps: verdicts, levels, and what it refuses to say."""

import json

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.types import Status
from fairtag.fairness.audit import audit, cross_groups
from fairtag.fairness.audit_limits import AuditLimits, group_status
from fairtag.fairness.fixed_effects import Estimate, benjamini_hochberg

FAST = AuditLimits(replicates=199, permutations=199)


def quote_log(seed, *, users=400, items=30, epochs=4, visits=25, effect=0.0, access=0.0, share=0.4):
    """Quotes of customers in groups a and b; b pays ``effect`` more, and finds ``access`` fewer discounts."""
    rng = np.random.default_rng(seed)
    member = rng.random(users) < share
    user = np.repeat(np.arange(users), visits)
    n = len(user)
    item, epoch = rng.integers(0, items, n), rng.integers(100, 100 + epochs, n)
    listed = rng.integers(2_000, 9_000, items)[item]
    tendency = rng.normal(0, 0.005, users)[user] + rng.normal(0, 0.01, (users, items))[user, item]
    discount = np.clip(0.08 + tendency - effect * member[user], 0, None)
    full = rng.random((users, items))[user, item] < 0.2 + access * member[user]
    price = np.where(full, listed, np.round(listed * (1 - discount))).astype(np.int64)
    quotes = pd.DataFrame(
        {
            schema.QUOTE_ID: [f"q{row // 5}" for row in range(n)],
            schema.USER_KEY: [f"k{u}" for u in user],
            schema.ITEM_ID: [f"i{i}" for i in item],
            schema.EPOCH: epoch,
            schema.CURRENCY: "USD",
            schema.CATEGORY: np.where(item % 2, "tools", "paint"),
            schema.PRICE_MINOR: price,
            schema.LIST_PRICE_MINOR: listed,
            schema.UNIT_COST_MINOR: listed * 6 // 10,
            schema.PURCHASE_PROBABILITY: rng.uniform(0.01, 0.1, n),
        }
    )
    keys = [f"k{u}" for u in range(users)]
    groups = pd.DataFrame({schema.USER_KEY: keys, schema.ATTRIBUTE: "sex", schema.GROUP: np.where(member, "b", "a")})
    return quotes, groups


def by_group(report):
    return {finding.group: finding for finding in report.findings}


def test_equal_prices_pass():
    report = audit(*quote_log(1), seed=1, limits=FAST)
    assert report.status is Status.PASS
    found = by_group(report)["b"]
    assert found.low < 0 < found.high
    assert found.access.value == pytest.approx(1.0, abs=0.1)
    assert report.unmatched == {"sex": 0}


def test_a_gap_of_four_percent_pages_for_both_sides_of_it():
    report = audit(*quote_log(2, effect=0.045), seed=1, limits=FAST)
    found = by_group(report)
    assert found["b"].status is Status.URGENT
    assert found["b"].gap > 0.02
    assert found["a"].gap == pytest.approx(-found["b"].gap)
    assert "beyond 2.0%" in found["b"].why


def test_a_gap_of_one_and_a_half_percent_warns():
    report = audit(*quote_log(3, effect=0.016, users=800), seed=1, limits=FAST)
    assert by_group(report)["b"].status is Status.WARN


def test_a_group_kept_from_discounts_pages_though_it_hardly_pays_more():
    report = audit(*quote_log(4, access=0.3), seed=1, limits=FAST)
    found = by_group(report)["b"]
    assert found.access.high < 0.8
    assert found.status is Status.URGENT
    assert "access" in found.why


@pytest.mark.slow
def test_rare_discounts_that_chance_kept_from_a_group_page_nobody_and_those_that_a_rule_kept_do():
    rng = np.random.default_rng(0)
    quotes, groups = quote_log(6, users=1_200, visits=15)
    groups[schema.GROUP] = rng.choice([f"g{n}" for n in range(12)], len(groups))
    listed = quotes[schema.LIST_PRICE_MINOR]
    rare = pd.Series(rng.random(len(quotes)) < 0.001)  # some groups of 1,500 quotes get none
    report = audit(quotes.assign(**{schema.PRICE_MINOR: np.where(rare, listed - 100, listed)}), groups, seed=1)
    assert min(finding.access.value for finding in report.findings) < 0.8
    assert all(finding.status is not Status.URGENT for finding in report.findings)
    group = quotes[schema.USER_KEY].map(groups.set_index(schema.USER_KEY)[schema.GROUP])
    kept = pd.Series(rng.random(len(quotes)) < 0.05) & (group != "g3")
    report = audit(quotes.assign(**{schema.PRICE_MINOR: np.where(kept, listed - 100, listed)}), groups, seed=1)
    assert by_group(report)["g3"].status is Status.URGENT
    assert "access" in by_group(report)["g3"].why
    assert sum(finding.status is Status.URGENT for finding in report.findings) == 1


def test_too_few_rows_or_customers_is_no_answer_and_never_a_pass():
    quotes, groups = quote_log(5, users=60, visits=10)
    assert {f.status for f in audit(quotes, groups, seed=1, limits=FAST).findings} == {Status.UNKNOWN}
    many_rows_few_users = quote_log(5, users=40, visits=200, share=0.3)
    report = audit(*many_rows_few_users, seed=1, limits=FAST)
    assert report.status is Status.UNKNOWN
    assert "30 customers" in report.findings[0].why


@pytest.mark.slow
def test_false_alarms_over_many_equal_groups_are_rare():
    alarms = 0
    for seed in range(6):
        quotes, groups = quote_log(seed, users=500, visits=15)
        rng = np.random.default_rng(seed)
        extra = [
            groups.assign(**{schema.ATTRIBUTE: f"random {k}", schema.GROUP: rng.choice(["x", "y", "z"], len(groups))})
            for k in range(3)
        ]
        report = audit(quotes, pd.concat([groups, *extra]), seed=seed, limits=FAST)
        assert sum(f.status is not Status.UNKNOWN for f in report.findings) == 11
        alarms += sum(f.status in (Status.WARN, Status.URGENT) for f in report.findings)
        p, adjusted = (np.array([getattr(f, name) for f in report.findings]) for name in ("p_value", "adjusted_p"))
        assert adjusted == pytest.approx(benjamini_hochberg(p))
        assert (adjusted > p).any()
    assert alarms <= 1


@pytest.mark.slow
def test_one_bad_group_among_many_is_not_lost_to_the_correction():
    quotes, groups = quote_log(6, effect=0.045, users=600)
    rng = np.random.default_rng(0)
    extra = [
        groups.assign(**{schema.ATTRIBUTE: f"random {k}", schema.GROUP: rng.choice(["x", "y"], len(groups))})
        for k in range(12)
    ]
    limits = AuditLimits(replicates=99, permutations=19)  # too few for 26 groups, unless they are raised
    report = audit(quotes, pd.concat([groups, *extra]), seed=1, limits=limits)
    bad = [finding for finding in report.findings if finding.attribute == "sex"]
    assert {finding.status for finding in bad} == {Status.URGENT}
    assert limits.permutations_for(26) == 1_039


def test_equal_price_at_equal_cost_sees_a_group_led_to_dearer_items():
    quotes, groups = quote_log(7)
    member = groups.set_index(schema.USER_KEY)[schema.GROUP].reindex(quotes[schema.USER_KEY]).to_numpy() == "b"
    twin = quotes[member].copy()  # a shadow catalogue at the same cost and a fifth more list, shown to b alone
    twin[schema.ITEM_ID] += "-lux"
    for column in (schema.PRICE_MINOR, schema.LIST_PRICE_MINOR):
        twin[column] = twin[column] * 6 // 5
    steered = pd.concat([quotes[~member], twin])
    found = by_group(audit(steered, groups, seed=1, limits=FAST))["b"]
    assert found.strata == 0  # item by item there is nothing to compare
    assert found.equal_cost.low > 0.1
    assert by_group(audit(quotes, groups, seed=1, limits=FAST))["b"].equal_cost.low < 0.01


def test_surplus_follows_the_purchase_probabilities():
    quotes, groups = quote_log(8)
    member = groups.set_index(schema.USER_KEY)[schema.GROUP].reindex(quotes[schema.USER_KEY]).to_numpy() == "b"
    quotes.loc[member, schema.PURCHASE_PROBABILITY] *= 0.5
    found = by_group(audit(quotes, groups, seed=1, limits=FAST))["b"]
    assert found.surplus.high < 0.6
    bare = quotes.drop(columns=[schema.PURCHASE_PROBABILITY, schema.CATEGORY])
    without = by_group(audit(bare, groups, seed=1, limits=FAST))["b"]
    assert without.surplus is None
    assert without.equal_cost is None


def test_the_access_ratio_is_mantel_haenszel_by_hand():
    quotes, groups = quote_log(9, users=80, visits=60, items=4, epochs=2, access=0.2)
    limits = AuditLimits(replicates=19, permutations=19, rows=1, users=1)
    found = by_group(audit(quotes, groups, seed=1, limits=limits))["b"]
    quotes = quotes.merge(groups, on=schema.USER_KEY)
    quotes["below"] = quotes[schema.PRICE_MINOR] < quotes[schema.LIST_PRICE_MINOR]
    cells = quotes.groupby([schema.ITEM_ID, schema.EPOCH, schema.USER_KEY, schema.GROUP])["below"].mean().reset_index()
    top = bottom = 0.0
    for _, stratum in cells.groupby([schema.ITEM_ID, schema.EPOCH]):
        here = stratum[stratum[schema.GROUP] == "b"]["below"]
        there = stratum[stratum[schema.GROUP] == "a"]["below"]
        top += here.sum() * len(there) / len(stratum)
        bottom += there.sum() * len(here) / len(stratum)
    assert found.access.value == pytest.approx(top / bottom)


def test_crossed_attributes_get_findings_of_their_own():
    quotes, groups = quote_log(10)
    age = groups.assign(
        **{schema.ATTRIBUTE: "age", schema.GROUP: np.where(np.arange(len(groups)) % 50, "young", "old")}
    )
    crossed = cross_groups(pd.concat([groups, age]))
    report = audit(quotes, crossed, seed=1, limits=FAST)
    names = {(f.attribute, f.group): f.status for f in report.findings}
    assert ("age x sex", "young x b") in names
    assert names["age x sex", "old x a"] is Status.UNKNOWN  # ten customers


def test_customers_the_audit_table_does_not_know_are_counted_and_anonymous_ones_ignored():
    quotes, groups = quote_log(11)
    quotes.loc[:9, schema.USER_KEY] = None
    report = audit(quotes, groups[groups[schema.USER_KEY] != "k5"], seed=1, limits=FAST)
    assert report.unmatched == {"sex": 25}


def test_nobody_below_list_is_equal_access_and_one_group_alone_has_nothing_to_compare():
    quotes, groups = quote_log(12)
    quotes[schema.PRICE_MINOR] = quotes[schema.LIST_PRICE_MINOR]
    report = audit(quotes, groups, seed=1, limits=FAST)
    assert by_group(report)["b"].access == Estimate(1.0, 1.0, 1.0)
    assert report.status is Status.PASS
    alone = audit(quotes, groups.assign(**{schema.GROUP: "a"}), seed=1, limits=FAST)
    assert alone.status is Status.UNKNOWN


def test_an_empty_log_could_not_tell():
    quotes, groups = quote_log(13)
    report = audit(quotes.iloc[:0], groups, seed=1, limits=FAST)
    assert [(finding.group, finding.status) for finding in report.findings] == [
        ("a", Status.UNKNOWN),
        ("b", Status.UNKNOWN),
    ]
    assert audit(quotes, groups.iloc[:0], seed=1, limits=FAST).status is Status.UNKNOWN


def test_the_report_is_json_without_nan():
    report = audit(*quote_log(14, users=20, visits=5), seed=1, limits=FAST)
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))[0]["status"] == "unknown"


def test_the_same_seed_gives_the_same_report():
    log = quote_log(15, users=100)
    limits = AuditLimits(replicates=99, permutations=99, rows=100, users=10)
    assert audit(*log, seed=4, limits=limits).to_json() == audit(*log, seed=4, limits=limits).to_json()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda q, g: (q.drop(columns=schema.EPOCH), g), MissingDataError, "epoch"),
        (lambda q, g: (q, g.drop(columns=schema.GROUP)), MissingDataError, "group"),
        (lambda q, g: (q.assign(**{schema.PRICE_MINOR: 0}), g), DataError, "not above 0"),
        (lambda q, g: (q, pd.concat([g, g.assign(**{schema.GROUP: "c"})])), DataError, "two groups"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        audit(*change(*quote_log(16, users=10, visits=3)), seed=1, limits=FAST)


ALL = Estimate(1.0, 0.95, 1.05)


@pytest.mark.parametrize(
    ("low", "high", "p", "access", "access_p", "status"),
    [
        (-0.004, 0.004, 0.5, ALL, 1.0, Status.PASS),
        (-0.004, 0.02, 0.5, ALL, 1.0, Status.UNKNOWN),
        (0.006, 0.009, 0.001, ALL, 1.0, Status.WARN),  # inside the band of equality, but surely not zero
        (0.006, 0.009, 0.2, ALL, 1.0, Status.PASS),  # not significant once all groups are counted
        (-0.03, -0.006, 0.001, ALL, 1.0, Status.WARN),
        (0.021, 0.03, 0.001, ALL, 1.0, Status.URGENT),
        (-0.03, -0.021, 0.001, ALL, 1.0, Status.URGENT),
        (0.0197, 0.03, 0.001, ALL, 1.0, Status.WARN),  # log 1.02 is 0.0198
        (0.0, 0.0, 1.0, Estimate(0.7, 0.6, 0.75), 0.001, Status.URGENT),
        (0.0, 0.0, 1.0, Estimate(0.0, 0.0, 0.0), 0.2, Status.PASS),  # a resample of none is none: only labels can tell
        (0.0, 0.0, 1.0, Estimate(0.7, 0.4, 1.2), 0.3, Status.PASS),  # below four fifths, but by chance for all we know
        (np.nan, np.nan, np.nan, ALL, 1.0, Status.UNKNOWN),
        (np.nan, np.nan, np.nan, Estimate(np.nan, np.nan, np.nan), np.nan, Status.UNKNOWN),
    ],
)
def test_every_threshold_from_both_sides(low, high, p, access, access_p, status):
    assert group_status((low + high) / 2, (low, high), p, access, access_p, AuditLimits())[0] is status


def test_a_gap_of_zero_passes_nine_times_in_ten_with_the_customers_that_are_said_to_do():
    limits = AuditLimits()
    needed = limits.users_needed(200, 0.007)
    error = 0.007 * np.sqrt(200 / needed)
    drawn = np.random.default_rng(0).normal(0, error, 20_000)
    inside = np.abs(drawn) + 1.645 * error < np.log1p(limits.equal)
    assert 0.89 < inside.mean() < 0.91
    assert limits.users_needed(200, float("nan")) is limits.users_needed(0, 0.01) is None
