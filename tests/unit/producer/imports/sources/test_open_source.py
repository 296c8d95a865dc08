"""Sources that are accepted, and those that are refused before the import is accepted."""

import bz2
import io
import lzma
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orderworks.core.errors import InvalidFile
from orderworks.core.settings import Settings
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from producer.imports.sources.csv_header import check_delimiter
from producer.imports.sources.files import BLOCK
from producer.imports.sources.limits import SourceLimits, limits_of
from producer.imports.sources.open_source import ImportSource, open_source
from producer.imports.sources.text_stream import first_blocks

LIMITS = SourceLimits(1 << 30, 1 << 30, 200, 1000)


def read(
    source: ImportSource, delimiter: str | None = ",", limits: SourceLimits = LIMITS
) -> tuple[tuple[str, ...], bytes]:
    """The header, and the records as text after it."""
    with open_source(source, delimiter, limits) as opened:
        content = b"".join(opened.blocks)
        return opened.header, content[opened.data_start :]


def refusal(source: ImportSource) -> str:
    with pytest.raises(InvalidFile) as raised:
        read(source)
    return str(raised.value)


def test_paths_files_bytes_and_rows_give_the_same_records(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id,name\n1,Ann\n")
    with path.open("rb") as file:
        sources: list[ImportSource] = [path, str(path), file, path.read_bytes()]
        assert {read(source) for source in sources} == {(("id", "name"), b"1,Ann\n")}
    assert read([{"id": 1, "name": "Ann"}]) == (("id", "name"), b"1,Ann\r\n")


def test_source_is_named_without_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id\n")
    with open_source(path, ",", LIMITS) as opened:
        assert opened.name == "orders.csv"
    with path.open("rb") as file, open_source(file, ",", LIMITS) as opened:
        assert opened.name == "orders.csv"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id,name\n1,Ann\n", 2),
        (b"id,name\r\n1,Ann\n", 2),
        (b"\xef\xbb\xbfid,name\n1,Ann\n", 2),
        (b'"id"," name "\n1,Ann\n', 2),
        (b'id,"na\nme"\n1,Ann\n', 3),
        (b'id,"na\rme"\n1,Ann\n', 2),
        (b"\n\r\nid,name\n1,Ann\n", 4),
    ],
)
def test_header_is_found_and_records_begin_after_it(content: bytes, line: int) -> None:
    with open_source(content, ",", LIMITS) as opened:
        assert opened.data_line == line
        assert content[opened.data_start :] == b"1,Ann\n"
        assert opened.header[0] == "id"
        assert b"".join(opened.blocks) == content


def test_header_only_file_is_accepted() -> None:
    assert read(b"id,name") == (("id", "name"), b"")


def test_unsupported_source_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == f"{tmp_path}/none.csv: there is no such file"
    assert refusal(str(tmp_path)) == f"{tmp_path}: is a folder"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == (
        f"{tmp_path}/pipe: is not a regular file; give a stream as - on standard input"
    )
    for content in ("id\n1\n", "id\n" + "1\n" * 5000):
        assert refusal(content) == "a text is used as a path: pass content as bytes"
    text = io.StringIO("id\n")
    assert refusal(text) == "stream: returns text; open it for reading bytes"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "bytes: is empty"),
        (b"\n\n", "bytes: has no header"),
        (b"\n \xc2\xa0,\n1,2\n", "bytes: has no header"),
        (b"\xef\xbb\xbf", "bytes: has no header"),
        (b"id,name\r1,Ann\r", "bytes: its lines end in a lone CR; they must end in LF or CR LF"),
        (b'id,"name\n1,Ann\n', "bytes: the header opens a quote and does not close it"),
        (b'id,"na"me\n1,Ann\n', "bytes: the header opens a quote and closes it before other text"),
        (
            b'"id","na""me"\r"1","Ann"\r',
            "bytes: its lines end in a lone CR; they must end in LF or CR LF",
        ),
        (
            b"i\x00d\xfe,",
            "bytes: the header is not UTF-8: invalid start byte; convert it to UTF-8",
        ),
        ("id\n".encode("utf-16"), "bytes: is UTF-16; convert it to UTF-8"),
        ("id\n".encode("utf-32"), "bytes: is UTF-32; convert it to UTF-8"),
        (b"\xfe\xff\x00i\x00d", "bytes: is UTF-16; convert it to UTF-8"),
        (b"PK\x03\x04\x14\x00", "bytes: is a zip archive or a spreadsheet; save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "bytes: is a spreadsheet; save it as CSV"),
        (
            lzma.compress(b"id\n1\n"),
            "bytes: is compressed by xz; decompress it, or compress it by gzip or zstd",
        ),
        (
            bz2.compress(b"id\n1\n"),
            "bytes: is compressed by bzip2; decompress it, or compress it by gzip or zstd",
        ),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "bytes: is a page of HTML, such as a login or an error; download it again",
        ),
    ],
)
def test_content_with_unreadable_header_is_refused(content: bytes, problem: str) -> None:
    assert refusal(content) == problem


def test_records_that_are_not_utf8_are_left_to_the_worker() -> None:
    assert read(b"id\n\xff\n2\xc3") == (("id",), b"\xff\n2\xc3")


def test_unterminated_line_is_refused() -> None:
    long = b"x" * MAX_RECORD_BYTES
    assert read(b"id\n" + long + b"\n")
    assert (
        refusal(b"id\n" + long + b"x\n") == f"bytes: line 2 is longer than {MAX_RECORD_BYTES} bytes"
    )
    assert refusal(long + b"x").startswith("bytes: line 1 is longer")


def test_large_file_of_lines_that_end_in_cr_is_refused_by_name() -> None:
    assert refusal(b"id,name\r" + b"1,Ann\r" * MAX_RECORD_BYTES).endswith(
        "; its lines may end in a lone CR: they must end in LF or CR LF"
    )


def test_endless_line_is_refused_before_more_of_it_is_read() -> None:
    class Endless:
        count = 0

        def read(self, size: int, /) -> bytes:
            self.count += size
            return b"x" * size

    endless = Endless()
    assert "line 1 is longer" in refusal(endless)
    assert endless.count <= MAX_RECORD_BYTES + 2 * BLOCK


def test_long_line_within_a_large_block_is_refused() -> None:
    rows = [{"a": "x"}, {"a": "y" * (5 * MAX_RECORD_BYTES)}, {"a": "z"}]
    assert refusal(rows) == f"rows: line 3 is longer than {MAX_RECORD_BYTES} bytes"


def test_endless_file_is_read_in_constant_memory() -> None:
    class Endless:
        count = 0

        def read(self, size: int, /) -> bytes:
            self.count += 1
            return b"id\n" if self.count == 1 else b"1\n" * (size // 2)

    with open_source(Endless(), ",", LIMITS) as opened:
        for _block, number in zip(opened.blocks, range(1000), strict=False):
            assert number >= 0


def test_rows_of_mappings_keep_every_character() -> None:
    rows: list[dict[str, Any]] = [{"a": 'x,"y"', "b": "\r"}, {"a": "z\nü"}, {"b": None}]
    assert read(rows)[1] == 'a,b\r\n"x,""y""","\r"\r\n"z\nü",\r\n,\r\n'.encode()[5:]


def test_rows_with_keys_of_their_own_are_refused() -> None:
    assert refusal([{"a": 1}, {"b": 2}]) == "rows: the first row has no key 'b'"
    assert refusal([1]) == "rows: int is not a row: pass mappings"  # type: ignore[list-item]
    assert refusal([]) == "rows: is empty"
    assert refusal(7) == "rows: int cannot be imported"  # type: ignore[arg-type]


def test_row_values_are_written_in_the_format_a_worker_reads() -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=2)))
    values = [
        None,
        Decimal("1E+2"),
        Decimal("1.50"),
        1e16,
        0.00001,
        1.0,
        7,
        True,
        moment,
        date(2024, 5, 6),
    ]
    row = {str(place): value for place, value in enumerate(values)}
    assert read([row])[1] == (
        b",100,1.50,10000000000000000,0.00001,1,7,true,2024-05-06 07:08:09+02:00,2024-05-06\r\n"
    )


@pytest.mark.parametrize("number", [1, 2, 3, 100_000])
def test_row_not_encodable_as_utf8_is_named(number: int) -> None:
    rows = ({"a": "x\n", "b": "\ud800" if each == number else each} for each in range(1, 100_001))
    assert refusal(rows) == (
        f"rows: row {number} has the lone surrogate '\\ud800', which UTF-8 cannot encode"
    )


def test_non_blocking_file_without_data_is_not_treated_as_ended() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb"):
        assert "has no data yet" in refusal(file)


def test_pipe_is_read_like_a_file() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(b"id;a\n1;2\n")
    with os.fdopen(reading, "rb") as file:
        assert read(file, None) == (("id", "a"), b"1;2\n")


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        ({"max_bytes": 999}, "IMPORT_MAX_BYTES"),
        ({"max_unpacked_bytes": 999}, "IMPORT_MAX_UNPACKED_BYTES"),
        ({"max_columns": 9}, "IMPORT_MAX_COLUMNS"),
    ],
)
def test_exceeded_limits_name_their_setting(change: dict[str, int], setting: str) -> None:
    content = b"a,b,c,d,e,f,g,h,i,j\n" + b"x" * 979 + b"\n"
    assert len(content) == 1000
    assert read(
        content, ",", LIMITS._replace(**{name: limit + 1 for name, limit in change.items()})
    )
    with pytest.raises(InvalidFile, match=setting):
        read(content, ",", LIMITS._replace(**change))


def test_limits_are_those_of_the_settings() -> None:
    assert limits_of(Settings.load()) == SourceLimits(20 << 30, 100 << 30, 200, 1000)


def test_read_error_is_reported() -> None:
    class Broken:
        def read(self, _size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    assert refusal(Broken()).startswith("stream: cannot be read: ")


@pytest.mark.parametrize(("given", "meant"), [(",", ","), ("\t", "\t"), ("\\t", "\t"), ("|", "|")])
def test_delimiter_is_one_character(given: str, meant: str) -> None:
    assert check_delimiter(given) == meant


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "\r", "\0", "§"])
def test_other_delimiters_are_refused(delimiter: str) -> None:
    with pytest.raises(InvalidFile, match="cannot be the delimiter"):
        check_delimiter(delimiter)


def test_rows_are_consumed_lazily() -> None:
    produced = []

    def rows() -> Iterator[dict[str, int]]:
        for number in range(1_000_000):
            produced.append(number)
            yield {"id": number}

    with open_source(rows(), ",", LIMITS) as opened:
        next(opened.blocks)
    assert len(produced) < 100_000


@pytest.mark.parametrize(
    "source", [b"id,na\0me\n1,Ann\n", b'{"id": 1, "na\\u0000me": 2}\n', [{"id": 1, "na\0me": 2}]]
)
def test_column_name_with_a_nul_is_refused(source: ImportSource) -> None:
    with pytest.raises(InvalidFile, match="the column name .* has a NUL or a lone surrogate in it"):
        read(source, None)


def test_file_object_name_is_sanitized() -> None:
    file = io.BytesIO(b"id\n1\n")
    file.name = "/x/a\0b\udc80.csv"
    with open_source(file, ",", LIMITS) as opened:
        assert opened.name == "ab?.csv"


def test_wrapped_file_object_is_read() -> None:
    class Upload:
        def __init__(self) -> None:
            self.stream = io.BytesIO(b"id,name\n1,Ann\n")

        def __getattr__(self, name: str) -> object:
            return getattr(self.stream, name)

    upload: Any = Upload()
    assert read(upload) == (("id", "name"), b"1,Ann\n")
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(b"id,name\n1,Ann\n")
        file.seek(0)
        assert read(file) == (("id", "name"), b"1,Ann\n")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_bytes_like_objects_are_accepted(kind: Callable[[bytes], ImportSource]) -> None:
    with open_source(kind(b"id\n1\n"), None, LIMITS) as opened:
        assert (opened.name, b"".join(opened.blocks)) == ("bytes", b"id\n1\n")


def test_single_mapping_is_refused_as_rows() -> None:
    one: Any = {"id": 1}
    assert refusal(one) == "rows: a mapping is one row: pass a list of mappings"


@pytest.mark.parametrize("value", [b"x", bytearray(b"x"), [1], {"a": 1}, {1}, (1, 2), np.ones(2)])
def test_unsupported_value_is_refused_naming_row_and_column(value: object) -> None:
    rows: list[dict[str, object]] = [{"id": 1, "total": 1}, {"id": 2, "total": value}]
    kind = type(value).__name__
    assert refusal(rows) == f"rows: row 2, column 'total': {kind} has no text"


def test_numbers_of_numpy_are_written_like_those_of_python() -> None:
    row = {"a": np.float64(1e16), "b": np.float32(0.1), "c": np.float32(3), "d": np.int64(7)}
    assert read([row])[1] == b"10000000000000000,0.1,3,7\r\n"


def test_enum_members_are_written_as_their_values() -> None:
    class Status(str, Enum):  # noqa: UP042 - the older kind, whose text is the member's name
        PAID = "paid"

    class Size(int, Enum):
        SMALL = 1

    assert read([{"a": Status.PAID, "b": Size.SMALL}])[1] == b"paid,1\r\n"


def test_first_blocks_reads_no_more_than_needed() -> None:
    blocks = iter([b"12", b"34", b"56"])
    assert first_blocks(blocks, 3) == [b"12", b"34"]
    assert next(blocks) == b"56"
