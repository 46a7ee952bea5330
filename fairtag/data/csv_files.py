r"""CSV files as shops write them: the encoding, the separator and the decimal sign are detected, and reported.

Detected is what the bytes show without doubt: a byte order mark, UTF-8 that decodes, a ``sep=`` line, the separator
that splits the header into columns the contract knows, quotes behind a backslash. Where two readings are possible, or
the text would not be one of Western Europe, the file is refused with the line to write into ``metadata.json``; nothing
is guessed. Every value comes back as text; a spreadsheet's ``="0012"`` is 0012.

>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from fairtag.base import schema
>>> with TemporaryDirectory() as folder:
...     file = Path(folder, "judgements.csv")
...     _ = file.write_bytes("Query ; Title;RELEVANCE\ncafé;Kaffeemühle;2,5\n".encode("cp1252"))
...     frame, dialect = read_csv_file(file, schema.JUDGEMENTS)
>>> frame.to_dict("records"), dialect.text()
([{'query': 'café', 'title': 'Kaffeemühle', 'relevance': '2.5'}], 'cp1252, separated by ;, decimal comma')
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.data.amounts import plain_numbers
from fairtag.data.text_encoding import foreign_text, is_partly_utf8, marked_encoding

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": ",", ";": ";", "\t": "a tab", "|": "|"}
NUMBER_KINDS = ("money", "number", "integer", "share")
_SEP_LINE = re.compile(r"^\"?sep=(.)\"?\r?\n", re.IGNORECASE)
_WORKBOOK = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how a file of Excel begins, the new kind and the old
_GZIP = b"\x1f\x8b"
_ESCAPED = re.compile(r"\\\"[^\",;\t|\r\n]")  # in standard CSV no letter follows a quote inside quotes
_FORMULA = re.compile(r'="([^"]*)"')  # how a spreadsheet is made to leave a number as it is written


@dataclass(frozen=True)
class CsvDialect:
    """How a CSV file is written; None where it is to be detected.

    Args:
        encoding: A codec's name, such as utf-8, utf-16 or cp1252.
        separator: One character between the columns.
        decimal: The decimal sign of numbers.

    Raises:
        ConfigError: A setting is none that a CSV file can have.
    """

    encoding: str | None = None
    separator: str | None = None
    decimal: Literal[".", ","] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ConfigError(
                    f"csv.encoding: {self.encoding!r} is unknown; give one such as utf-8 or cp1252"
                ) from None
        if self.separator is not None and len(self.separator) != 1:
            raise ConfigError(f"csv.separator: {self.separator!r} must be one character, such as ; or \\t")
        if self.decimal not in (None, ".", ","):
            raise ConfigError(f"csv.decimal: {self.decimal!r} must be . or ,")

    def text(self) -> str:
        """The dialect as a report shows it."""
        sign = {",": "decimal comma", ".": "decimal point", None: "no decimals"}[self.decimal]
        return f"{self.encoding}, separated by {NAMES.get(self.separator or '', self.separator)}, {sign}"


def read_csv_file(
    path: Path,
    table: schema.Table,
    given: CsvDialect | None = None,
    inspect: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
) -> tuple[pd.DataFrame, CsvDialect]:
    """Read a CSV file of a table, every value as text; an empty cell is None.

    Header names are taken whatever their case and padding. Numbers lose their currency sign and thousands separators
    and get a decimal point; what is no number stays as it is, for validation to name.

    Args:
        path: ``.csv`` or ``.csv.gz``.
        table: The contract; its column names are looked for in the header.
        given: What the shop says of the file, instead of what would be detected.
        inspect: Called with the rows as they are written; returns those to go on with.

    Returns:
        The rows, and how the file is written.

    Raises:
        DataError: The file cannot be decoded, a row has more or fewer fields than the header, a column stands twice,
            or numbers can be read in two ways; naming file, row and column.
    """
    given = given or CsvDialect()
    text, encoding = _decoded(path, given.encoding)
    text, separator = _separated(path, text, table, given.separator)
    frame = _frame(path, text, separator)
    frame.columns = pd.Index(contract_names(path, list(frame.columns), table))
    frame = inspect(frame)
    numbers = [column.name for column in table.with_own(frame.columns).columns if column.kind in NUMBER_KINDS]
    frame, decimal = plain_numbers(path, frame, numbers, given.decimal, separator)
    return frame, CsvDialect(encoding, separator, decimal)


def read_rows(path: Path, given: CsvDialect | None = None) -> tuple[pd.DataFrame, CsvDialect]:
    """Read any CSV file with a header, every value as text and every name as it stands; an empty cell is None.

    The separator is the one that splits the header into most names. Numbers stay as they are written
    (:func:`fairtag.data.amounts.plain_numbers`).

    Raises:
        DataError: The file cannot be decoded, or a row has more or fewer fields than the header.
    """
    given = given or CsvDialect()
    text, encoding = _decoded(path, given.encoding)
    stated = _SEP_LINE.match(text)
    text = text[stated.end() :] if stated else text
    header = text.split("\n", 1)[0]
    counted = max(SEPARATORS, key=lambda mark: len(_fields(header, mark)))
    separator = given.separator or (stated.group(1) if stated else counted)
    frame = _frame(path, text, separator)
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame.loc[:, ~frame.columns.duplicated()], CsvDialect(encoding, separator, given.decimal)


def _decoded(path: Path, encoding: str | None) -> tuple[str, str]:
    """The text of a file and its encoding: as given, by byte order mark, UTF-8, or Windows' own for Western Europe.

    Lines end in a line feed, and none that is empty stands before the first.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except IsADirectoryError as error:
        raise _unreadable(path, "it is a folder; join its part files into one file with one header") from error
    except (OSError, EOFError) as error:
        raise _unreadable(path, str(error)) from error
    if not raw.strip():
        raise _unreadable(path, "the file is empty")
    if raw.startswith(_GZIP):
        raise _unreadable(path, f"it is compressed; name it {path.name}.gz")
    if raw.startswith(_WORKBOOK):
        raise _unreadable(path, "it is a workbook of Excel; save it as CSV UTF-8")
    name = encoding or marked_encoding(raw) or "utf-8"
    try:
        text = raw.decode(name)
    except UnicodeDecodeError as error:
        if name != "utf-8" or encoding:
            raise _undecodable(path, raw, error, name) from error
        name, text = "cp1252", _western(path, raw, error)
    text = text.removeprefix("\ufeff")
    if "\n" not in text:
        text = text.replace("\r", "\n")  # old Macs end lines so
    return text.lstrip("\r\n"), name


def _western(path: Path, raw: bytes, not_utf8: UnicodeDecodeError) -> str:
    """The text as cp1252.

    Raises:
        DataError: Other lines are UTF-8, a byte is none of cp1252, or the text is none of Western Europe.
    """
    if is_partly_utf8(raw):
        raise _undecodable(path, raw, not_utf8, "utf-8, and other lines are: one file, one encoding")
    try:
        text = raw.decode("cp1252")
    except UnicodeDecodeError as error:
        raise _undecodable(path, raw, error, "utf-8 or cp1252") from error
    if foreign := foreign_text(text):
        line = text[: text.index(foreign.shown)].count("\n") + 1
        raise _unreadable(
            path,
            f"line {line}: it is not utf-8, and {foreign.shown!r} is no text of Western Europe (cp1252); name the "
            f'encoding in metadata.json, such as {{"csv": {{"encoding": "{foreign.maybe}"}}}} (cp1250, iso8859-2, '
            "cp1251, cp1254, mac-roman, shift_jis, gb18030, ...)",
        )
    return text


def _undecodable(path: Path, raw: bytes, error: UnicodeDecodeError, tried: str) -> DataError:
    row = raw[: error.start].count(b"\n") + 1
    return _unreadable(
        path,
        f"line {row}: byte {raw[error.start]:#04x} is not {tried} ({error.reason}); name the encoding in "
        'metadata.json: {"csv": {"encoding": "..."}}',
    )


def _separated(path: Path, text: str, table: schema.Table, separator: str | None) -> tuple[str, str]:
    """The text without its ``sep=`` line, and the separator: as given, as that line says, or by the header."""
    stated = _SEP_LINE.match(text)
    if stated:
        text = text[stated.end() :]
    if separator or stated:
        return text, separator or stated.group(1)  # type: ignore[union-attr]  # one of the two is there
    header = text.split("\n", 1)[0]
    known = set(table.names)
    hits = {mark: len(known & {_plain_name(name) for name in _fields(header, mark)}) for mark in SEPARATORS}
    best = max(SEPARATORS, key=lambda mark: hits[mark])
    if not hits[best]:
        shown = header if len(header) <= 80 else header[:77] + "..."
        raise _unreadable(
            path,
            f"the header {shown!r} holds no column of {table.name}; it needs {', '.join(table.required_names)}, "
            "separated by comma, semicolon, tab or |; another sign is stated in metadata.json: "
            '{"csv": {"separator": ":"}}',
        )
    return text, best


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line.rstrip("\r")], delimiter=separator), [])


def _plain_name(name: str) -> str:
    """A header name as the contract writes it: lower case, no padding, underscores for blanks."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _frame(path: Path, text: str, separator: str) -> pd.DataFrame:
    """The rows as text under the header's names; an empty cell is None."""
    escaped = bool(_ESCAPED.search(text))
    try:
        if escaped:
            raise pa.ArrowInvalid("read line by line")
        parse = arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True)
        with arrow_csv.open_csv(pa.BufferReader(text.encode()), parse_options=parse) as file:
            names = file.schema.names
        if len(set(names)) == len(names) and all(name.strip() for name in names):
            convert = arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            )
            rows = arrow_csv.read_csv(
                pa.BufferReader(text.encode()), parse_options=parse, convert_options=convert
            ).to_pandas()
            return _without_formulas(cast(pd.DataFrame, rows.astype(object).where(rows.notna(), other=cast(Any, None))))
    except pa.ArrowException:
        pass  # read again below, line by line, which bears trailing separators and names the line that is wrong
    names, lines = _lines(path, text, separator, escaped=escaped)
    frame = pd.DataFrame(lines, columns=pd.Index(names), dtype=object)
    return _without_formulas(frame.mask(frame == "", other=cast(Any, None)))


def _without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells such as ``="0012"``, with which a spreadsheet is kept from changing a number, as what they show."""
    for place in range(frame.shape[1]):
        cells = frame.iloc[:, place]
        if cells.str.startswith('="', na=False).any():
            frame.isetitem(place, cells.map(_shown, na_action="ignore").array)
    return frame


def _shown(cell: str) -> str:
    formula = _FORMULA.fullmatch(cell)
    return formula.group(1) if formula else cell


def _lines(path: Path, text: str, separator: str, *, escaped: bool) -> tuple[list[str], list[list[str]]]:
    """Header and rows; separators that end a line with nothing behind them are dropped."""
    quotes: Any = {"doublequote": False, "escapechar": "\\"} if escaped else {}
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a description may be as long as it likes
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, **quotes)
    try:
        header = next(reader)
        read = [(reader.line_num, fields) for fields in reader if any(fields)]
    except (csv.Error, StopIteration) as error:
        raise _unreadable(path, f"line {reader.line_num}: {error}") from error
    while header and not header[-1].strip():
        header.pop()
    for line, fields in read:
        while len(fields) > len(header) and not fields[-1]:
            fields.pop()
        if len(fields) != len(header):
            raise _unreadable(path, f"line {line}: {len(fields)} fields, Expected {len(header)} as in the header")
    return header, [fields for _, fields in read]


def contract_names(path: Path, header: Sequence[str], table: schema.Table) -> list[str]:
    """Header names as the contract writes them; one it does not know stays as the shop wrote it."""
    if blank := [place for place, name in enumerate(header, start=1) if not str(name).strip()]:
        raise DataError(
            f"{path}: column {blank[0]} of the header has no name; name it or drop it (in pandas, index=False)",
            table=path.name,
            column=str(blank[0]),
            rule="a name for each column",
        )
    columns = [plain if table.takes(plain := _plain_name(name)) else name.strip() for name in header]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}: column {', '.join(twice)} stands more than once in the header; keep one of them",
            table=path.name,
            column=twice[0],
            rule="one column of a name",
        )
    return columns


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(f"{path}: cannot be read as csv: {why}", table=path.name, rule="a readable file")
