"""Parquet files and polars frames as a CSV text, slice by slice.

Loads polars: imported only inside the functions that need it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
from polars import selectors
from polars.exceptions import PanicException, PolarsError

from orderworks.core.errors import InvalidFile
from orderworks.imports.csv_records import MAX_RECORD_BYTES
from producer.imports.sources.limits import SourceLimits, check_column_count, check_text_bytes

SLICE = 50_000
"""Rows that are turned into text at once, at the most. Pages outside a slice are not unpacked for it."""

FIRST_SLICE, GROWTH = 256, 4
"""Rows that are looked at to learn how large rows are, and how many times more the next slice has at
the most: rows may be larger farther on."""

SLICE_BYTES = 12 << 20
"""Bytes, about, that a slice of a file takes in memory."""

TEXT_AT_ONCE = 8 << 20
"""Bytes of text, about, that a slice is written in. Equal texts share their memory in a frame, but
not in CSV."""

SHORTEST = selectors.by_dtype(pl.Float32).cast(pl.String).cast(pl.Float64)
"""Numbers of 32 bits by their shortest text: 0.1 is not to become 0.10000000149."""


def parquet_text(name: str, path: Path, limits: SourceLimits, delimiter: str) -> Iterator[bytes]:
    """A Parquet file as CSV.

    Raises:
        InvalidFile: it is damaged, or larger than it may be.
    """
    try:
        frame = pl.scan_parquet(path.absolute(), glob=False)
        height = frame.select(pl.len()).collect().item()
        schema = frame.collect_schema()
        check_column_count(name, len(schema), limits)
        columns = _columns_with_text(schema)
        # What cannot be within the limits is not unpacked at all: a cell is a byte.
        check_text_bytes(name, height * len(columns), path.stat().st_size, limits)
        # What has no text must not be unpacked either, only to be left out.
        slices = bounded_slices(frame.select(columns), height)
        yield from _csv_text(name, slices, delimiter)
    except (PolarsError, PanicException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise InvalidFile(f"{name}: is a damaged Parquet file: {first_line}") from None


def bounded_slices(frame: pl.LazyFrame, height: int) -> Iterator[pl.DataFrame]:
    """The frame in slices that take about the same memory, however large its rows are.

    A frame without rows is one slice, which has the columns.
    """
    at, rows = 0, FIRST_SLICE
    while at < max(height, 1):
        part = frame.slice(at, rows).collect()
        yield part
        at += rows
        row_bytes = max(int(part.estimated_size()) // max(part.height, 1), 1)
        rows = max(min(SLICE_BYTES // row_bytes, rows * GROWTH, SLICE), 1)


def frame_text(name: str, frame: pl.DataFrame, delimiter: str) -> Iterator[bytes]:
    """A frame as CSV.

    Raises:
        InvalidFile: a text is longer than a record may be.
    """
    slices = (frame.slice(at, SLICE) for at in _starts(frame.height))
    return _csv_text(name, slices, delimiter)


def _starts(height: int) -> range:
    """Where slices begin. A table without rows is one, which has the columns."""
    return range(0, max(height, 1), SLICE)


def _csv_text(name: str, slices: Iterable[pl.DataFrame], delimiter: str) -> Iterator[bytes]:
    """The slices as one CSV text with one header."""
    for number, frame in enumerate(slices):
        texts = frame.select(_columns_with_text(frame.schema)).with_columns(SHORTEST)
        if number == 0:
            yield texts.clear().write_csv(separator=delimiter).encode()
        for part in _parts(name, texts):
            yield part.write_csv(
                separator=delimiter, include_header=False, float_scientific=False
            ).encode()


def _columns_with_text(schema: pl.Schema) -> list[str]:
    """The columns that CSV can hold; nested ones and bytes are left out."""
    without = pl.Binary, pl.Object, pl.Duration
    return [
        name
        for name, kind in schema.items()
        if not kind.is_nested() and not isinstance(kind, without)
    ]


def _parts(name: str, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frame in slices that are no more text than is written at once."""
    lengths = [_lengths(column) for column in frame]
    if any(each.gt(MAX_RECORD_BYTES).any() for each in lengths):
        raise InvalidFile(f"{name}: a text in it is longer than {MAX_RECORD_BYTES} bytes")
    total = sum(int(each.sum()) for each in lengths)
    return frame.iter_slices(max(frame.height * TEXT_AT_ONCE // max(total, TEXT_AT_ONCE), 1))


def _lengths(column: pl.Series) -> pl.Series:
    """The bytes of each text in the column; of other columns none: their values are short."""
    # Categories are not cast to texts: that would give each row a copy of its own.
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cat.len_bytes()
    if column.dtype == pl.String:
        return column.str.len_bytes()
    return pl.Series(dtype=pl.UInt32)
