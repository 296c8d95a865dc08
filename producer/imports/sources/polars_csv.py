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
"""Maximum number of rows in a slice. Pages outside a slice are not decompressed for it."""

FIRST_SLICE, GROWTH = 256, 4
"""Rows of the first slice, which show how large rows are, and the factor by which the next slice may
have more: rows may be larger later in the file."""

SLICE_BYTES = 12 << 20
"""Approximate bytes of memory for a slice of a file."""

TEXT_AT_ONCE = 8 << 20
"""Approximate bytes of CSV that are written at once. Equal texts share their memory in a frame, but not
in CSV."""

SHORTEST = selectors.by_dtype(pl.Float32).cast(pl.String).cast(pl.Float64)
"""Columns of 32-bit numbers, with their shortest texts: 0.1, not 0.10000000149."""


def parquet_text(name: str, path: Path, limits: SourceLimits, delimiter: str) -> Iterator[bytes]:
    """Yield a Parquet file as CSV.

    Raises:
        InvalidFile: it is damaged or exceeds a limit.
    """
    try:
        frame = pl.scan_parquet(path.absolute(), glob=False)
        height = frame.select(pl.len()).collect().item()
        schema = frame.collect_schema()
        check_column_count(name, len(schema), limits)
        columns = _columns_with_text(schema)
        # A file that must exceed the limit is not read at all: a cell takes at least one byte.
        check_text_bytes(name, height * len(columns), path.stat().st_size, limits)
        # Columns without text are left out here, so that they are not read.
        slices = bounded_slices(frame.select(columns), height)
        yield from _csv_text(name, slices, delimiter)
    except (PolarsError, PanicException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise InvalidFile(f"{name}: is a damaged Parquet file: {first_line}") from None


def bounded_slices(frame: pl.LazyFrame, height: int) -> Iterator[pl.DataFrame]:
    """Yield the frame in slices of about equal memory, also where the size of rows varies.

    A frame without rows is one slice, which has the columns.
    """
    start, rows = 0, FIRST_SLICE
    while start < max(height, 1):
        part = frame.slice(start, rows).collect()
        yield part
        start += rows
        row_bytes = max(int(part.estimated_size()) // max(part.height, 1), 1)
        rows = max(min(SLICE_BYTES // row_bytes, rows * GROWTH, SLICE), 1)


def frame_text(name: str, frame: pl.DataFrame, delimiter: str) -> Iterator[bytes]:
    """Yield a frame as CSV.

    Raises:
        InvalidFile: a text is longer than the longest record.
    """
    # A frame without rows is one slice, which has the columns.
    slices = (frame.slice(start, SLICE) for start in range(0, max(frame.height, 1), SLICE))
    return _csv_text(name, slices, delimiter)


def _csv_text(name: str, slices: Iterable[pl.DataFrame], delimiter: str) -> Iterator[bytes]:
    """Yield the slices as one CSV text with one header."""
    for number, frame in enumerate(slices):
        texts = frame.select(_columns_with_text(frame.schema)).with_columns(SHORTEST)
        if number == 0:
            yield texts.clear().write_csv(separator=delimiter).encode()
        for part in _parts(name, texts):
            yield part.write_csv(
                separator=delimiter, include_header=False, float_scientific=False
            ).encode()


def _columns_with_text(schema: pl.Schema) -> list[str]:
    """Return the names of columns whose values have a text; nested ones and bytes do not."""
    without_text = pl.Binary, pl.Object, pl.Duration
    return [
        name
        for name, kind in schema.items()
        if not kind.is_nested() and not isinstance(kind, without_text)
    ]


def _parts(name: str, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Split the frame into slices of about `TEXT_AT_ONCE` bytes of text."""
    lengths = [_lengths(column) for column in frame]
    if any(column.gt(MAX_RECORD_BYTES).any() for column in lengths):
        raise InvalidFile(f"{name}: a text in it is longer than {MAX_RECORD_BYTES} bytes")
    total = sum(int(column.sum()) for column in lengths)
    return frame.iter_slices(max(frame.height * TEXT_AT_ONCE // max(total, TEXT_AT_ONCE), 1))


def _lengths(column: pl.Series) -> pl.Series:
    """Return the bytes of each text in the column; nothing for other columns, whose values are short."""
    # Categories are not cast to texts: that would give each row a copy of its own.
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cat.len_bytes()
    if column.dtype == pl.String:
        return column.str.len_bytes()
    return pl.Series(dtype=pl.UInt32)
