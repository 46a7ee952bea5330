"""Amounts as shops write them: decimal comma, currency signs, thousands apart.

One file has one decimal sign. It is detected from all of its numbers, or said in ``metadata.json``; where neither
tells, the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd

from fairtag.base.errors import DataError
from fairtag.base.money import is_currency_mark

_DASHES = re.compile(r"[.,]\s*[-\u2013\u2014]{1,2}$")  # 5.- and 5,-- for a whole amount
APART = "'\u2019\u00a0\u2009\u202f"  # between thousands, beside a blank, a point and a comma
_AMOUNT = re.compile(rf"(?P<before>[^\d+\-.,]*)(?P<number>[-+]?\d[\d.,{APART} ]*)(?P<after>\D*)")
STRAY = 0.02  # share of values with the other decimal sign that are stray rows, for validation to name
_GROUPS = r"\d{{1,3}}(?:{mark}\d{{3}})+"


def plain_numbers(
    path: Path, frame: pd.DataFrame, numbers: Sequence[str], decimal: Literal[".", ","] | None, separator: str
) -> tuple[pd.DataFrame, Literal[".", ","] | None]:
    """The frame with the numbers of some columns in plain spelling, and the decimal sign of the file.

    Args:
        path: The file, for messages.
        frame: Its rows as text.
        numbers: Columns of numbers; one that the frame lacks is passed over.
        decimal: The decimal sign, None to detect it.
        separator: Of the file: beside a comma, a decimal comma would have to stand in quotes.

    Raises:
        DataError: Numbers can be read in two ways.
    """
    written = {name: _amounts(frame[name]) for name in dict.fromkeys(numbers) if name in frame}
    sign = decimal or _decimal_sign(path, written, separator)
    for name, amounts in written.items():
        plain = {given: _plain_number(given, amount, sign) for given, amount in amounts.items()}
        frame[name] = frame[name].map(plain).mask(frame[name].isna(), other=cast(Any, None))
    return frame, sign


def _amounts(values: pd.Series[Any]) -> Mapping[str, str | None]:
    """The digits and marks of each distinct value, without currency and blanks; None where it is no such number."""
    found: dict[str, str | None] = {}
    for value in values.dropna().unique():
        match = _AMOUNT.fullmatch(_DASHES.sub("", value.strip()))
        beside = [] if match is None else [match["before"].strip(), match["after"].strip()]
        number = match is not None and all(not mark or is_currency_mark(mark) for mark in beside)
        found[value] = re.sub(rf"[\s{APART}]", "", match["number"]) if match is not None and number else None
    return found


def _decimal_sign(
    path: Path, written: Mapping[str, Mapping[str, str | None]], separator: str
) -> Literal[".", ","] | None:
    """The decimal sign that every number of the file can have; None where no number has a fraction.

    Raises:
        DataError: Each of the two signs is the only possible one somewhere, or all numbers can be read both ways.
    """
    shown: dict[str, list[tuple[str, str]]] = {".": [], ",": [], "?": []}  # column and value, by what they show
    for column, amounts in written.items():
        for given, amount in amounts.items():
            sign = _sign_of(amount or "")
            if sign == "?" and "." in (amount or "") and separator == ",":
                sign = "."  # a comma for the fraction would have to stand in quotes in every row
            if sign:
                shown[sign].append((column, given))
    points, commas = len(shown["."]), len(shown[","])
    if min(points, commas) > STRAY * max(points, commas):
        (one, point), (other, comma) = shown["."][0], shown[","][0]
        raise DataError(
            f"{path}: {point!r} in {one} has a decimal point and {comma!r} in {other} a decimal comma; "
            "write one of them throughout",
            table=path.name,
            column=one,
            rule="one decimal sign",
        )
    if points or commas:
        return "." if points > commas else ","
    if shown["?"]:
        column, given = shown["?"][0]
        message = f"{path}: {given!r} in {column} can be a fraction or thousands, and no other number of the file tells"
        raise DataError(
            f'{message}; say which in metadata.json: {{"csv": {{"decimal": "."}}}} or {{"csv": {{"decimal": ","}}}}',
            table=path.name,
            column=column,
            rule="one decimal sign",
            examples=[given],
        )
    return None


def _sign_of(amount: str) -> str:
    """The decimal sign of a number: ``.``, ``,``, ``?`` where 1.234 may be either, empty where it has no mark."""
    marks: list[str] = re.findall(r"[.,]", amount)
    if not marks:
        return ""
    if len(set(marks)) == 2:
        return marks[-1]
    mark = marks[0]
    if len(marks) > 1:  # one mark that stands twice sets thousands apart, so the other is the decimal sign
        return "," if mark == "." else "."
    digits = amount.lstrip("+-")
    grouped = re.fullmatch(_GROUPS.format(mark=re.escape(mark)), digits)
    return "?" if grouped and not digits.startswith("0") else mark


def _plain_number(given: str, amount: str | None, sign: Literal[".", ","] | None) -> str:
    """A number with a decimal point and nothing between thousands; as given where it is none of the file's kind."""
    if amount is None or _sign_of(amount) not in ("", "?", sign or "."):
        return given
    return amount.replace(".", "").replace(",", ".") if sign == "," else amount.replace(",", "")
