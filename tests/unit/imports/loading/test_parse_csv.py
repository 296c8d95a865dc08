"""The cells that any bytes of a chunk are parsed into."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orderworks.imports.columns import Column, ColumnRule, Field
from orderworks.imports.csv_records import read_records
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
    record = line.removesuffix(b"\r")
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
        if line not in (b"", b"\r")
    ]
    cells = parsed.cells.sort("line").select("line", "code", pl.col("^field_.*$").fill_null(""))
    assert cells.rows() == expected


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
