"""What a producer hands over to be imported, as a stream of plain CSV or JSON Lines.

A source is read once, in blocks, in constant memory. What no worker could load is refused here,
while it streams: lines without an end, a header that cannot be read, more than the limits allow.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from orderworks.core.errors import InvalidFile
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from orderworks.imports.file_format import FormatName
from producer.imports.sources.compression import decompressed
from producer.imports.sources.csv_header import (
    SourceHeader,
    check_delimiter,
    find_delimiter,
    first_line,
    read_csv_header,
    reject_unstorable_names,
)
from producer.imports.sources.dataframes import DataFrameLike, find_frame_writer
from producer.imports.sources.files import (
    BytesLike,
    CountedFile,
    PeekableFile,
    Readable,
    blocks_of,
    is_readable,
    open_file,
)
from producer.imports.sources.formats import extension, find_format
from producer.imports.sources.jsonl_header import read_jsonl_header
from producer.imports.sources.limits import SourceLimits, check_column_count
from producer.imports.sources.mappings import rows_text
from producer.imports.sources.parquet import parquet_text, temporary_copy
from producer.imports.sources.text_stream import (
    bounded,
    checked_lines,
    first_blocks,
    reject_other_encodings,
)

ImportSource = (
    str | os.PathLike[str] | BytesLike | Readable | DataFrameLike | Iterable[Mapping[str, Any]]
)
"""A path, the content itself, a file opened for reading bytes, a table of polars, pandas or pyarrow,
or rows as mappings. Files are CSV, JSON Lines or Parquet, plain or packed by gzip or zstd."""


class OpenSource(NamedTuple):
    """An open source.

    Attributes:
        name: the file's base name, or what stands for it.
        format, delimiter: as in `Layout`.
        header: the column names; of CSV, without surrounding spaces.
        data_start: where the records begin, in bytes from the start of what `blocks` gives.
        data_line: the physical line they begin on; the first line is 1.
        blocks: the whole text, header included; raises InvalidFile where it is not acceptable.
    """

    name: str
    format: FormatName
    delimiter: str
    header: tuple[str, ...]
    data_start: int
    data_line: int
    blocks: Iterator[bytes]


class _Text(NamedTuple):
    """A source turned into text. A CSV text whose delimiter nobody knows has None."""

    format: FormatName
    delimiter: str | None
    blocks: Iterator[bytes]


@contextmanager
def open_source(
    source: ImportSource, delimiter: str | None, limits: SourceLimits
) -> Iterator[OpenSource]:
    """Open a source and read its header. Without a delimiter, that is found out.

    Raises:
        InvalidFile: it cannot be read, has no header, or is more than it may be; says why.
        ConfigurationError: it is a Parquet file and polars is not installed.
        Unavailable: it is one that has to be copied first, and there is no room for that.
    """
    name = source_name(source)
    wanted = None if delimiter is None else check_delimiter(delimiter)
    with _open_text(name, source, wanted, limits) as text:
        blocks = checked_lines(name, text.blocks)
        front, seen = _read_front(name, text, blocks)
        check_column_count(name, len(front.header), limits)
        reject_unstorable_names(name, front.header)
        yield OpenSource(name, text.format, *front, chain(seen, blocks))


def source_name(source: ImportSource) -> str:
    """The base name of the file that the source is, else what kind of thing it is."""
    if find_frame_writer(source):
        return "table"
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if isinstance(path, str | os.PathLike):
        return _as_text(Path(path).name or str(path))
    if isinstance(source, BytesLike):
        return "bytes"
    return "stream" if is_readable(source) else "rows"


def _as_text(name: str) -> str:
    """The name without what the ledger could not keep of it."""
    return name.encode(errors="replace").decode().replace("\0", "")


@contextmanager
def _open_text(
    name: str, source: ImportSource, requested: str | None, limits: SourceLimits
) -> Iterator[_Text]:
    # Tables first: a column may be called `read`, and is then an attribute.
    if write := find_frame_writer(source):
        blocks = write(name, source, requested or ",")
        yield _Text("csv", requested or ",", bounded(name, blocks, None, limits))
    elif isinstance(source, str | os.PathLike | BytesLike) or is_readable(source):
        with _open_file_text(name, source, requested, limits) as text:
            yield text
    else:
        rows: Any = source
        blocks = rows_text(name, rows, requested or ",")
        yield _Text("csv", requested or ",", bounded(name, blocks, None, limits))


@contextmanager
def _open_file_text(
    name: str,
    source: str | os.PathLike[str] | BytesLike | Readable,
    requested: str | None,
    limits: SourceLimits,
) -> Iterator[_Text]:
    with open_file(source) as opened:
        given = CountedFile(name, opened, limits)
        handed = PeekableFile(given)
        file = decompressed(name, handed)
        found = find_format(name, file.peek())
        if found != "parquet":
            reject_other_encodings(name, file.peek())
            blocks = bounded(name, blocks_of(file), given, limits)
            yield _Text(found, _delimiter(name, found, requested), blocks)
        elif file is handed and isinstance(source, str | os.PathLike):
            given.set_count(Path(source).stat().st_size)
            yield _parquet(name, Path(source), given, requested, limits)
        else:
            with temporary_copy(name, file, given, limits) as path:
                yield _parquet(name, path, given, requested, limits)


def _parquet(
    name: str, path: Path, counted: CountedFile, requested: str | None, limits: SourceLimits
) -> _Text:
    delimiter = requested or ","
    blocks = parquet_text(name, path, limits, delimiter)
    return _Text("csv", delimiter, bounded(name, blocks, counted, limits))


def _delimiter(name: str, format_name: FormatName, requested: str | None) -> str | None:
    """The delimiter that the text certainly has; None if it is to be found out."""
    if format_name == "jsonl":
        if requested is not None:
            raise InvalidFile(f"{name}: is JSON Lines, which have no delimiter: give none")
        return ""
    return requested


def _read_front(
    name: str, text: _Text, blocks: Iterator[bytes]
) -> tuple[SourceHeader, Iterable[bytes]]:
    """What stands before the records, and the blocks that were taken to find out."""
    if text.format == "jsonl":
        return read_jsonl_header(name, blocks)
    start = [] if text.delimiter else first_blocks(blocks, MAX_RECORD_BYTES)
    delimiter = text.delimiter or _found_delimiter(name, b"".join(start))
    rest = chain(start, blocks)
    front, seen = read_csv_header(name, rest, delimiter)
    return front, chain(seen, rest)


def _found_delimiter(name: str, start: bytes) -> str:
    """What parts the fields: of a file that is called so, tabs, if its header has any."""
    if extension(name) == ".tsv" and b"\t" in first_line(start):
        return "\t"
    return find_delimiter(start)
