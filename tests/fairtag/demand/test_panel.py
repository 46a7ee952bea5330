"""Panel elasticities: least squares with dummies and clusters, two stages by hand, weak instruments, known figures."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairtag.base.errors import DataError
from fairtag.demand import Choices, Panel, compare_elasticities, fit_logit


def planted(seed=0, hidden=0.0, strength=1.0, rows=1_500):
    """Stores and items with effects, a deal, a cost, and demand that the seller sees."""
    rng = np.random.default_rng(seed)
    store, item = rng.integers(0, 25, rows), rng.integers(0, 6, rows)
    shock, cost, deal = rng.normal(0, 0.2, rows), rng.normal(0, 0.2, rows), rng.random(rows) < 0.2
    log_price = 0.3 * item + strength * cost + hidden * shock - 0.1 * deal + rng.normal(0, 0.1, rows)
    log_units = 5 - 2.5 * log_price + 0.4 * item + rng.normal(0, 0.3, 25)[store] + 0.5 * deal + shock
    columns = {"store": store, "item": item, "cost": cost, "deal": deal.astype(float)}
    weight = rng.uniform(0.5, 2.0, rows)
    return pd.DataFrame({**columns, "price": np.exp(log_price), "units": np.exp(log_units), "weight": weight})


def read(table, **changes):
    named = {
        "price": "price",
        "quantity": "units",
        "effects": ["item", "store"],
        "covariates": ["deal"],
        "instruments": ["cost"],
        "cluster": "store",
    }
    return Panel.of(table, **(named | changes))


def by_method(panel):
    return {found.method: found for found in compare_elasticities(panel)}


@pytest.mark.parametrize("weight", [None, "weight"])
def test_log_log_is_weighted_least_squares_with_dummies(weight):
    import statsmodels.api as sm

    table = planted()
    found = by_method(read(table, weight=weight))["log-log"]
    dummies = pd.get_dummies(table[["item", "store"]].astype(str), drop_first=True, dtype=float)
    design = np.column_stack([np.log(table["price"]), table["deal"], np.ones(len(table)), dummies])
    weights = 1.0 if weight is None else table["weight"]
    fit = sm.WLS(np.log(table["units"]), design, weights=weights).fit(
        cov_type="cluster", cov_kwds={"groups": table["store"]}
    )
    assert found.elasticity == pytest.approx(fit.params.iloc[0], abs=1e-7)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(fit.bse.iloc[0], rel=0.02)  # effects are not counted
    assert (found.rows, found.clusters) == (1_500, 25)


def test_the_control_function_finds_the_elasticity_that_hidden_demand_hides():
    found = by_method(read(planted(hidden=0.8)))
    assert found["log-log"].low > -2.5
    assert found["control function"].elasticity == pytest.approx(-2.5, abs=0.1)
    assert found["control function"].first_stage_f > 100


def test_its_coefficient_is_that_of_a_regression_with_the_first_stages_residual():
    panel = read(planted(hidden=0.8), effects=[])
    y, x = panel.log_quantity, panel.log_price
    first = np.column_stack([panel.instruments, panel.covariates, np.ones(len(x))])
    nu = x - first @ np.linalg.lstsq(first, x, rcond=None)[0]
    second = np.column_stack([x, panel.covariates, np.ones(len(x)), nu])
    expected = np.linalg.lstsq(second, y, rcond=None)[0][0]
    assert by_method(panel)["control function"].elasticity == pytest.approx(expected, abs=1e-9)


def test_a_weak_instrument_gives_no_estimate_and_says_why():
    weak = by_method(read(planted(strength=0.0)))["control function"]
    assert np.isnan(weak.elasticity)
    assert "weak instruments" in weak.note
    assert weak.first_stage_f < 10
    none = by_method(read(planted(), instruments=[]))["control function"]
    assert none.note == "no instruments are named"


def test_double_machine_learning_agrees_where_nothing_is_hidden():
    found = by_method(read(planted()))
    assert found["DML"].elasticity == pytest.approx(-2.5, abs=0.1)
    assert found["DML"].low < -2.5 < found["DML"].high


def test_rows_that_cannot_be_used_are_counted_and_missing_columns_are_named():
    table = planted()
    table.loc[:4, "units"] = 0.0
    table.loc[5:6, "cost"] = np.nan
    panel = read(table)
    assert list(panel.left_out.values()) == [5, 2]
    assert len(panel.weight) == 1_493
    with pytest.raises(DataError, match="no column display"):
        read(table, covariates=["display"])
    with pytest.raises(DataError, match="usable rows"):
        read(table[:12])
    with pytest.raises(DataError, match="does not vary"):
        compare_elasticities(read(table.assign(price=1.0 + table["item"])))


def test_counts_with_an_outside_option_are_a_logit_in_ten_lines():
    rng = np.random.default_rng(0)
    price = rng.uniform(0.7, 1.0, (400, 3))
    pull = np.exp(2.0 - 3.0 * price)
    chance = np.column_stack([pull, np.ones(400)]) / (1 + pull.sum(axis=1, keepdims=True))
    counts = np.array([rng.multinomial(200, row) for row in chance], dtype=float)
    features = np.column_stack([np.ones(1_200), -price.ravel()])
    fit = fit_logit(Choices(features, np.arange(400) * 3, counts[:, :3].ravel(), counts[:, 3]))
    np.testing.assert_allclose(fit.theta, [2.0, 3.0], atol=0.15)


def test_the_known_elasticities_of_orange_juice_are_reached():
    folder = Path(os.environ.get("FAIRTAG_DATA", Path(__file__).parents[4] / "shared" / "data"))
    file = folder / "dominicks_oj" / "yx.parquet"
    if not file.is_file():
        pytest.skip(f"no orange juice data at {folder}; set FAIRTAG_DATA to the folder that holds dominicks_oj/")
    table = pd.read_parquet(file)
    prices = table[[f"price{brand}" for brand in range(1, 12)]].to_numpy()
    own = prices[np.arange(len(table)), table["brand"].to_numpy(dtype=int) - 1]
    table = table.assign(price=own, units=np.exp(table["logmove"]))
    for effects, covariates, known in (
        (["brand"], [], -2.92),
        (["brand*store"], [], -3.10),
        (["brand*store"], ["feat", "deal"], -2.53),
    ):
        panel = read(table, effects=effects, covariates=covariates, instruments=[])
        assert by_method(panel)["log-log"].elasticity == pytest.approx(known, abs=0.006)
