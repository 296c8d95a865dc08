"""The text of values in CSV cells, and rows of values as CSV."""

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
"""Types whose values the csv module writes in the form that workers read; most cells have one."""


def cell_text(value: object) -> str | None:
    """Return the text that workers read: numbers without an exponent, integers without a point.

    Raises:
        TypeError: the value is bytes or a collection; these have no text.
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
    """Return whether the value is bytes, a list, a mapping, an array or similar."""
    return not isinstance(value, str) and (hasattr(value, "__len__") or hasattr(value, "__iter__"))


def _text_of_other(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    if is_nested_or_bytes(value):
        raise TypeError(f"{type(value).__name__} has no text")
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational):
        # Floats of other libraries, also of 32 bits, are written as their own text.
        return _float_text(float(str(value)))
    return str(value)


def _float_text(value: float) -> str:
    # The shortest text of this number. Subclasses in other libraries have another repr.
    text = float.__repr__(value)
    plain = format(Decimal(text), "f") if "e" in text else text
    return plain.removesuffix(".0")


def csv_blocks(
    name: str, columns: Sequence[Any], rows: Iterable[Sequence[Any]], delimiter: str
) -> Iterator[bytes]:
    """Yield a CSV text with these column names and rows, in blocks.

    Raises:
        InvalidFile: a value has no text, or one that is not valid Unicode; the message has the number
            of the row, from 1.
    """
    writer = _CsvWriter(name, [str(column) for column in columns], delimiter)
    for row in rows:
        writer.write(row)
        if writer.is_full():
            yield writer.take_bytes()
    yield writer.take_bytes()


class _CsvWriter:
    """A buffer of rows as CSV."""

    def __init__(self, name: str, columns: Sequence[str], delimiter: str) -> None:
        self._name = name
        self._columns = columns
        # The header is written as a row, and not counted.
        self._rows_before = -1
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
        index = next(index for index, value in enumerate(row) if is_nested_or_bytes(value))
        number = self._rows_before + len(self._ends) + 1
        return f"row {number}, column {self._columns[index]!r}"

    def is_full(self) -> bool:
        return self._text.tell() >= BLOCK

    def take_bytes(self) -> bytes:
        """Empty the buffer; return its text as UTF-8."""
        text = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            row = self._rows_before + bisect_right(self._ends, error.start) + 1
            raise InvalidFile(
                f"{self._name}: row {row} has the lone surrogate {text[error.start]!r}, "
                "which UTF-8 cannot encode"
            ) from None
        self._rows_before += len(self._ends)
        self._ends.clear()
        return encoded
