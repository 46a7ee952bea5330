"""Reads raw values as their declared kind and says which cannot be."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd

from fairtag.base import schema
from fairtag.base.tables import FLAGS, float_list, str_list


def read_values(values: pd.Series[Any], column: schema.Column) -> tuple[pd.Series[Any], pd.Series[bool]]:
    """Values of the column's kind, absent where they were absent or cannot be read.

    Returns:
        The typed values, and a mask of the values that are present but cannot be read (text in a number, an
        infinite price, half a unit, a blank id).
    """
    typed = _READERS[column.kind](values)
    return typed, typed.isna() & values.notna()


def _identifier(values: pd.Series[Any]) -> pd.Series[Any]:
    text = values.map(str, na_action="ignore").astype(object)
    return text.mask(text.str.strip() == "", other=cast(Any, None))


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(str, na_action="ignore").astype(object)


def _number(values: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_numeric(values, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)


def _integer(values: pd.Series[Any]) -> pd.Series[Any]:
    numbers = _number(values)
    return numbers.where(numbers == numbers.round())


def _time(values: pd.Series[Any]) -> pd.Series[Any]:
    return cast("pd.Series[Any]", pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601"))


def _flag(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == bool:
        return values
    text = values.map(lambda value: str(value).strip().lower(), na_action="ignore")
    return text.map(FLAGS).astype("boolean")


def _ids(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(str_list, na_action="ignore").astype(object)


def _numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(_floats, na_action="ignore").astype(object)


def _floats(row: Any) -> list[float] | None:
    numbers = float_list(row)
    return numbers if numbers is not None and bool(np.isfinite(numbers).all()) else None


_READERS = {
    "id": _identifier,
    "text": _text,
    "category": _text,
    "money": _number,
    "number": _number,
    "share": _number,
    "integer": _integer,
    "time": _time,
    "flag": _flag,
    "ids": _ids,
    "numbers": _numbers,
}
