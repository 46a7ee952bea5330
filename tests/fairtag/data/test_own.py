"""A shop's own CSV and parquet files: read as they are, refused with table, column and rule when they are not right."""

import json

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.tables import coerce
from fairtag.data import load
from fairtag.simulator.simulation import TINY, simulate_market


@pytest.fixture(scope="module")
def tables():
    return simulate_market(TINY, seed=1).tables


@pytest.fixture
def folder(tables, tmp_path):
    for name, frame in tables.frames().items():
        lists = {
            c.name: frame[c.name].map(json.dumps) for c in schema.table(name).columns if c.kind in ("ids", "numbers")
        }
        frame.assign(**lists).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_csv_gives_back_the_tables_it_was_written_from(folder, tables):
    assert load("csv", folder).fingerprint() == tables.fingerprint()


def test_parquet_gives_back_the_tables_it_was_written_from(tables, tmp_path):
    for name, frame in tables.frames().items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
    assert load("parquet", tmp_path).fingerprint() == tables.fingerprint()


def test_ids_keep_their_leading_zeros(folder):
    items = pd.read_csv(folder / "items.csv", dtype=str)
    items[schema.ITEM_ID] = "00" + items[schema.ITEM_ID].str.slice(1)
    items.to_csv(folder / "items.csv", index=False)
    assert load("csv", folder).items[schema.ITEM_ID].str.startswith("00").all()


def test_metadata_of_the_shop_win_over_the_defaults(folder):
    (folder / "metadata.json").write_text('{"currency": "EUR", "fingerprint": "stale"}')
    metadata = load("csv", folder).metadata
    assert metadata["currency"] == "EUR"
    assert "fingerprint" not in metadata
    assert metadata["observational"] is False  # propensities are given
    (folder / "metadata.json").write_text("[1")
    with pytest.raises(DataError, match="not a JSON object"):
        load("csv", folder)


def test_optional_tables_may_be_absent_and_required_ones_may_not(folder):
    (folder / "judgements.csv").unlink()
    assert load("csv", folder).judgements is None
    (folder / "orders.csv").unlink()
    with pytest.raises(MissingDataError, match=r"orders is required; put orders\.csv or orders\.csv\.gz"):
        load("csv", folder)


def test_a_missing_column_is_named(folder):
    items = pd.read_csv(folder / "items.csv", dtype=str).drop(columns=schema.UNIT_COST)
    items.to_csv(folder / "items.csv", index=False)
    with pytest.raises(MissingDataError, match="unit_cost") as caught:
        load("csv", folder)
    assert (caught.value.table, caught.value.column) == ("items", "unit_cost")


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("items", schema.LIST_PRICE, "twelve"),
        ("items", schema.UPDATED_AT, "the day before"),
        ("users", schema.HISTORY_ITEMS, "a, b"),
        ("users", schema.HISTORY_AGE_DAYS, "3"),
        ("impressions", schema.PURCHASED, "maybe"),
    ],
)
def test_a_value_that_is_not_of_its_kind_stays_as_it_is_for_validation_to_name(folder, name, column, value):
    frame = pd.read_csv(folder / f"{name}.csv", dtype=str)
    frame.loc[1, column] = value
    frame.to_csv(folder / f"{name}.csv", index=False)
    read = load("csv", folder).frame(name)
    assert read[column].iloc[1] == value
    assert len(read) == len(frame)
    with pytest.raises(DataError, match=value) as caught:
        coerce(read, schema.table(name))
    assert (caught.value.table, caught.value.column, caught.value.count) == (name, column, 1)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: [lines[0].rsplit(",", 1)[0], *lines[1:]], "Expected"),  # every row has a field too many
        (lambda lines: [*lines[:2], lines[2].rsplit(",", 1)[0], *lines[3:]], "Expected"),  # one has one too few
        (lambda lines: [lines[0].replace("query", "item_id"), *lines[1:]], "item_id stands more than once"),
        (lambda lines: [], "cannot be read as csv"),
    ],
)
def test_a_csv_file_whose_rows_do_not_fit_its_header_is_refused_not_shifted(folder, spoil, words):
    file = folder / "judgements.csv"
    file.write_text("\n".join(spoil(file.read_text().splitlines())))
    with pytest.raises(DataError, match=words):
        load("csv", folder)
