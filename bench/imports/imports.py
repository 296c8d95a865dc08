r"""Imports beside `\copy` and the other ways of loading the same orders into the same table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.alternate import Side, compare, stopwatch
from bench.figures import Figures
from bench.imports import order_files, pgloader
from bench.imports.loaders import WAYS, ImportLoader
from bench.psql_copy import copy, describe
from bench.shop import BenchStack, open_shop
from orderworks.core.errors import OrderworksError
from orderworks.imports.progress import COUNTS
from orderworks.imports.spool import Spool
from producer import Producer

SLOWEST = 1000
"""Rows a second: an import that is slower, and a minute more, has got stuck."""


class ImportBench(NamedTuple):
    """What the sides share."""

    shop: BenchStack
    producer: Producer


def run(rows: int, rounds: int) -> Figures:
    """From the call of `import_file` until `wait` returns, validation and ledger included."""
    with _open(rows) as bench:
        sides = [*_copies(bench.shop), *_imports(bench)]
        return Figures("imports", compare(rounds, *sides), [describe()])


def run_baselines(rows: int, rounds: int) -> Figures:
    r"""Every other way of loading the file, beside `\copy` and an import into the empty table."""
    with _open(rows) as bench:
        sides = [_copies(bench.shop)[0], _imports(bench)[0]]
        sides += [*_ways(bench.shop), *_pgloader(bench.shop)]
        notes = [describe(), pgloader.describe()]
        return Figures("imports-baselines", compare(rounds, *sides), notes)


def timed_import(bench: ImportBench, file: Path, **counts: int) -> float:
    """Seconds that the import of a file takes; it must count its rows so.

    Raises:
        OrderworksError: it did not.
    """
    with stopwatch() as taken:
        job = bench.producer.import_file(file, again=True)
        summary = job.wait(timeout=60 + sum(counts.values()) / SLOWEST)
        seconds = taken()
    expected = {"status": "done", **dict.fromkeys(COUNTS, 0), **counts}
    found = {name: summary[name] for name in expected}
    if found != expected:
        raise OrderworksError(f"the import of {file.name} ended as {found}, not as {expected}")
    # Or the disk fills up, and the system writes it while others are measured.
    Spool(bench.shop.settings.spool).delete_data(job.id)
    return seconds


@contextmanager
def _open(rows: int) -> Iterator[ImportBench]:
    with open_shop(rows) as shop, Producer.from_settings() as producer:
        yield ImportBench(shop, producer)


def _copies(shop: BenchStack) -> list[Side]:
    rows = len(shop.sample.orders)
    one, two = [shop.sample.orders_file], order_files.halves(shop)
    return [
        Side(r"\copy", rows, lambda: _copy(shop, one)),
        Side(r"\copy of two halves at once", rows, lambda: _copy(shop, two)),
    ]


def _imports(bench: ImportBench) -> list[Side]:
    shop = bench.shop
    rows = len(shop.sample.orders)
    changed, spoilt = order_files.changed(shop), order_files.with_bad_rows(shop)
    return [
        Side("import into the empty table", rows, lambda: _import(bench)),
        Side("import with every total changed", rows, lambda: _import_changed(bench, changed)),
        Side("import of the same again", rows, lambda: _import_same(bench)),
        Side("import with 1 % of bad rows", rows, lambda: _import_spoilt(bench, spoilt)),
    ]


def _ways(shop: BenchStack) -> list[Side]:
    return [_way(shop, way, len(shop.sample.orders) // way.share) for way in WAYS]


def _way(shop: BenchStack, way: ImportLoader, count: int) -> Side:
    file = order_files.first(shop, count)
    return Side(way.name, count, lambda: _load(shop, count, partial(way.load, shop.engine, file)))


def _pgloader(shop: BenchStack) -> list[Side]:
    if not pgloader.PROGRAM:
        return []
    rows, database = len(shop.sample.orders), shop.settings.database
    load = partial(pgloader.load, pgloader.PROGRAM, database, shop.sample.orders_file)
    return [Side("pgloader", rows, lambda: _load(shop, rows, load))]


def _copy(shop: BenchStack, parts: list[Path]) -> float:
    load = partial(copy, shop.settings.database, "orders", *parts)
    return _load(shop, len(shop.sample.orders), load)


def _load(shop: BenchStack, count: int, load: Callable[[], None]) -> float:
    """Seconds of loading so many orders into the empty table."""
    shop.without_orders()
    with stopwatch() as taken:
        load()
        seconds = taken()
    shop.expect_orders(count)
    return seconds


def _import(bench: ImportBench) -> float:
    bench.shop.without_orders()
    return timed_import(bench, bench.shop.sample.orders_file, applied=len(bench.shop.sample.orders))


def _import_changed(bench: ImportBench, file: Path) -> float:
    bench.shop.with_orders()
    return timed_import(bench, file, applied=len(bench.shop.sample.orders))


def _import_same(bench: ImportBench) -> float:
    """Nothing is to be written: neither the rows nor their versions."""
    shop = bench.shop
    shop.with_orders()
    before = shop.transaction()
    seconds = timed_import(bench, shop.sample.orders_file, unchanged=len(shop.sample.orders))
    shop.expect_nothing_written(before)
    return seconds


def _import_spoilt(bench: ImportBench, file: Path) -> float:
    bench.shop.without_orders()
    rows = len(bench.shop.sample.orders)
    bad = rows // order_files.BAD_ROW_EVERY
    return timed_import(bench, file, applied=rows - bad, rejected=bad)
