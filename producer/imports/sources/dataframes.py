"""Tables of polars, pandas and pyarrow as a CSV text, slice by slice.

The libraries are not imported here: a caller with a table has imported its library. Columns of lists,
structs or bytes have no text and are left out.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from producer.imports.sources.cell_text import csv_blocks, is_nested_or_bytes

SLICE = 10_000
"""Rows that are converted to text at once."""


class DataFrameLike(Protocol):
    """The part that the tables of the three libraries have in common."""

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""


FrameToCsv = Callable[[str, Any, str], Iterator[bytes]]
"""Yields a table as CSV, given the name for messages, the table and the delimiter."""


def find_frame_writer(source: object) -> FrameToCsv | None:
    """Return the function that writes a table like the source as CSV; None if it is not a table."""
    if _is_a(source, "polars", "DataFrame"):
        return _polars_text
    if _is_a(source, "pandas", "DataFrame"):
        return _pandas_text
    if _is_a(source, "pyarrow", "Table") or _is_a(source, "pyarrow", "RecordBatch"):
        return _arrow_text
    return None


def _is_a(source: object, library: str, kind: str) -> bool:
    module = sys.modules.get(library)
    table_type = getattr(module, kind, None)
    return isinstance(table_type, type) and isinstance(source, table_type)


def _polars_text(name: str, frame: Any, delimiter: str) -> Iterator[bytes]:  # noqa: ANN401 - not imported
    from producer.imports.sources import polars_csv  # noqa: PLC0415 - loads polars

    return polars_csv.frame_text(name, frame, delimiter)


def _pandas_text(name: str, frame: Any, delimiter: str) -> Iterator[bytes]:  # noqa: ANN401 - not imported
    indexes = [
        index for index in range(frame.shape[1]) if not _has_nested_values(frame.iloc[:, index])
    ]
    with_text = frame.iloc[:, indexes]

    def rows() -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(with_text), SLICE):
            part = with_text.iloc[start : start + SLICE]
            columns = [_pandas_values(part.iloc[:, index]) for index in range(part.shape[1])]
            yield from zip(*columns, strict=True)

    return csv_blocks(name, list(with_text.columns), rows(), delimiter)


def _pandas_values(column: Any) -> list[Any]:  # noqa: ANN401 - not imported
    """Return the column's values, None for each that is missing."""
    if hasattr(column.dtype, "pyarrow_dtype"):
        return _arrow_values(column.array.__arrow_array__())
    values = column.tolist()
    if column.dtype.type.__name__ == "float32":
        values = [_widened(column.dtype.type(value)) for value in column.fillna(0)]
    pairs = zip(values, column.isna().tolist(), strict=True)
    return [None if missing else value for value, missing in pairs]


def _widened(value: object) -> float:
    """Return the number with the shortest text of a 32-bit one: 0.1, not 0.10000000149."""
    return float(str(value))


def _has_nested_values(column: Any) -> bool:  # noqa: ANN401 - not imported
    """Return whether a value of the column is a list, a dict, an array or bytes."""
    if hasattr(column.dtype, "pyarrow_dtype"):
        return not _has_text(column.dtype.pyarrow_dtype)
    return column.dtype == object and any(map(is_nested_or_bytes, column))


def _arrow_text(name: str, table: Any, delimiter: str) -> Iterator[bytes]:  # noqa: ANN401 - not imported
    indexes = [index for index, field in enumerate(table.schema) if _has_text(field.type)]
    with_text = table.select(indexes)

    def rows() -> Iterator[tuple[Any, ...]]:
        for start in range(0, with_text.num_rows, SLICE):
            part = with_text.slice(start, SLICE)
            columns = [_arrow_values(column) for column in part.columns]
            yield from zip(*columns, strict=True)

    return csv_blocks(name, with_text.schema.names, rows(), delimiter)


def _has_text(kind: Any) -> bool:  # noqa: ANN401 - not imported
    types = sys.modules["pyarrow"].types
    tests = (
        types.is_nested,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
        types.is_binary_view,
    )
    return not any(test(kind) for test in tests)


def _arrow_values(column: Any) -> list[Any]:  # noqa: ANN401 - not imported
    """Return the column's values; times as texts, as Python has no nanoseconds and only 9999 years."""
    types = sys.modules["pyarrow"].types
    tests = (types.is_timestamp, types.is_date, types.is_time, types.is_float32)
    as_text = any(test(column.type) for test in tests)
    values: list[Any] = (column.cast("string") if as_text else column).to_pylist()
    if types.is_float32(column.type):
        return [None if text is None else _widened(text) for text in values]
    return values
