"""The table of text cells that a chunk of any format is parsed into, and its records' bytes."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import polars as pl


class RecordFault(NamedTuple):
    """The reason why a record cannot be validated. `column` is empty if it is not one column's."""

    line: int
    column: str
    code: str
    reason: str


FAULT_SCHEMA = {"line": pl.Int64, "column": pl.String, "code": pl.String, "reason": pl.String}


class RawRecords:
    """The bytes of a chunk's records, for the few that are needed.

    `others` are the records that are not one line, by the line that they begin on.
    """

    def __init__(self, data: bytes, first_line: int, others: Mapping[int, bytes]) -> None:
        self._data = data
        self._first_line = first_line
        self._others = others

    def text_at(self, line: int) -> bytes:
        """The record that begins on the line, without its line end."""
        record = self._others.get(line)
        if record is None:
            record = self._lines[line - self._first_line]
        return record.removesuffix(b"\n").rstrip(b"\r")

    @cached_property
    def _lines(self) -> list[bytes]:
        return self._data.split(b"\n")


def field_name(index: int) -> str:
    """The name of the column of cells with this index in the file."""
    return f"field_{index}"


def cleared_name(index: int) -> str:
    """The name of the column that is true where the cell with this index is given as null."""
    return f"cleared_{index}"


def gather_cells(
    indexes: Sequence[int], valid: Sequence[pl.DataFrame], faults: Sequence[RecordFault]
) -> pl.DataFrame:
    """One table of the records, in any order.

    It has `line`; `field_{index}` for each index, null or empty for an empty cell; and `column`, `code`
    and `reason` of a fault, null for the others. The tables `valid` have `line` and fields, and perhaps
    `cleared_{index}`.
    """
    fields = {field_name(index): pl.String for index in indexes}
    empty = pl.DataFrame(schema={**FAULT_SCHEMA, **fields})
    broken = pl.DataFrame(faults, schema=FAULT_SCHEMA, orient="row")
    return pl.concat([empty, *valid, broken], how="diagonal")


def encoding_fault(line: int, record: bytes) -> RecordFault | None:
    """The fault of a record that is not UTF-8; None if it is."""
    try:
        record.decode()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of the record, 0x{record[error.start]:02x}"
        return RecordFault(line, "", "bad_encoding", f"{byte}, is not UTF-8")
    return None


def is_utf8(data: bytes) -> bool:
    """Return whether all of the bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
