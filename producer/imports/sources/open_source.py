"""A source of an import, opened as a stream of uncompressed CSV or JSON Lines.

A source is read once, in blocks, in constant memory. Content that no worker could load is refused while
it is read: lines that are too long, a header that cannot be read, more bytes than the limits allow.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
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
    first_line,
    rank_delimiters,
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
    modification_time,
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
or rows as mappings. Files are CSV, JSON Lines or Parquet, uncompressed or compressed by gzip or zstd."""


class OpenSource(NamedTuple):
    """An open source.

    Attributes:
        name: the file's base name; of other sources, their kind.
        format, delimiter: as in `FileFormat`.
        header: the column names; of CSV, without surrounding spaces.
        data_start: offset of the first record in the text of `blocks`, in bytes.
        data_line: the physical line on which it begins; the first line is 1.
        blocks: the whole text, header included; the iteration raises InvalidFile where it is invalid.
        modified_at: the time at which a file with a path was last written; None for other sources.
    """

    name: str
    format: FormatName
    delimiter: str
    header: tuple[str, ...]
    data_start: int
    data_line: int
    blocks: Iterator[bytes]
    modified_at: datetime | None


class _Text(NamedTuple):
    """A source as text; without a delimiter (None) if that has to be detected."""

    format: FormatName
    delimiter: str | None
    blocks: Iterator[bytes]


@contextmanager
def open_source(
    source: ImportSource,
    delimiter: str | None,
    limits: SourceLimits,
    is_complete: Callable[[Sequence[str]], bool] = bool,
) -> Iterator[OpenSource]:
    """Open a source and read its header. If no delimiter is given, it is detected.

    Of the possible delimiters the first one counts with which `is_complete` is true of the header: it
    has the columns that are needed.

    Raises:
        InvalidFile: it cannot be read, has no header, or exceeds a limit; the message has the reason.
        ConfigurationError: it is a Parquet file and polars is not installed.
        Unavailable: it has to be copied to disk first, and there is no room for that.
    """
    name = source_name(source)
    requested = None if delimiter is None else check_delimiter(delimiter)
    with _open_text(name, source, requested, limits) as text:
        blocks = checked_lines(name, text.blocks)
        source_header, read_ahead = _read_header(name, text, blocks, is_complete)
        check_column_count(name, len(source_header.header), limits)
        reject_unstorable_names(name, source_header.header)
        content = chain(read_ahead, blocks)
        yield OpenSource(name, text.format, *source_header, content, modification_time(source))


def source_name(source: ImportSource) -> str:
    """Return the base name of the source's file, else the kind of the source."""
    if find_frame_writer(source):
        return "table"
    path = source if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    if isinstance(path, str | os.PathLike):
        return _storable(Path(path).name or str(path))
    if isinstance(source, BytesLike):
        return "bytes"
    return "stream" if is_readable(source) else "rows"


def _storable(name: str) -> str:
    """Return the name without characters that the ledger cannot store."""
    return name.encode(errors="replace").decode().replace("\0", "")


@contextmanager
def _open_text(
    name: str, source: ImportSource, requested: str | None, limits: SourceLimits
) -> Iterator[_Text]:
    # Tables first: a column named `read` is an attribute of some tables.
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
    with open_file(source) as raw:
        counted = CountedFile(name, raw, limits)
        peekable = PeekableFile(counted)
        file = decompressed(name, peekable)
        file_format = find_format(name, file.peek())
        if file_format != "parquet":
            reject_other_encodings(name, file.peek())
            blocks = bounded(name, blocks_of(file), counted, limits)
            yield _Text(file_format, _known_delimiter(name, file_format, requested), blocks)
        elif file is peekable and isinstance(source, str | os.PathLike):
            counted.set_count(Path(source).stat().st_size)
            yield _parquet(name, Path(source), counted, requested, limits)
        else:
            with temporary_copy(name, file, counted, limits) as path:
                yield _parquet(name, path, counted, requested, limits)


def _parquet(
    name: str, path: Path, counted: CountedFile, requested: str | None, limits: SourceLimits
) -> _Text:
    delimiter = requested or ","
    blocks = parquet_text(name, path, limits, delimiter)
    return _Text("csv", delimiter, bounded(name, blocks, counted, limits))


def _known_delimiter(name: str, file_format: FormatName, requested: str | None) -> str | None:
    """Return the delimiter of the text; None if it has to be detected."""
    if file_format == "jsonl":
        if requested is not None:
            raise InvalidFile(f"{name}: is JSON Lines, which has no delimiter: do not give one")
        return ""
    return requested


def _read_header(
    name: str, text: _Text, blocks: Iterator[bytes], is_complete: Callable[[Sequence[str]], bool]
) -> tuple[SourceHeader, Iterable[bytes]]:
    """Return the header, and the blocks that were read for it."""
    if text.format == "jsonl":
        return read_jsonl_header(name, blocks)
    start = [] if text.delimiter else first_blocks(blocks, MAX_RECORD_BYTES)
    delimiter = text.delimiter or _detect_delimiter(name, start, is_complete)
    rest = chain(start, blocks)
    header, read_ahead = read_csv_header(name, rest, delimiter)
    return header, chain(read_ahead, rest)


def _detect_delimiter(
    name: str, start: Sequence[bytes], is_complete: Callable[[Sequence[str]], bool]
) -> str:
    """Return the tab for a .tsv file with a tab in its header, else the delimiter of the header."""
    text = b"".join(start)
    if extension(name) == ".tsv" and b"\t" in first_line(text):
        return "\t"
    ranked = rank_delimiters(text)
    complete = (each for each in ranked if is_complete(_columns(name, start, each)))
    return next(complete, ranked[0])


def _columns(name: str, start: Sequence[bytes], delimiter: str) -> Sequence[str]:
    """Return the columns that the header has with that delimiter; none, if it cannot be read so."""
    try:
        return read_csv_header(name, iter(start), delimiter)[0].header
    except InvalidFile:
        return ()
