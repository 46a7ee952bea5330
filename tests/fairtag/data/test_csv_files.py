"""CSV files as shops write them: what is detected is reported, and what can be read in two ways is refused."""

import gzip

import pytest

from fairtag.base import schema
from fairtag.base.errors import ConfigError, DataError
from fairtag.data.csv_files import CsvDialect, read_csv_file

HEADER = "item_id,updated_at,title,category,unit_cost,list_price,stock\n"
SEMICOLONS = HEADER.replace(",", ";")


@pytest.fixture
def read(tmp_path):
    def read(content, **given):
        file = tmp_path / "items.csv"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_csv_file(file, schema.ITEMS, CsvDialect(**given))

    return read


def values(frame, column):
    return frame[column].tolist()


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("cp1252", "cp1252")],
)
def test_the_encoding_is_detected_and_reported(read, encoding, codec):
    frame, dialect = read((HEADER + "ä1,2025-01-01,Kaffeemühle,c,1.50,2.25,3\n").encode(encoding))
    assert values(frame, "title") == ["Kaffeemühle"]
    assert dialect == CsvDialect(codec, ",", ".")


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_separator_is_the_one_that_splits_the_header(read, mark):
    frame, dialect = read(HEADER.replace(",", mark) + mark.join(["a", "2025-01-01", "T", "c", "1.5", "2.25", "3"]))
    assert values(frame, "list_price") == ["2.25"]
    assert dialect.separator == mark


def test_a_sep_line_a_decimal_comma_currency_signs_and_thousands_are_understood(read):
    frame, dialect = read(
        "sep=;\n" + SEMICOLONS + "a;2025-01-01;T;c;1,50;1.234,25 €;3\nb;2025-01-01;T;c;EUR 2,00;3,25;\n"
    )
    assert values(frame, "unit_cost") == ["1.50", "2.00"]
    assert values(frame, "list_price") == ["1234.25", "3.25"]
    assert values(frame, "stock") == ["3", None]
    assert dialect.text() == "utf-8, separated by ;, decimal comma"


def test_thousands_in_quotes_and_apostrophes_are_understood(read):
    frame, _ = read(HEADER + 'a,2025-01-01,T,c,"1,234.50","$2,000.00",3\n')
    assert (values(frame, "unit_cost"), values(frame, "list_price")) == (["1234.50"], ["2000.00"])
    frame, _ = read(SEMICOLONS + "a;2025-01-01;T;c;1'234.50;CHF 2'000.00;3\n")
    assert values(frame, "list_price") == ["2000.00"]


def test_a_number_that_can_be_a_fraction_or_thousands_is_refused_until_the_shop_says_which(read):
    content = SEMICOLONS + "a;2025-01-01;T;c;1.500;2.250;3\n"
    with pytest.raises(DataError, match=r"'1\.500' in unit_cost can be a fraction or thousands.*metadata\.json"):
        read(content)
    assert values(read(content, decimal=",")[0], "unit_cost") == ["1500"]
    assert values(read(content, decimal=".")[0], "unit_cost") == ["1.500"]


def test_two_decimal_signs_in_one_file_are_refused(read):
    with pytest.raises(DataError, match="decimal point and '2,25' in list_price a decimal comma"):
        read(SEMICOLONS + "a;2025-01-01;T;c;1.50;2,25;3\n")


def test_a_stray_value_with_the_other_decimal_sign_stays_for_validation_to_name(read):
    rows = [f"i{k};2025-01-01;T;c;{k},50;9{k},25;3\n" for k in range(100)]
    frame, dialect = read(SEMICOLONS + "".join(rows) + "x;2025-01-01;T;c;1.5;12.75;3\n")
    assert dialect.decimal == ","
    assert values(frame, "unit_cost")[-1] == "1.5"
    assert values(frame, "unit_cost")[0] == "0.50"


def test_three_decimals_behind_a_point_are_a_fraction_where_commas_separate(read):
    assert values(read(HEADER + "a,2025-01-01,T,c,1.234,2.250,3\n")[0], "unit_cost") == ["1.234"]


def test_headers_may_be_padded_and_in_any_case_and_lines_may_end_in_a_separator(read):
    frame, _ = read(" Item ID , Updated-At,TITLE,Category,Unit Cost,List_Price,stock,\na,2025-01-01,T,c,1.5,2.25,3,\n")
    assert list(frame.columns) == ["item_id", "updated_at", "title", "category", "unit_cost", "list_price", "stock"]
    frame, _ = read(HEADER + "a,2025-01-01,T,c,1.5,2.25,3,\n")
    assert values(frame, "stock") == ["3"]


def test_a_line_break_in_quotes_belongs_to_the_value(read):
    assert values(read(HEADER + 'a,2025-01-01,"T\nline",c,1.5,2.25,3\n')[0], "title") == ["T\nline"]


def test_a_gzipped_file_is_read(tmp_path):
    file = tmp_path / "items.csv.gz"
    file.write_bytes(gzip.compress((HEADER + "a,2025-01-01,T,c,1.5,2.25,3\n").encode()))
    assert read_csv_file(file, schema.ITEMS)[0]["item_id"].tolist() == ["a"]
    file.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be read as csv"):
        read_csv_file(file, schema.ITEMS)


def test_text_in_a_number_stays_for_validation_to_name(read):
    frame, _ = read(HEADER + "a,2025-01-01,T,c,A17,12 apples,3\n")
    assert (values(frame, "unit_cost"), values(frame, "list_price")) == (["A17"], ["12 apples"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file is empty"),
        ("a,2025,T\n", "holds no column of items; it needs item_id"),
        (HEADER + "a,2025-01-01,T,c,1.5,2.25,3\nb,2025-01-01,T\n", "line 3: 3 fields, Expected 7"),
        (HEADER + 'a,2025-01-01,"T,c,1.5,2.25,3\n', "line 2: unexpected end of data"),
        (HEADER.replace("title", "item_id") + "a,b,c,d,1,2,3\n", "column item_id stands more than once"),
    ],
)
def test_a_file_that_does_not_fit_its_header_is_refused_with_its_line(read, content, words):
    with pytest.raises(DataError, match=words):
        read(content)


def test_a_byte_that_is_not_of_the_encoding_is_named_with_its_line(read):
    with pytest.raises(DataError, match=r"line 2: byte 0x81 is not utf-8 .*metadata\.json"):
        read((HEADER + "a,2025-01-01,\x81,c,1,2,3\n").encode("latin1"), encoding="utf-8")


@pytest.mark.parametrize("given", [{"encoding": "utf-88"}, {"separator": ";;"}, {"decimal": "'"}], ids=str)
def test_a_dialect_that_no_file_has_is_refused(given):
    with pytest.raises(ConfigError, match=f"csv.{next(iter(given))}"):
        CsvDialect(**given)


def row(title, encoding="utf-8"):
    return (HEADER + f"a,2025-01-01,{title},c,1.5,2.25,3\n").encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_by_the_zeros_beside_its_letters(read, encoding):
    frame, dialect = read(row("Kaffeemühle", encoding))
    assert (values(frame, "title"), dialect.encoding) == (["Kaffeemühle"], encoding)


@pytest.mark.parametrize(
    ("title", "encoding"),
    [
        ("кофеварка", "cp1251"),
        ("Żółta łódź", "cp1250"),
        ("καφετιέρα", "cp1253"),
        ("マグカップ", "shift_jis"),
        ("马克杯 蓝色", "gb18030"),
        ("Příliš žluťoučký kůň", "iso8859-2"),
        ("Nový stůl a křeslo", "cp1250"),
        ("Fűrész bőr ütő", "cp1250"),
        ("Büyük ka\u015f\u0131k", "cp1254"),
        ("Größe", "mac-roman"),
    ],
)
def test_a_text_of_another_part_of_the_world_is_not_read_as_western_european(read, title, encoding):
    with pytest.raises(DataError, match=r"line 2.*name the encoding in metadata\.json"):
        read(row(title, encoding))
    assert values(read(row(title, encoding), encoding=encoding)[0], "title") == [title]


@pytest.mark.parametrize(
    "title",
    [
        "créée à Noël «été» 20 €",
        "Größe „L“ \u2013 Übergröße 5 µm m²",
        "¿Qué? ¡Niño!",
        "Þórður á Íslandi",
        "Balões de São João sólidos",
        "Rødgrød blåbær",
        "Jõgi öö ämber",
        "Œuvre d\u2019été",
        "Smörgåsbord",
    ],
)
def test_western_european_texts_are_read_as_such(read, title):
    frame, dialect = read(row(title, "cp1252"))
    assert (values(frame, "title"), dialect.encoding) == ([title], "cp1252")


def test_lines_of_two_encodings_in_one_file_are_refused_with_the_line(read):
    mixed = row("Kaffeemühle") + "b,2025-01-01,café,c,1,2,3\n".encode("cp1252")
    with pytest.raises(DataError, match=r"line 3: byte 0xe9 is not utf-8, and other lines are"):
        read(mixed)


@pytest.mark.parametrize("before", ["", "\n\n", "\r\n", '"sep=;"\r\n'])
def test_blank_lines_and_a_quoted_sep_line_before_the_header_do_no_harm(read, before):
    content = (SEMICOLONS if "sep" in before else HEADER) + "a,2025-01-01,T,c,1.5,2.25,3\n"
    frame, _ = read(before + (content.replace(",", ";") if "sep" in before else content))
    assert values(frame, "item_id") == ["a"]


def test_lines_may_end_as_on_old_macs(read):
    assert values(read(row("T").replace(b"\n", b"\r"))[0], "item_id") == ["a"]


def test_quotes_behind_a_backslash_are_quotes(read):
    frame, _ = read(HEADER + 'a,2025-01-01,"Mug 3\\" wide \\"blue\\"",c,1.5,2.25,3\n')
    assert values(frame, "title") == ['Mug 3" wide "blue"']
    frame, _ = read(HEADER + 'a,2025-01-01,"Path C:\\",c,1.5,2.25,3\nb,2025-01-01,"Mug 3"" wide",c,1,2,3\n')
    assert values(frame, "title") == ["Path C:\\", 'Mug 3" wide']


def test_a_formula_that_keeps_a_number_as_it_is_written_is_that_number(read):
    frame, _ = read(HEADER + '="0012",2025-01-01,"=HYPERLINK(""x"")",c,"=""1.5""",2.25,3\n')
    assert (values(frame, "item_id"), values(frame, "unit_cost")) == (["0012"], ["1.5"])
    assert values(frame, "title") == ['=HYPERLINK("x")']


@pytest.mark.parametrize(("given", "plain"), [("5.-", "5"), ("5,--", "5"), ("1'200.\u2013", "1200"), ("5-", "5-")])
def test_dashes_for_no_cents_are_a_whole_amount(read, given, plain):
    frame, _ = read(HEADER + f'a,2025-01-01,T,c,1.50,"{given}",3\n')
    assert values(frame, "list_price") == [plain]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04\x14\x00", "a workbook of Excel; save it as CSV"),
        ("," + HEADER + "0,a,2025-01-01,T,c,1.5,2.25,3\n", "column 1 of the header has no name"),
    ],
)
def test_what_is_no_table_says_what_it_is(read, content, words):
    with pytest.raises(DataError, match=words):
        read(content)


def test_a_folder_of_part_files_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "items.csv").mkdir()
    with pytest.raises(DataError, match="it is a folder; join its part files"):
        read_csv_file(tmp_path / "items.csv", schema.ITEMS)


def test_the_sign_of_the_euro_in_another_encoding_is_named(read):
    with pytest.raises(DataError, match=r"'9 ¤'.*iso8859-15"):
        read((HEADER + "a,2025-01-01,Café,c,1.99 \u20ac,2.99 \u20ac,3\n").encode("iso8859-15"))


def test_a_compressed_file_that_does_not_say_so_and_an_unusual_separator_say_what_to_do(read):
    with pytest.raises(DataError, match=r"it is compressed; name it .*\.gz"):
        read(gzip.compress(row("Mug")))
    with pytest.raises(DataError, match=r"another sign is stated in metadata.json"):
        read(row("Mug").replace(b",", b"^"))
    assert values(read(row("Mug").replace(b",", b"^"), separator="^")[0], "title") == ["Mug"]


def test_a_description_may_be_longer_than_a_field_of_python_is(read):
    frame, _ = read(row("x" * 3_000_000))
    assert len(values(frame, "title")[0]) == 3_000_000


@pytest.mark.parametrize("mark", ["'", "\u2019", "\u00a0", "\u2009", "\u202f", " "], ids=ascii)
def test_thousands_may_be_set_apart_by_any_sign_that_people_write(read, mark):
    frame, _ = read((HEADER + f"a,2025-01-01,Mug,c,1{mark}234.50,2{mark}345.50,3\n").encode())
    assert values(frame, "list_price") == ["2345.50"]
