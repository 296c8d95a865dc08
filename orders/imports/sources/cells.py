"""Values as the text of CSV cells, and rows of them as CSV."""

import csv
import io
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from orders.errors import InvalidFile
from orders.imports.sources.files import BLOCK

AS_THEY_ARE = {str, int, type(None)}
"""Types whose values the csv module writes as a worker reads them; most cells have one of them."""


def cell_text(value: object) -> str | None:
    """The value as a worker reads it: numbers without an exponent, whole ones without a point."""
    match value:
        case None | str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return _float_text(value)
        case Decimal():
            return format(value, "f")
        case _:
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
        InvalidFile: a text is no Unicode; says in which row, the first being 1.
    """
    writer = _Writer(name, delimiter)
    writer.write(columns)
    for row in rows:
        writer.write(row)
        if writer.is_full():
            yield writer.taken()
    yield writer.taken()


class _Writer:
    """Collects rows as CSV."""

    def __init__(self, name: str, delimiter: str) -> None:
        self._name = name
        self._before = -1
        self._ends: list[int] = []
        self._text = io.StringIO()
        # With this line end the writer quotes a lone CR too.
        self._writer = csv.writer(self._text, delimiter=delimiter, lineterminator="\r\n")

    def write(self, row: Sequence[Any]) -> None:
        self._writer.writerow(
            [value if type(value) in AS_THEY_ARE else cell_text(value) for value in row]
        )
        self._ends.append(self._text.tell())

    def is_full(self) -> bool:
        return self._text.tell() >= BLOCK

    def taken(self) -> bytes:
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
