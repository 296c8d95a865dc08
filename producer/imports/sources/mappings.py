"""Mappings as a CSV text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orderworks.core.errors import InvalidFile
from producer.imports.sources.cell_text import csv_blocks


def rows_text(name: str, rows: Iterable[Mapping[str, Any]], delimiter: str) -> Iterator[bytes]:
    """Yield the mappings as CSV; the keys of the first are the columns, a missing key is an empty cell.

    Raises:
        InvalidFile: one of them is not a mapping, or has a key that the first does not have.
    """
    if not isinstance(rows, Iterable):
        raise InvalidFile(f"{name}: {type(rows).__name__} cannot be imported")
    if isinstance(rows, Mapping):
        raise InvalidFile(f"{name}: a mapping is one row: pass a list of mappings")
    iterator = iter(rows)
    for first in iterator:
        columns = tuple(_require_mapping(name, first))
        yield from csv_blocks(name, columns, _cells(name, columns, first, iterator), delimiter)


def _cells(
    name: str,
    columns: Sequence[str],
    first: Mapping[str, Any],
    others: Iterator[Mapping[str, Any]],
) -> Iterator[list[Any]]:
    yield [first[column] for column in columns]
    known = set(columns)
    for row in others:
        unknown = _require_mapping(name, row).keys() - known
        if unknown:
            raise InvalidFile(f"{name}: the first row has no key {min(unknown, key=str)!r}")
        yield [row.get(column) for column in columns]


def _require_mapping(name: str, row: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(row, Mapping):
        raise InvalidFile(f"{name}: {type(row).__name__} is not a row: pass mappings")
    return row
