"""``fairtag elasticity`` prints three estimates of a file, or says what the file lacks."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from fairtag.base.errors import ConfigError, DataError, MissingDataError
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


@pytest.fixture
def twins(tmp_path):
    """Weeks of two brands with two sizes each, of which both sell hardly more than one."""
    rng, weeks, zeta = np.random.default_rng(0), 150, 0.3
    price = rng.uniform(0.7, 1.3, (weeks, 2, 2))
    within = np.exp((0.5 - 2.0 * price) / zeta)
    whole = within.sum(axis=2)
    pull = (within / whole[:, :, None] * (whole**zeta)[:, :, None]).reshape(weeks, 4)
    q = np.column_stack([pull, np.ones(weeks)]) / (1.0 + pull.sum(axis=1))[:, None]
    sold = np.array([rng.multinomial(60, each) for each in q])
    file = tmp_path / "twins.csv"
    names = {"week": np.repeat(range(weeks), 4), "brand": ["a", "a", "b", "b"] * weeks, "price": price.ravel()}
    pd.DataFrame({**names, "units": sold[:, :4].ravel(), "none": np.repeat(sold[:, 4], 4)}).to_csv(file, index=False)
    return file


def test_a_nested_logit_is_tested_against_the_plain_one(twins):
    nested = ("--quantity", "units", "--nests", "brand", "--page", "week", "--outside", "none")
    answer = asked("--data", twins, *nested, "--json")
    assert answer.exit_code == 0, answer.output
    (found,) = [row for row in json.loads(answer.output) if row["method"] == "nested logit"]
    value, low, high = found["dissimilarity"]
    assert low < 0.3 < high < 1.0
    assert low < value < high
    assert found["ratio"]["p_value"] < 1e-6
    assert found["coefficients"]["price"][0] == pytest.approx(-2.0, abs=3 * found["coefficients"]["price"][1])
    shown = asked("--data", twins, *nested).output
    assert "likelihood ratio against the plain logit" in shown
    assert "(1 is the plain logit)" in shown


def test_nests_without_a_page_are_refused(twins):
    answer = asked("--data", twins, "--quantity", "units", "--nests", "brand")
    assert isinstance(answer.exception, ConfigError)
    assert "--page" in str(answer.exception)


def test_what_is_missing_is_named(table, tmp_path):
    assert isinstance(asked("--data", tmp_path / "none.csv").exception, MissingDataError)
    assert isinstance(asked("--data", table, "--quantity", "sold").exception, DataError)


def test_semicolons_and_decimal_commas_are_read_as_spreadsheets_write_them(table):
    before = json.loads(asked("--data", table, "--quantity", "units", "--json").output)
    pd.read_csv(table).to_csv(table, index=False, sep=";", decimal=",")
    after = json.loads(asked("--data", table, "--quantity", "units", "--json").output)
    assert after[0]["elasticity"] == pytest.approx(before[0]["elasticity"], rel=1e-12)


def test_a_sign_that_may_set_thousands_apart_is_not_guessed(table):
    rows = pd.read_csv(table)
    prices = [f"1.{number:03d}" for number in range(100, 500)]
    rows.assign(price=prices, units=1 + rows["units"].astype(int)).to_csv(table, index=False, sep=";")
    found = asked("--data", table, "--quantity", "units").exception
    assert isinstance(found, DataError)
    assert "'1.100' in price can be a fraction or thousands" in str(found)
    rows.assign(price=[f"{price},5" for price in prices], units=1 + rows["units"].astype(int)).to_csv(
        table, index=False, sep=";"
    )
    assert asked("--data", table, "--quantity", "units").exit_code == 0


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b""), ("b.csv", b"price,units\n1\xe9,2\n"), ("c.parquet", b"price;units\n")]
)
def test_a_file_that_is_no_table_is_refused_by_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = asked("--data", tmp_path / name, "--quantity", "units").exception
    assert isinstance(found, DataError)
    assert name in str(found)
    assert "cannot be read as" in str(found)


def test_what_looks_odd_in_a_file_is_said_below_the_estimates(table):
    rows = pd.read_csv(table)
    pd.concat([rows, rows[:40]]).to_csv(table, index=False)
    assert "note: 40 rows are copies of others" in asked("--data", table, "--quantity", "units").output


def test_joint_effects_are_refused_beside_nests_and_rows_left_out_are_said(twins):
    nested = ("--quantity", "units", "--nests", "brand", "--page", "week", "--outside", "none")
    answer = asked("--data", twins, *nested, "--effects", "brand*week")
    assert isinstance(answer.exception, ConfigError)
    assert "--effects brand*week" in str(answer.exception)
    rows = pd.read_csv(twins)
    rows.loc[3, "price"] = 0.0
    rows.to_csv(twins, index=False)
    assert "1 rows without a positive price" in asked("--data", twins, *nested).output
