"""Prices in the words of a query: "drill under 20" searches for "drill", at list prices of at most 20.

>>> from fairtag.base.money import currency
>>> read_price("cordless drill under 20", currency("EUR"))
PriceWords(rest='cordless drill', low_minor=None, high_minor=2000, written='under 20', notice=None)
>>> read_price("drill 20-40 mm", currency("EUR")).rest  # not a price: a measure follows
'drill 20-40 mm'

A number is taken for a price only where the words say so: after a word such as "under", or as a range with a mark of
the currency or at the end. A number with a measure is none, and a price in another currency is reported, not guessed.
The words, in English, German, French and Spanish, are in ``price_words.json``.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from fairtag.base.money import Currency, currencies_of

_NUMBER = r"\d{1,3}(?:[.,'\u2019 ]\d{3})+(?:[.,]\d{1,3})?|\d+(?:[.,]\d{1,3})?"
_MARK = r"[^\W\d_]{1,12}|[^\w\s\-\u2013\u2014<>\u2264\u2265.,;:!?()\"'/&+*#%\u00b0]{1,3}|(?:US|C|A|R)\$"


@dataclass(frozen=True)
class PriceWords:
    """A query without its price, and the price.

    Args:
        rest: The other words of the query.
        low_minor: Lowest price that was asked for, minor units; None for no limit.
        high_minor: Highest price.
        written: The words that were taken for a price; empty where there are none.
        notice: What the customer should know, such as a price in another currency; None where there is nothing.
    """

    rest: str
    low_minor: int | None = None
    high_minor: int | None = None
    written: str = ""
    notice: str | None = None


def read_price(query: str, shop: Currency) -> PriceWords:
    """Take the price out of a query.

    Args:
        query: What the customer typed, normalised to one line.
        shop: The shop's currency; an amount has at most its decimal places.
    """
    found = _first(query, shop) if re.search(r"\d", query) else None
    if found is None or not found.written:
        return found or PriceWords(query)
    other = _first(found.rest, shop)  # "over 10 under 20"
    if other is None or not other.written:
        return found
    if found.low_minor is None and other.high_minor is None:
        found = replace(found, low_minor=other.low_minor)
    elif found.high_minor is None and other.low_minor is None:
        found = replace(found, high_minor=other.high_minor)
    else:
        return found
    return replace(found, rest=other.rest, written=f"{found.written} {other.written}")


def _first(query: str, shop: Currency) -> PriceWords | None:
    for kind, pattern in _patterns():
        for match in pattern.finditer(query):
            found = _read(kind, match, query, shop)
            if found is not None:
                return found
    return None


@cache
def _words() -> dict[str, Any]:
    text = files("fairtag.search").joinpath("price_words.json").read_text(encoding="utf-8")
    return {name: words if isinstance(words, str) else tuple(words) for name, words in json.loads(text).items()}


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    def amount(name: str) -> str:
        return rf"(?P<{name}before>{_MARK})?\s?(?P<{name}>{_NUMBER})(?:\s?(?P<{name}after>{_MARK}))?"

    def any_of(name: str) -> str:
        return "|".join(map(re.escape, _words()[name]))

    def compiled(text: str) -> re.Pattern[str]:
        return re.compile(rf"(?<![\w.,]){text}(?![\w])", re.IGNORECASE)

    low, high, one = amount("low"), amount("high"), amount("one")
    return (
        ("range", compiled(rf"(?P<word>{any_of('between')})\s+{low}\s*(?:{any_of('and')})\s*{high}")),
        ("most", compiled(rf"(?P<word>{any_of('most')})\s*{one}")),
        ("least", compiled(rf"(?P<word>{any_of('least')})\s*{one}")),
        ("bare", compiled(rf"{low}\s*(?:{any_of('dash')})\s*{high}")),
    )


def _read(kind: str, match: re.Match[str], query: str, shop: Currency) -> PriceWords | None:
    """What a match says; None where its number is not a price."""
    names = ("low", "high") if kind in ("range", "bare") else ("one",)
    marked = _marks(kind, match, names, shop)
    if marked is None:
        return None
    marks, (begin, end) = marked
    before, after = query[:begin], query[end:]
    unsure = kind == "least" and match["word"].casefold() in _words()["unsure"]
    if _is_measured(after) or (not marks and (unsure or (kind == "bare" and not _ends_a_query(before, after)))):
        return None
    written = " ".join(query[begin:end].split())
    if any(shop.code not in _codes(mark, shop) for mark in marks):
        return PriceWords(query, notice=f'prices are in {shop.code}: "{written}" is in another currency')
    amounts = sorted(_amount(match[name], shop) for name in names)
    rest = re.sub(r"[(\[]\s*[)\]]", " ", f"{before} {after}")
    return PriceWords(
        " ".join(rest.split()).strip(" ,.;:"),
        None if kind == "most" else math.ceil(amounts[0] * shop.minor_per_unit),
        None if kind == "least" else math.floor(amounts[-1] * shop.minor_per_unit),
        written,
    )


def _marks(
    kind: str, match: re.Match[str], names: tuple[str, ...], shop: Currency
) -> tuple[list[str], tuple[int, int]] | None:
    """Marks of a currency beside the numbers of a match, and where it begins and ends without its neighbours.

    None where another word stands beside a number, so that it is no price.
    """
    begin, end = match.span()
    marks = []
    for name in names:
        before, after = match[f"{name}before"], match[f"{name}after"]
        if before is not None and _codes(before, shop):
            marks.append(before)
        elif before is not None and kind == "bare" and name == "low":
            begin = match.start(name)  # a word of the query: "drill 20-40"
        elif before is not None:
            return None
        if after is not None and _codes(after, shop):
            marks.append(after)
        elif after is not None and name == names[-1] and after.casefold() not in _words()["measures"]:
            end = match.end(name)  # the next word of the query: "under 20 for walls"
        elif after is not None:
            return None
    return marks, (begin, end)


def _codes(mark: str, shop: Currency) -> tuple[str, ...]:
    """Codes that a mark stands for; a noun that is also an everyday word counts only as the shop's own currency."""
    if mark.upper() == shop.code:
        return (shop.code,)
    codes = currencies_of(mark)
    return () if mark.casefold().removesuffix("s") in _words()["everyday"] and shop.code not in codes else codes


def _is_measured(rest: str) -> bool:
    """Whether what follows a number makes it a measure: "20 mm", "20%", "20x30"."""
    words = _words()
    following = re.match(rf"\s*[-/]?\s*([^\W\d_]+|[{re.escape(words['measure_signs'])}])", rest)
    return following is not None and (
        following[1].casefold() in words["measures"] or following[1] in words["measure_signs"]
    )


def _ends_a_query(before: str, after: str) -> bool:
    """Whether a range stands alone at the end, so that it is one of prices: not "80-120 grit", not "size 40-42"."""
    words = re.findall(r"[^\W\d_]+", before)
    return not after.strip() and not (words and words[-1].casefold() in _words()["kinds"])


def _amount(text: str, shop: Currency) -> Decimal:
    """An amount as people write it: 1,234.50 or 1.234,50 or 1 234; three digits after a separator are thousands."""
    plain = re.sub("['\u2019 ]", "", text)
    marks = [mark for mark in plain if mark in ".,"]
    last = max(plain.rfind("."), plain.rfind(","))
    thousands = len(plain) - last - 1 == 3 and not (shop.exponent == 3 and plain[last] == ".")
    if not marks or (len(set(marks)) == 1 and (len(marks) > 1 or thousands)):
        return Decimal(re.sub("[.,]", "", plain))
    return Decimal(re.sub("[.,]", "", plain[:last]) + "." + plain[last + 1 :])
