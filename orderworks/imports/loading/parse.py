"""Parses a chunk's bytes into a table of text cells: exact lines, exact widths, nothing guessed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl

from orderworks.core.text import visible
from orderworks.imports.columns import Field
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.parse_csv import parse_csv
from orderworks.imports.loading.parse_jsonl import parse_json_lines
from orderworks.imports.loading.text_cells import RawRecords


class ParsedChunk(NamedTuple):
    """A chunk's records; blank lines are left out.

    Attributes:
        cells: as `gather_cells` gives them, for the fields.
        records: their bytes in the file.
    """

    cells: pl.DataFrame
    records: RawRecords

    def with_raw(self, rejects: pl.DataFrame) -> pl.DataFrame:
        """The rejects, each with the text of its record, and with a reason of visible characters.

        In the text a NUL, which no text column takes, is shown as ␀; a byte that is not UTF-8 as its
        number.
        """
        raw = [
            self.records.text_at(line).decode(errors="backslashreplace").replace("\0", "␀")
            for line in rejects["line"]
        ]
        reasons = [reason and visible(reason) for reason in rejects["reason"]]
        return rejects.with_columns(
            pl.Series("reason", reasons, dtype=pl.String), pl.Series("raw", raw, dtype=pl.String)
        )


def parse(
    data: bytes,
    first_line: int,
    file_format: FileFormat,
    fields: Sequence[Field],
    following: Callable[[], bytes] = bytes,
) -> ParsedChunk:
    """The chunk's records, with the cells of the fields only: a file may have a thousand others.

    `following` reads the bytes behind the chunk, up to the size of a record. It is called only if a
    quote is still open at the end of the chunk.
    """
    if file_format.format == "jsonl":
        return ParsedChunk(*parse_json_lines(data, first_line, file_format, fields))
    indexes = sorted({field.column_index for field in fields})
    return ParsedChunk(*parse_csv(data, first_line, file_format, indexes, following))
