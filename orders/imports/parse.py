"""A chunk's bytes become a table of text cells: exact lines, exact widths, nothing guessed.

Lines without a quote are split by polars, at 1 s per million. Only records with a quote or over several
lines, and the few plain lines between them, go through Python's csv, at 4 s per million. (polars' own
CSV reader is no basis: it fills up short rows in silence.)

Loads polars, whose threads a fork does not take along: imported in a worker's pool child only.
"""

import csv
import re
from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import polars as pl

from orders.imports.layout import Layout
from orders.imports.records import LONGEST_RECORD, Form, Splitter

# A field may be as long as a record, as it is for the splitter.
csv.field_size_limit(LONGEST_RECORD)


class Parsed(NamedTuple):
    """A chunk's records; blank lines are left out.

    Attributes:
        cells: `line`, the record's first physical line; `unclosed`, whether it opens a quote that
            nothing closes; and `field_0` to `field_{width}`, one more than the header has: null where
            the record has none.
        raw: `line` and `raw`, its text.
    """

    cells: pl.DataFrame
    raw: pl.DataFrame

    def with_raw(self, rejects: pl.DataFrame) -> pl.DataFrame:
        """The rejects, each with the text of its line. A NUL, which no text column takes, shows as ␀."""
        shown = pl.col("raw").str.replace_all("\0", "␀", literal=True)
        return rejects.join(self.raw, on="line", how="left").with_columns(shown)


def parse(data: bytes, first_line: int, layout: Layout) -> Parsed:
    """The chunk's records."""
    width, delimiter = len(layout.header), layout.delimiter
    plain, quoted, unclosed = _Lines(), _Lines(), _Lines()
    line = first_line
    for run in Splitter(delimiter).runs([data]):
        if run.form is Form.PLAIN:
            plain.extend(line, run.data)
        elif run.form is Form.QUOTED:
            quoted.extend(line, run.data)
        else:
            (quoted if run.form is Form.SPANNING else unclosed).append(line, run.data)
        line += run.lines
    tables = (
        _split_plain(plain.table(), width, delimiter),
        _split_quoted(quoted.table(), width, delimiter),
        _without_fields(unclosed.table(), width),
    )
    table = pl.concat(tables)
    return Parsed(table.drop("raw"), table.select("line", "raw"))


class _Lines:
    """Records as text, with the lines that they begin on."""

    def __init__(self) -> None:
        self._lines: list[int] = []
        self._raw: list[str] = []

    def extend(self, line: int, data: bytes) -> None:
        """Add a record for every line."""
        texts = data.decode().removesuffix("\n").split("\n")
        self._raw += texts
        self._lines += range(line, line + len(texts))

    def append(self, line: int, data: bytes) -> None:
        """Add one record."""
        self._raw.append(data.decode().removesuffix("\n"))
        self._lines.append(line)

    def table(self) -> pl.DataFrame:
        """`line` and `raw` of the records that are not blank."""
        schema = {"line": pl.Int64, "raw": pl.String}
        table = pl.DataFrame([self._lines, self._raw], schema=schema, orient="col")
        return table.with_columns(pl.col("raw").str.strip_suffix("\r")).filter(pl.col("raw") != "")


def _fields(width: int) -> list[str]:
    return [f"field_{place}" for place in range(width + 1)]


def _split_plain(table: pl.DataFrame, width: int, delimiter: str) -> pl.DataFrame:
    # What goes beyond the one field too many is dropped: the row is refused for its width anyhow.
    fields = pl.col("raw").str.split_exact(delimiter, width).struct.unnest()
    return table.select("line", "raw", pl.lit(value=False).alias("unclosed"), fields)


def _split_quoted(table: pl.DataFrame, width: int, delimiter: str) -> pl.DataFrame:
    rows = read_records(table["raw"].to_list(), delimiter)
    names = _fields(width)
    # One record of the full width sees to it that there is a column for each name.
    columns = zip_longest(*rows, [None] * len(names))
    cells = {name: list(column)[:-1] for name, column in zip(names, columns, strict=False)}
    fields = pl.DataFrame(cells, schema=dict.fromkeys(names, pl.String))
    return pl.concat([table.with_columns(unclosed=pl.lit(value=False)), fields], how="horizontal")


def _without_fields(table: pl.DataFrame, width: int) -> pl.DataFrame:
    nothing = [pl.lit(None, pl.String).alias(name) for name in _fields(width)]
    return table.with_columns(pl.lit(value=True).alias("unclosed"), *nothing)


def read_records(records: Sequence[str], delimiter: str) -> list[list[str]]:
    """The fields of each record. A record has no line end after it."""
    try:
        return list(csv.reader(records, delimiter=delimiter))
    except csv.Error:
        # A CR outside quotes, which csv refuses, is data in lines without a quote: so it is here.
        return [_read_record(record, delimiter) for record in records]


def _read_record(record: str, delimiter: str) -> list[str]:
    edge = re.escape(delimiter)
    fields = re.finditer(rf'(?:"((?:[^"]++|"")*+)")?([^{edge}]*+){edge}', record + delimiter)
    return [(field[1] or "").replace('""', '"') + field[2] for field in fields]
