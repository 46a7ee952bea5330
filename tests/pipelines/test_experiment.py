"""``fairtag experiment plan``: the days that a test needs, from the pages of a run."""

import json
from dataclasses import replace

import pytest

from fairtag.base.tables import write_tables
from fairtag.policy.live_policy import LivePolicyStore
from fairtag.policy.shop_policy import ShopPolicy
from pipelines.cli import main


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
