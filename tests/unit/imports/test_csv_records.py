"""Splitting, planning and parsing agree with each other, and with Python's csv module."""

import csv
import io
from collections.abc import Iterator

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
texts = st.text(alphabet='a,"\n', max_size=60)
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


@given(tables(), sizes, sizes, sizes)
def test_chunks_of_any_size_contain_the_records_of_csv_module(
    content: bytes, lines: int, size: int, block: int
) -> None:
    expected = records_of_csv(content)
    chunks = plan(content, ChunkLimits(lines, size), block)
    for width in range(1, 5):
        assert records_of_chunks(content, chunks, width) == of_width(expected, width)


@given(texts, sizes, sizes, sizes)
def test_stray_quotes_are_read_as_by_csv_module(
    text: str, lines: int, size: int, block: int
) -> None:
    content = text.encode()
    assume(all(run.form is not RecordForm.UNCLOSED for run in Splitter(",").runs([content])))
    expected = records_of_csv(content)
    chunks = plan(content, ChunkLimits(lines, size), block)
    for width in range(1, 4):
        assert records_of_chunks(content, chunks, width) == of_width(expected, width)


def single_records(content: list[bytes], longest: int) -> list[tuple[bytes, bool]]:
    """Each record, blank lines too, and whether its quote is unclosed."""
    found = []
    for run in Splitter(",", longest).runs(content):
        if run.form in (RecordForm.PLAIN, RecordForm.QUOTED):
            found += [(line, False) for line in run.data.splitlines(keepends=True)]
        else:
            found.append((run.data, run.form is RecordForm.UNCLOSED))
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
    written = [record for record in single_records([content], longest) if record[0] != b"\n"]
    assert [record for record in alone if record[0] != b"\n"] == written


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
        RecordForm.UNCLOSED,
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
