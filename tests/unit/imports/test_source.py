"""What can be handed over, and what is refused before anything is sent."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orders.errors import InvalidFile
from orders.imports.records import LONGEST_RECORD
from orders.imports.source import BLOCK, ImportSource, check_delimiter, open_source


def read(source: ImportSource, delimiter: str = ",") -> tuple[tuple[str, ...], bytes]:
    """The header, and the records as text after it."""
    with open_source(source, delimiter) as opened:
        content = b"".join(opened.blocks)
        return opened.header, content[opened.data_start :]


def refusal(source: ImportSource) -> str:
    with pytest.raises(InvalidFile) as raised:
        read(source)
    return str(raised.value)


def test_paths_files_bytes_and_rows_are_the_same_thing(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id,name\n1,Ann\n")
    with path.open("rb") as file:
        sources: list[ImportSource] = [path, str(path), file, path.read_bytes()]
        assert {read(source) for source in sources} == {(("id", "name"), b"1,Ann\n")}
    assert read([{"id": 1, "name": "Ann"}]) == (("id", "name"), b"1,Ann\r\n")


def test_source_is_named_without_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(b"id\n")
    with open_source(path, ",") as opened:
        assert opened.name == "orders.csv"
    with path.open("rb") as file, open_source(file, ",") as opened:
        assert opened.name == "orders.csv"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"id,name\n1,Ann\n", 2),
        (b"id,name\r\n1,Ann\n", 2),
        (b"\xef\xbb\xbfid,name\n1,Ann\n", 2),
        (b'"id"," name "\n1,Ann\n', 2),
        (b'id,"na\nme"\n1,Ann\n', 3),
        (b"\n\r\nid,name\n1,Ann\n", 4),
    ],
)
def test_header_is_found_and_records_begin_after_it(content: bytes, line: int) -> None:
    with open_source(content, ",") as opened:
        assert opened.data_line == line
        assert content[opened.data_start :] == b"1,Ann\n"
        assert opened.header[0] == "id"
        assert b"".join(opened.blocks) == content


def test_header_alone_is_a_file() -> None:
    assert read(b"id,name") == (("id", "name"), b"")


def test_what_is_not_a_file_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv") == f"{tmp_path}/none.csv: there is no such file"
    assert refusal(str(tmp_path)) == f"{tmp_path}: is a folder"
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == f"{tmp_path}/pipe: is not a regular file"
    text = io.StringIO("id\n")
    assert refusal(text) == "stream: gives text; open it for reading bytes"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "bytes: is empty"),
        (b"\n\n", "bytes: has no header"),
        (b"\xef\xbb\xbf", "bytes: has no header"),
        (b"id,name\r1,Ann\r", "bytes: its lines end in a lone CR; they must end in LF or CR LF"),
        (b'id,"name\n1,Ann\n', "bytes: the header opens a quote and does not close it"),
        (b"id\n1\n\xff\n", "bytes: is not UTF-8: line 3: invalid start byte"),
        (b"id\n1\n2\xc3", "bytes: is not UTF-8: line 3: unexpected end of data"),
        (b"i\x00d\xfe,", "bytes: is not UTF-8: line 1: invalid start byte"),
        ("id\n".encode("utf-16"), "bytes: is not UTF-8: line 1: invalid start byte"),
    ],
)
def test_content_that_is_no_csv_in_utf8_is_refused(content: bytes, problem: str) -> None:
    assert refusal(content) == problem


@pytest.mark.parametrize("before", [BLOCK - 2, BLOCK - 1, BLOCK, 3 * BLOCK + 1])
def test_text_is_checked_across_blocks(before: int) -> None:
    filled = b"id\n" + b"x\n" * ((before - 3) // 2) + b"y" * ((before - 3) % 2)
    assert len(filled) == before
    assert read(filled + "é\n".encode())[1].endswith("é\n".encode())
    lines = filled.count(b"\n")
    assert f"line {lines + 1}: " in refusal(filled + b"\xc3(\n")
    assert f"line {lines + 1}: " in refusal(filled + b"\xc3")


def test_line_without_an_end_is_refused() -> None:
    long = b"x" * LONGEST_RECORD
    assert read(b"id\n" + long + b"\n")
    assert (
        refusal(b"id\n" + long + b"x\n") == f"bytes: line 2 is longer than {LONGEST_RECORD} bytes"
    )
    assert refusal(long + b"x").startswith("bytes: line 1 is longer")


def test_endless_file_is_read_in_constant_memory() -> None:
    class Endless:
        given = 0

        def read(self, size: int, /) -> bytes:
            self.given += 1
            return b"id\n" if self.given == 1 else b"1\n" * (size // 2)

    with open_source(Endless(), ",") as opened:
        for _block, number in zip(opened.blocks, range(1000), strict=False):
            assert number >= 0


def test_rows_of_mappings_keep_every_character() -> None:
    rows: list[dict[str, Any]] = [{"a": 'x,"y"', "b": "\r"}, {"a": "z\nü"}, {"b": None}]
    assert read(rows)[1] == 'a,b\r\n"x,""y""","\r"\r\n"z\nü",\r\n,\r\n'.encode()[5:]


def test_rows_with_keys_of_their_own_are_refused() -> None:
    assert refusal([{"a": 1}, {"b": 2}]) == "rows: the first row has no key 'b'"
    assert refusal([1]) == "rows: int is not a row: give mappings"  # type: ignore[list-item]
    assert refusal([]) == "rows: is empty"


@pytest.mark.parametrize("number", [1, 2, 3, 100_000])
def test_row_that_no_utf8_can_hold_is_named(number: int) -> None:
    rows = ({"a": "x\n", "b": "\ud800" if each == number else each} for each in range(1, 100_001))
    assert refusal(rows) == (
        f"rows: row {number} has the lone surrogate '\\ud800', which no UTF-8 text can have"
    )


def test_reading_that_fails_says_so() -> None:
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


def test_rows_are_asked_for_only_as_they_are_sent() -> None:
    asked = []

    def rows() -> Iterator[dict[str, int]]:
        for number in range(1_000_000):
            asked.append(number)
            yield {"id": number}

    with open_source(rows(), ",") as opened:
        next(opened.blocks)
    assert len(asked) < 100_000
