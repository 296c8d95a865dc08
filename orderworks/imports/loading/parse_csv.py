"""Reads a chunk of CSV.

Records of one line, which is nearly all of them, are read by polars' CSV reader, but not on its own
terms. It fills up short rows in silence, and reads some quotes otherwise than Python's csv: so each
line is given a mark as its last field, which must come out where it belongs, and lines with quotes must
be of the plain form that nobody can misread. All other records go through Python's csv, one by one.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import polars as pl

from orderworks.imports.csv_records import RecordForm, Splitter, read_records
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.text_cells import (
    RawRecords,
    RecordFault,
    encoding_fault,
    field_name,
    gather_cells,
    is_utf8,
)

LINE_MARK = b"\0"
"""The last field of a line. No delimiter, and in no good cell; a line that has it is read by csv."""

REPLACEMENT_LINE = b"?"
"""Stands for a line that only csv may read. It has no mark."""


class SplitRecords(NamedTuple):
    """A chunk's records by how they are to be read.

    Attributes:
        single: those of one line, as whole lines one after the other.
        numbers: the lines that these stand on.
        spanning, unclosed: the others, by the line that they begin on.
    """

    single: bytes
    numbers: pl.Series
    spanning: dict[int, bytes]
    unclosed: list[int]


def parse_csv(
    data: bytes, first_line: int, layout: FileFormat, indexes: Sequence[int]
) -> tuple[pl.DataFrame, RawRecords]:
    """The cells at these places, and the records that they are from."""
    cut = _split_records(data, first_line, layout)
    records = RawRecords(data, first_line, cut.spanning)
    bulk, doubtful = _read_single(cut, layout, indexes)
    closely = [(line, records.text_at(line)) for line in (*doubtful, *cut.spanning)]
    rest, faults = _read_strictly(closely, layout, indexes)
    faults += [_unclosed(line) for line in cut.unclosed]
    return gather_cells(indexes, [bulk, rest], faults), records


def _split_records(data: bytes, first_line: int, layout: FileFormat) -> SplitRecords:
    single, numbers = [], []
    spanning, unclosed = {}, []
    line = first_line
    for run in Splitter(layout.delimiter).runs([data]):
        if run.form is RecordForm.SPANNING:
            spanning[line] = run.data
        elif run.form is RecordForm.UNCLOSED:
            unclosed.append(line)
        else:
            single.append(run.data)
            numbers.append(pl.int_range(line, line + run.lines, eager=True))
        line += run.lines
    lines = pl.concat(numbers) if numbers else pl.Series(dtype=pl.Int64)
    return SplitRecords(b"".join(single), lines, spanning, unclosed)


def _read_single(
    split: SplitRecords, layout: FileFormat, indexes: Sequence[int]
) -> tuple[pl.DataFrame, list[int]]:
    """Those that can be read in bulk, and the lines of the others."""
    width = len(layout.header)
    if width == 1:
        # A blank line and a line with an empty cell look the same with a mark.
        return pl.DataFrame(), split.numbers.to_list()
    text = _marked(split.single, layout.delimiter)
    if b"\r" in text or LINE_MARK in split.single:
        text = _replace_odd_bytes(text)
    text = _replace_misleading(text, layout.delimiter)
    table = _read_marked(text, width, layout.delimiter, indexes)
    whole = table["mark"].eq_missing(LINE_MARK.decode())
    table = table.select(split.numbers.alias("line"), pl.exclude("mark"))
    if whole.all():
        return table, []
    return table.filter(whole), table.filter(~whole)["line"].to_list()


def _marked(data: bytes, delimiter: str) -> bytes:
    """The lines with a mark each, ended by LF, after a line that is nothing but a mark.

    Polars would look for a byte order mark or a packed file in what comes first.
    """
    ended = data if data.endswith(b"\n") or not data else data + b"\n"
    mark = delimiter.encode("ascii") + LINE_MARK
    return LINE_MARK + b"\n" + ended.replace(b"\r\n", b"\n").replace(b"\n", mark + b"\n")


def _replace_odd_bytes(text: bytes) -> bytes:
    """The lines, with those replaced that have a CR within, or a mark of their own."""
    found = enumerate(text.split(b"\n"))
    return _replace(text, (at for at, line in found if b"\r" in line or line.count(LINE_MARK) > 1))


def _replace_misleading(text: bytes, delimiter: str) -> bytes:
    """The lines, with those replaced that polars would stumble over or misread."""
    if not is_utf8(text):
        found = enumerate(text.split(b"\n"))
        text = _replace(text, (at for at, line in found if not is_utf8(line)))
    if b'"' in text:
        text = _replace(text, _oddly_quoted(text, delimiter))
    return text


def _replace(text: bytes, line_indexes: Iterable[int]) -> bytes:
    numbers = list(line_indexes)
    if not numbers:
        return text
    lines = text.split(b"\n")
    for number in numbers:
        lines[number] = REPLACEMENT_LINE
    return b"\n".join(lines)


def _oddly_quoted(text: bytes, delimiter: str) -> Iterable[int]:
    """The lines with a quote anywhere but around a field, or doubled within."""
    edge = f"\\x{{{ord(delimiter):x}}}"
    field = f'(?:"(?:[^"]|"")*"|[^"{edge}]*)'
    plain = pl.col("line").str.contains(f"^(?:{field}{edge})*\\x00$")
    return pl.read_lines(text).select((~plain).arg_true()).to_series()


def _read_marked(text: bytes, width: int, delimiter: str, indexes: Sequence[int]) -> pl.DataFrame:
    """The fields at the places, and what stands where the `mark` belongs."""
    names = {f"column_{place}": pl.String for place in range(width + 1)}
    table = pl.read_csv(
        text,
        has_header=False,
        separator=delimiter,
        schema=names,
        columns=[*indexes, width],
        extra_columns="ignore",
        missing_columns="insert",
    )
    table.columns = [*map(field_name, indexes), "mark"]
    return table.slice(1)


def _read_strictly(
    records: Sequence[tuple[int, bytes]], layout: FileFormat, indexes: Sequence[int]
) -> tuple[pl.DataFrame, list[RecordFault]]:
    """The records of the right width, and what is wrong with the others. Blank lines are left out."""
    readable = [(line, record) for line, record in records if record and is_utf8(record)]
    faults = [fault for each in records if (fault := encoding_fault(*each))]
    width = len(layout.header)
    sound = []
    for line, record in readable:
        row = _read_record(record.decode(), layout.delimiter)
        if len(row) == width:
            sound.append((line, *(row[place] for place in indexes)))
        else:
            faults.append(_wrong_width(line, len(row), width))
    schema = {"line": pl.Int64, **{field_name(place): pl.String for place in indexes}}
    return pl.DataFrame(sound, schema=schema, orient="row"), faults


def _read_record(record: str, delimiter: str) -> list[str]:
    """Its fields. One by one, as a CR that csv refuses must not change how others are read."""
    if '"' in record:
        return read_records([record], delimiter)[0]
    return record.split(delimiter)


def _wrong_width(line: int, actual: int, width: int) -> RecordFault:
    compared = "fewer" if actual < width else "more"
    return RecordFault(line, "", "wrong_width", f"the row has {compared} than {width} fields")


def _unclosed(line: int) -> RecordFault:
    return RecordFault(
        line, "", "unclosed_quote", "a quote opens on this line and nothing closes it"
    )
