"""Tables of polars, pandas and pyarrow, and Parquet files: the same cells as in CSV."""

import csv
import gzip
import io
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orderworks.core.errors import InvalidFile, Unavailable
from orderworks.imports.loading.column_rules import MOMENT
from producer.imports.sources.dataframes import SLICE
from producer.imports.sources.files import BLOCK
from producer.imports.sources.limits import MIN_BYTES_FOR_RATIO, SourceLimits
from producer.imports.sources.open_source import ImportSource, open_source
from producer.imports.sources.polars_csv import bounded_slices

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LIMITS = SourceLimits(1 << 30, 1 << 30, 200, 1000)
MADE = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)

COLUMNS: dict[str, list[Any]] = {
    "id": [1, 2**63 - 1],
    "exact": [Decimal("123456789012.30"), None],
    "small": [Decimal("0.00000000"), Decimal("0.00000001")],
    "float": [1e16, 0.00001],
    "whole": [1.0, None],
    "price": [123456789012.25, 0.1],
    "text": ['a"b,;\r\n\t', None],
    "return": ["a\rb", "é"],
    "made": [MADE, None],
    "there": [MADE.astimezone(ZoneInfo("America/New_York"))] * 2,
    "naive": [MADE.replace(tzinfo=None)] * 2,
    "day": [date(2024, 5, 6)] * 2,
    "is": [True, False],
    "list": [[1], [2]],
    "bytes": [b"\xff", b""],
}
WITHOUT_TEXT = ("list", "bytes")
CELLS = {
    "id": ["1", "9223372036854775807"],
    "exact": ["123456789012.30", ""],
    "small": ["0.00000000", "0.00000001"],
    "float": ["10000000000000000", "0.00001"],
    "whole": ["1", ""],
    "price": ["123456789012.25", "0.1"],
    "text": ['a"b,;\r\n\t', ""],
    "return": ["a\rb", "é"],
    "is": ["true", "false"],
}
MOMENTS = {
    "made": [MADE, None],
    "there": [MADE, MADE],
    "naive": [MADE.replace(tzinfo=None)] * 2,
    "day": [datetime(2024, 5, 6)] * 2,  # noqa: DTZ001 - a day has no zone
}


def arrow() -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in COLUMNS.items()})


def polars() -> pl.DataFrame:
    there = COLUMNS["there"]
    zone = pl.Series("there", there).dt.convert_time_zone("America/New_York")
    return pl.DataFrame({**COLUMNS, "there": zone}, strict=False)


def pandas() -> pd.DataFrame:
    return pd.DataFrame(COLUMNS)


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(arrow(), file)
    return file.getvalue()


def text(source: ImportSource, delimiter: str | None = None, limits: SourceLimits = LIMITS) -> str:
    with open_source(source, delimiter, limits) as opened:
        assert opened.format == "csv"
        assert opened.delimiter == (delimiter or ",")
        content = b"".join(opened.blocks).decode()
        assert content.encode()[: opened.data_start].decode().count("\n") == opened.data_line - 1
        return content


def cells(content: str, delimiter: str = ",") -> dict[str, list[str]]:
    header, *rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    return {name: list(column) for name, *column in zip(header, *rows, strict=True)}


def refusal(source: ImportSource, limits: SourceLimits = LIMITS) -> str:
    with pytest.raises(InvalidFile) as raised:
        text(source, None, limits)
    return str(raised.value)


TABLES = [arrow, lambda: arrow().to_batches()[0], polars, pandas, parquet]


@pytest.mark.parametrize("made", TABLES, ids=["table", "batch", "polars", "pandas", "parquet"])
@pytest.mark.parametrize("delimiter", [None, ";"], ids=["found", "given"])
def test_table_keeps_every_value(made: Callable[[], ImportSource], delimiter: str | None) -> None:
    found = cells(text(made(), delimiter), delimiter or ",")
    assert [name for name in COLUMNS if name not in WITHOUT_TEXT] == list(found)
    assert {name: found[name] for name in CELLS} == CELLS
    for name, moments in MOMENTS.items():
        assert all(pl.Series(found[name]).replace("", None).drop_nulls().str.contains(MOMENT))
        read = [datetime.fromisoformat(cell) if cell else None for cell in found[name]]
        assert read == moments


def test_pandas_integers_have_no_decimal_point() -> None:
    frame = pd.DataFrame(
        {
            "id": [1.0, float("nan")],
            "n": pd.array([2, None], dtype="Int64"),
            "o": pd.Series([3.0, None], dtype=object),
            "c": pd.Categorical(["x", None]),
            "t": [pd.Timestamp("2024-05-06"), pd.NaT],
        }
    )
    assert text(frame) == "id,n,o,c,t\r\n1,2,3,x,2024-05-06 00:00:00\r\n,,,,\r\n"


def test_numbers_of_32_bits_keep_their_shortest_text() -> None:
    series = pl.DataFrame({"a": [0.1, None, 123456.7]}, schema={"a": pl.Float32})
    for frame in (
        series,
        series.to_arrow(),
        pd.DataFrame({"a": pd.array([0.1, None, 123456.7], dtype="Float32")}),
        pd.DataFrame({"a": [0.1, None, 123456.7]}, dtype="float32"),
    ):
        assert [cell.strip('"') for cell in text(frame).split()[1:] if cell != '""'] == [
            "0.1",
            "123456.7",
        ]


def test_arrow_floats_in_pandas_are_written_like_other_floats() -> None:
    kinds = {"a": "double[pyarrow]", "b": "float[pyarrow]"}
    frame = pd.DataFrame({"a": [1e16, 0.1, None], "b": [0.1, 3.0, None]}).astype(kinds)
    assert text(frame) == "a,b\r\n10000000000000000,0.1\r\n0.1,3\r\n,\r\n"


def test_arrow_lists_and_bytes_in_pandas_are_omitted() -> None:
    whole = arrow().select(["id", "list", "bytes"]).to_pandas(types_mapper=pd.ArrowDtype)
    assert text(whole).splitlines() == ["id", *CELLS["id"]]


def test_dates_outside_pythons_range_are_left_to_the_worker() -> None:
    days = pa.array([0, 2**31 - 1, -(2**31), None], pa.int32()).cast(pa.date32())
    table = pa.table({"id": [1, 2, 3, 4], "day": days, "other": days.cast(pa.date64())})
    for made in (table, table.to_pandas(types_mapper=pd.ArrowDtype)):
        rows = text(made).splitlines()
        assert rows[1] == "1,1970-01-01,1970-01-01"
        assert not re.search(r",\d{4}-", rows[2])
        assert rows[4] == "4,,"


def test_columns_named_like_attributes_do_not_confuse_table_detection() -> None:
    frame = pd.DataFrame({"name": ["Ann"], "read": [1]})
    with open_source(frame, None, LIMITS) as opened:
        assert (opened.name, opened.header) == ("table", ("name", "read"))


@pytest.mark.parametrize(
    "empty", [pl.DataFrame({"id": []}), pd.DataFrame({"id": []})], ids=["polars", "pandas"]
)
def test_table_without_rows_is_a_header(empty: ImportSource) -> None:
    assert text(empty).strip() == "id"


def test_long_tables_are_written_slice_by_slice() -> None:
    numbers = list(range(3 * SLICE + 1))
    for made in (pl.DataFrame, pd.DataFrame, pa.table):
        found = cells(text(made({"id": numbers})))
        assert found == {"id": [str(number) for number in numbers]}


def forms(tmp_path: Path, content: bytes) -> Iterator[tuple[str, ImportSource]]:
    path = tmp_path / "orders.[1]*"
    path.write_bytes(content)
    yield "path", path
    yield "bytes", content
    yield "file", io.BytesIO(content)
    yield "gzip", gzip.compress(content)
    yield "zstd", zstd.compress(content)


def test_parquet_is_read_from_every_source_type(tmp_path: Path) -> None:
    for name, source in forms(tmp_path, parquet()):
        assert cells(text(source))["id"] == CELLS["id"], name


def test_parquet_is_read_from_a_pipe() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(parquet())
    with os.fdopen(reading, "rb") as file:
        assert cells(text(file))["id"] == CELLS["id"]


def test_full_disk_is_reported_when_copying_parquet() -> None:
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Beyond the limit the system sends a signal, which Python ignores, and refuses the write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, kept[1]))
    try:
        with pytest.raises(Unavailable, match="cannot be written: File too large"):
            text(parquet())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


def test_parquet_of_many_slices_is_read_completely(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    pl.DataFrame({"id": range(120_000)}).write_parquet(path, row_group_size=70_000)
    assert cells(text(path))["id"] == [str(number) for number in range(120_000)]


def test_parquet_without_rows_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    pl.DataFrame({"id": [], "name": []}).write_parquet(path)
    assert text(path) == "id,name\n"


@pytest.mark.parametrize("cut", [4, 100, -1, -9])
def test_damaged_parquet_is_refused(cut: int) -> None:
    assert refusal(parquet()[:cut]).startswith("bytes: is a damaged Parquet file: ")


@pytest.mark.parametrize("at", [-9, -40, -300, 4, 40])
def test_corrupted_parquet_is_refused_or_read_without_crash(at: int) -> None:
    content = bytearray(parquet())
    content[at] ^= 0xFF
    with suppress(InvalidFile):
        assert text(bytes(content))


def test_parquet_with_too_large_content_is_refused_early() -> None:
    file = io.BytesIO()
    pl.select(a=pl.repeat("x" * 99, MIN_BYTES_FOR_RATIO)).write_parquet(file)
    assert "IMPORT_MAX_RATIO" in refusal(file.getvalue())
    limits = LIMITS._replace(max_unpacked_bytes=1000)
    assert "IMPORT_MAX_UNPACKED_BYTES" in refusal(file.getvalue(), limits)
    assert "IMPORT_MAX_BYTES" in refusal(file.getvalue(), LIMITS._replace(max_bytes=100))


@pytest.mark.parametrize("kept", [True, False], ids=["categories", "texts"])
def test_equal_long_texts_are_written_in_parts(tmp_path: Path, kept: bool) -> None:  # noqa: FBT001 - a parameter
    """They share their memory in the file and the frame; as one text they would be 4 GB."""
    path = tmp_path / "orders.parquet"
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 40_000, pa.int32()), ["x" * 100_000])
    pq.write_table(pa.table({"id": list(range(40_000)), "text": texts}), path, store_schema=kept)
    with open_source(path, None, LIMITS) as opened:
        assert sum(len(next(opened.blocks)) for _ in range(20)) <= 20 * BLOCK


def test_parquet_of_large_rows_is_decoded_a_few_rows_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    texts = [str(number) * 2000 for number in range(10_000, 20_000)]
    pl.DataFrame({"text": texts}).write_parquet(path)
    slices = list(bounded_slices(pl.scan_parquet(path), len(texts)))
    assert [text for part in slices for text in part["text"]] == texts
    assert max(part.estimated_size() for part in slices) < 16 << 20
    assert len(slices) < 20


def test_parquet_columns_without_text_form_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    pl.DataFrame({"id": [1, 2], "blob": [b"\xff" * 1000] * 2}).write_parquet(
        path, compression="uncompressed"
    )
    content = path.read_bytes()
    # Decoding of the damaged column fails.
    at = content.index(b"\xff" * 1000)
    path.write_bytes(content[: at - 40] + b"\xff" * 40 + content[at:])
    with pytest.raises((pl.exceptions.PolarsError, pl.exceptions.PanicException)):
        pl.read_parquet(path, columns=["blob"])
    assert text(path) == "id\n1\n2\n"


def test_text_longer_than_a_record_is_refused() -> None:
    frame = pl.DataFrame({"a": ["x", "y" * (2 << 20)]})
    assert refusal(frame) == "table: a text in it is longer than 1048576 bytes"


def test_file_size_limit_applies_to_paths(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    path.write_bytes(parquet())
    assert "IMPORT_MAX_BYTES" in refusal(path, LIMITS._replace(max_bytes=1000))
    assert "IMPORT_MAX_COLUMNS" in refusal(path, LIMITS._replace(max_columns=3))


def test_parquet_without_polars_names_the_extra_to_install() -> None:
    program = """
import sys
sys.modules["polars"] = None
from orderworks.core.errors import ConfigurationError
from producer.imports.sources.open_source import open_source
from producer.imports.sources.limits import SourceLimits
try:
    with open_source(b"PAR1", None, SourceLimits(1000, 1000, 1, 1)):
        raise SystemExit("was read")
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "install orderworks[parquet]" in done.stdout
