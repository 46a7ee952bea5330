"""A shop's own file with a value nobody can read: its row is set aside and counted, all others go on typed."""

import json

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.tables import coerce, write_tables
from fairtag.data import load
from fairtag.simulator.simulation import TINY, simulate_shop


@pytest.fixture(scope="module")
def tables():
    return simulate_shop(TINY, seed=1).tables


@pytest.fixture
def folder(tables, tmp_path):
    out = tmp_path / "own"
    out.mkdir()
    for name, frame in tables.frames().items():
        lists = {
            c.name: frame[c.name].map(json.dumps) for c in schema.table(name).columns if c.kind in ("ids", "numbers")
        }
        frame.assign(**lists).to_csv(out / f"{name}.csv", index=False)
    return out


@pytest.mark.parametrize(
    ("name", "column", "value", "kind"),
    [
        ("orders", schema.PRICE, "12 apiece", "money"),
        ("users", schema.UPDATED_AT, "the day before", "time"),
        ("users", schema.HISTORY_ITEMS, "a, b", "ids"),
        ("users", schema.HISTORY_AGE_DAYS, '["new"]', "numbers"),
        ("impressions", schema.PURCHASED, "maybe", "flag"),
    ],
)
@pytest.mark.slow
def test_its_row_is_quarantined_with_table_column_rule_count_and_example(
    folder, tables, tmp_path, name, column, value, kind
):
    given = pd.read_csv(folder / f"{name}.csv", dtype=str)
    given.loc[[1, 7], column] = value
    given.to_csv(folder / f"{name}.csv", index=False)
    # The library warns while it is imported; in a test the exceptions for it hold, at collection they would not.
    from components.adapters.great_expectations import read_raw, validate_tables

    write_tables(load("csv", folder), tmp_path / "tables")
    frames, _ = read_raw(tmp_path / "tables")
    accepted, report = validate_tables(frames, tmp_path / "checked")
    found = next(table for table in report.tables if table.table == name)
    (finding,) = [f for f in found.findings if f.severity == "critical"]
    assert (finding.column, finding.rule, finding.count) == (column, f"readable as {kind}", 2)
    assert [example[column] for example in finding.examples] == [value, value]
    assert found.quarantined == 2
    report.require_accepted()
    aside = pd.read_parquet(tmp_path / "checked" / "quarantine" / f"{name}.parquet")
    assert aside[column].tolist() == [value, value]
    typed = coerce(accepted[name], schema.table(name))
    expected = tables.frame(name).drop(index=[1, 7]).reset_index(drop=True)
    pd.testing.assert_frame_equal(typed, expected)


def test_a_shop_without_such_a_value_is_typed_as_it_is_read(folder, tables):
    read = load("csv", folder)
    for name, frame in tables.frames().items():
        pd.testing.assert_frame_equal(read.frame(name), frame)
