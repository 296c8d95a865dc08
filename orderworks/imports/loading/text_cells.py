"""The table of text cells that a chunk becomes, whatever its format, and what its records look like."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import polars as pl


class RecordFault(NamedTuple):
    """Why a record cannot be judged cell by cell. `column` is empty if it is the record as a whole."""

    line: int
    column: str
    code: str
    reason: str


FAULT_SCHEMA = {"line": pl.Int64, "column": pl.String, "code": pl.String, "reason": pl.String}


class RawRecords:
    """The bytes of a chunk's records, for the few that are asked for.

    `spanning` are the records of more than one line, by the line that they begin on.
    """

    def __init__(self, data: bytes, first_line: int, spanning: Mapping[int, bytes]) -> None:
        self._data = data
        self._first_line = first_line
        self._spanning = spanning

    def text_at(self, line: int) -> bytes:
        """The record that begins on the line, without its line end."""
        record = self._spanning.get(line)
        if record is None:
            record = self._lines[line - self._first_line]
        return record.removesuffix(b"\n").removesuffix(b"\r")

    @cached_property
    def _lines(self) -> list[bytes]:
        return self._data.split(b"\n")


def field_name(index: int) -> str:
    """What the cells of a column of the file are called."""
    return f"field_{index}"


def gather_cells(
    indexes: Sequence[int], valid: Sequence[pl.DataFrame], faults: Sequence[RecordFault]
) -> pl.DataFrame:
    """One table of the records, in no certain order.

    `line`; `field_{place}` for each place, null or empty where there is nothing; and `column`, `code`
    and `reason` of a fault, null for the others. The sound tables have a line and fields.
    """
    fields = {field_name(place): pl.String for place in indexes}
    empty = pl.DataFrame(schema={**FAULT_SCHEMA, **fields})
    broken = pl.DataFrame(faults, schema=FAULT_SCHEMA, orient="row")
    return pl.concat([empty, *valid, broken], how="diagonal")


def encoding_fault(line: int, record: bytes) -> RecordFault | None:
    """What is wrong with a record that is not UTF-8."""
    try:
        record.decode()
    except UnicodeDecodeError as error:
        found = f"byte {error.start + 1} of the record, 0x{record[error.start]:02x}"
        return RecordFault(line, "", "bad_encoding", f"{found}, is not UTF-8")
    return None


def is_utf8(data: bytes) -> bool:
    """Whether all of it is."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
