"""``fairtag elasticity`` prints three estimates of a file, or says what the file lacks."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fairtag.base.errors import DataError, MissingDataError
from pipelines.cli import app


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    log_price, store = rng.normal(0, 0.2, 400), rng.integers(0, 8, 400)
    units = np.exp(3 - 2 * log_price + rng.normal(0, 0.2, 400))
    file = tmp_path / "sales.csv"
    pd.DataFrame({"store": store, "price": np.exp(log_price), "units": units}).to_csv(file, index=False)
    return file


def asked(*arguments):
    return CliRunner().invoke(app, ["elasticity", *map(str, arguments)], catch_exceptions=True)


def test_three_estimates_of_a_file(table):
    answer = asked("--data", table, "--quantity", "units", "--effects", "store", "--cluster", "store", "--json")
    assert answer.exit_code == 0, answer.output
    found = {row["method"]: row for row in json.loads(answer.output)}
    assert found["log-log"]["elasticity"] == pytest.approx(-2, abs=0.15)
    assert found["control function"]["elasticity"] is None
    assert found["DML"]["low"] < -1.9


def test_people_get_a_table(table):
    answer = asked("--data", table, "--quantity", "units")
    assert answer.exit_code == 0
    assert "95 % interval" in answer.output
    assert "400 rows in 400 clusters" in answer.output


def test_what_is_missing_is_named(table, tmp_path):
    assert isinstance(asked("--data", tmp_path / "none.csv").exception, MissingDataError)
    assert isinstance(asked("--data", table, "--quantity", "sold").exception, DataError)
