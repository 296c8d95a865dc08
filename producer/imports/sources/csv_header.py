"""The header of a CSV text: its delimiter and its column names."""

import codecs
import csv
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from orderworks.core.errors import InvalidFile
from orderworks.core.text import WHITE_SPACE
from orderworks.imports.columns import DELIMITERS
from orderworks.imports.csv_records import BadQuote, RecordRun, Splitter

_QUOTED = re.compile(rb'(?<![^,;\t|\r\n])"(?>(?:[^"]++|"")*)"')


class SourceHeader(NamedTuple):
    """The delimiter and header of a file, and the position of its first record.

    Attributes:
        delimiter, header: as in `FileFormat`.
        data_start, data_line: as in `OpenSource`.
    """

    delimiter: str
    header: tuple[str, ...]
    data_start: int
    data_line: int


def check_delimiter(delimiter: str) -> str:
    """Return the delimiter as one character; a backslash and a `t` mean a tab.

    Raises:
        InvalidFile: it is not one ASCII character, or is a character that CSV reserves.
    """
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise InvalidFile(f"{delimiter!r} cannot be the delimiter: give one ASCII character")
    return delimiter


def rank_delimiters(start: bytes) -> str:
    """Return the detected delimiters, the one first that is most frequent in the header outside quotes.

    The comma is the first one if two are most frequent. `start` is the first bytes of the file: all of
    the header, if it is shorter than the longest record.
    """
    header = first_line(start)
    counts = {each: header.count(each.encode()) for each in DELIMITERS}
    ranked = sorted(DELIMITERS, key=lambda each: -counts[each])
    level = counts[ranked[0]] == counts[ranked[1]]
    return DELIMITERS if level else "".join(ranked)


def first_line(start: bytes) -> bytes:
    """Return the header line of a file with these first bytes, without its quoted parts."""
    text = _QUOTED.sub(b"", start.removeprefix(codecs.BOM_UTF8)).lstrip(b"\r\n")
    return text.partition(b"\n")[0]


def reject_unstorable_names(name: str, header: Iterable[str]) -> None:
    """Raise InvalidFile if the ledger cannot store a column name."""
    for column in header:
        if "\0" in column or column.encode(errors="replace").decode() != column:
            raise InvalidFile(
                f"{name}: the column name {column!r} has a NUL or a lone surrogate in it"
            )


def read_csv_header(
    name: str, blocks: Iterator[bytes], delimiter: str
) -> tuple[SourceHeader, list[bytes]]:
    """Return the header of a CSV text, and the blocks that were read for it.

    Raises:
        InvalidFile: there is no header, or it cannot be read.
    """
    read_ahead: list[bytes] = []

    def remembered() -> Iterator[bytes]:
        for block in blocks:
            read_ahead.append(block)
            yield block.removeprefix(codecs.BOM_UTF8) if len(read_ahead) == 1 else block

    start, line = 0, 1
    for run in Splitter(delimiter).runs(remembered()):
        record, lines = _first_record(run)
        start, line = start + len(record), line + lines
        if record.strip(b"\r\n"):
            bom = len(codecs.BOM_UTF8) if read_ahead[0].startswith(codecs.BOM_UTF8) else 0
            header = _column_names(name, record, run.bad_quote, delimiter)
            if not any(header):
                break
            return SourceHeader(delimiter, header, start + bom, line), read_ahead
    raise InvalidFile(f"{name}: has no header")


def _first_record(run: RecordRun) -> tuple[bytes, int]:
    """Return the first record that is not blank with the blank lines before it, and its line count."""
    data = run.data
    if run.is_one_record:
        return data, run.lines
    content = len(data) - len(data.lstrip(b"\r\n"))
    end = data.find(b"\n", content) + 1 or len(data)
    return data[:end], data.removesuffix(b"\n").count(b"\n", 0, end - 1) + 1


def _column_names(
    name: str, record: bytes, bad_quote: BadQuote | None, delimiter: str
) -> tuple[str, ...]:
    text = _decoded(name, record).strip("\r\n")
    if "\r" in re.sub(r'"[^"]*"', "", text):
        raise InvalidFile(f"{name}: its lines end in a lone CR; they must end in LF or CR LF")
    if bad_quote:
        problem = "closes it before other text" if bad_quote.is_closed else "does not close it"
        raise InvalidFile(f"{name}: the header opens a quote and {problem}")
    try:
        return tuple(
            column.strip(WHITE_SPACE) for column in next(csv.reader([text], delimiter=delimiter))
        )
    except csv.Error as error:
        raise InvalidFile(f"{name}: the header cannot be read: {error}") from None


def _decoded(name: str, record: bytes) -> str:
    try:
        return record.decode()
    except UnicodeDecodeError as error:
        raise InvalidFile(
            f"{name}: the header is not UTF-8: {error.reason}; convert it to UTF-8"
        ) from None
