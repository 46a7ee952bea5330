"""Experiments in the policy: assignment that splits as planned and never moves, and what a document may say."""

import hashlib
import hmac
from datetime import date

import pytest
from scipy import stats

from fairtag.base.errors import ConfigError
from fairtag.model.policy_change import AcceptedModel, change_policy, require_approval, require_fitting, unproven
from fairtag.policy.experiments import HOLDOUT, Split, assign
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.narrowing import STOPPED, differences
from fairtag.policy.pricing_policy import PricingPolicy
from fairtag.policy.shop_policy import ShopPolicy

DAY = date(2026, 12, 1)
ARMS = [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}]
MODEL = AcceptedModel("m1", "d" * 64, PricingPolicy())


def experiment(**changes):
    return {"name": "learned-1", "effect": 0.4, "arms": ARMS, **changes}


def policy(*experiments):
    return ShopPolicy().changed(experiments=list(experiments))


def arms_of(document, n=20_000):
    """Arms of many visitors, under keyed pseudonyms as the endpoint has them."""
    units = [hmac.digest(b"k" * 32, f"user:{i}".encode(), "sha256")[:16].hex() for i in range(n)]
    return [assign(document.experiments, unit, DAY).arm for unit in units]


def test_an_a_a_split_of_keyed_names_is_uniform():
    halves = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
    p_values = []
    for number in range(40):
        found = arms_of(policy(experiment(name=f"aa-{number}", arms=halves)), 2_000)
        p_values.append(stats.chisquare([found.count("a"), found.count("b")]).pvalue)
    assert min(p_values) > 0.001, "no single split is off"
    assert stats.kstest(p_values, "uniform").pvalue > 0.01, "and together they scatter as chance does"


def test_shares_and_the_holdout_are_as_planned():
    three = [{"name": "list", "share": 0.2, "prices": "list"}, {"name": "x", "share": 0.3}, {"name": "y", "share": 0.5}]
    found = arms_of(policy(experiment(arms=three, holdout=0.1)))
    planned = {"list": 0.18, "x": 0.27, "y": 0.45, HOLDOUT: 0.1}
    counts = [found.count(arm) for arm in planned]
    assert sum(counts) == len(found)
    assert stats.chisquare(counts, [share * len(found) for share in planned.values()]).pvalue > 0.001


def test_experiments_split_independently():
    one, other = arms_of(policy(experiment())), arms_of(policy(experiment(name="learned-2")))
    table = [[sum(pair == (a, b) for pair in zip(one, other, strict=True)) for b in set(other)] for a in set(one)]
    assert stats.chi2_contingency(table).pvalue > 0.001


def test_an_arm_is_the_same_on_every_day_and_after_the_end_moves():
    before = policy(experiment())
    later = policy(experiment(ends="2027-03-01"))
    for number in range(200):
        first = assign(before.experiments, f"v{number}", DAY)
        assert assign(later.experiments, f"v{number}", date(2027, 2, 1)) == first


def test_the_assignment_is_the_documented_hash():
    """SHA-256 of purpose, experiment and name, each with its length: any language can repeat it."""
    text = b"6:assign9:learned-18:customer"
    draw = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64
    assert assign(policy(experiment()).experiments, "customer", DAY).arm == ("list" if draw < 0.5 else "learned")


def test_nobody_is_assigned_before_after_or_once_it_is_stopped():
    runs = policy(experiment(starts="2026-12-01", ends="2026-12-31")).experiments
    assert assign(runs, "v", date(2026, 11, 30)) is None
    assert assign(runs, "v", date(2026, 12, 31)) is not None
    assert assign(runs, "v", date(2027, 1, 1)) is None
    assert assign(policy(experiment(stopped=True)).experiments, "v", DAY) is None
    assert assign((), "v", DAY) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": ARMS[:1]}, "two or more shares"),
        ({"arms": [ARMS[0], {**ARMS[1], "share": 0.4}]}, "sum to 1"),
        ({"arms": [ARMS[0], {**ARMS[1], "name": "list"}]}, "a name of its own"),
        ({"arms": [ARMS[0], {**ARMS[1], "name": HOLDOUT}]}, "a name of its own"),
        ({"arms": [ARMS[0], {**ARMS[1], "cut": 0.1}]}, "go together"),
        ({"arms": [ARMS[0], {**ARMS[1], "prices": "uniform"}]}, "go together"),
        ({"arms": [ARMS[0], {**ARMS[1], "prices": "free"}]}, "no-personal"),
        ({"effect": 0.0}, "effect"),
        ({"holdout": 1.0}, "holdout"),
        ({"starts": "2026-12-02", "ends": "2026-12-01"}, "lies before"),
    ],
)
def test_what_is_no_experiment_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        policy(experiment(**changes))


def test_one_experiment_a_day():
    december = experiment(starts="2026-12-01", ends="2026-12-31")
    with pytest.raises(ConfigError, match="same days"):
        policy(december, experiment(name="other", starts="2026-12-31"))
    assert len(policy(december, experiment(name="other", starts="2027-01-01")).experiments) == 2
    assert len(policy({**december, "stopped": True}, experiment(name="other")).experiments) == 2
    with pytest.raises(ConfigError, match="twice"):
        policy(december, experiment(starts="2027-01-01"))


def test_a_new_experiment_needs_no_evaluation_and_a_stop_nobodys_approval():
    strict = ShopPolicy().changed(approval={"narrow": ["ada"], "second_person": "always"})
    begun, stopped = (strict.changed(experiments=[experiment(stopped=flag)]) for flag in (False, True))
    assert unproven(begun, (), MODEL) == ()
    assert [each.field for each in differences(begun, stopped, MODEL.policy)] == [STOPPED]
    assert [each.field for each in differences(begun, strict, MODEL.policy)] == [STOPPED]
    for after in (stopped, strict):
        require_approval(begun, after, MODEL, who="anybody")
    for before, after in ((strict, begun), (stopped, begun)):
        with pytest.raises(ConfigError, match="may not approve"):
            require_approval(before, after, MODEL, who="anybody")


def test_a_cut_beyond_the_limit_is_refused_with_the_model_that_it_would_apply_to():
    deep = [ARMS[0], {"name": "cut", "share": 0.5, "prices": "uniform", "cut": 0.35}]
    with pytest.raises(ConfigError, match=r"takes 35% off list, and limits.max_discount is 30%"):
        require_fitting(policy(experiment(arms=deep)), MODEL)
    require_fitting(policy(experiment(arms=[ARMS[0], {**deep[1], "cut": 0.3}])), MODEL)


def test_arms_of_a_name_never_change(tmp_path):
    store = LivePolicyStore(tmp_path)
    change_policy(store, policy(experiment()), MODEL, who="ada", why="test")
    change_policy(store, policy(experiment(ends="2027-01-31")), MODEL, who="ada", why="longer")
    change_policy(store, ShopPolicy(), MODEL, who="ada", why="over")
    other = [{**ARMS[0], "share": 0.4}, {**ARMS[1], "share": 0.6}]
    for changes in ({"arms": other}, {"holdout": 0.1}, {"effect": 0.5}):
        with pytest.raises(ConfigError, match="has run with other settings"):
            change_policy(store, policy(experiment(**changes)), MODEL, who="ada", why="again")
    change_policy(store, policy(experiment(name="learned-2", arms=other)), MODEL, who="ada", why="a new one")


def test_a_split_refuses_shares_that_are_none():
    with pytest.raises(ConfigError, match="sum to 1"):
        Split("x", {"a": 0.5, "b": 0.6})
