"""A table has the same cells in every form of source."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Sequence
from typing import Literal

import msgspec
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.imports.sources.limits import SourceLimits
from producer.imports.sources.open_source import ImportSource, open_source

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = SourceLimits(1 << 30, 1 << 30, 200, 1000)

Rows = list[tuple[int, str]]

LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.one_of(st.text(LETTERS, max_size=8), st.text('",;\t|\r\n x', max_size=8))
ROWS = st.lists(st.tuples(st.integers(0, 2**63 - 1), TEXTS), min_size=1, max_size=6)
HEADER = ("id", "name")


def cells(source: ImportSource, delimiter: str | None = None) -> Rows:
    """The rows that a worker would read."""
    with open_source(source, delimiter, LIMITS) as opened:
        records = b"".join(opened.blocks)[opened.data_start :]
        assert opened.header == HEADER
    if opened.format == "jsonl":
        lines = map(msgspec.json.decode, records.splitlines())
        return [(line["id"], line["name"]) for line in lines]
    text = io.StringIO(records.decode(), newline="")
    return [(int(number), name) for number, name in csv.reader(text, delimiter=opened.delimiter)]


def written(
    rows: Sequence[tuple[int, str]], delimiter: str, end: str, quoting: Literal[0, 1, 2]
) -> bytes:
    file = io.StringIO(newline="")
    # With this line end the writer quotes a lone CR too; the one that is wanted comes line by line.
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
    lines = []
    for row in [HEADER, *rows]:
        writer.writerow(row)
        lines.append(file.getvalue().removesuffix("\r\n") + end)
        file.seek(0)
        file.truncate()
    return "".join(lines).encode()


def parquet(rows: Rows) -> bytes:
    file = io.BytesIO()
    frame(rows).write_parquet(file)
    return file.getvalue()


def frame(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"id": pl.Int64, "name": pl.String}, orient="row")


@pytest.mark.slow
@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_every_source_form_gives_the_same_cells(
    rows: Rows, delimiter: str, end: str, quoting: Literal[0, 1, 2], bom: bytes
) -> None:
    text = bom + written(rows, delimiter, end, quoting)
    lines = bom + b"".join(
        json.dumps(dict(zip(HEADER, row, strict=True))).encode() + b"\n" for row in rows
    )
    columns = [list(column) for column in zip(*rows, strict=True)]
    forms: list[ImportSource] = [
        text,
        gzip.compress(text),
        zstd.compress(text),
        lines,
        gzip.compress(lines),
        zstd.compress(lines),
        parquet(rows),
        gzip.compress(parquet(rows)),
        frame(rows),
        pd.DataFrame(dict(zip(HEADER, columns, strict=True))),
        pa.table(dict(zip(HEADER, columns, strict=True))),
        [dict(zip(HEADER, row, strict=True)) for row in rows],
    ]
    for form in forms:
        assert cells(form) == rows
