"""Raw values are read as what the contract declares, and what cannot be read is named: no time or id is guessed."""

import datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from fairtag.base.tables import coerce
from fairtag.base.values import TimeFormat, read_values

TIME, ID = schema.ORDERS.column(schema.TS), schema.ORDERS.column(schema.ITEM_ID)
PRICE, QUANTITY = schema.ORDERS.column(schema.PRICE), schema.IMPRESSIONS.column(schema.QUANTITY)


def utc(text):
    return pd.Timestamp(text, tz="UTC")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-07-05", "2025-07-05"),
        ("20250705", "2025-07-05"),
        ("2025-186", "2025-07-05"),
        ("2025-W27-6", "2025-07-05"),
        ("2025-186T10:00:00Z", "2025-07-05 10:00"),
        ("2025186T100000+0200", "2025-07-05 08:00"),
        ("2024-366", "2024-12-31"),
        ("2025-07-05T10:30.5Z", "2025-07-05 10:30:30"),
        ("2025-07-05T10,5", "2025-07-05 10:30"),
        ("2025-07-05T10:00:00\u221202:00", "2025-07-05 12:00"),
        ("2025-07-05T10", "2025-07-05 10:00"),
        ("2025-07-05 10:00", "2025-07-05 10:00"),
        ("2025-07-05T10:00Z", "2025-07-05 10:00"),
        ("20250705T100000Z", "2025-07-05 10:00"),
        ("2025-07-05T10:00:00.5+02:00", "2025-07-05 08:00:00.5"),
        ("2025-07-05 10:00:00,25 +0530", "2025-07-05 04:30:00.25"),
        ("2025-07-05T10:00:00.123456789-05", "2025-07-05 15:00:00.123456"),
    ],
)
def test_every_form_of_iso_8601_is_the_instant_it_means(written, meant):
    typed, unreadable = read_values(pd.Series([written]), TIME)
    assert typed.tolist() == [utc(meant)]
    assert not unreadable.any()


def test_forms_of_iso_8601_may_be_mixed_in_one_column_and_one_bad_value_blames_no_other():
    typed, unreadable = read_values(
        pd.Series(["2025-07-05", "2025-07-05T10:00:00.25Z", "05/07/2025", None, "2025-07-05 10:00:00+02:00"]), TIME
    )
    assert typed.tolist()[:2] == [utc("2025-07-05"), utc("2025-07-05 10:00:00.25")]
    assert typed.iloc[4] == utc("2025-07-05 08:00")
    assert unreadable.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    "values",
    [
        ["01/02/2026"],
        ["01.02.2026 10:00"],
        ["01-02-2026"],
        ["01/02/26"],
        ["10:00"],
        ["2026-02-01 10:00 EST"],
        ["now", "today"],
        ["2026-02-30"],
        ["2026", "2026-02"],
        np.array([1_751_675_220]),
        np.array([1_751_675_220_000]),
        np.array([20_250_705]),
        np.array([45_658.5]),
        [True],
    ],
    ids=str,
)
def test_a_time_that_is_not_iso_8601_is_named_and_never_guessed(values):
    typed, unreadable = read_values(pd.Series(values), TIME)
    assert unreadable.all()
    assert typed.isna().all()


def test_dates_and_timestamps_of_a_parquet_file_are_times():
    given = pd.Series([datetime.date(2025, 7, 5), datetime.datetime(2025, 7, 5, 10, tzinfo=datetime.UTC)], dtype=object)
    assert read_values(given, TIME)[0].tolist() == [utc("2025-07-05"), utc("2025-07-05 10:00")]
    naive = pd.Series(pd.to_datetime(["2025-07-05 10:00"]))
    assert read_values(naive, TIME)[0].tolist() == [utc("2025-07-05 10:00")]


def test_a_stated_format_unit_or_zone_is_used():
    berlin = TimeFormat(format="%d/%m/%Y %H:%M", zone="Europe/Berlin")
    typed, unreadable = read_values(pd.Series(["05/07/2025 10:00", "2025-07-05"]), TIME, berlin)
    assert typed.iloc[0] == utc("2025-07-05 08:00")
    assert unreadable.tolist() == [False, True]
    milliseconds, _ = read_values(pd.Series([1_751_675_220_000]), TIME, TimeFormat(unit="ms"))
    assert milliseconds.tolist() == [utc("2025-07-05 00:27")]
    zoned, unreadable = read_values(
        pd.Series(["2025-07-05 10:00", "2025-07-05T10:00Z", "2025-10-26 02:30"]), TIME, TimeFormat(zone="Europe/Berlin")
    )
    assert zoned.tolist()[:2] == [utc("2025-07-05 08:00"), utc("2025-07-05 10:00")]
    assert unreadable.tolist() == [False, False, True]  # that hour exists twice


@pytest.mark.parametrize(
    "settings",
    [{}, {"unit": "m"}, {"format": "%d", "unit": "s"}, {"zone": "Mars/Olympus"}, {"format": "%Q"}, {"format": "%d%d"}],
    ids=str,
)
def test_a_time_format_that_says_nothing_or_too_much_is_refused(settings):
    with pytest.raises(ConfigError):
        TimeFormat(**settings)


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (np.array([17_850, 13_047]), ["17850", "13047"]),
        (np.array([17_850.0, np.nan]), ["17850", None]),
        (np.array([4_006_381_333_931.0]), ["4006381333931"]),
        ([b"A17", "00123", " x "], ["A17", "00123", "x"]),
        (["A1", "A1  ", "A1\u00a0"], ["A1"] * 3),
        (["17850.0", "A1"], ["17850.0", "A1"]),
        ([Decimal(9_007_199_254_740_993)], ["9007199254740993"]),
        (["NULL", "N/A", "#N/A", " nan ", "None", "", "   ", "(null)", "#REF!", "#NAME?"], [None] * 10),
    ],
    ids=str,
)
def test_an_id_stays_what_the_shop_calls_it(values, ids):
    typed, unreadable = read_values(pd.Series(values), ID)
    assert typed.tolist() == ids
    assert not unreadable.any()


@pytest.mark.parametrize("digest", ["5e8695378210", "869537821e10", "8695378210e5", "1234e6789012"])
def test_a_digest_that_happens_to_look_like_a_number_is_an_id(digest):
    typed, unreadable = read_values(pd.Series([digest]), ID)
    assert typed.tolist() == [digest]
    assert not unreadable.any()


@pytest.mark.parametrize("value", [1.5, 2.0**60, "4.00638E+12", "400.6E+10", "4E12", b"\xff", True], ids=str)
def test_an_id_that_lost_digits_or_is_none_is_named(value):
    _, unreadable = read_values(pd.Series([value], dtype=object), ID)
    assert unreadable.all()


@pytest.mark.parametrize(
    "values",
    [["17850.0", None, "13047.0"], np.array([16_777_216, 20_000_002], dtype=np.float32), [Decimal("1.5")]],
    ids=["a column that a program made of numbers", "more digits than four bytes hold", "a fraction"],
)
def test_a_column_of_ids_that_was_made_of_numbers_is_named(values):
    given = pd.Series(values)
    typed, unreadable = read_values(given, ID)
    assert typed.isna().all()
    assert unreadable.tolist() == given.notna().tolist()


def test_numbers_are_finite_and_integers_whole():
    typed, unreadable = read_values(pd.Series(["1.5", "inf", "1_000", "twelve", "n/a", None]), PRICE)
    assert typed.tolist()[0] == 1.5
    assert unreadable.tolist() == [False, True, True, True, False, False]
    assert read_values(pd.Series(["1.5", "1_000"]), PRICE)[1].tolist() == [False, True]
    _, unreadable = read_values(pd.Series([1.0, 1.5]), QUANTITY)
    assert unreadable.tolist() == [False, True]


def test_times_in_a_shops_own_format_are_kept_as_iso_8601_where_others_cannot_be_read():
    rows = {
        schema.ORDER_ID: ["1", "2"],
        schema.ITEM_ID: ["a", "a"],
        schema.TS: ["05/07/2025", "yesterday"],
        schema.USER_ID: ["u", "u"],
        schema.QUANTITY: [1.0, 1.0],
        schema.PRICE: [1.0, 1.0],
    }
    frame = coerce(
        pd.DataFrame(rows), schema.ORDERS, keep_unreadable=True, times={schema.TS: TimeFormat(format="%d/%m/%Y")}
    )
    _, unreadable = read_values(frame[schema.TS], TIME)
    assert unreadable.tolist() == [False, True]


def test_a_number_in_a_time_column_is_not_read_as_the_date_of_its_digits():
    frame = pd.DataFrame({
        schema.ORDER_ID: ["o1", "o2"], schema.ITEM_ID: "a", schema.TS: np.array([20250705, 20250706]),
        schema.USER_ID: "u", schema.QUANTITY: 1.0, schema.PRICE: 1.0,
    })  # fmt: skip
    read = coerce(frame, schema.ORDERS, keep_unreadable=True)[schema.TS]
    assert read.tolist() == ["20250705 (a number)", "20250706 (a number)"]
    assert read_values(read, schema.ORDERS.column(schema.TS))[1].all()


@pytest.mark.parametrize(
    "value",
    [datetime.datetime(2026, 1, 2), "A1\n7", "A1\x00", "\u200bA17", "\ufeffA17", [1, 2]],
    ids=["a date that a spreadsheet made", "line break", "NUL", "zero-width space", "byte order mark", "list"],
)
def test_an_id_that_nobody_can_type_or_that_a_spreadsheet_made_is_named(value):
    _, unreadable = read_values(pd.Series([value], dtype=object), ID)
    assert unreadable.all()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-02-28T24:00:00Z", "2026-03-01"),
        ("20260228T2400", "2026-03-01"),
        ("2026-02-28T23:59:60Z", "2026-03-01"),
        ("2026-02-01T10:00:00z", "2026-02-01 10:00"),
        ("2026-02-01t10:00Z", "2026-02-01 10:00"),
        (" 2026-02-01 ", "2026-02-01"),
    ],
)
def test_the_end_of_a_day_leap_seconds_and_small_letters_are_iso_8601_too(text, instant):
    assert read_values(pd.Series([text]), TIME)[0].tolist() == [utc(instant)]


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-28T24:00:01Z", "2026-02-28T25:00Z", "0001-01-01", "9999-12-31", "99991231", "2026-366", "2026-000",
        "2026-02-01 10.30", "2026-02-28T24.5Z",
    ],
)  # fmt: skip
def test_a_time_that_no_clock_shows_or_no_table_holds_is_named(text):
    assert read_values(pd.Series([text]), TIME)[1].tolist() == [True]


def test_numbers_beyond_every_year_and_offsets_of_summer_and_winter_are_no_crash():
    seconds, unreadable = read_values(pd.Series([1_751_675_220, 1e20, np.inf, "x"]), TIME, TimeFormat(unit="s"))
    assert seconds.tolist()[:1] == [utc("2025-07-05 00:27")]
    assert unreadable.tolist() == [False, True, True, True]
    mixed = pd.Series(["2026-01-31 10:00 +0100", "2026-07-31 10:00 +0200"])
    typed, _ = read_values(mixed, TIME, TimeFormat(format="%Y-%m-%d %H:%M %z"))
    assert typed.tolist() == [utc("2026-01-31 09:00"), utc("2026-07-31 08:00")]


def test_an_hour_that_the_clock_skips_is_not_guessed_in_any_form():
    berlin = TimeFormat(zone="Europe/Berlin")
    typed, unreadable = read_values(pd.Series(["2026-03-29T02:30", "20260329T0230", "20260329T0330"]), TIME, berlin)
    assert unreadable.tolist() == [True, True, False]
    assert typed.iloc[2] == utc("2026-03-29 01:30")


def test_a_text_of_blanks_is_missing():
    column = schema.ITEMS.column(schema.TITLE)
    typed, unreadable = read_values(pd.Series(["mug", "   ", "\u00a0", " NULL "]), column)
    assert typed.tolist() == ["mug", None, None, None]
    assert not unreadable.any()
