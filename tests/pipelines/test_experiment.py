"""``fairtag experiment plan``: the days that a test needs, from the pages of a run."""

import json
from dataclasses import replace

import pytest
from support.experiment_log import write_experiment

from fairtag.base.pseudonym import user_key
from fairtag.base.tables import write_tables
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from pipelines.cli import main
from pipelines.cli_experiment import customer_names
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


def test_what_the_log_is_a_sample_of_can_be_said_and_nothing_else(market, tmp_path, capsys):
    weighted = market.tables.impressions.assign(weight=4.0)
    write_tables(replace(market.tables, impressions=weighted), tmp_path / "tables")
    found = {}
    for sampled in ("pages", "counts"):
        assert main(["experiment", "plan", str(tmp_path), "--gain", "4", "--sampled", sampled, "--json"]) == 0
        found[sampled] = json.loads(capsys.readouterr().out)
    assert found["pages"]["fixed"] != found["counts"]["fixed"]
    assert main(["experiment", "plan", str(tmp_path), "--sampled", "rows"]) == 2
    assert "one of pages, customers, counts" in capsys.readouterr().err


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
    """A run whose endpoint assigned 4,000 customers."""
    folder = RunFolder(tmp_path)
    (experiment,) = ShopPolicy().changed(experiments=[TEST]).experiments
    LivePolicyStore(folder.serving / "policy").change(ShopPolicy().changed(experiments=[TEST]), who="ada", why="a test")
    write_experiment(experiment, folder.serving, lambda k: user_key(f"u{k}", b"s" * 32))
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


def test_customers_of_the_run_are_known_under_each_user_key_of_its_file(tmp_path, market):
    folder = RunFolder(tmp_path)
    new, old = b"n" * 32, b"o" * 32
    write_tables(market.tables, folder.tables)
    (folder.serving / "secrets").mkdir(parents=True)
    file = folder.serving / "secrets" / "user_key"
    file.write_text(new.hex())
    assert customer_names(folder) is None
    file.write_text(f"{new.hex()}\n{old.hex()}\n")
    names, someone = customer_names(folder), market.tables.users["user_id"].iloc[0]
    assert names[user_key(someone, old)] == names[user_key(someone, new)] == user_key(someone, new)
    assert len(names) == 2 * market.tables.users["user_id"].nunique()


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
