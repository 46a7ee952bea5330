"""A shop's own CSV and parquet files: read as they are, refused with table, column and rule when they are not right."""

import json
import os

import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import DataError, MissingDataError
from fairtag.base.tables import coerce
from fairtag.base.values import read_values
from fairtag.data import load
from fairtag.simulator.simulation import TINY, simulate_shop


@pytest.fixture(scope="module")
def tables():
    return simulate_shop(TINY, seed=1).tables


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


@pytest.mark.parametrize("content", ["[1", '["EUR"]', "null", '"EUR"'])
def test_metadata_that_are_no_object_are_refused(folder, content):
    (folder / "metadata.json").write_text(content)
    with pytest.raises(DataError, match="not a JSON object"):
        load("csv", folder)


def test_metadata_may_have_a_byte_order_mark(folder):
    (folder / "metadata.json").write_bytes(b'\xef\xbb\xbf{"currency": "EUR"}')
    assert load("csv", folder).metadata["currency"] == "EUR"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"currency": null}', "currency: nothing is no ISO 4217"),
        ('{"currency": "eur"}', "did you mean EUR"),
        ('{"times": {"orders.tss": {"unit": "ms"}}}', "orders.tss is no time column; there are items.updated_at"),
        ('{"times": {"orders.ts": {"unit": "m"}}}', "times.orders.ts.unit: 'm' is refused"),
        ('{"csv": {"seperator": ";"}}', "did you mean separator"),
        ('{"currency": "EUR", "currency": "USD"}', "currency stands more than once"),
        ('{"as_of": "01/02/2026"}', "as_of: '01/02/2026' is refused; .*ISO 8601"),
        ('{"as_of": 20260131}', "as_of: 20260131 is refused"),
        ('{"observational": "no"}', "observational: 'no' is refused; write true or false"),
        ('{"provenance": "ours"}', "provenance: 'ours' is refused"),
        ('{"notes": NaN}', "NaN is no number of JSON"),
        ('{"curency": "JPY"}', "'curency' is no setting; did you mean 'currency'"),
        ('{"Currency": "JPY"}', "did you mean 'currency'"),
        ('{"asof": "2026-01-31"}', "did you mean 'as_of'"),
    ],
)
def test_a_setting_of_the_metadata_that_cannot_be_meant_is_refused(folder, content, words):
    (folder / "metadata.json").write_text(content)
    with pytest.raises(DataError, match=words):
        load("csv", folder)


def test_times_are_read_as_the_metadata_state(folder, tables):
    orders = pd.read_csv(folder / "orders.csv", dtype=str)
    instants = pd.to_datetime(orders[schema.TS], format="ISO8601", utc=True)
    orders[schema.TS] = instants.astype("int64") // 1_000
    orders.to_csv(folder / "orders.csv", index=False)
    (folder / "metadata.json").write_text('{"times": {"orders.ts": {"unit": "us"}}}')
    assert load("csv", folder).fingerprint() == tables.fingerprint()


def test_how_the_files_are_written_is_reported(folder):
    assert load("csv", folder).metadata["files"]["items.csv"] == "utf-8, separated by ,, decimal point"


def test_a_parquet_table_may_be_a_folder_of_parts(tables, tmp_path):
    for name, frame in tables.frames().items():
        (tmp_path / f"{name}.parquet").mkdir()
        half = len(frame) // 2
        for number, part in enumerate((frame.iloc[:half], frame.iloc[half:])):
            part.to_parquet(tmp_path / f"{name}.parquet" / f"part-{number:05d}.snappy.parquet")
    assert load("parquet", tmp_path).fingerprint() == tables.fingerprint()


ITEMS = pd.DataFrame({"item_id": ["a", "b"], "title": ["Mug", "Bowl"], "list_price": [1.5, 2.5]})


@pytest.fixture
def spark(tmp_path):
    """Writes a table of items in parts, as Spark does, and reads it."""

    def write(*parts, folders=("", "")):
        root = tmp_path / "items.parquet"
        for number, (part, folder) in enumerate(zip(parts, folders, strict=False)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            file = root / folder / f"part-{number:05d}.snappy.parquet"
            part.to_parquet(file)
            file.with_name(f".{file.name}.crc").write_bytes(b"crc")
        (root / "_SUCCESS").touch()
        return load("parquet", tmp_path).items

    return write


def test_a_part_may_lack_columns_and_rows_and_hold_ids_of_another_type(spark):
    numbers = ITEMS.assign(item_id=[7, 8])
    read = spark(ITEMS.head(0), numbers, ITEMS.assign(stock=[1.0, 2.0]), folders=("", "", ""))
    assert read["item_id"].tolist() == ["7", "8", "a", "b"]
    assert read["stock"].tolist()[2:] == [1.0, 2.0]
    assert read["stock"].isna().sum() == 2


def test_folders_that_name_a_value_are_a_column_of_text(spark):
    read = spark(ITEMS, ITEMS.assign(item_id=["c", "d"]), folders=("category=007", "category=caf%C3%A9"))
    assert read["category"].tolist() == ["007", "007", "café", "café"]


def test_a_folder_that_names_no_value_is_a_missing_one(spark):
    read = spark(ITEMS, ITEMS.assign(item_id=["c", "d"]), folders=("category=a", "category=__HIVE_DEFAULT_PARTITION__"))
    assert read.set_index("item_id")["category"].fillna("none").to_dict() == {
        "a": "a",
        "b": "a",
        "c": "none",
        "d": "none",
    }


def test_long_ids_keep_every_digit_beside_gaps(tmp_path):
    snowflakes = pd.array([1_789_000_000_000_000_001, None, 1_789_000_000_000_000_003], dtype="Int64")
    orders = pd.DataFrame({"order_id": ["1", "2", "3"], "item_id": "a", "ts": "2026-01-01", "user_id": snowflakes})
    orders.assign(quantity=1, price=1.5).to_parquet(tmp_path / "orders.parquet")
    ITEMS.to_parquet(tmp_path / "items.parquet")
    ids = load("parquet", tmp_path).orders["user_id"].tolist()
    assert ids == ["1789000000000000001", None, "1789000000000000003"]


def test_parquet_names_may_be_in_capitals_and_an_index_is_a_column(tmp_path):
    ITEMS.rename(columns=str.upper).set_index("ITEM_ID").to_parquet(tmp_path / "items.parquet")
    assert load("parquet", tmp_path).items["item_id"].tolist() == ["a", "b"]


def test_a_currency_that_no_row_has_is_none(tmp_path):
    code = pd.Categorical(["EUR", "EUR"], categories=["EUR", "USD"])
    ITEMS.assign(currency=code).to_parquet(tmp_path / "items.parquet")
    assert load("parquet", tmp_path).metadata["currency"] == "EUR"


@pytest.mark.parametrize(
    "values",
    [[b"A1\x00\x00", b"A2\x00\x00"], [b"\xff\xfe", b"\xfe"], [1.5, 2.0], [True, False]],
    ids=["bytes of a fixed width", "bytes that are no text", "fractions", "truth values"],
)
def test_an_id_that_cannot_be_read_stays_so_on_its_way_to_validation(tmp_path, values):
    """As a text it would be an id: what a column is kept as must not read as what it was not."""
    ITEMS.assign(item_id=values).to_parquet(tmp_path / "items.parquet")
    kept = load("parquet", tmp_path).items["item_id"]
    assert read_values(kept, schema.ITEMS.column("item_id"))[1].any()


def test_a_title_that_is_a_list_or_a_table_is_none(tmp_path):
    for title in (["Mug", "Becher"], {"en": "Mug", "de": "Becher"}):
        ITEMS.assign(title=[title, title]).to_parquet(tmp_path / "items.parquet")
        kept = load("parquet", tmp_path).items["title"]
        assert read_values(kept, schema.ITEMS.column("title"))[1].all()


def test_a_shop_that_names_no_currency_is_told_which_one_is_meant(folder):
    assert any("all money is read as USD" in line for line in load("csv", folder).metadata["lacks"])


def test_every_table_but_items_may_be_absent(folder):
    for name in ("judgements", "users", "impressions", "orders"):
        (folder / f"{name}.csv").unlink()
    read = load("csv", folder)
    assert read.judgements is None
    assert len(read.users) == len(read.impressions) == len(read.orders) == 0
    (folder / "items.csv").unlink()
    with pytest.raises(MissingDataError, match=r"items is required; put items\.csv or items\.csv\.gz"):
        load("csv", folder)


def test_a_catalogue_without_times_is_as_old_as_its_file_or_as_the_shop_says(folder):
    items = pd.read_csv(folder / "items.csv", dtype=str).drop(columns=schema.UPDATED_AT)
    items.to_csv(folder / "items.csv", index=False)
    os.utime(folder / "items.csv", (1_760_000_000, 1_760_000_000))
    assert load("csv", folder).metadata["as_of"] == "2025-10-09T08:53:20+00:00"
    (folder / "metadata.json").write_text('{"as_of": "2026-01-31"}')
    assert load("csv", folder).metadata["as_of"] == "2026-01-31"


def test_a_file_s_name_may_be_in_capitals_and_one_in_a_form_that_is_not_read_is_named(folder, tables):
    (folder / "items.csv").rename(folder / "Items.CSV")
    assert load("csv", folder).fingerprint() == tables.fingerprint()
    (folder / "orders.csv").rename(folder / "orders.xlsx")
    with pytest.raises(
        MissingDataError, match=r"orders\.xlsx: \.xlsx is not read; save it as CSV, and put orders\.csv"
    ):
        load("csv", folder)


def test_a_shop_s_own_tables_are_nobody_s_simulation(folder):
    (folder / "metadata.json").write_text('{"dataset": "synthetic", "seed": 1}')
    assert load("csv", folder).metadata["dataset"] == "csv"


def test_a_missing_column_is_named(folder):
    items = pd.read_csv(folder / "items.csv", dtype=str).drop(columns=schema.LIST_PRICE)
    items.to_csv(folder / "items.csv", index=False)
    with pytest.raises(MissingDataError, match="list_price") as caught:
        load("csv", folder)
    assert (caught.value.table, caught.value.column) == ("items", "list_price")


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
@pytest.mark.slow
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
