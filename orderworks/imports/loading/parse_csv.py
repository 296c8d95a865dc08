"""Parses a chunk of CSV.

Records of one line, which is nearly all of them, are read by polars' CSV reader, with two checks. It
pads short rows silently, and reads some quotes unlike Python's csv: so each line gets a mark as its last
field, which must be read as the last column, and lines with quotes must be of the plain form that all
readers agree on. All other records go through Python's csv, one by one.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import polars as pl

from orderworks.imports.csv_records import Splitter, read_records
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.bad_quotes import BadRecord, bad_quote_faults
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
"""Replaces a line that only csv may read. It has no mark."""

SEVERAL_CRS = re.compile(rb"\r++\n")
"""A line end after which a program wrote another one."""


class SplitRecords(NamedTuple):
    """A chunk's records by the way to read them.

    Attributes:
        single: those of one line, concatenated with their line ends.
        numbers: the line numbers of these.
        spanning: those of several lines, by the line that they begin on.
        bad: those with a bad quote.
    """

    single: bytes
    numbers: pl.Series
    spanning: dict[int, bytes]
    bad: list[BadRecord]


def parse_csv(
    data: bytes,
    first_line: int,
    file_format: FileFormat,
    indexes: Sequence[int],
    following: Callable[[], bytes],
) -> tuple[pl.DataFrame, RawRecords]:
    """The cells at these indexes, and the records that they are from. `following` as in `parse`."""
    cut = _split_records(data, first_line, file_format)
    bad = {each.line: each.data for each in cut.bad}
    records = RawRecords(data, first_line, cut.spanning | bad)
    bulk, doubtful = _read_single(cut, file_format, indexes)
    closely = [(line, records.text_at(line)) for line in (*doubtful, *cut.spanning)]
    rest, faults = _read_strictly(closely, file_format, indexes)
    faults += bad_quote_faults(cut.bad, data, file_format.delimiter, following)
    return gather_cells(indexes, [bulk, rest], faults), records


def _split_records(data: bytes, first_line: int, file_format: FileFormat) -> SplitRecords:
    single, numbers = [], []
    spanning, bad = {}, []
    start, line = 0, first_line
    for run in Splitter(file_format.delimiter).runs([data]):
        if run.bad_quote:
            bad.append(BadRecord(line, start, run.data, run.bad_quote))
        elif run.is_one_record:
            spanning[line] = run.data
        else:
            single.append(run.data)
            numbers.append(pl.int_range(line, line + run.lines, eager=True))
        start, line = start + len(run.data), line + run.lines
    lines = pl.concat(numbers) if numbers else pl.Series(dtype=pl.Int64)
    return SplitRecords(b"".join(single), lines, spanning, bad)


def _read_single(
    split: SplitRecords, file_format: FileFormat, indexes: Sequence[int]
) -> tuple[pl.DataFrame, list[int]]:
    """The records that polars reads reliably, and the lines of the others."""
    width = len(file_format.header)
    if width == 1:
        # With a mark, a blank line equals a line with an empty cell.
        return pl.DataFrame(), split.numbers.to_list()
    text = _marked(split.single, file_format.delimiter)
    if b"\r" in text or LINE_MARK in split.single:
        text = _replace_odd_bytes(text)
    text = _replace_misleading(text, file_format.delimiter)
    table = _read_marked(text, width, file_format.delimiter, indexes)
    is_marked = table["mark"].eq_missing(LINE_MARK.decode())
    table = table.select(split.numbers.alias("line"), pl.exclude("mark"))
    if is_marked.all():
        return table, []
    return table.filter(is_marked), table.filter(~is_marked)["line"].to_list()


def _marked(data: bytes, delimiter: str) -> bytes:
    """The lines with a mark each, ended by LF, after a line that is only a mark.

    Polars would interpret a byte order mark or the magic number of a compressed file at the start.
    """
    ended = data if data.endswith(b"\n") or not data else data + b"\n"
    mark = delimiter.encode("ascii") + LINE_MARK
    if b"\r\r\n" in ended:
        ended = SEVERAL_CRS.sub(b"\n", ended)
    return LINE_MARK + b"\n" + ended.replace(b"\r\n", b"\n").replace(b"\n", mark + b"\n")


def _replace_odd_bytes(text: bytes) -> bytes:
    """The lines, with those replaced that contain a CR or a mark of their own."""
    lines = enumerate(text.split(b"\n"))
    return _replace(
        text, (number for number, line in lines if b"\r" in line or line.count(LINE_MARK) > 1)
    )


def _replace_misleading(text: bytes, delimiter: str) -> bytes:
    """The lines, with those replaced that polars would refuse or misread."""
    if not is_utf8(text):
        lines = enumerate(text.split(b"\n"))
        text = _replace(text, (number for number, line in lines if not is_utf8(line)))
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
    """The lines with a quote that is neither around a field nor doubled within one."""
    edge = f"\\x{{{ord(delimiter):x}}}"
    field = f'(?:"(?:[^"]|"")*"|[^"{edge}]*)'
    plain = pl.col("line").str.contains(f"^(?:{field}{edge})*\\x00$")
    return pl.read_lines(text).select((~plain).arg_true()).to_series()


def _read_marked(text: bytes, width: int, delimiter: str, indexes: Sequence[int]) -> pl.DataFrame:
    """The fields at the indexes, and the field in the position of the `mark`."""
    names = {f"column_{index}": pl.String for index in range(width + 1)}
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
    records: Sequence[tuple[int, bytes]], file_format: FileFormat, indexes: Sequence[int]
) -> tuple[pl.DataFrame, list[RecordFault]]:
    """The records of the right width, and the faults of the others. Blank lines are left out."""
    readable = [(line, record) for line, record in records if record and is_utf8(record)]
    faults = [fault for each in records if (fault := encoding_fault(*each))]
    width = len(file_format.header)
    sound = []
    for line, record in readable:
        row = _read_record(record.removeprefix(codecs.BOM_UTF8).decode(), file_format.delimiter)
        if len(row) == width:
            sound.append((line, *(row[index] for index in indexes)))
        else:
            faults.append(_wrong_width(line, record, len(row), width))
    schema = {"line": pl.Int64, **{field_name(index): pl.String for index in indexes}}
    return pl.DataFrame(sound, schema=schema, orient="row"), faults


def _read_record(record: str, delimiter: str) -> list[str]:
    """The fields of one record. Each is read alone: a CR that csv refuses must not affect the others."""
    if '"' in record:
        return read_records([record], delimiter)[0]
    return record.split(delimiter)


def _wrong_width(line: int, record: bytes, actual: int, width: int) -> RecordFault:
    reason = f"the row has {'fewer' if actual < width else 'more'} than {width} fields"
    if more_lines := record.count(b"\n"):
        reason += f"; it spans lines {line} to {line + more_lines}"
    if b"\r" in record.replace(b"\r\n", b""):
        reason += "; it has a CR that ends no line: lines end in LF or CR LF"
    return RecordFault(line, "", "wrong_width", reason)
