"""Numbers in forms: what can be read in two ways is refused, in each currency."""

from __future__ import annotations

import pytest

from console.form_numbers import typed_amount, typed_number
from fairtag.base.errors import RequestError
from fairtag.base.money import currency


@pytest.mark.parametrize(
    ("text", "code", "value"),
    [
        ("12.99", "EUR", 12.99),
        ("12,99", "EUR", 12.99),
        ("5398", "JPY", 5398.0),
        ("1.250", "KWD", 1.25),
        ("1250000", "IDR", 1_250_000.0),
        ("0", "EUR", 0.0),
    ],
)
def test_an_amount_is_in_units_of_the_currency(text, code, value):
    assert typed_amount("price", text, currency(code)) == value


@pytest.mark.parametrize(
    ("text", "code"),
    [("1,234", "EUR"), ("1.234", "EUR"), ("10.5", "JPY"), ("1,234", "JPY"), ("1.2345", "KWD"), ("1 234", "EUR"),
     ("", "EUR"), ("1'234", "EUR"), ("\u0663", "EUR"), ("--1", "EUR"), (".5", "EUR")],
)  # fmt: skip
def test_an_amount_with_more_decimals_than_the_currency_has_or_with_thousands_apart_is_refused(text, code):
    with pytest.raises(RequestError, match=f"must be an amount in {code}"):
        typed_amount("price", text, currency(code))


def test_a_number_outside_its_bounds_names_them():
    with pytest.raises(RequestError, match="must be a number from 1 to 31"):
        typed_number("days", "400", least=1, most=31)
    with pytest.raises(RequestError, match="of at least 0"):
        typed_number("margin", "9" * 400)


def test_a_number_that_can_be_a_thousand_or_a_fraction_is_refused():
    for text in ("1,234", "500,000"):
        with pytest.raises(RequestError, match="can be a thousand or a fraction"):
            typed_number("a_day", text)
    assert typed_number("effect", "1.234") == 1.234
    assert typed_number("effect", "12,5") == 12.5
