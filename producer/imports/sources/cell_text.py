"""Values as the text of CSV cells, and rows of them as CSV."""

import csv
import io
import numbers
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from orderworks.core.errors import InvalidFile
from producer.imports.sources.files import BLOCK

UNCONVERTED_TYPES = {str, int, type(None)}
"""Types whose values the csv module writes as a worker reads them; most cells have one of them."""


def cell_text(value: object) -> str | None:
    """The value as a worker reads it: numbers without an exponent, whole ones without a point.

    Raises:
        TypeError: it is bytes, or holds other values: such have no text.
    """
    match value:
        case None:
            return None
        case str():
            # An enumeration's own text would be the member's name.
            return str.__str__(value)
        case bool():
            return "true" if value else "false"
        case float():
            return _float_text(value)
        case int():
            return int.__repr__(value)
        case _:
            return _text_of_other(value)


def is_nested_or_bytes(value: object) -> bool:
    """Whether the value is bytes, a list, a mapping, an array or the like."""
    return not isinstance(value, str) and (hasattr(value, "__len__") or hasattr(value, "__iter__"))


def _text_of_other(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if is_nested_or_bytes(value):
        raise TypeError(f"{type(value).__name__} has no text")
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        # The floats of other libraries, of 32 bits too, are written as they are shown.
        return _float_text(float(str(value)))
    return str(value)


def _float_text(value: float) -> str:
    # The shortest text that means this number; floats of other libraries have a repr of their own.
    text = float.__repr__(value)
    plain = format(Decimal(text), "f") if "e" in text else text
    return plain.removesuffix(".0")


def csv_blocks(
    name: str, columns: Sequence[Any], rows: Iterable[Sequence[Any]], delimiter: str
) -> Iterator[bytes]:
    """A CSV text with these column names and rows, a block or a row at a time.

    Raises:
        InvalidFile: a value has no text, or one that is no Unicode; says in which row, the first
            being 1.
    """
    writer = _CsvWriter(name, [str(column) for column in columns], delimiter)
    for row in rows:
        writer.write(row)
        if writer.is_full():
            yield writer.take_bytes()
    yield writer.take_bytes()


class _CsvWriter:
    """Collects rows as CSV."""

    def __init__(self, name: str, columns: Sequence[str], delimiter: str) -> None:
        self._name = name
        self._columns = columns
        self._before = -1
        self._ends: list[int] = []
        self._text = io.StringIO()
        # With this line end the writer quotes a lone CR too.
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator="\r\n")
        self.write(columns)

    def write(self, row: Sequence[Any]) -> None:
        try:
            cells = [
                value if type(value) in UNCONVERTED_TYPES else cell_text(value) for value in row
            ]
        except TypeError as error:
            raise InvalidFile(f"{self._name}: {self._first_without_text(row)}: {error}") from None
        self._writer.writerow(cells)
        self._ends.append(self._text.tell())

    def _first_without_text(self, row: Sequence[Any]) -> str:
        place = next(place for place, value in enumerate(row) if is_nested_or_bytes(value))
        number = self._before + len(self._ends) + 1
        return f"row {number}, column {self._columns[place]!r}"

    def is_full(self) -> bool:
        return self._text.tell() >= BLOCK

    def take_bytes(self) -> bytes:
        """What is collected, as UTF-8; the writer is empty then."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            row = self._before + bisect_right(self._ends, error.start) + 1
            raise InvalidFile(
                f"{self._name}: row {row} has the lone surrogate {text[error.start]!r}, "
                "which no UTF-8 text can have"
            ) from None
        self._before += len(self._ends)
        self._ends.clear()
        return encoded
