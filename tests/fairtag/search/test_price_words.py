"""Prices in the words of a query, in the shop's currency; numbers that are no prices stay words."""

import pytest

from fairtag.base.money import currency
from fairtag.search.price_words import read_price


@pytest.mark.parametrize(
    ("query", "rest", "low", "high"),
    [
        ("drill under 20", "drill", None, 2_000),
        ("under 20", "", None, 2_000),
        ("drill under €20", "drill", None, 2_000),
        ("drill cheaper than 15 euros", "drill", None, 1_500),
        ("lamp between 10 and 30", "lamp", 1_000, 3_000),
        ("between 30 and 10 euro lamp", "lamp", 1_000, 3_000),
        ("from 10 to 30 lamp", "lamp", 1_000, 3_000),
        ("drill 20-40", "drill", 2_000, 4_000),
        ("20 - 40 € drill", "drill", 2_000, 4_000),
        ("drill €20–€40", "drill", 2_000, 4_000),  # noqa: RUF001 - an en dash, as phones type it
        ("20 to 40 euros lamp", "lamp", 2_000, 4_000),
        ("over 50 desk", "desk", 5_000, None),
        ("desk at least 49.90", "desk", 4_990, None),
        ("drill < 20 eur", "drill", None, 2_000),
        ("drill over 10 under 20", "drill", 1_000, 2_000),
        ("drill (under 20)", "drill", None, 2_000),
        ("under 20, red", "red", None, 2_000),
        ("under 20 for walls", "for walls", None, 2_000),
        ("unter 19,99 € lampe", "lampe", None, 1_999),
        ("lampe zwischen 10 und 30", "lampe", 1_000, 3_000),
        ("lampe moins de 20 euros", "lampe", None, 2_000),
        ("lámpara entre 10 y 30", "lámpara", 1_000, 3_000),
        ("desk under 1,000", "desk", None, 100_000),
        ("desk under 1.234,50", "desk", None, 123_450),
        ("desk under 1 234", "desk", None, 123_400),
        ("drill 18v under 99.99", "drill 18v", None, 9_999),
    ],
)
def test_a_price_becomes_a_filter(query, rest, low, high):
    found = read_price(query, currency("EUR"))
    assert (found.rest, found.low_minor, found.high_minor, found.notice) == (rest, low, high, None)
    assert found.written


@pytest.mark.parametrize(
    "query",
    [
        "drill",
        "under",
        "under bed storage",
        "drill 20-40 mm",
        "drill 20-40mm",
        "drill under 20 volts",
        "drill under 20v",
        "under 20% off",
        "toys under 3 years",
        "up to 20 people tent",
        "dumbbells under 20 pounds",
        "shoes size 40-42",
        "for ages 3-5",
        "sandpaper 80-120 grit",
        "2-in-1 lamp",
        "WD-40",
        "bed 140x200",
        "games from 2020",
        "iphone 12",
        "20 €",
    ],
)
def test_a_number_that_is_no_price_stays_a_word(query):
    found = read_price(query, currency("EUR"))
    assert (found.rest, found.low_minor, found.high_minor, found.written) == (query, None, None, "")


@pytest.mark.parametrize(
    "query", ["drill under 20 dollars", "drill under $20", "drill under 20 USD", "between £5 and £9"]
)
def test_a_price_in_another_currency_is_reported_and_not_guessed(query):
    found = read_price(query, currency("EUR"))
    assert (found.rest, found.low_minor, found.high_minor) == (query, None, None)
    assert "prices are in EUR" in found.notice


def test_amounts_have_the_digits_of_the_currency():
    assert read_price("under 2,000 yen", currency("JPY")).high_minor == 2_000
    assert read_price("under ¥2,000.5", currency("JPY")).high_minor == 2_000  # no coin is smaller than a yen
    assert read_price("over 2,000.5", currency("JPY")).low_minor == 2_001
    assert read_price("under 1.500", currency("KWD")).high_minor == 1_500  # three decimals
    assert read_price("under 1,500", currency("KWD")).high_minor == 1_500_000
    assert read_price("under 20 pounds", currency("GBP")).high_minor == 2_000
    assert read_price("under 20 bucks", currency("USD")).high_minor == 2_000


@pytest.mark.parametrize(
    "query", ["1 " * 256, "1,111" * 100, "under " * 85, "€" * 512, "9" * 512, "under " + "9" * 500]
)
def test_a_hostile_query_is_read_in_no_time(query):
    import time

    started = time.perf_counter()
    read_price(query, currency("EUR"))
    assert time.perf_counter() - started < 0.5
