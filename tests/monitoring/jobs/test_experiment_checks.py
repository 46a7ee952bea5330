"""The performance job reads running experiments: harm and a wrong split are urgent, an equal one passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.types import Status
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from monitoring.__main__ import main

TEST = {
    "name": "learned-1",
    "effect": 0.4,
    "window_days": 0.2,
    "arms": [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}],
}


@pytest.fixture
def tested(shop, tmp_path):
    """Runs the performance job over a day of an experiment; customers and purchases of an arm may be lost."""
    policy = ShopPolicy().changed(experiments=[TEST])
    store = LivePolicyStore(tmp_path / "policy")
    (experiment,) = policy.experiments
    quotes, outcomes = shop.stream.draw(shop.day, 24, 6_000, None)
    arms = quotes[schema.USER_KEY].map(lambda key: experiment.split.arm(str(key)))
    quotes = quotes.assign(**{schema.EXPERIMENT: "learned-1", schema.ARM: arms})

    def run(*, lost=0.0, unsold=0.0, declared=policy):
        store.change(declared, who="ada", why="a test")
        treated = quotes[schema.ARM] == "learned"
        draw = pd.util.hash_array(quotes[schema.USER_KEY].fillna("").to_numpy(dtype=object)) % 1_000 / 1_000
        kept = quotes[~treated | (draw >= lost)]
        mine = outcomes[schema.QUOTE_ID].isin(quotes[treated][schema.QUOTE_ID])
        sold = outcomes[~mine | (np.random.default_rng(0).random(len(outcomes)) >= unsold)]
        out = tmp_path / "out"
        options = ("--outcomes", str(shop.write(sold, "sold")), "--policy-store", str(tmp_path / "policy"))
        code = main(shop.options(shop.write(kept, "kept"), out, *options, job="performance"))
        return code, shop.checks(out, "performance")

    return run


def test_equal_arms_pass_and_say_the_verdict(tested):
    _, checks = tested()
    assert checks["experiment_split"].status is Status.PASS
    assert checks["experiment_harm"].status is Status.PASS
    assert checks["experiment_harm"].component == "learned-1"
    assert checks["experiment_harm"].summary.startswith("go on: ")


def test_an_arm_that_sells_less_is_urgent(tested):
    code, checks = tested(unsold=0.8)
    assert code == 2
    assert checks["experiment_harm"].status is Status.URGENT
    assert "fairtag experiment stop learned-1" in checks["experiment_harm"].summary


def test_customers_lost_on_one_side_are_urgent(tested):
    _, checks = tested(lost=0.5)
    assert checks["experiment_split"].status is Status.URGENT
    assert "not in the planned shares" in checks["experiment_split"].summary


@pytest.mark.parametrize("changes", [{"stopped": True}, {"ends": "2026-02-01"}, {"starts": "2026-03-01"}])
def test_what_does_not_run_is_not_checked(tested, changes):
    _, checks = tested(declared=ShopPolicy().changed(experiments=[{**TEST, **changes}]))
    assert "experiment_harm" not in checks


def test_a_name_that_another_experiment_had_is_unknown(tested):
    arms = [{**TEST["arms"][0], "name": "other"}, TEST["arms"][1]]
    _, checks = tested(declared=ShopPolicy().changed(experiments=[{**TEST, "arms": arms}]))
    assert checks["experiment_harm"].status is Status.UNKNOWN
