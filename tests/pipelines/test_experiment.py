"""``fairtag experiment plan``: the days that a test needs, from the pages of a run."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.pseudonym import user_key
from fairtag.base.tables import write_tables
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from pipelines.cli import main
from pipelines.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(market, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_tables(market.tables, folder / "tables")
    return folder


def test_a_smaller_gain_takes_more_customers_and_the_table_says_when_too_few_come(run, capsys):
    found = {}
    for gain in ("0.2", "4"):
        assert main(["experiment", "plan", str(run), "--gain", gain, "--json"]) == 0
        found[gain] = json.loads(capsys.readouterr().out)
    assert found["0.2"]["fixed"] == pytest.approx(400 * found["4"]["fixed"], rel=0.05)
    assert found["4"]["days"] > 7
    assert found["0.2"]["days"] is None  # a few hundred customers, who all come in the first weeks
    assert main(["experiment", "plan", str(run), "--gain", "0.2"]) == 0
    assert "never: too few new customers come" in capsys.readouterr().out


def test_a_run_without_pages_says_what_is_missing(market, tmp_path, capsys):
    write_tables(replace(market.tables, impressions=market.tables.impressions.iloc[:0]), tmp_path / "tables")
    assert main(["experiment", "plan", str(tmp_path)]) != 0
    assert "log pages first" in capsys.readouterr().err


TEST = {
    "name": "learned-1",
    "effect": 0.4,
    "arms": [{"name": "list", "share": 0.5, "prices": "list"}, {"name": "learned", "share": 0.5}],
}


@pytest.fixture
def tested(tmp_path):
    """A run whose endpoint assigned 4,000 customers; one in two of the learned arm buys, one in four of the others."""
    folder, rng = RunFolder(tmp_path), np.random.default_rng(0)
    (experiment,) = ShopPolicy().changed(experiments=[TEST]).experiments
    LivePolicyStore(folder.serving / "policy").change(ShopPolicy().changed(experiments=[TEST]), who="ada", why="a test")
    start, n = pd.Timestamp.now("UTC") - pd.Timedelta(days=30), 4_000
    keys = [user_key(f"u{k}", b"s" * 32) for k in range(n)]
    arms = [experiment.split.arm(key) for key in keys]
    quotes = pd.DataFrame(
        {
            schema.QUOTE_ID: [f"q{k}" for k in range(n)],
            schema.ITEM_ID: "i",
            schema.TS: start + pd.to_timedelta(rng.uniform(0, 20, n), unit="D"),
            schema.USER_KEY: keys,
            schema.EPOCH: 20_000,
            schema.CATEGORY: "c",
            schema.LIST_PRICE_MINOR: 1_000,
            schema.PRICE_MINOR: 900,
            schema.UNIT_COST_MINOR: 500,
            schema.CURRENCY: "EUR",
            schema.EXPERIMENT: "learned-1",
            schema.ARM: arms,
        }
    )
    bought = quotes[rng.random(n) < np.where(quotes[schema.ARM] == "learned", 0.5, 0.25)]
    outcomes = bought[[schema.QUOTE_ID, schema.ITEM_ID, schema.TS, schema.PRICE_MINOR]].assign(quantity=1)
    for name, frame in (("quotes", quotes), ("outcomes", outcomes)):
        (folder.serving / name).mkdir()
        frame.to_parquet(folder.serving / name / f"{name}-1.parquet")
    return folder


def test_a_report_says_what_each_arm_earned_and_what_to_do(tested, capsys):
    assert main(["experiment", "report", str(tested.root)]) == 0
    shown = capsys.readouterr().out
    assert "learned-1: decided" in shown
    assert "profit surely rose" in shown
    assert "split: p = " in shown
    assert main(["experiment", "report", str(tested.root), "--name", "learned-1", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["verdict"] == "decided"
    assert [arm["arm"] for arm in report["arms"]] == ["list", "learned"]
    assert report["comparisons"][0]["profit"]["low"] > 0
    assert main(["experiment", "report", str(tested.root), "--name", "nobody"]) == 2
    assert "there are learned-1" in capsys.readouterr().err


def test_a_stopped_experiment_is_still_reported(tested, capsys):
    assert main(["experiment", "stop", "learned-1", str(tested.root), "--why", "enough"]) == 0
    LivePolicyStore(tested.serving / "policy").change(ShopPolicy(), who="ada", why="all of it off")
    capsys.readouterr()
    assert main(["experiment", "report", str(tested.root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["terms"].endswith("stopped")


def test_a_stop_is_a_version_that_an_undo_takes_back(tmp_path, capsys):
    store = LivePolicyStore(tmp_path)
    store.change(ShopPolicy().changed(experiments=[TEST]), who="ada", why="a test")
    stop = ["experiment", "stop", "learned-1", "--store", str(tmp_path)]
    assert main(stop) == 2
    assert "--why is missing" in capsys.readouterr().err
    assert main([*stop, "--why", "it harms"]) == 0
    assert "learned-1 (list 50% list, learned 50% learned) stopped" in capsys.readouterr().out
    assert store.current().policy.experiments[0].stopped
    assert main([*stop, "--why", "again"]) == 2
    assert "there is none to stop" in capsys.readouterr().err
    assert main(["stop", "--undo", "--store", str(tmp_path), "--why", "on with it"]) == 0
    assert not store.current().policy.experiments[0].stopped
