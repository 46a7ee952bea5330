"""The currency of a shop's tables: one for all money, stated in metadata.json or in a ``currency`` column.

A model prices in one currency. Tables that name several are refused with their counts and the remedy, and so is money
whose sign says another currency than the shop does.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from fairtag.base import schema
from fairtag.base.errors import DataError
from fairtag.base.money import USUAL_CURRENCY, any_of, codes_of, currency
from fairtag.data.amounts import APART

COLUMN = "currency"
ONE_EACH = "write one folder of tables for each currency, and run them with an --out of their own"
DIGITS = re.compile(rf"[\d\s.,{APART}+-]+")  # of an amount, beside which its currency stands


def take_currency(raw: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, str | None]:
    """The table without its ``currency`` column, and the one code that it holds; None where it has no such column.

    Raises:
        DataError: A value is no ISO 4217 code, is missing, or there are several.
    """
    name = next((each for each in raw.columns if str(each).strip().lower() == COLUMN), None)
    if name is None:
        return raw, None
    counts = raw[name].value_counts(dropna=False)
    codes = {
        currency(value if isinstance(value, str) else None, f"{file.name}: currency").code: n
        for value, n in counts.items()
    }
    if len(codes) > 1:
        shown = ", ".join(f"{code} in {count:,} rows" for code, count in codes.items())
        raise DataError(
            f"{file.name}: currency: {shown}; a model prices in one currency: {ONE_EACH}",
            column=COLUMN,
            rule="one currency",
            examples=list(codes),
        )
    return raw.drop(columns=name), next(iter(codes), None)


def one_currency(stated: str | None, by_file: dict[str, str]) -> str:
    """The currency of all tables.

    Args:
        stated: What metadata.json says; None where it says nothing.
        by_file: What the ``currency`` column of each file says, where there is one.

    Raises:
        DataError: They differ.
    """
    said = {**({"metadata.json": stated} if stated else {}), **by_file}
    if len(set(said.values())) > 1:
        shown = ", ".join(f"{name} says {code}" for name, code in said.items())
        raise DataError(f"currency: {shown}; a model prices in one currency: {ONE_EACH}", rule="one currency")
    return next(iter(said.values()), USUAL_CURRENCY)


def require_signs(raw: pd.DataFrame, table: schema.Table, file: Path, stated: str | None) -> None:
    """Refuse money written with the sign of another currency than the shop's, such as 12.99 € in a shop in USD.

    Args:
        raw: The table as text.
        table: Its contract.
        file: Where it was read, for the message.
        stated: The shop's currency; None where it named none, and then no sign may stand beside money.

    Raises:
        DataError: Naming the column, the value and the currency that it is in.
    """
    for column in (column.name for column in table.columns if column.kind == "money" and column.name in raw.columns):
        for value in raw[column].dropna().unique():
            codes = codes_of(DIGITS.sub("", str(value)))
            if not codes or stated in codes:
                continue
            others = any_of(codes)
            said = f"the shop's currency is {stated}" if stated else "metadata.json names no currency"
            raise DataError(
                f"{file.name}: {column}: {value!r} is in {others}, but {said}; "
                f'write {{"currency": "{codes[0]}"}} in metadata.json if all money is, else {ONE_EACH}',
                table=table.name,
                column=column,
                rule="money in the shop's currency",
                examples=[value],
            )
