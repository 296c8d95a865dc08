"""The cells that any bytes of a chunk are parsed into."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderworks.imports.columns import Column, ColumnRule, Field
from orderworks.imports.csv_records import Splitter, read_records
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.parse import ParsedChunk, parse

LATIN = "é".encode("latin-1")


def read(data: bytes, width: int = 3, places: tuple[int, ...] | None = None) -> ParsedChunk:
    chosen = range(width) if places is None else places
    fields = [Field(Column(str(place), ColumnRule.TEXT), place) for place in chosen]
    return parse(data, 5, FileFormat("csv", ",", [""] * width), fields)


def good_lines(parsed: ParsedChunk) -> list[int]:
    sound = parsed.cells.filter(parsed.cells["code"].is_null())
    return sorted(sound["line"].to_list())


def faults(parsed: ParsedChunk) -> list[tuple[int, str, str]]:
    """Line, code and raw text."""
    broken = parsed.cells.filter(parsed.cells["code"].is_not_null()).sort("line")
    return parsed.with_raw(broken).select("line", "code", "raw").rows()


def test_invalid_utf8_rejects_its_own_record_only() -> None:
    parsed = read(b"1,a,b\n2," + LATIN + b',b\n3,"x\n' + LATIN + b'",b\n4,"\xc3\xa9",b\n')
    assert good_lines(parsed) == [5, 9]
    assert faults(parsed) == [
        (6, "bad_encoding", "2,\\xe9,b"),
        (7, "bad_encoding", '3,"x\n\\xe9",b'),
    ]


def test_reason_gives_position_of_invalid_utf8() -> None:
    reason = "byte 3 of the record, 0xe9, is not UTF-8"
    assert read(b"1," + LATIN + b",b\n").cells["reason"].to_list() == [reason]


pieces = st.sampled_from(
    (b"a", b",", b",", b"\r", b"\0", b"\xe9", b"\xc3\xa9", b" ", b"x\x01", b"\xef\xbb\xbf")
)
plain = st.lists(pieces, max_size=8).map(b"".join)
with_quotes = st.sampled_from(
    [
        *(b'1,"x,",""', b'2,"a""b",c', b'3,"a"b,c', b'4,a"b,c', b'5,a"b",c"', b'"","",""', b'""'),
        *(b'"6","\0",c', b'"7",",",","\r', b'"8"\r,a,b', b'"a\r","b",c', b'"\xe9",a,b', b'9,"",'),
        *(b'"""",,""""""', b'"\xc3\xa9","\xc3\xa9""",'),
    ]
)


def read_alone(line: bytes, width: int) -> tuple[str | None, ...]:
    """Code and cells of a line that is a record, by csv and no other."""
    record = line.rstrip(b"\r")
    (run,) = Splitter(",").runs([record])
    if run.bad_quote:
        return ("text_after_quote", *[""] * width)
    try:
        text = record.decode()
    except UnicodeDecodeError:
        return ("bad_encoding", *[""] * width)
    fields = read_records([text], ",")[0] if '"' in text else text.split(",")
    return (None, *fields) if len(fields) == width else ("wrong_width", *[""] * width)


@example([b",,\0", b"\xe9"], b"", 2)
@given(st.lists(plain | with_quotes, max_size=12), st.sampled_from((b"", b"\n")), st.integers(1, 4))
def test_bulk_parsing_equals_csv_module(lines: list[bytes], end: bytes, width: int) -> None:
    parsed = read(b"\n".join(lines) + end, width)
    expected = [
        (number, *read_alone(line, width))
        for number, line in enumerate(lines, start=5)
        if line.strip(b"\r")
    ]
    cells = parsed.cells.sort("line").select("line", "code", pl.col("^field_.*$").fill_null(""))
    assert cells.rows() == expected


def reasons(parsed: ParsedChunk) -> dict[int, tuple[str, str]]:
    """Code and reason by line."""
    broken = parsed.cells.filter(parsed.cells["code"].is_not_null())
    return {line: (code, why) for line, code, why in broken["line", "code", "reason"].iter_rows()}


def test_lines_behind_a_quote_that_closes_before_text_are_rows_of_their_own() -> None:
    parsed = read(b'1,a,"5 inch\n2,b,c\n3,d,"said ""hi"", left"\n4,e,f\n')
    assert good_lines(parsed) == [6, 7, 8]
    reason = (
        "a quote opens on line 5 and closes on line 7 before other text; "
        "lines 6 to 7 are read as rows of their own"
    )
    assert reasons(parsed) == {5: ("text_after_quote", reason)}


def test_lines_behind_a_quote_that_nothing_closes_are_rows_of_their_own() -> None:
    parsed = read(b'1,a,"5 inch\n2,b,c\n3,d,e')
    assert good_lines(parsed) == [6, 7]
    reason = (
        "a quote opens on line 5 and nothing closes it up to line 7; "
        "lines 6 to 7 are read as rows of their own"
    )
    assert reasons(parsed) == {5: ("unclosed_quote", reason)}


def test_record_with_a_bad_quote_ends_with_the_line_on_which_that_quote_opens() -> None:
    parsed = read(b'1,"two\nlines","24" wide"\n2,b,c\n')
    assert good_lines(parsed) == [7]
    reason = "a quote opens on line 6 and closes on the same line before other text"
    assert reasons(parsed) == {5: ("text_after_quote", reason)}
    assert faults(parsed)[0][2] == '1,"two\nlines","24" wide"'


def test_reason_of_a_bad_quote_does_not_depend_on_the_end_of_the_chunk() -> None:
    first, rest = b'1,a,"5 inch\n', b'2,b,c\n3,d,"ok"\n'
    fields = [Field(Column("0", ColumnRule.TEXT), 0)]
    layout = FileFormat("csv", ",", [""] * 3)
    alone = parse(first, 5, layout, fields, lambda: rest)
    assert reasons(alone) == {5: reasons(read(first + rest))[5]}


def test_blanks_may_follow_a_closing_quote() -> None:
    parsed = read(b'"1" ,"b"\t,"c"  \r\n')
    assert good_lines(parsed) == [5]


def test_several_crs_before_a_line_feed_are_a_line_end() -> None:
    parsed = read(b'1,a,b\r\r\n\r\r\n2,c,"d"\r\r\n3,"two\r\r\nlines",e\r\r\n')
    cells = parsed.cells.sort("line").select("line", "code", "field_2")
    assert cells.rows() == [(5, None, "b"), (7, None, "d"), (8, None, "e")]


def test_reason_names_a_cr_that_ends_no_line_and_the_lines_of_a_record() -> None:
    parsed = read(b'1,a,b\r2,c,d\n3,"e\nf"\n')
    assert reasons(parsed) == {
        5: (
            "wrong_width",
            "the row has more than 3 fields; it has a CR that ends no line: lines end in LF or CR LF",
        ),
        6: ("wrong_width", "the row has fewer than 3 fields; it spans lines 6 to 7"),
    }


def test_file_may_have_a_thousand_unmapped_columns() -> None:
    row = b",".join(b"%d" % place for place in range(1000)) + b"\n"
    parsed = read(row * 3 + row.replace(b",999", b""), 1000, (7, 998))
    cells = parsed.cells.drop_nulls("field_7")
    assert cells.select("line", "^field_.*$").rows() == [(n, "7", "998") for n in (5, 6, 7)]
    assert [fault[:2] for fault in faults(parsed)] == [(8, "wrong_width")]


@pytest.mark.parametrize(
    "beginning", [b"x\x01", b"x\x9c", b"x^", b"\x1f\x8b", b"\xef\xbb\xbf", b"#"]
)
def test_chunk_start_bytes_have_no_special_meaning(beginning: bytes) -> None:
    parsed = read(beginning + b",a,b\n2,c,d\n")
    assert parsed.cells.height == 2
    assert good_lines(parsed)[-1] == 6


def test_byte_order_mark_of_a_file_behind_another_is_skipped_before_a_quote() -> None:
    parsed = read(b'1,a,b\n\xef\xbb\xbf"2","c","d"\n')
    assert parsed.cells.sort("line")["field_0"].to_list() == ["1", "2"]
