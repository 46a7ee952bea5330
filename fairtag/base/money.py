"""Currencies as ISO 4217 lists them: a code, and how many decimal places its smallest coin has.

>>> currency("JPY").minor_per_unit, currency("USD").minor_per_unit, currency("KWD").minor_per_unit
(1, 100, 1000)
>>> currency("EUR").text(1_234_50)
'1,234.50 EUR'
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from fairtag.base.errors import DataError

USUAL_CURRENCY = "USD"  # where a shop names none
# What shops write instead of a code. A symbol that several currencies share names them all.
_SYMBOLS: dict[str, tuple[str, ...]] = {
    "€": ("EUR",),
    "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN"),
    "US$": ("USD",),
    "C$": ("CAD",),
    "A$": ("AUD",),
    "R$": ("BRL",),
    "£": ("GBP",),
    "¥": ("JPY", "CNY"),
    "₹": ("INR",),
    "₩": ("KRW",),
    "₺": ("TRY",),
    "₴": ("UAH",),
    "₪": ("ILS",),
    "₫": ("VND",),
    "฿": ("THB",),
    "₱": ("PHP",),
    "ZŁ": ("PLN",),
    "KČ": ("CZK",),
    "KR": ("DKK", "NOK", "SEK"),
    "FT": ("HUF",),
    "FR": ("CHF",),
    "RP": ("IDR",),
    "RMB": ("CNY",),
    "STERLING": ("GBP",),
    "S$": ("SGD",),
    "HK$": ("HKD",),
    "NT$": ("TWD",),
    "CA$": ("CAD",),
    "AU$": ("AUD",),
    "NZ$": ("NZD",),
    "CN¥": ("CNY",),
    "₽": ("RUB",),
    "РУБ": ("RUB",),
    "LEI": ("RON",),
    "LEU": ("RON",),
    "R": ("ZAR",),
    "RS": ("INR", "PKR"),
    "RM": ("MYR",),
    "SFR": ("CHF",),
    "₸": ("KZT",),
    "₾": ("GEL",),
    "₦": ("NGN",),
    "₵": ("GHS",),
    "₡": ("CRC",),
    "₲": ("PYG",),
    "৳": ("BDT",),
}
# Symbols of several countries: words in the names of their currencies. Those in _SYMBOLS are the usual ones.
_SHARED: dict[str, tuple[str, ...]] = {
    "$": ("DOLLAR", "PESO"),
    "KR": ("KRONA", "KRONE"),
    "RS": ("RUPEE",),
    "LEI": ("LEU",),
    "LEU": ("LEU",),
    "РУБ": ("RUBLE",),
}
SHOWN: Final = 4  # of the currencies that a symbol may stand for, in a message


@dataclass(frozen=True)
class Currency:
    """One currency.

    Args:
        code: ISO 4217 code, such as EUR.
        exponent: Decimal places of the smallest coin: 0 for JPY, 2 for USD, 3 for KWD.
    """

    code: str
    exponent: int

    @property
    def minor_per_unit(self) -> int:
        """Minor units in one unit of the currency."""
        return int(10**self.exponent)

    @property
    def smallest(self) -> float:
        """The smallest amount that can be charged, in units of the currency."""
        return 1 / self.minor_per_unit

    def text(self, minor: int) -> str:
        """An amount in minor units as people read it, such as ``1,234.50 EUR`` or ``5,398 JPY``."""
        return f"{minor / self.minor_per_unit:,.{self.exponent}f} {self.code}"


def currency(code: object, field: str = "currency") -> Currency:
    """The currency of an ISO 4217 code.

    Args:
        code: The code as the shop wrote it.
        field: Where it was written, for the message.

    Raises:
        DataError: It is no current ISO 4217 code; the message gives the right spelling where one is meant.
    """
    known = _currencies()
    if isinstance(code, str) and code in known:
        return known[code]
    written = "nothing" if code is None else repr(code)
    raise DataError(
        f"{field}: {written} is no ISO 4217 currency code{_meant(code)}; write three capital letters, such as EUR",
        column=field,
        rule="an ISO 4217 currency code",
        examples=[code],
    )


def is_currency_mark(text: str) -> bool:
    """Whether a text beside a number stands for a currency: a code, a symbol, a name such as Euro.

    >>> [is_currency_mark(mark) for mark in ("€", "EUR", "kr.", "A")]
    [True, True, True, False]
    """
    return bool(codes_of(text))


@cache
def codes_of(mark: str) -> tuple[str, ...]:
    """The currencies that a text beside a number may stand for; none where it stands for no currency.

    >>> codes_of("€"), codes_of("Yen"), codes_of("A"), "CLP" in codes_of("$")
    (('EUR',), ('JPY',), (), True)
    """
    written = mark.strip().upper().removesuffix(".")
    return (written,) if written in _currencies() else _by_symbol(written) or _by_name(written)


def any_of(codes: Sequence[str]) -> str:
    """Currencies that a text may stand for, as a message lists them.

    >>> any_of(["JPY", "CNY"]), any_of(codes_of("$"))
    ('JPY or CNY', 'USD or CAD or AUD or NZD or another')
    """
    return " or ".join([*codes[:SHOWN], *(["another"] if len(codes) > SHOWN else [])])


def currencies_of(text: str) -> tuple[str, ...]:
    """Codes that a text beside an amount may stand for: a code in capitals, a symbol, a name such as euros or dollars.

    >>> currencies_of("€"), "EUR" in currencies_of("euros"), "USD" in currencies_of("dollars"), currencies_of("all")
    (('EUR',), True, True, ())
    """
    mark = text.strip().removesuffix(".")
    if mark in _currencies():
        return (mark,)
    name = mark.upper()
    return _by_symbol(name) or _by_noun().get(name) or _by_noun().get(name.removesuffix("S")) or ()


@cache
def _by_noun() -> dict[str, tuple[str, ...]]:
    """Codes by the last word of their currency's name (US Dollar), and by what people call them."""
    import iso4217

    found: dict[str, tuple[str, ...]] = {}
    for entry in iso4217.Currency:
        if entry.code in _currencies():
            noun = entry.currency_name.upper().rpartition(" ")[2]
            found[noun] = (*found.get(noun, ()), entry.code)
    return found | {"BUCK": found["DOLLAR"], "QUID": ("GBP",), "POUND": ("GBP", *found.get("POUND", ()))}


@cache
def _currencies() -> dict[str, Currency]:
    """Every currency that money can be charged in: metals, drawing rights and test codes have no coin."""
    import iso4217

    return {
        entry.code: Currency(entry.code, int(entry.exponent))
        for entry in iso4217.Currency
        if entry.exponent is not None and entry.code not in ("XXX", "XTS")
    }


def _meant(code: object) -> str:
    if not isinstance(code, str) or not code.strip():
        return ""
    written = code.strip().upper()
    candidates = _by_symbol(written) or _by_name(written)
    if not candidates and written in _currencies():
        candidates = (written,)
    if not candidates:
        candidates = tuple(difflib.get_close_matches(written, sorted(_currencies()), n=2, cutoff=0.6))
    return f" (did you mean {any_of(candidates)}?)" if candidates else ""


@cache
def _by_symbol(written: str) -> tuple[str, ...]:
    """Codes that a symbol may stand for, the usual ones first: a dollar sign is that of many dollars and pesos."""
    import iso4217

    words = set(_SHARED.get(written, ()))
    named = (entry.code for entry in iso4217.Currency if words & set(entry.currency_name.upper().split()))
    return tuple(dict.fromkeys((*_SYMBOLS.get(written, ()), *(code for code in named if code in _currencies()))))


def _by_name(written: str) -> tuple[str, ...]:
    """Codes whose currency has that name: EURO, YEN, US DOLLAR."""
    import iso4217

    names = {entry.code: entry.currency_name.upper() for entry in iso4217.Currency}
    named = (code for code, name in names.items() if written in (name, f"{name}S", name.rstrip("S")))
    return tuple(code for code in named if code in _currencies())
