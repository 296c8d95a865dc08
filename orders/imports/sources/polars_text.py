"""Parquet files and polars frames as a CSV text, slice by slice.

Loads polars: imported only inside the functions that need it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from orders.errors import InvalidFile
from orders.imports.records import LONGEST_RECORD
from orders.imports.sources.limits import (
    Limits,
    refuse_more_columns,
    refuse_more_unpacked,
)

SLICE = 50_000
"""Rows of a Parquet file in memory at once. Pages outside a slice are not unpacked for it."""

TEXT_AT_ONCE = 8 << 20
"""Bytes of text, about, that a slice is written in. Equal texts share their memory in a frame, but
not in CSV."""


def parquet_text(name: str, path: Path, limits: Limits, delimiter: str) -> Iterator[bytes]:
    """A Parquet file as CSV.

    Raises:
        InvalidFile: it is damaged, or larger than it may be.
    """
    try:
        frame = pl.scan_parquet(path.absolute(), glob=False)
        height = frame.select(pl.len()).collect().item()
        columns = len(frame.collect_schema())
        _refuse_more_cells(name, height, columns, path.stat().st_size, limits)
        slices = (frame.slice(at, SLICE).collect() for at in range(0, max(height, 1), SLICE))
        yield from csv_text(name, slices, delimiter)
    except (PolarsError, PanicException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise InvalidFile(f"{name}: is a damaged Parquet file: {first_line}") from None


def _refuse_more_cells(name: str, height: int, columns: int, size: int, limits: Limits) -> None:
    """Refuse what cannot be within the limits before any of it is unpacked: a cell is a byte."""
    refuse_more_columns(name, columns, limits)
    refuse_more_unpacked(name, height * columns, size, limits)


def csv_text(name: str, frames: Iterable[pl.DataFrame], delimiter: str) -> Iterator[bytes]:
    """The frames, which have the same columns, as one CSV text with a header.

    Raises:
        InvalidFile: a text is longer than a record may be.
    """
    header = True
    for frame in frames:
        texts = frame.select(_columns_with_text(frame.schema))
        for part in _parts(name, texts):
            yield part.write_csv(
                separator=delimiter, include_header=header, float_scientific=False
            ).encode()
            header = False


def _columns_with_text(schema: pl.Schema) -> list[pl.Expr]:
    """Expressions for the columns that CSV can hold; nested ones and bytes are left out."""
    without = pl.Binary, pl.Object, pl.Duration
    return [
        pl.col(name).cast(pl.String) if isinstance(kind, pl.Categorical | pl.Enum) else pl.col(name)
        for name, kind in schema.items()
        if not kind.is_nested() and not isinstance(kind, without)
    ]


def _parts(name: str, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frame in slices that are no more text than is written at once; at least one."""
    texts = [column.str.len_bytes() for column in frame if column.dtype == pl.String]
    if any((lengths.max() or 0) > LONGEST_RECORD for lengths in texts):  # type: ignore[operator]  # integers
        raise InvalidFile(f"{name}: a text in it is longer than {LONGEST_RECORD} bytes")
    total = sum(int(lengths.sum()) for lengths in texts)
    return frame.iter_slices(max(frame.height * TEXT_AT_ONCE // max(total, TEXT_AT_ONCE), 1))
