"""The cells of JSON Lines, and the lines that are rejected."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderworks.core.errors import ImportFailed
from orderworks.imports.chunk_plan import ChunkLimits, plan_chunks
from orderworks.imports.columns import Column, ColumnRule, Field
from orderworks.imports.csv_records import LineSplitter, splitter
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.parse import ParsedChunk, parse

LAYOUT = FileFormat("jsonl", "", ["id", "note", "total", "other"])
FIELDS = [Field(Column(LAYOUT.header[place], ColumnRule.TEXT), place) for place in (0, 2)]


def read(data: bytes) -> ParsedChunk:
    return parse(data, 1, LAYOUT, FIELDS)


def rows(parsed: ParsedChunk) -> list[tuple[int, str | None, str | None]]:
    """Line, id and total of the good records."""
    sound = parsed.cells.filter(parsed.cells["code"].is_null())
    return sound.select("line", "field_0", "field_2").rows()


def faults(data: bytes) -> list[tuple[int, str, str]]:
    """Line, column and code."""
    broken = read(data).cells.drop_nulls("code").sort("line")
    return broken.select("line", "column", "code").rows()


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-0.0", "12345678901.10", "1e5", "1E+400", "9223372036854775808", "9" * 60, "-7"],
)
def test_number_keeps_its_spelling(number: str) -> None:
    text = f'{{"total": {number}, "id": {number}}}\n{{"id":"-0","total":{number} }}'
    assert rows(read(text.encode())) == [(1, number, number), (2, "-0", number)]


def test_keys_count_by_name_and_the_last_of_a_name_wins() -> None:
    data = b'{"total": 1, "x": [{}], "id": 2, "id": "3"}\r\n\n\r\n{"id": null, "other": true}\n'
    assert rows(read(data)) == [(1, "3", "1"), (4, None, None)]


@pytest.mark.parametrize(
    ("text", "lone"),
    [(b"\\ud800", "\\ud800"), (b"a\\uDBffb", "\\uDBff"), (b"\\ud83d\\ude00\\ude01", "\\ude01")],
)
def test_lone_surrogate_is_named_in_the_reason(text: bytes, lone: str) -> None:
    (reason,) = read(b'{"id":"%b"}\n' % text).cells["reason"]
    assert reason.endswith(f": {lone} is a lone surrogate")


def test_text_is_kept_unchanged() -> None:
    data = '{"id": " a\\u0000\\n\\"é", "total": "\\ud83d\\ude00"}\n{"id":"", "total":"\\u2028"}\n'
    assert rows(read(data.encode())) == [(1, ' a\0\n"é', "😀"), (2, "", "\u2028")]


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"[]",
            b"7",
            b"null",
            b'"x"',
            b"{",
            b"{} {}",
            b'{"id":NaN}',
            b'{"x":-Infinity}',
            b"1,2,3",
        ),
        *(
            b'{"id":"\\ud800"}',
            b'{"x":"\\udc00a"}',
            b"  ",
            b'{"id":"\0"}',
            b"{'id':1}",
            b'{"id":1,}',
        ),
        *(b'{"x":' + b"[" * 100_000 + b"}", b'{"id":' + b"1" * 5000 + b"}", b'{"id":01}'),
    ],
)
def test_non_object_line_is_rejected_alone(line: bytes) -> None:
    data = b'{"id":1}\n' + line + b'\n{"id":3}'
    assert faults(data) == [(2, "", "bad_json")]
    assert rows(read(data)) == [(1, "1", None), (3, "3", None)]


def test_object_over_two_lines_is_two_bad_lines() -> None:
    assert faults(b'{"id":1} {"id":\n2}\n') == [(1, "", "bad_json"), (2, "", "bad_json")]


@pytest.mark.parametrize("value", ["true", "false", "{}", "[1]"])
def test_nested_value_is_rejected_only_in_mapped_columns(value: str) -> None:
    data = f'{{"note":{value}}}\n{{"id":1,"total":{value}}}\n{{"total":{value},"id":{value}}}\n'
    assert faults(data.encode()) == [(2, "total", "wrong_type"), (3, "id", "wrong_type")]
    assert rows(read(data.encode())) == [(1, None, None)]


def test_line_with_invalid_utf8_anywhere_is_rejected() -> None:
    data = b'{"id":1,"x":"\xe9"}\n{"id":2}\n{"id":"\xed\xa0\x80"}\n'
    assert faults(data) == [(1, "", "bad_encoding"), (3, "", "bad_encoding")]
    parsed = read(data)
    assert parsed.with_raw(parsed.cells.sort("line"))["raw"].to_list() == [
        '{"id":1,"x":"\\xe9"}',
        '{"id":2}',
        '{"id":"\\xed\\xa0\\x80"}',
    ]


values = st.none() | st.text(max_size=5) | st.integers() | st.sampled_from(["-0", '"', ",", "\n"])


@given(st.lists(st.dictionaries(st.sampled_from(LAYOUT.header), values), max_size=9))
def test_cells_equal_json_decoding(records: list[dict[str, str | int | None]]) -> None:
    data = "".join(json.dumps(record) + "\n" for record in records)
    expected = [
        (
            line,
            *(None if (cell := record.get(key)) is None else str(cell) for key in ("id", "total")),
        )
        for line, record in enumerate(records, start=1)
    ]
    assert rows(read(data.encode())) == expected


@given(st.lists(st.sampled_from((b'{"a":"', b'"', b"\n", b"\r\n", b"\xff")), max_size=30))
def test_each_line_is_a_record_regardless_of_quotes(parts: list[bytes]) -> None:
    content = b"".join(parts)
    whole = [line for line in content.split(b"\n") if line.removesuffix(b"\r")]
    for size in (1, 3, 100):
        blocks = [content[at : at + size] for at in range(0, len(content), size)]
        chunks = plan_chunks(splitter(LAYOUT).runs(blocks), ChunkLimits(2, 50), 0, 1)
        assert sum(chunk.rows for chunk in chunks) == len(whole)
        assert b"".join(run.data for run in splitter(LAYOUT).runs(blocks)) == content


def test_unterminated_line_is_refused_in_bounded_memory() -> None:
    with pytest.raises(ImportFailed, match="a line is longer than 100 bytes"):
        list(LineSplitter(max_bytes=100).runs([b"{}\n", b"x" * 60, b"x" * 60]))


def test_unmappable_key_fails_the_import() -> None:
    fields = [Field(Column("id", ColumnRule.ID), 0)]
    with pytest.raises(ImportFailed, match="a key cannot be mapped"):
        parse(b"{}", 1, FileFormat("jsonl", "", ['a"b']), fields)


def test_byte_order_mark_of_a_file_behind_another_is_skipped() -> None:
    mark = b"\xef\xbb\xbf"
    data = b'{"id": 1, "total": 2}\n' + mark + b'{"id": 3, "total": 4}\n' + mark + b"\r\n"
    assert rows(read(data)) == [(1, "1", "2"), (2, "3", "4")]
    assert faults(data) == [(3, "", "bad_json")]
