"""The same orders give the same table in any format and from any source."""

import gzip
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

from orderworks.core.database import make_engine
from orderworks.core.redis import make_redis
from orderworks.core.schema import customers, orders
from orderworks.imports.importer import Importer
from orderworks.imports.progress import Summary
from orderworks.imports.spool import Spool
from orderworks_app.demo.data import GeneratedFiles, generate
from producer.imports.sources.open_source import ImportSource
from tests.support.databases import Databases
from tests.support.types import LoadFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROWS = 2000
CHUNK = 450

Tuples = list[tuple[Any, ...]]

COLUMNS = ("id", "customer_id", "total", "status", "created_at")
"""All that the file gives: not the version and the time of the write, which are the import's."""


def text(**options: Any) -> Callable[[pl.DataFrame], bytes]:  # noqa: ANN401 - those of `write_csv`
    """A function that writes a frame as CSV with certain options."""
    return lambda frame: frame.write_csv(**options).encode()


def json_lines(frame: pl.DataFrame) -> bytes:
    return frame.write_ndjson().encode()


def parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file, row_group_size=700)
    return file.getvalue()


FILES: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "comma.csv": text(),
    "semicolon.csv": text(separator=";"),
    "tab.tsv": text(separator="\t"),
    "tab.csv": text(separator="\t"),
    "pipe.txt": text(separator="|"),
    "quoted.csv": text(separator=";", quote_style="always"),
    "windows.csv": text(line_terminator="\r\n", include_bom=True),
    "lines.jsonl": json_lines,
    "table.parquet": parquet,
}

PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstd.compress,
}


class Trickle:
    """Reads like a socket: a little at a time, and never again."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def read(self, size: int, /) -> bytes:
        """Less than was asked for."""
        return self._rest.read(min(size, 1000))


def pipe(path: Path, stack: ExitStack) -> ImportSource:
    """The standard input of a program behind `cat file |`."""
    process = stack.enter_context(subprocess.Popen(["cat", path], stdout=subprocess.PIPE))  # noqa: S607
    assert process.stdout
    return process.stdout


HANDED_OVER: dict[str, Callable[[Path, ExitStack], ImportSource]] = {
    "text of a path": lambda path, _: str(path),
    "bytes": lambda path, _: path.read_bytes(),
    "open file": lambda path, stack: stack.enter_context(path.open("rb")),
    "unseekable file": lambda path, _: Trickle(path.read_bytes()),
    "pipe": pipe,
}


TABLES: dict[str, Callable[[pl.DataFrame], ImportSource]] = {
    "polars": lambda frame: frame,
    "pandas": lambda frame: frame.to_pandas(),
    "pyarrow": lambda frame: frame.to_arrow(),
    "pyarrow batch": lambda frame: frame.to_arrow().combine_chunks().to_batches()[0],
    "list of dictionaries": lambda frame: frame.to_dicts(),
    "generator of dictionaries": lambda frame: (row for row in frame.iter_rows(named=True)),
}


@pytest.fixture(scope="module")
def module_importer(
    databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Importer]:
    """One for all sources, with a few chunks for each."""
    home = tmp_path_factory.mktemp("every-format") / "home"
    with (
        databases.fresh_settings(home, IMPORT_CHUNK_ROWS=str(CHUNK)) as settings,
        make_redis(settings.stream, timeout=5) as stream,
        make_redis(settings.cache, timeout=5) as cache,
    ):
        engine = make_engine(settings, "orderworks-test")
        yield Importer(engine, Spool(settings.spool), stream, cache, settings)
        engine.dispose()


@pytest.fixture
def importer(module_importer: Importer) -> Importer:
    """The importer that `accept` and `load` use here: that of the database with the customers."""
    return module_importer


@pytest.fixture(scope="module")
def sample(module_importer: Importer, tmp_path_factory: pytest.TempPathFactory) -> GeneratedFiles:
    """TPC-H orders, whose customers are in the table."""
    made = generate(tmp_path_factory.mktemp("tpch"), ROWS)
    people = pl.read_csv(made.customers_file).select("id", "name").to_dicts()
    with module_importer.engine.begin() as connection:
        connection.execute(sa.insert(customers), people)
    return made


@pytest.fixture(autouse=True)
def _no_orders(module_importer: Importer) -> None:
    with module_importer.engine.begin() as connection:
        connection.execute(sa.delete(orders))


def given(frame: pl.DataFrame) -> Tuples:
    """The rows of the file, in order of id."""
    return [
        (*row, datetime.combine(day, time(), UTC))
        for *row, day in frame.select(COLUMNS).sort("id").iter_rows()
    ]


def stored(engine: sa.Engine) -> Tuples:
    with engine.connect() as connection:
        query = sa.select(*orders.c[COLUMNS]).order_by(orders.c.id)
        return [tuple(row) for row in connection.execute(query)]


def arrived_whole(sample: GeneratedFiles, module_importer: Importer, summary: Summary) -> bool:
    """Return whether every row was applied and the whole table is the file's."""
    return summary["applied"] == ROWS and stored(module_importer.engine) == given(sample.orders)


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("name", FILES)
def test_file_of_every_format_and_compression_gives_the_same_table(
    module_importer: Importer,
    sample: GeneratedFiles,
    load: LoadFile,
    tmp_path: Path,
    name: str,
    packing: str,
) -> None:
    path = tmp_path / f"{name}{packing}"
    path.write_bytes(PACKED[packing](FILES[name](sample.orders)))
    assert arrived_whole(sample, module_importer, load(path))


@pytest.mark.parametrize("handed_over", HANDED_OVER)
@pytest.mark.parametrize("name", ["semicolon.csv.gz", "lines.jsonl", "table.parquet"])
def test_every_source_type_gives_the_same_table(
    module_importer: Importer,
    sample: GeneratedFiles,
    load: LoadFile,
    tmp_path: Path,
    name: str,
    handed_over: str,
) -> None:
    path = tmp_path / name
    packing = ".gz" if name.endswith(".gz") else ""
    path.write_bytes(PACKED[packing](FILES[name.removesuffix(packing)](sample.orders)))
    with ExitStack() as stack:
        assert arrived_whole(sample, module_importer, load(HANDED_OVER[handed_over](path, stack)))


@pytest.mark.parametrize("library", TABLES)
def test_table_of_every_library_gives_the_same_table(
    module_importer: Importer, sample: GeneratedFiles, load: LoadFile, library: str
) -> None:
    assert arrived_whole(sample, module_importer, load(TABLES[library](sample.orders)))
