"""A chunk's bytes become a table of text cells: exact lines, exact widths, nothing guessed."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from orderworks.imports.columns import Field
from orderworks.imports.file_format import Layout
from orderworks.imports.loading.parse_csv import read_delimited
from orderworks.imports.loading.parse_jsonl import read_json_lines
from orderworks.imports.loading.text_cells import Records


class Parsed(NamedTuple):
    """A chunk's records; blank lines are left out.

    Attributes:
        cells: as `gather_cells` gives them, for the fields.
        records: what they look like in the file.
    """

    cells: pl.DataFrame
    records: Records

    def with_raw(self, rejects: pl.DataFrame) -> pl.DataFrame:
        """The rejects, each with the text of its record.

        A NUL, which no text column takes, shows as ␀; a byte that is not UTF-8 as its number.
        """
        raw = [
            self.records.at(line).decode(errors="backslashreplace").replace("\0", "␀")
            for line in rejects["line"]
        ]
        return rejects.with_columns(pl.Series("raw", raw, dtype=pl.String))


def parse(data: bytes, first_line: int, layout: Layout, fields: Sequence[Field]) -> Parsed:
    """The chunk's records, with the cells of the fields only: a file may have a thousand others."""
    if layout.format == "jsonl":
        return Parsed(*read_json_lines(data, first_line, layout, fields))
    places = sorted({field.place for field in fields})
    return Parsed(*read_delimited(data, first_line, layout, places))
