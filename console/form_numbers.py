"""Numbers as people type them into a form: a decimal point or comma, and nothing that could be read in two ways."""

from __future__ import annotations

import math
import re

from fairtag.base.errors import RequestError
from fairtag.base.money import Currency

_TWO_READINGS = re.compile(r"[0-9]{1,3},[0-9]{3}")
_PLAIN = re.compile(r"[0-9]+([.,][0-9]+)?")


def typed_number(field: str, text: str, *, least: float = 0.0, most: float = math.inf) -> float:
    """A number of at least 0 that somebody typed.

    Args:
        field: Its field, for the message.
        text: As it was typed.
        least: Smallest value.
        most: Greatest value.

    Raises:
        RequestError: It is no number, or outside the bounds.

    >>> typed_number("margin", "12,5")
    12.5
    """
    if _TWO_READINGS.fullmatch(text):
        raise RequestError(field, text, "can be a thousand or a fraction; write it with a point or without a comma")
    value = float(text.replace(",", ".")) if _PLAIN.fullmatch(text) else math.nan
    if not least <= value <= most or math.isinf(value):
        bound = "of at least" if math.isinf(most) else "from"
        upper = "" if math.isinf(most) else f" to {most:g}"
        raise RequestError(field, text, f"must be a number {bound} {least:g}{upper}")
    return value


def typed_amount(field: str, text: str, coin: Currency, *, positive: bool = False) -> float:
    """An amount of money that somebody typed, in currency units, with no more decimals than the currency has.

    ``1,234`` is refused where coins are hundredths: it may be a thousand or little more than one.

    Raises:
        RequestError: It is none, or 0 where it must be above.

    >>> from fairtag.base.money import currency
    >>> typed_amount("price", "12,99", currency("EUR")), typed_amount("price", "1.234", currency("KWD"))
    (12.99, 1.234)
    """
    decimals = len(re.split("[.,]", text)[-1]) if re.search("[.,]", text) else 0
    example = "1250" if not coin.exponent else f"12.{'9' * coin.exponent}"
    if decimals > coin.exponent or not _PLAIN.fullmatch(text):
        places = f"{coin.exponent} decimal places at most" if coin.exponent else "no decimal places"
        rule = f"must be an amount in {coin.code} such as {example}: {places}, and no sign between thousands"
        raise RequestError(field, text, rule)
    value = typed_number(field, text.replace(",", "."))
    if positive and value == 0:
        raise RequestError(field, text, "must be above 0")
    return value
