"""Splitting, planning and parsing agree with each other, and with Python's csv module."""

import csv
import io
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orderworks.core.errors import ImportFailed
from orderworks.imports.chunk_plan import ChunkLimits, FileChunk, plan_chunks
from orderworks.imports.columns import Column, ColumnRule, Field
from orderworks.imports.csv_records import RecordForm, Splitter
from orderworks.imports.file_format import FileFormat
from orderworks.imports.loading.parse import parse

Record = tuple[int, list[str]]
"""The first physical line of a record, and its fields."""

cells = st.text(alphabet='ab ",;\n\ré', max_size=6)
rows = st.lists(cells, min_size=1, max_size=4)
texts = st.text(alphabet='a,"\n \r', max_size=60)
sizes = st.integers(1, 40)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Well-formed CSV: ragged rows, blank lines, needless quotes, both line ends mixed."""
    text = io.StringIO(newline="")
    # With this line end the writer quotes a lone CR too; LF alone is put in afterwards.
    needed = csv.writer(text, lineterminator="\r\n")
    always = csv.writer(text, lineterminator="\r\n", quoting=csv.QUOTE_ALL)
    for row in draw(st.lists(rows, max_size=8)):
        draw(st.sampled_from((needed, always))).writerow(row)
        text.write(draw(st.sampled_from(("", "", "\n", "\r\n"))))
    content = text.getvalue()
    return content.removesuffix("\r\n" if draw(st.booleans()) else "").encode()


def physical_lines(content: bytes) -> Iterator[str]:
    return iter(content.decode().replace("\n", "\n\0").rstrip("\0").split("\0"))


def records_of_csv(content: bytes) -> list[Record]:
    """The records that the csv module reads in the content."""
    reader = csv.reader(physical_lines(content))
    found, line = [], 1
    for fields in reader:
        if fields:
            found.append((line, fields))
        line = reader.line_num + 1
    return found


def blocks(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def plan(content: bytes, limits: ChunkLimits, block: int) -> list[FileChunk]:
    return list(plan_chunks(Splitter(",").runs(blocks(content, block)), limits, 0, 1))


def records_of(data: bytes, first_line: int, width: int, delimiter: str) -> pl.DataFrame:
    """All cells, the faults and the raw text as one table, in the order of the lines."""
    fields = [Field(Column(str(place), ColumnRule.TEXT), place) for place in range(width)]
    parsed = parse(data, first_line, FileFormat("csv", delimiter, [""] * width), fields)
    return parsed.with_raw(parsed.cells).sort("line")


def records_of_chunks(content: bytes, chunks: list[FileChunk], width: int) -> list[Record]:
    """The records of that width; an empty cell is the empty text. All others have the one fault."""
    found = []
    for chunk in chunks:
        data = content[chunk.start_byte : chunk.end_byte]
        table = records_of(data, chunk.first_line, width, ",")
        assert table.height == chunk.rows
        assert set(table["code"].drop_nulls()) <= {"wrong_width"}
        cells = table.filter(pl.col("code").is_null()).select("line", "^field_.*$")
        found += [(line, [field or "" for field in fields]) for line, *fields in cells.iter_rows()]
    return found


def of_width(records: list[Record], width: int) -> list[Record]:
    return [(line, fields) for line, fields in records if len(fields) == width]


@pytest.mark.slow
@given(tables(), sizes, sizes, sizes)
def test_chunks_of_any_size_contain_the_records_of_csv_module(
    content: bytes, lines: int, size: int, block: int
) -> None:
    expected = records_of_csv(content)
    chunks = plan(content, ChunkLimits(lines, size), block)
    for width in range(1, 5):
        assert records_of_chunks(content, chunks, width) == of_width(expected, width)


class Expected(NamedTuple):
    """A record, read one character at a time: its lines, and why it cannot be read."""

    first_line: int
    lines: int
    problem: str


def records_by_character(content: str) -> Iterator[Expected]:
    """The records that are not blank, by rules that know neither blocks nor expressions."""
    lines = content.split("\n")
    line = 1
    while line <= len(lines):
        rest = "\n".join(lines[line - 1 :])
        length, problem = read_by_character(rest, line)
        if problem or rest.split("\n")[0].strip("\r"):
            yield Expected(line, length, problem)
        line += length


def read_by_character(text: str, line: int) -> tuple[int, str]:
    """The lines of the first record of the text, which begins on that line, and its problem."""
    opened, state, first = line, "start", line
    for here, following in pairwise([*text, ""]):
        if state == "skip":
            state = "quoted"
        elif state == "quoted" and here == following == '"':
            state = "skip"
        elif state == "quoted" and here == '"':
            state = "closed"
        elif state == "closed" and here not in " \r,\n":
            return opened - first + 1, closed_before_text(opened, line)
        elif state == "start" and here == '"':
            state, opened = "quoted", line
        elif state != "quoted" and here == "\n":
            return line - first + 1, ""
        elif state != "quoted":
            state = "start" if here == "," else "closed" if state == "closed" else "bare"
        line += here == "\n"
    if state != "quoted":
        return line - first + 1, ""
    last = line - text.endswith("\n")
    return opened - first + 1, never_closed(opened, last)


def closed_before_text(opens: int, closes: int) -> str:
    where = f"line {closes}" if closes > opens else "the same line"
    return (
        f"a quote opens on line {opens} and closes on {where} before other text"
        + rest_of_reason(opens, closes)
    )


def never_closed(opens: int, last: int) -> str:
    searched = f" up to line {last}" if last > opens else ""
    return f"a quote opens on line {opens} and nothing closes it{searched}" + rest_of_reason(
        opens, last
    )


def rest_of_reason(opens: int, last: int) -> str:
    return f"; lines {opens + 1} to {last} are read as rows of their own" if last > opens else ""


@given(texts, sizes, sizes, sizes)
def test_records_with_bad_quotes_end_where_a_reader_of_characters_ends_them(
    text: str, lines: int, size: int, block: int
) -> None:
    content = text.encode()
    found = []
    for chunk in plan(content, ChunkLimits(lines, size), block):
        data, behind = content[chunk.start_byte : chunk.end_byte], content[chunk.end_byte :]
        fields = [Field(Column("0", ColumnRule.TEXT), 0)]
        file_format = FileFormat("csv", ",", [""] * 99)
        following = partial(bytes, behind)
        parsed = parse(data, chunk.first_line, file_format, fields, following)
        table = parsed.with_raw(parsed.cells).sort("line")
        assert table.height == chunk.rows
        for line, code, reason, raw in table.select("line", "code", "reason", "raw").iter_rows():
            problem = reason if code in ("unclosed_quote", "text_after_quote") else ""
            found.append(Expected(line, raw.count("\n") + 1, problem))
    assert found == list(records_by_character(text))


@given(texts, sizes, sizes, sizes)
def test_stray_quotes_are_read_as_by_csv_module(
    text: str, lines: int, size: int, block: int
) -> None:
    content = text.replace("\r", "").encode()
    assume(all(run.bad_quote is None for run in Splitter(",").runs([content])))
    expected = records_of_csv(content)
    chunks = plan(content, ChunkLimits(lines, size), block)
    for width in range(1, 4):
        assert records_of_chunks(content, chunks, width) == of_width(expected, width)


def single_records(content: list[bytes], longest: int) -> list[tuple[bytes, bool]]:
    """Each record, blank lines too, and whether it has a bad quote."""
    found = []
    for run in Splitter(",", longest).runs(content):
        if run.form in (RecordForm.PLAIN, RecordForm.QUOTED):
            found += [(line, False) for line in run.data.splitlines(keepends=True)]
        else:
            found.append((run.data, run.form is RecordForm.BAD_QUOTE))
    return found


@given(texts, st.integers(8, 20), sizes)
def test_records_do_not_depend_on_blocks(text: str, longest: int, block: int) -> None:
    content = text.encode()
    assume(all(len(line) < longest for line in content.split(b"\n")))
    whole = single_records([content], longest)
    assert b"".join(record for record, _unclosed in whole) == content
    assert single_records(blocks(content, block), longest) == whole


@given(texts, sizes, sizes, st.integers(8, 20))
def test_chunk_alone_splits_as_within_the_file(
    text: str, lines: int, size: int, longest: int
) -> None:
    content = text.encode()
    assume(all(len(line) < longest for line in content.split(b"\n")))
    runs = Splitter(",", longest).runs([content])
    alone = []
    for chunk in plan_chunks(runs, ChunkLimits(lines, size), 0, 1):
        alone += single_records([content[chunk.start_byte : chunk.end_byte]], longest)
    written = [record for record in single_records([content], longest) if record[0].strip()]
    assert [record for record in alone if record[0].strip()] == written


def test_unclosed_quote_rejects_its_own_line_only() -> None:
    content = b'1,a\n2,"b\n3,c\n' + b"4,d\n" * 100
    table = records_of(content, 1, 2, ",")
    broken = table.filter(pl.col("code") == "unclosed_quote")
    assert broken.select("line", "raw").rows() == [(2, '2,"b')]
    assert table.height == 103


def test_quote_that_closes_beyond_the_longest_record_is_unclosed() -> None:
    long = b'1,"' + b"x\n" * 10 + b'z"\n2,y\n'
    runs = list(Splitter(",", max_bytes=16).runs([long]))
    assert [run.form for run in runs] == [
        RecordForm.BAD_QUOTE,
        RecordForm.PLAIN,
        RecordForm.QUOTED,
        RecordForm.PLAIN,
    ]
    assert [run.lines for run in runs] == [1, 9, 1, 1]


def test_unclosed_quotes_take_linear_time() -> None:
    content = b'1,"abc""\n' + b'2,""""\n' * 200_000
    assert sum(run.rows for run in Splitter(",").runs([content])) == 200_001


@given(
    st.lists(st.sampled_from((b"1,a\n", b'2,"b"\n', b"\n", b"\r\n", b'3,"c\nd"\n')), max_size=40)
)
def test_alternating_quoted_and_plain_lines_give_the_same_records(lines: list[bytes]) -> None:
    content = b"".join(lines)
    runs = list(Splitter(",").runs([content]))
    assert b"".join(run.data for run in runs) == content
    assert sum(run.rows for run in runs) == sum(len(line) > 2 for line in lines)
    assert sum(run.lines for run in runs) == content.count(b"\n")
    chunks = plan(content, ChunkLimits(7, 1000), 16)
    assert records_of_chunks(content, chunks, 2) == records_of_csv(content)


def test_alternating_quoted_and_plain_lines_are_one_run() -> None:
    for quoted in (b'2,"b"\n', b'2,"b""c"\n'):
        runs = list(Splitter(",").runs([b"1,a\n" + (quoted + b"1,a\n\n") * 1000]))
        assert [run.form for run in runs[:2]] == [RecordForm.PLAIN, RecordForm.QUOTED]
        assert len(runs) <= 3


def test_unterminated_line_is_refused_in_bounded_memory() -> None:
    with pytest.raises(ImportFailed, match="a line is longer than 100 bytes"):
        list(Splitter(",", max_bytes=100).runs([b"x" * 60, b"x" * 60]))


def test_lone_cr_is_data_with_and_without_quotes() -> None:
    table = records_of(b'1,a\rb,\r\n2,a\rb,"c"\n', 1, 3, ",")
    assert table["field_1"].to_list() == ["a\rb", "a\rb"]


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "^", "]", "\\", "-", "."])
def test_any_delimiter_separates_fields(delimiter: str) -> None:
    content = f'1{delimiter}"x{delimiter}y"\n2{delimiter}z\n'.encode()
    table = records_of(content, 1, 2, delimiter)
    assert table["field_1"].to_list() == [f"x{delimiter}y", "z"]
    assert table["code"].null_count() == 2
