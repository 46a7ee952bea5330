"""``fairtag experiment plan``: the days that a test needs, from the pages of a run."""

import json
from dataclasses import replace

import pytest

from fairtag.base.tables import write_tables
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
