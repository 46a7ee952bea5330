"""A currency is an ISO 4217 code with its exponent; anything else is refused with the right spelling."""

import pytest

from fairtag.base.errors import DataError
from fairtag.base.money import currency, is_currency_mark


@pytest.mark.parametrize(
    ("code", "units"),
    [("JPY", 1), ("KRW", 1), ("USD", 100), ("EUR", 100), ("IDR", 100), ("KWD", 1_000), ("BHD", 1_000), ("CLF", 10_000)],
)
def test_the_smallest_coin_is_that_of_iso_4217(code, units):
    assert currency(code).minor_per_unit == units


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("eur", "EUR"),
        ("€", "EUR"),
        ("EURO", "EUR"),
        (" USD", "USD"),
        ("Yen", "JPY"),
        ("zł", "PLN"),
        ("$", "USD or CAD"),
    ],
)
def test_a_currency_written_otherwise_is_refused_with_its_code(written, meant):
    with pytest.raises(DataError, match=f"did you mean {meant}"):
        currency(written)


@pytest.mark.parametrize("written", [None, "None", "", 978, "XAU", "XXX", "XTS", "DEM"])
def test_what_is_no_currency_of_today_is_refused(written):
    with pytest.raises(DataError, match="no ISO 4217 currency code"):
        currency(written)


def test_amounts_are_shown_with_the_decimals_of_their_currency():
    assert currency("KWD").text(1_234) == "1.234 KWD"
    assert currency("IDR").text(15_000_000_00) == "15,000,000.00 IDR"


def test_words_beside_a_number_are_currencies_or_they_are_not():
    assert is_currency_mark("CHF")
    assert is_currency_mark("Kč")
    assert not is_currency_mark("apples")
