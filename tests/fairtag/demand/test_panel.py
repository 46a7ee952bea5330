"""Panel elasticities: least squares with dummies and clusters, two stages by hand, weak instruments, known figures."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

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
    error = (found.high - found.low) / 2 / stats.t.ppf(0.975, 24)
    nested_in_clusters = np.sqrt((1_500 - 32) / (1_500 - 8))  # the 24 coefficients of stores are not counted
    assert error == pytest.approx(fit.bse.iloc[0] * nested_in_clusters, rel=1e-5)
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
    assert panel.left_out == {"units not above 0": 5, "cost unknown": 2}
    assert len(panel.weight) == 1_493
    with pytest.raises(DataError, match="no column display"):
        read(table, covariates=["display"])
    with pytest.raises(DataError, match="usable rows"):
        read(table[:12])
    with pytest.raises(DataError, match="does not vary"):
        compare_elasticities(read(table.assign(price=1.0 + table["item"])))


@pytest.mark.parametrize("effects", [["item"], ["item", "store"]])
def test_errors_without_clusters_count_every_effect_as_least_squares_does(effects):
    import statsmodels.api as sm

    table = planted(rows=120)
    found = by_method(read(table, effects=effects, cluster=None))["log-log"]
    dummies = pd.get_dummies(table[effects].astype(str), drop_first=True, dtype=float)
    design = np.column_stack([np.log(table["price"]), table["deal"], np.ones(120), dummies])
    fit = sm.OLS(np.log(table["units"]), design).fit(cov_type="HC1")
    assert found.elasticity == pytest.approx(fit.params.iloc[0], abs=1e-8)
    assert (found.high - found.low) / 2 / stats.t.ppf(0.975, 119) == pytest.approx(fit.bse.iloc[0], rel=1e-6)


@pytest.mark.slow
def test_intervals_of_few_clusters_and_of_many_effects_hold_the_truth_as_often_as_they_say():
    few = many = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        group, pair = np.arange(160) % 8, np.arange(160) // 2
        log_price = rng.normal(0, 0.3, 160) + rng.normal(0, 0.3, 8)[group]
        noise = rng.normal(0, 0.5, 160)

        def holds(effect, shock, log_price=log_price, noise=noise, **named):
            units = np.exp(-2.0 * log_price + shock[effect] + noise)
            table = pd.DataFrame({"price": np.exp(log_price), "units": units, "group": effect})
            found = compare_elasticities(Panel.of(table, price="price", quantity="units", **named))[0]
            return found.low < -2.0 < found.high

        few += holds(group, rng.normal(0, 0.4, 8), cluster="group")
        many += holds(pair, rng.normal(0, 1.0, 80), effects=["group"])
    assert few >= 134
    assert many >= 134


def test_effects_that_hardly_overlap_are_taken_out_entirely():
    """A chain: each store shares one product with the next. Alternating projections take thousands of sweeps for it."""
    rng, n = np.random.default_rng(1), 1_200
    pair = np.arange(n) // 2
    item, store = pair // 2, (pair + 1) // 2
    log_price = rng.normal(0, 0.3, n) + 0.01 * item
    level = np.cumsum(rng.normal(0, 0.1, item.max() + 1))[item] + np.cumsum(rng.normal(0, 0.1, store.max() + 1))[store]
    units = np.exp(level - 2.0 * log_price + rng.normal(0, 0.1, n))
    table = pd.DataFrame({"price": np.exp(log_price), "units": units, "item": item, "store": store})
    found = compare_elasticities(Panel.of(table, price="price", quantity="units", effects=["item", "store"]))[0]
    dummies = np.column_stack([np.equal.outer(code, range(code.max() + 1)) for code in (item, store)])
    expected = np.linalg.lstsq(np.column_stack([log_price, dummies]), np.log(units), rcond=None)[0][0]
    assert found.elasticity == pytest.approx(expected, abs=1e-7)


def test_the_unit_of_the_weights_changes_nothing():
    table = planted()
    found = [compare_elasticities(read(table.assign(weight=table["weight"] * k), weight="weight")) for k in (1, 1e-6)]
    for one, other in zip(*found, strict=True):
        assert (one.elasticity, one.low) == pytest.approx((other.elasticity, other.low), rel=1e-9)


def test_an_instrument_that_tells_nothing_of_its_own_is_left_out_and_named():
    table = planted(hidden=0.8).assign(flat=1.0, twice=lambda rows: 2 * rows["cost"])
    alone = by_method(read(table))["control function"]
    for other in ("flat", "twice"):
        found = by_method(read(table, instruments=["cost", other]))["control function"]
        assert (found.elasticity, found.first_stage_f) == pytest.approx((alone.elasticity, alone.first_stage_f))
        assert found.note == f"{other}: no variation of its own"
    nothing = by_method(read(table, instruments=["flat"]))["control function"]
    assert np.isnan(nothing.elasticity)
    assert nothing.note == "flat: no variation of its own"


HOSTILE = {
    "currency signs": (lambda rows: rows.assign(price="$" + rows["price"].round(2).astype(str)), {}, r"price: .*'\$"),
    "texts as covariates": (lambda rows: rows.assign(deal="yes"), {}, "deal: 1,500 values such as .'yes'. are no num"),
    "dates": (lambda rows: rows.assign(cost=pd.Timestamp("2024-01-01")), {}, "cost: 1,500 values .* are no numbers"),
    "the price as its own instrument": (
        lambda rows: rows.assign(cents=100 * rows["price"]),
        {"instruments": ["cents"]},
        "cents is the price under another name or in other units",
    ),
    "the log price as a covariate": (
        lambda rows: rows.assign(log=np.log(rows["price"]) + 1),
        {"covariates": ["log"]},
        "log is the log price under another name",
    ),
    "what makes up the price": (
        lambda rows: rows.assign(a=rows["cost"], b=np.log(rows["price"]) - rows["cost"]),
        {"covariates": ["a", "b"], "instruments": []},
        "the price follows from a, b",
    ),
    "instruments that make up the price": (
        lambda rows: rows.assign(a=rows["cost"], b=np.log(rows["price"]) - rows["cost"]),
        {"instruments": ["a", "b"]},
        "a, b give the price exactly",
    ),
    "a column in two roles": (lambda rows: rows, {"covariates": ["cost"]}, "cost is named as covariates and as instr"),
    "two columns of a name": (
        lambda rows: pd.concat([rows, rows[["price"]]], axis=1),
        {},
        "price: the table has several columns of that name",
    ),
    "one cluster": (lambda rows: rows.assign(store=7), {}, "cluster 'store' has the one value 7"),
    "a column of nothing": (lambda rows: rows.assign(deal=np.nan), {}, "0 usable rows of 1,500.*deal unknown"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_would_give_a_wrong_number_is_refused_by_its_column(kind):
    change, named, message = HOSTILE[kind]
    with pytest.raises(DataError, match=message):
        compare_elasticities(read(change(planted()), **named))


def test_unknown_labels_are_left_out_and_numbers_of_every_type_are_read():
    table = planted()
    typed = table.assign(
        units=table["units"].round(6).map(str), cost=table["cost"].astype("Float64"), deal=table["deal"] > 0
    )
    expected = by_method(read(table))["log-log"].elasticity
    assert by_method(read(typed))["log-log"].elasticity == pytest.approx(expected, abs=1e-5)
    panel = read(table.assign(store=table["store"].where(table.index > 3), item=table["item"].astype(str)))
    assert panel.left_out == {"store unknown": 4}


def test_what_looks_odd_is_said():
    table = planted()
    assert read(table).notes == ()
    odd = pd.concat([table, table[:30]], ignore_index=True)
    odd.loc[100:104, "price"] *= 100.0
    odd.loc[200:399, "units"] = 0.0
    copies, cents, nothing = read(odd.assign(hours=[[0, 1]] * len(odd))).notes
    assert copies.startswith("30 rows are copies of others")
    assert cents.startswith("5 prices such as ")
    assert nothing.startswith("13% of the rows sold nothing")


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
