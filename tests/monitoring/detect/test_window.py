"""Reading a window: everything that is wrong with a log is counted, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError
from monitoring.detect import window as module
from monitoring.detect.window import LogReader, Window

START = datetime(2026, 2, 9, tzinfo=UTC)
WINDOW = Window(START, START + timedelta(days=1), START + timedelta(days=1))


@pytest.fixture
def quotes(shop):
    return shop.stream.draw(pd.Timestamp(START), 24, 300)[0]


def read(path):
    reader = LogReader(str(path), schema.QUOTES, WINDOW)
    return reader.frame(), reader.intake


def test_a_good_log_is_read_whole(shop, quotes):
    frame, intake = read(shop.write(quotes, "good"))
    assert len(frame) == intake.kept == intake.rows == len(quotes)
    assert (intake.duplicates, intake.late, intake.future, sum(intake.broken.values())) == (0, 0, 0, 0)


def test_rows_outside_the_window_are_not_read(shop, quotes):
    shifted = quotes.assign(**{schema.TS: quotes[schema.TS] - pd.Timedelta(hours=6)})
    frame, intake = read(shop.write(shifted, "shifted"))
    assert len(frame) == (shifted[schema.TS] >= pd.Timestamp(START)).sum() < len(quotes)
    assert intake.rows == len(frame)


def test_a_file_that_was_cut_in_half_is_named_and_the_others_are_read(shop, quotes):
    folder = shop.write(quotes, "mixed")
    whole = (folder / "mixed.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / ".hidden.parquet").write_bytes(b"in the making")
    frame, intake = read(folder)
    assert len(frame) == len(quotes)
    assert len(intake.unreadable) == 1
    assert intake.unreadable[0].startswith("cut.parquet: ")


def test_a_file_without_a_needed_column_is_named_with_the_column(shop, quotes):
    _, intake = read(shop.write(quotes.drop(columns=schema.PRICE_MINOR), "short"))
    assert intake.kept == 0
    assert "price_minor is missing" in intake.unreadable[0]


def test_repeated_rows_are_dropped_within_and_across_files(shop, quotes):
    folder = shop.write(pd.concat([quotes, quotes.head(40)]), "twice")
    quotes.tail(100).to_parquet(folder / "again.parquet", coerce_timestamps="us")
    frame, intake = read(folder)
    assert len(frame) == len(quotes)
    assert intake.duplicates == 140


def test_duplicates_across_many_small_batches_are_exact(shop, quotes, monkeypatch):
    monkeypatch.setattr(module, "BATCH_ROWS", 64)
    frame, intake = read(shop.write(pd.concat([quotes, quotes.sample(frac=0.5, random_state=1)]), "small"))
    assert len(frame) == len(quotes)
    assert intake.duplicates == round(len(quotes) * 0.5)


def test_late_and_future_rows_are_counted(shop, quotes):
    late = quotes.copy()
    late.loc[len(late) - 10 :, schema.TS] = pd.Timestamp(START)
    late.loc[:4, schema.TS] = pd.Timestamp(WINDOW.now + timedelta(minutes=6))
    frame, intake = read(shop.write(late, "skewed"))
    assert intake.late == 10
    assert intake.future == 5
    assert len(frame) == len(quotes) - 5


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        (schema.SIMILARITY, np.nan, "similarity: must not be absent"),
        (schema.SIMILARITY, 1.5, "similarity: must be <= 1"),
        (schema.PROPENSITY, 0.0, "propensity: must be > 0"),
        (schema.PURCHASE_PROBABILITY, np.inf, "purchase_probability: must be finite"),
        (schema.PRICE_MINOR, 0, "price_minor: must be > 0"),
        (schema.CATEGORY, None, "category: must not be absent"),
    ],
)
def test_rows_that_break_the_contract_are_counted_by_rule_and_set_aside(shop, quotes, column, value, rule):
    quotes.loc[:6, column] = value
    frame, intake = read(shop.write(quotes, "broken"))
    assert intake.broken[rule] == 7
    assert len(frame) == len(quotes) - 7


def test_files_far_from_the_window_by_their_name_are_not_opened(shop, quotes):
    folder = shop.write(quotes, "named")
    (folder / "named.parquet").rename(folder / "quotes-20251201T000000-abc.parquet")
    assert read(folder)[1].files == 0
    (folder / "quotes-20251201T000000-abc.parquet").rename(folder / "quotes-20260209T120000-abc.parquet")
    assert read(folder)[1].files == 1


def test_windows_that_cannot_be_meant_are_refused():
    with pytest.raises(ConfigError, match="start must come before"):
        Window(WINDOW.end, WINDOW.start, WINDOW.now)
    with pytest.raises(ConfigError, match="time zone"):
        Window(datetime(2026, 1, 1), WINDOW.end, WINDOW.now)


def test_an_address_without_a_log_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no quotes log"):
        read(tmp_path / "absent")
