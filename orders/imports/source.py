"""What a producer hands over to be imported, as a stream of checked bytes.

A source is read once, in blocks, in constant memory. What no worker could load is refused here,
while it streams: not UTF-8, lines without an end, a header that cannot be read.
"""

import codecs
import csv
import io
import itertools
import os
import stat
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, runtime_checkable

from orders.errors import InvalidFile
from orders.imports.layout import Format
from orders.imports.records import LONGEST_RECORD, Form, Splitter

BLOCK = 256 << 10
"""Bytes read at once. A line that is too long is noticed because no block holds a whole one."""


@runtime_checkable
class Readable(Protocol):
    """A file opened for reading bytes, or what reads like one."""

    def read(self, size: int, /) -> bytes:
        """Some bytes, or none at the end."""


ImportSource = str | os.PathLike[str] | bytes | Readable | Iterable[Mapping[str, Any]]
"""A path, the content itself, a file opened for reading bytes, or rows as mappings."""


class OpenSource(NamedTuple):
    """An open source.

    Attributes:
        name: the file's base name, or what stands for it.
        format, delimiter: as in `Layout`.
        header: the file's column names, without surrounding spaces.
        data_start: where the records begin, in bytes from the start.
        data_line: the physical line they begin on; the first line of the file is 1.
        blocks: the whole content, header included; raises InvalidFile where it is not acceptable.
    """

    name: str
    format: Format
    delimiter: str
    header: tuple[str, ...]
    data_start: int
    data_line: int
    blocks: Iterator[bytes]


def check_delimiter(delimiter: str) -> str:
    """The delimiter as one character; the two characters that spell a tab are understood.

    Raises:
        InvalidFile: it is not a single ASCII character, or one that CSV needs for itself.
    """
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise InvalidFile(f"{delimiter!r} cannot be the delimiter: give one ASCII character")
    return delimiter


@contextmanager
def open_source(source: ImportSource, delimiter: str) -> Iterator[OpenSource]:
    """Open a source and read its header.

    Raises:
        InvalidFile: it cannot be read or has no header; names it and says why.
    """
    name = source_name(source)
    with _open_file(source, name, delimiter) as file:
        blocks = checked_blocks(name, _read_blocks(file, name))
        header, start, line, seen = _read_header(name, blocks, delimiter)
        yield OpenSource(name, "csv", delimiter, header, start, line, itertools.chain(seen, blocks))


def source_name(source: ImportSource) -> str:
    """The base name of the file that the source is, else what kind of thing it is."""
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if isinstance(path, str | os.PathLike):
        return Path(path).name or str(path)
    return (
        "bytes"
        if isinstance(source, bytes)
        else "stream"
        if isinstance(source, Readable)
        else "rows"
    )


@contextmanager
def _open_file(source: ImportSource, name: str, delimiter: str) -> Iterator[Readable]:
    """The source as a file of bytes; what was opened here is closed again."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(Path(source)) as file:
            yield file
    elif isinstance(source, Readable):
        yield source
    else:
        yield _RowsFile(source, name, delimiter)


def _open_path(path: Path) -> BinaryIO:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what = "a folder" if path.is_dir() else "not a regular file"
            raise InvalidFile(f"{path}: is {what}")
        return path.open("rb")
    except FileNotFoundError:
        raise InvalidFile(f"{path}: there is no such file") from None
    except OSError as error:
        raise InvalidFile(f"{path}: cannot be opened: {error.strerror}") from None


def _read_blocks(file: Readable, name: str) -> Iterator[bytes]:
    try:
        while block := file.read(BLOCK):
            if not isinstance(block, bytes):
                raise InvalidFile(f"{name}: gives text; open it for reading bytes")
            yield block
    except OSError as error:
        raise InvalidFile(f"{name}: cannot be read: {error}") from None


def checked_blocks(name: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same blocks, as long as they are UTF-8 text in lines of a bearable length.

    Raises:
        InvalidFile: they are not, or there is none; says on which line.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, open_line, empty = 1, 0, True
    for block in blocks:
        _decode(decoder, block, name, line)
        first_end = block.find(b"\n")
        open_line += len(block) if first_end < 0 else first_end
        if open_line > LONGEST_RECORD:
            raise InvalidFile(f"{name}: line {line} is longer than {LONGEST_RECORD} bytes")
        if first_end >= 0:
            open_line = len(block) - block.rfind(b"\n") - 1
        line += block.count(b"\n")
        empty = False
        yield block
    _decode(decoder, b"", name, line, final=True)
    if empty:
        raise InvalidFile(f"{name}: is empty")


def _decode(
    decoder: codecs.IncrementalDecoder, block: bytes, name: str, line: int, *, final: bool = False
) -> None:
    """Raise InvalidFile if the text so far is not UTF-8."""
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError as error:
        # The object at fault begins with what the block before it left open, never with a line end.
        at = line + error.object.count(b"\n", 0, error.start)
        raise InvalidFile(f"{name}: is not UTF-8: line {at}: {error.reason}") from None


def _read_header(
    name: str, blocks: Iterator[bytes], delimiter: str
) -> tuple[tuple[str, ...], int, int, list[bytes]]:
    """The column names, where the records begin (byte, line), and the blocks read to find out."""
    seen: list[bytes] = []

    def remembered() -> Iterator[bytes]:
        for block in blocks:
            seen.append(block)
            yield block.removeprefix(codecs.BOM_UTF8) if len(seen) == 1 else block

    start, line = 0, 1
    for run in Splitter(delimiter).runs(remembered()):
        record, lines = _first_record(run.data, run.form)
        start, line = start + len(record), line + lines
        if record.strip(b"\r\n"):
            bom = len(codecs.BOM_UTF8) if seen[0].startswith(codecs.BOM_UTF8) else 0
            return _column_names(name, record, run.form, delimiter), start + bom, line, seen
    raise InvalidFile(f"{name}: has no header")


def _first_record(data: bytes, form: Form) -> tuple[bytes, int]:
    """The first record that is not blank, with the blank lines before it, and their line count."""
    if form in (Form.SPANNING, Form.UNCLOSED):
        return data, data.removesuffix(b"\n").count(b"\n") + 1
    content = len(data) - len(data.lstrip(b"\r\n"))
    end = data.find(b"\n", content) + 1 or len(data)
    return data[:end], data.removesuffix(b"\n").count(b"\n", 0, end - 1) + 1


def _column_names(name: str, record: bytes, form: Form, delimiter: str) -> tuple[str, ...]:
    if form is Form.UNCLOSED:
        raise InvalidFile(f"{name}: the header opens a quote and does not close it")
    text = record.decode().strip("\r\n")
    if "\r" in text and form is Form.PLAIN:
        raise InvalidFile(f"{name}: its lines end in a lone CR; they must end in LF or CR LF")
    try:
        return tuple(column.strip() for column in next(csv.reader([text], delimiter=delimiter)))
    except csv.Error as error:
        raise InvalidFile(f"{name}: the header cannot be read: {error}") from None


class _RowsFile:
    """Reads as the CSV file of some mappings; the first one's keys are the columns."""

    def __init__(self, rows: Iterable[Mapping[str, Any]], name: str, delimiter: str) -> None:
        self._rows = iter(rows)
        self._name = name
        self._columns: Sequence[str] = ()
        self._given = 0
        self._ends: list[int] = []
        self._text = io.StringIO()
        # With this line end the writer quotes a lone CR too.
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator="\r\n")

    def read(self, size: int) -> bytes:
        """About `size` bytes, or none at the end."""
        for row in self._rows:
            self._write(row)
            if self._text.tell() >= size:
                break
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return self._encoded(text)

    def _encoded(self, text: str) -> bytes:
        """The text as UTF-8; which rows it is of is forgotten."""
        ends, self._ends = self._ends, []
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            row = self._given - len(ends) + bisect_right(ends, error.start) + 1
            raise InvalidFile(
                f"{self._name}: row {row} has the lone surrogate {text[error.start]!r}, "
                "which no UTF-8 text can have"
            ) from None

    def _write(self, row: Mapping[str, Any]) -> None:
        if not isinstance(row, Mapping):
            raise InvalidFile(f"{self._name}: {type(row).__name__} is not a row: give mappings")
        if not self._columns:
            self._columns = tuple(row)
            self._writer.writerow(self._columns)
        unknown = row.keys() - set(self._columns)
        if unknown:
            raise InvalidFile(f"{self._name}: the first row has no key {min(unknown)!r}")
        self._writer.writerow([row.get(column) for column in self._columns])
        self._given += 1
        self._ends.append(self._text.tell())
