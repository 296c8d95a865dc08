"""Detection of formats and delimiters, and JSON Lines."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from orderworks.core.errors import InvalidFile
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from producer.imports.sources.jsonl_header import HEADER_SCAN_BYTES
from producer.imports.sources.limits import SourceLimits
from producer.imports.sources.open_source import ImportSource, open_source

LIMITS = SourceLimits(1 << 30, 1 << 30, 200, 1000)


def seen(source: ImportSource, delimiter: str | None = None) -> tuple[str, str, tuple[str, ...]]:
    """Format, delimiter and header, after all was read."""
    with open_source(source, delimiter, LIMITS) as opened:
        for _block in opened.blocks:
            pass
        return opened.format, opened.delimiter, opened.header


def refusal(source: ImportSource, delimiter: str | None = None) -> str:
    with pytest.raises(InvalidFile) as raised:
        seen(source, delimiter)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("a.csv", b'{"id": 1}\n', "csv"),
        ("a.TXT", b'{"id": 1}\n', "jsonl"),
        ("a.txt", b"id,name\n", "csv"),
        ("a.tsv.gz", b'{"id": 1}\n', "csv"),
        ("a.jsonl", b'\n{"id": 1}\n', "jsonl"),
        ("a.ndjson.zst", b'[]\n{"id": 1}\n', "jsonl"),
        ("a.json", b'{"id": 1}\n', "jsonl"),
        ("a", b'\xef\xbb\xbf \n{"id": 1}\n', "jsonl"),
        ("a.data", b'{"id": 1}\n', "jsonl"),
        ("a.gz", b"id,name\n", "csv"),
        ("a.txt", b"[id],[name]\n", "csv"),
    ],
)
def test_format_is_detected_by_name_then_by_content(
    tmp_path: Path, name: str, content: bytes, form: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert seen(path)[0] == form


def test_non_parquet_content_named_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    path.write_bytes(b"id,name\n")
    assert refusal(path) == "orders.parquet: is not a Parquet file, in spite of its name"


def test_delimiter_is_the_one_that_gives_the_columns_needed() -> None:
    def is_complete(header: Sequence[str]) -> bool:
        return {"id", "total"} <= set(header)

    for content, delimiter in (
        (b"id;total;sizes (S,M,L)\n", ";"),
        (b"id;total;sizes (S,M,L,XL)\n", ";"),
        (b'"id"|total|a;b;c;d\n', "|"),
        (b"number;sum,x\n", ","),
        (b"number;sum;x,y\n", ";"),
    ):
        with open_source(content, None, LIMITS, is_complete) as opened:
            assert opened.delimiter == delimiter
            assert b"".join(opened.blocks) == content


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        (b"id,name\n", ","),
        (b"id;name\n1,2,3;4,5\n", ";"),
        (b"id\tname", "\t"),
        (b"\xef\xbb\xbf\r\n\nid|name\r\n", "|"),
        (b'id;"a,b,c,""d"\n', ";"),
        (b'id;"a\n,b,c,"\n', ";"),
        (b"id", ","),
        (b"id;name,x\n", ","),
    ],
)
def test_delimiter_is_detected_in_the_header(content: bytes, delimiter: str) -> None:
    assert seen(content)[1] == delimiter


def test_given_delimiter_is_used(tmp_path: Path) -> None:
    assert seen(b"a;b,c\n", ",") == ("csv", ",", ("a;b", "c"))
    assert seen(b"a;b,c:d\n", ":") == ("csv", ":", ("a;b,c", "d"))
    path = tmp_path / "orders.tsv"
    path.write_bytes(b"a,b,c\td\n")
    assert seen(path)[2] == ("a,b,c", "d")
    path.write_bytes(b'id;"a\tb"\n1;\t\t\n')
    assert seen(path)[1:] == (";", ("id", "a\tb")), "no tab parts its header"
    path.write_bytes(b"a,b,c\td\n")
    assert seen(path, ",")[2] == ("a", "b", "c\td")


def test_json_lines_have_no_delimiter() -> None:
    assert (
        refusal(b'{"id": 1}\n', ",")
        == "bytes: is JSON Lines, which has no delimiter: do not give one"
    )


def test_keys_of_the_first_records_are_the_header() -> None:
    content = b'\n{"b": 1, "a": {"x": [1]}}\r\n[1]\nno\n{"b\xff": 1}\n{"c": 2, "a": 0}'
    assert seen(content)[2] == ("b", "a", "c")


def test_json_records_begin_with_the_first_line() -> None:
    with open_source(b"\xef\xbb\xbf" + b'{"id": 1}\n', None, LIMITS) as opened:
        assert (opened.data_start, opened.data_line) == (3, 1)
    with open_source(b'\n{"id": 1}\n', None, LIMITS) as opened:
        assert (opened.data_start, opened.data_line) == (0, 1)


def test_keys_are_collected_from_the_first_records_only() -> None:
    lines = b"".join(b'{"a": %d}\n' % number for number in range(HEADER_SCAN_BYTES))
    assert seen(b'{"first": 1}\n' + lines + b'{"last": 1}\n')[2] == ("first", "a")


def test_long_first_record_is_read_whole() -> None:
    long = {"a": "x" * (2 * HEADER_SCAN_BYTES), "b": 1}
    content = json.dumps(long).encode() + b"\n" + b'{"c": 1}\n' * HEADER_SCAN_BYTES
    assert seen(content)[2][:2] == ("a", "b")


@pytest.mark.parametrize("content", [b"{\n", b"{}\n{}\n", b'{"a"\n"b"}\n', b"{" * 100_000])
def test_json_lines_without_an_object_are_refused(content: bytes) -> None:
    assert refusal(content) == (
        "bytes: none of its first lines is a JSON object with keys; write one object per line"
    )


@pytest.mark.parametrize(
    "content", [b'[\n {"id": 1},\n {"id": 2}\n]\n', b'[{"id": 1},\n {"id": 2}]', b'\n[{"id": 1}]']
)
def test_json_array_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.json"
    path.write_bytes(content)
    reason = "is a JSON array; write its objects one per line, without the array"
    assert refusal(path) == f"orders.json: {reason}"
    assert refusal(content) == f"bytes: {reason}"


def test_empty_json_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.json"
    path.write_bytes(b"")
    assert refusal(path) == "orders.json: is empty"


def test_json_line_that_is_too_long_is_refused() -> None:
    assert "line 2 is longer" in refusal(b'{"id": 1}\n{"a": "' + b"x" * MAX_RECORD_BYTES)


def test_json_keys_are_limited_like_columns() -> None:
    assert "IMPORT_MAX_COLUMNS" in refusal(
        json.dumps(dict.fromkeys(map(str, range(1001)))).encode()
    )
