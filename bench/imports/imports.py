r"""Imports compared with `\copy` and other ways of loading the same orders into the same table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.alternate import Side, compare, stopwatch
from bench.figures import Figures
from bench.imports import order_files, pgloader
from bench.imports.loaders import LOADERS, ImportLoader
from bench.psql_copy import copy, describe
from bench.stack import BenchStack, open_stack
from orderworks.core.errors import OrderworksError
from orderworks.imports.progress import COUNTS
from orderworks.imports.spool import Spool
from producer import Producer

SLOWEST = 1000
"""Rows a second, from which the timeout of an import follows, with a minute added."""


class ImportBench(NamedTuple):
    """The objects that all sides share."""

    stack: BenchStack
    producer: Producer


def run(rows: int, rounds: int) -> Figures:
    """Measure imports from `import_file` until `wait` returns, validation and ledger included."""
    with _open(rows) as bench:
        sides = [*_copies(bench.stack), *_imports(bench)]
        return Figures("imports", compare(rounds, *sides), [describe()])


def run_baselines(rows: int, rounds: int) -> Figures:
    r"""Measure every other way of loading the file, `\copy`, and an import into the empty table."""
    with _open(rows) as bench:
        sides = [_copies(bench.stack)[0], _imports(bench)[0]]
        sides += [*_loader_sides(bench.stack), *_pgloader(bench.stack)]
        notes = [describe(), pgloader.describe()]
        return Figures("imports-baselines", compare(rounds, *sides), notes)


def timed_import(bench: ImportBench, file: Path, **counts: int) -> float:
    """Import a file; return the seconds.

    Raises:
        OrderworksError: its numbers of rows, by result, are not `counts`.
    """
    with stopwatch() as elapsed:
        job = bench.producer.import_file(file, again=True)
        summary = job.wait(timeout=60 + sum(counts.values()) / SLOWEST)
        seconds = elapsed()
    expected = {"status": "done", **dict.fromkeys(COUNTS, 0), **counts}
    ended = {name: summary[name] for name in expected}
    if ended != expected:
        raise OrderworksError(f"the import of {file.name} ended as {ended}, not as {expected}")
    # Else the disk fills up, and the system flushes the file while other sides are measured.
    Spool(bench.stack.settings.spool).delete_data(job.id)
    return seconds


@contextmanager
def _open(rows: int) -> Iterator[ImportBench]:
    with open_stack(rows) as stack, Producer.from_settings() as producer:
        yield ImportBench(stack, producer)


def _copies(stack: BenchStack) -> list[Side]:
    rows = len(stack.sample.orders)
    one, two = [stack.sample.orders_file], order_files.halves(stack)
    return [
        Side(r"\copy", rows, lambda: _copy(stack, one)),
        Side(r"\copy of two halves at once", rows, lambda: _copy(stack, two)),
    ]


def _imports(bench: ImportBench) -> list[Side]:
    stack = bench.stack
    rows = len(stack.sample.orders)
    changed, bad_rows = order_files.changed(stack), order_files.with_bad_rows(stack)
    return [
        Side("import into the empty table", rows, lambda: _import(bench)),
        Side("import with every total changed", rows, lambda: _import_changed(bench, changed)),
        Side("import of the same again", rows, lambda: _import_same(bench)),
        Side("import with 1 % of bad rows", rows, lambda: _import_bad_rows(bench, bad_rows)),
    ]


def _loader_sides(stack: BenchStack) -> list[Side]:
    return [
        _loader_side(stack, loader, len(stack.sample.orders) // loader.share) for loader in LOADERS
    ]


def _loader_side(stack: BenchStack, loader: ImportLoader, count: int) -> Side:
    file = order_files.first(stack, count)
    return Side(
        loader.name, count, lambda: _load(stack, count, partial(loader.load, stack.engine, file))
    )


def _pgloader(stack: BenchStack) -> list[Side]:
    if not pgloader.PROGRAM:
        return []
    rows, database = len(stack.sample.orders), stack.settings.database
    load = partial(pgloader.load, pgloader.PROGRAM, database, stack.sample.orders_file)
    return [Side("pgloader", rows, lambda: _load(stack, rows, load))]


def _copy(stack: BenchStack, parts: list[Path]) -> float:
    load = partial(copy, stack.settings.database, "orders", *parts)
    return _load(stack, len(stack.sample.orders), load)


def _load(stack: BenchStack, count: int, load: Callable[[], None]) -> float:
    """Load `count` orders into the empty table; return the seconds."""
    stack.without_orders()
    with stopwatch() as elapsed:
        load()
        seconds = elapsed()
    stack.expect_orders(count)
    return seconds


def _import(bench: ImportBench) -> float:
    bench.stack.without_orders()
    return timed_import(
        bench, bench.stack.sample.orders_file, applied=len(bench.stack.sample.orders)
    )


def _import_changed(bench: ImportBench, file: Path) -> float:
    bench.stack.with_orders()
    return timed_import(bench, file, applied=len(bench.stack.sample.orders))


def _import_same(bench: ImportBench) -> float:
    """Import the same rows again, and check that neither rows nor versions are written."""
    stack = bench.stack
    stack.with_orders()
    before = stack.transaction()
    seconds = timed_import(bench, stack.sample.orders_file, unchanged=len(stack.sample.orders))
    stack.expect_nothing_written(before)
    return seconds


def _import_bad_rows(bench: ImportBench, file: Path) -> float:
    bench.stack.without_orders()
    rows = len(bench.stack.sample.orders)
    bad = rows // order_files.BAD_ROW_EVERY
    return timed_import(bench, file, applied=rows - bad, rejected=bad)
