"""Reads the raw values of a column as its declared kind, and says which cannot be read.

Intake and validation both read through here, so that a value means the same to both. Nothing is guessed: a time is
ISO 8601 unless the shop states another format, a number that stands for an id is taken as the shop prints it.

>>> import pandas as pd
>>> from fairtag.base import schema
>>> column = schema.ORDERS.column(schema.TS)
>>> typed, unreadable = read_values(pd.Series(["2026-02-01T10:00:00Z", "01/02/2026"]), column)
>>> typed.dt.strftime("%Y-%m-%d").tolist()[0], unreadable.tolist()
('2026-02-01', [False, True])
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, cast
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute as pc

from fairtag.base import schema
from fairtag.base.errors import ConfigError

FLAGS = {
    **dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0", "0.0"), False),
}
# What a text that stands for no value says, in any case and padding.
MISSING = frozenset(
    {"", "null", "(null)", "n/a", "nan", "nat", "<na>", "none", "\\n"}
    | {"#n/a", "#ref!", "#name?", "#value!", "#div/0!", "#num!", "#null!"}  # errors of a spreadsheet
)
EXACT_INTEGER = 2.0**53  # a float below it holds every whole number exactly
EXACT_FLOAT32 = 2.0**24  # one of four bytes
UNREADABLE = " (unreadable)"  # ends the text of a value that was none of its kind, so that it stays none
BLANKS = " \u00a0\u3000"  # around an id; a line break or a tab is none, and is named
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
UNITS = tuple(PER_SECOND)
LATEST = 9e9  # seconds since 1970: the year 2255, before the last instant that nanoseconds hold
END = pd.Timestamp(LATEST, unit="s", tz="UTC")
# What a spreadsheet makes of a long id; never a digest of 12 hexadecimal digits, such as 5e8695378210.
_SCIENTIFIC = re.compile(r"[+-]?\d{1,3}([.,]\d+)?[eE][+-]?\d{1,3}")
_FLOAT = re.compile(r"\d+\.0+")  # 17850.0: what a program makes of a column of whole numbers with gaps
_COMMON = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})?)?"
_OFFSET = r"(?:Z|[+-]\d{2}:\d{2})$"
_UNSEEN = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200b\\u2060\\ufeff]")  # nobody who reads an id can see or type them
_DAY_END = re.compile(r"([Tt ])24(:?00(:?00([.,]0+)?)?)?(?=$| ?[Zz+-])")  # midnight as the end of its day
_LEAP = re.compile(r"([Tt ]\d{2}:?\d{2}:?)60(?=$| ?[Zz+-])")
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})(?=$|[T ])")  # year and day of the year
_PART = re.compile(r"(.+T(?:[01]\d|2[0-3])(:?\d{2})?)[.,](\d+)(Z|[+-].*)?")  # an hour or a minute with a fraction
_ISO_8601 = re.compile(  # the forms that are left: week and basic dates, hours alone, a decimal comma, short offsets
    r"(\d{4}-\d{2}-\d{2}|\d{8}|\d{4}-?W\d{2}(-?\d)?)"
    r"([Tt ]\d{2}(:?\d{2}(:?\d{2}([.,]\d+)?)?)?( ?([Zz]|[+-]\d{2}(:?\d{2})?))?)?"
)


@dataclass(frozen=True)
class TimeFormat:
    """How a shop writes the times of a column, where that is not ISO 8601 (``metadata.json``, key ``times``).

    Args:
        format: A strptime format, such as ``%d/%m/%Y %H:%M``.
        unit: Unit of a number since 1970 UTC: s, ms, us or ns.
        zone: IANA name of the zone of times without an offset; UTC when None.

    Raises:
        ConfigError: Neither or both of format and unit are given, or one of them is unknown.
    """

    format: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.unit is not None and self.unit not in UNITS:
            raise ConfigError(f"unit {self.unit!r} is unknown; it must be one of {', '.join(UNITS)}")
        if (self.format is None) == (self.unit is None) and self.zone is None:
            raise ConfigError("give either a strptime format or a unit, such as {'format': '%d/%m/%Y'}")
        if self.format is not None and self.unit is not None:
            raise ConfigError(f"format {self.format!r} and unit {self.unit!r} exclude each other")
        if self.format is not None:
            if not re.search("%[YyGcx]", self.format):  # Python 3.13 warns of it, 1900 is meant by nobody
                raise ConfigError(f"format {self.format!r} names no year; write one such as '%d/%m/%Y'")
            try:
                datetime.strptime(datetime(2026, 1, 2, tzinfo=UTC).strftime(self.format), self.format)
            except (ValueError, re.error) as error:
                raise ConfigError(f"format {self.format!r} is no strptime format: {error}") from error
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError):
                message = f"zone {self.zone!r} is unknown; give an IANA name such as Europe/Berlin"
                raise ConfigError(message) from None


def read_values(
    values: pd.Series[Any], column: schema.Column, time_format: TimeFormat | None = None
) -> tuple[pd.Series[Any], pd.Series[bool]]:
    """Values of the column's kind, absent where they were absent or cannot be read.

    Args:
        values: (n,) as a file gave them.
        column: What the contract says of them.
        time_format: How the times are written, where not in ISO 8601.

    Returns:
        The typed values, and a mask of the values that are present but cannot be read: text in a number, an infinite
        price, half a unit, an id in scientific notation, a time that is not ISO 8601.
    """
    typed = read_times(values, time_format) if column.kind == "time" else _READERS[column.kind](values)
    return typed, typed.isna() & present(values)


def present(values: pd.Series[Any]) -> pd.Series[bool]:
    """Which values are there: NULL, N/A, nan and a text of blanks are not."""
    given = values.notna()
    if values.dtype != object and not isinstance(values.dtype, pd.StringDtype):
        return given
    try:
        texts = pa.array(values, type=pa.string(), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # texts and other values in one column
        blank = values.map(lambda value: isinstance(value, str) and value.strip().lower() in MISSING).astype(bool)
        return given & ~blank
    words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
    missing = pc.is_in(words, value_set=pa.array(sorted(MISSING))).to_numpy(zero_copy_only=False).astype(bool)
    there: pd.Series[bool] = given & ~missing
    return there


def read_times(values: pd.Series[Any], time_format: TimeFormat | None = None) -> pd.Series[Any]:
    """Instants in UTC, to the microsecond; NaT where a value is absent or is not written as it should be.

    Args:
        values: (n,) ISO 8601 in any of its forms, mixed as they come, or timestamps. One without an offset is UTC,
            or of the zone that ``time_format`` names.
        time_format: A strptime format, or the unit of numbers since 1970.
    """
    zone = time_format.zone if time_format is not None else None
    if isinstance(values.dtype, pd.DatetimeTZDtype) or pd.api.types.is_datetime64_dtype(values.dtype):
        return _in_utc(pd.to_datetime(values), zone)
    if time_format is not None and time_format.unit is not None:
        numbers = pd.to_numeric(values, errors="coerce")
        size = numbers.astype("float64").abs()
        whole = numbers.where(size < LATEST * PER_SECOND[time_format.unit])
        return _in_utc(pd.to_datetime(whole, unit=time_format.unit, errors="coerce", utc=True), None)
    if time_format is not None and time_format.format is not None:
        texts = values.where(values.map(lambda value: isinstance(value, str)))
        offset = "%z" in time_format.format  # each row has its own
        return _in_utc(pd.to_datetime(texts, format=time_format.format, errors="coerce", utc=offset), zone)
    texts = values.astype(object).where(values.map(lambda value: isinstance(value, str)).astype(bool))
    texts = texts.astype("string").str.strip()
    common = texts.str.fullmatch(_COMMON).fillna(value=False).astype(bool)
    instants = pd.Series(pd.NaT, index=values.index, dtype="datetime64[us, UTC]")
    if common.any():  # what nearly every file holds, read in C
        instants[common] = _common_times(texts[common], zone)
    rare = values[instants.isna() & values.notna()]
    if len(rare):
        moments = pd.Series([_instant(value, zone) for value in rare], index=rare.index, dtype=object)
        instants[rare.index] = pd.to_datetime(moments, utc=True, errors="coerce")
    return instants


def _common_times(texts: pd.Series[Any], zone: str | None) -> pd.Series[Any]:
    """Texts of the usual form ``2026-02-01[T10:00[:00[.0]][Z|+01:00]]``; NaT for one such as 2026-02-30."""
    if zone is None:
        return pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce").astype("datetime64[us, UTC]")
    fixed = texts.str.contains(_OFFSET, regex=True)
    instants = pd.Series(pd.NaT, index=texts.index, dtype="datetime64[us, UTC]")
    instants[fixed] = pd.to_datetime(texts[fixed], format="ISO8601", utc=True, errors="coerce")
    instants[~fixed] = _in_utc(pd.to_datetime(texts[~fixed], format="ISO8601", errors="coerce"), zone)
    return instants


def _instant(value: Any, zone: str | None) -> datetime | None:
    """An ISO 8601 text or a timestamp as an instant; None for anything else, numbers and dates by name included."""
    if isinstance(value, datetime):
        moment = value
    elif isinstance(value, np.datetime64):
        moment = pd.Timestamp(value)
    elif isinstance(value, date):
        moment = datetime.combine(value, time())
    elif isinstance(value, str) and (parsed := _iso8601(value.strip())) is not None:
        moment = parsed
    else:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC if zone is None else ZoneInfo(zone))
        if moment.utcoffset() != moment.replace(fold=1).utcoffset():
            return None  # when clocks change, that hour is there twice or not at all
    return moment.astimezone(UTC)


def _iso8601(text: str) -> datetime | None:
    """A date or a date with a time in ISO 8601: extended, basic, week and ordinal dates; fractions are cut to 1 us."""
    text = re.sub(r"(?<=[\d]) (?=[Zz+-])", "", text.replace("\u2212", "-")).upper()
    text = re.sub(r"([.,]\d{6})\d+", r"\1", text)
    if ordinal := _ORDINAL.match(text):
        if (day := _day_of(int(ordinal[1]), int(ordinal[2]))) is None:
            return None
        text = day.isoformat() + text[ordinal.end() :]
    later = timedelta(days=bool(_DAY_END.search(text)), seconds=bool(_LEAP.search(text)))
    if part := _PART.fullmatch(text):
        text = part[1] + (part[4] or "")
        later += timedelta(**{"minutes" if part[2] else "hours": float(f"0.{part[3]}")})
    if not _ISO_8601.fullmatch(text):
        return None
    plain = _LEAP.sub(r"\g<1>59", _DAY_END.sub(lambda end: end[0].replace("24", "00", 1), text))
    try:
        return datetime.fromisoformat(plain) + later
    except (ValueError, OverflowError):
        return None


def _day_of(year: int, day: int) -> date | None:
    """The date of a day of a year, counted from 1; None where the year has no such day."""
    try:
        found = date(year, 1, 1) + timedelta(days=day - 1)
    except (ValueError, OverflowError):
        return None
    return found if found.year == year else None


def _in_utc(moments: pd.Series[Any], zone: str | None) -> pd.Series[Any]:
    if moments.dt.tz is None:
        moments = moments.dt.tz_localize(zone or "UTC", ambiguous="NaT", nonexistent="NaT")
    instants: pd.Series[Any] = moments.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    return instants.where(instants < END)


def read_id(value: Any) -> str | None:
    """An id as the shop prints it; None where that cannot be told.

    A whole number below 2^53 is its digits, bytes are UTF-8, a text stays as it is, leading zeros included, but for
    blanks around it, which nobody sees and which a database of fixed widths pads with. A fraction,
    a truth value, a date and scientific notation are no ids: what the shop calls the item is lost in them. A text with
    characters that nobody sees, such as a line break or a zero-width space, is none: it would match no other table's.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            return None
    if isinstance(value, str):
        text = value.strip(BLANKS)
        lost = not text or text.endswith(UNREADABLE) or _SCIENTIFIC.fullmatch(text) or _UNSEEN.search(text)
        return None if lost else text
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating | Decimal):
        return _whole(value)
    return str(value) if isinstance(value, UUID) else None


def _whole(value: float | np.floating[Any] | Decimal) -> str | None:
    """The digits of a whole number; None for a fraction, and beyond what its type holds exactly."""
    if isinstance(value, Decimal):
        return str(int(value)) if value.is_finite() and value == value.to_integral_value() else None
    whole, exact = float(value), EXACT_FLOAT32 if isinstance(value, np.float32) else EXACT_INTEGER
    return str(int(whole)) if abs(whole) < exact and whole == int(whole) else None


def _ids(values: pd.Series[Any]) -> pd.Series[Any]:
    given = values.where(present(values))
    kind = np.float32 if values.dtype == np.float32 else None
    read = given.map(read_id if kind is None else lambda value: read_id(kind(value)), na_action="ignore").astype(object)
    known = read.dropna()
    if len(known) and known.map(_FLOAT.fullmatch).notna().all():
        return pd.Series([None] * len(values), index=values.index, dtype=object)  # of a column of numbers
    return read.mask(read.isna(), other=cast(Any, None))


def _text(values: pd.Series[Any]) -> pd.Series[Any]:
    read = values.map(_decoded, na_action="ignore").astype(object)
    return read.mask(~present(values), other=cast(Any, None))


def _decoded(value: Any) -> str | None:
    """A text; None for bytes that are no UTF-8, a list, a table, and what has a NUL, which no database takes."""
    if isinstance(value, list | tuple | dict | np.ndarray):
        return None
    if not isinstance(value, bytes):
        text = str(value)
        return None if "\x00" in text or text.endswith(UNREADABLE) else text
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def read_numbers(values: pd.Series[Any]) -> pd.Series[Any]:
    """Finite numbers, float64; NaN elsewhere. Text is read to the last digit."""
    if values.dtype == bool:
        return pd.Series(np.nan, index=values.index)
    given = values.where(present(values))
    try:
        numbers = given.astype("float64")
        if given.dtype == object:  # Python itself takes 1_000 for a number
            numbers = numbers.mask(given.map(lambda value: isinstance(value, str) and "_" in value).astype(bool))
    except (TypeError, ValueError):
        numbers = pd.to_numeric(given.map(_plain_number, na_action="ignore"), errors="coerce").astype("float64")
    return numbers.replace([np.inf, -np.inf], np.nan)


def _plain_number(value: Any) -> float | None:
    """A number in Python's own spelling; 1_000 and inf are none."""
    try:
        return None if isinstance(value, str) and "_" in value else float(value)
    except (TypeError, ValueError):
        return None


def _integer(values: pd.Series[Any]) -> pd.Series[Any]:
    numbers = read_numbers(values)
    return numbers.where(numbers == numbers.round())


def _flag(values: pd.Series[Any]) -> pd.Series[Any]:
    if values.dtype == bool or str(values.dtype) == "boolean":
        return values.astype("boolean")
    return values.map(lambda value: FLAGS.get(str(value).strip().lower()), na_action="ignore").astype("boolean")


def as_list(value: Any) -> list[Any] | None:
    """A cell as a list: a list, an array, or the text of a JSON list; empty where it is absent, None for any other."""
    if isinstance(value, list | tuple | np.ndarray):
        return list(value)
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return []
    try:
        parsed = json.loads(value)
    except (TypeError, ValueError):
        return None
    return parsed if isinstance(parsed, list) else None


def id_list(value: Any) -> list[str] | None:
    """A cell as a list of ids; None where it is none."""
    parsed = as_list(value)
    if parsed is None:
        return None
    ids = [read_id(part) for part in parsed]
    return None if any(part is None for part in ids) else cast(list[str], ids)


def number_list(value: Any) -> list[float] | None:
    """A cell as a list of finite numbers; None where it is none."""
    parsed = as_list(value)
    try:
        numbers = None if parsed is None else [float(part) for part in parsed]
    except (TypeError, ValueError):
        return None
    return numbers if numbers is not None and bool(np.isfinite(numbers).all()) else None


def _id_lists(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(id_list).astype(object)


def _number_lists(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map(number_list).astype(object)


_READERS: Mapping[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = {
    "id": _ids,
    "text": _text,
    "category": _text,
    "money": read_numbers,
    "number": read_numbers,
    "share": read_numbers,
    "integer": _integer,
    "flag": _flag,
    "ids": _id_lists,
    "numbers": _number_lists,
}
