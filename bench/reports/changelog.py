"""The benchmark of the change log: the cost of its triggers for writers, and of folds during a drain.

The same import and the same drain run with the triggers and without. Without the log the customers to
invalidate are unknown, so no cached reads are. The cost of that is measured by a drain that logs while
the cache is unavailable.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import sqlalchemy as sa

from bench.alternate import Result, Side, compare, stopwatch
from bench.figures import Figures
from bench.imports.imports import ImportBench, timed_import
from bench.stack import BenchStack, open_stack
from bench.updates.drains import filled, time_of
from bench.updates.workloads import prepare, random_workload
from orderworks.cache import invalidate
from orderworks.core.redis import make_redis
from orderworks.reports.refresh import refresh
from producer import OrderUpdate, Producer

IMPORT, PLAIN_IMPORT = "import", "import without the log"
DRAIN, PLAIN_DRAIN = "drain", "drain without the log"
LOGGING_DRAIN = "drain without invalidation"
FOLD = "fold of the log of a drain"
BOTH = "drain, with folds until the log is empty"

FOLD_PAUSE = 0.1
"""Seconds between two folds during a drain."""


def run(rows: int, count: int, rounds: int) -> Figures:
    """Measure drain and import with the log and without, and the fold after a drain and during one."""
    with open_stack(rows) as stack:
        return run_on(stack, count, rounds)


def run_on(stack: BenchStack, count: int, rounds: int) -> Figures:
    """Do the same on a stack."""
    rows = len(stack.sample.orders)
    with Producer.from_settings() as producer:
        stack.with_orders()
        _fold(stack)
        drains = {
            PLAIN_DRAIN: partial(_without_logging, stack, partial(_drain, stack, count)),
            LOGGING_DRAIN: partial(_without_cache, partial(_drain, stack, count)),
            DRAIN: partial(_drain, stack, count),
            FOLD: partial(_fold, stack),
            BOTH: partial(_drain_and_fold, stack, count),
        }
        load = partial(_import, ImportBench(stack, producer))
        imports = {PLAIN_IMPORT: partial(_without_logging, stack, load), IMPORT: load}
        results = [
            *compare(rounds, *(Side(name, count, drains[name]) for name in drains)),
            *compare(rounds, *(Side(name, rows, imports[name]) for name in imports)),
        ]
        return Figures("changelog", results, _notes(results))


def _import(bench: ImportBench) -> float:
    bench.stack.without_orders()
    orders = bench.stack.sample
    return timed_import(bench, orders.orders_file, applied=len(orders.orders))


def _drain(stack: BenchStack, count: int) -> float:
    """Return the seconds of one drain, in a process of its own, that applies all updates."""
    with _waiting(stack, count):
        return time_of(1)


def _drain_and_fold(stack: BenchStack, count: int) -> float:
    ended = threading.Event()
    folding = threading.Thread(target=_fold_until, args=(stack, ended))
    with _waiting(stack, count), stopwatch() as elapsed:
        folding.start()
        drained = time_of(1)
        both = elapsed()
        ended.set()
        folding.join()
        return drained + elapsed() - both


@contextmanager
def _waiting(stack: BenchStack, count: int) -> Iterator[None]:
    """Fill one stream with updates, and empty the log."""
    workload = random_workload(stack, count)
    prepare(stack, workload)
    updates = [OrderUpdate(order_id=o, total=t, version=v) for o, t, v in workload.updates]
    with filled(stack.settings, 1, updates):
        yield


def _without_logging(stack: BenchStack, job: Callable[[], float]) -> float:
    """Return the seconds of a job with the triggers disabled."""
    _alter_triggers(stack, "DISABLE")
    try:
        return job()
    finally:
        _alter_triggers(stack, "ENABLE")


def _without_cache(job: Callable[[], float]) -> float:
    """Return the seconds of a job whose processes find no server at the cache's address."""
    with patch.dict(os.environ, CACHE_REDIS_URL="redis://127.0.0.1:1/0"):
        return job()


def _alter_triggers(stack: BenchStack, action: str) -> None:
    with stack.engine.begin() as connection:
        for table in ("orders", "customers"):
            connection.execute(sa.text(f"ALTER TABLE {table} {action} TRIGGER USER"))


def _fold(stack: BenchStack) -> float:
    """Return the seconds until the log is empty and the reports are published."""
    with make_redis(stack.settings.cache, 30) as client, stopwatch() as elapsed:
        while True:
            depth = stack.settings.report_depth
            result = refresh(stack.engine, client, partial(invalidate, client), depth)
            if result and not result.more:
                return elapsed()


def _fold_until(stack: BenchStack, ended: threading.Event) -> None:
    """Fold repeatedly until the event is set, and once more after it."""
    while not ended.wait(FOLD_PAUSE):
        _fold(stack)
    _fold(stack)


def _notes(results: Sequence[Result]) -> list[str]:
    seconds = {each.name: each.seconds for each in results}
    costs = [
        f"{label} {100 * (seconds[logged] / seconds[plain] - 1):.0f} %"
        for label, logged, plain in (
            ("the log costs a drain", LOGGING_DRAIN, PLAIN_DRAIN),
            ("the log and invalidation by it cost a drain", DRAIN, PLAIN_DRAIN),
            ("the log and invalidation by it cost an import", IMPORT, PLAIN_IMPORT),
        )
    ]
    ratio = f"{seconds[BOTH] / seconds[DRAIN]:.2f} times the drain alone"
    return [*costs, f"a drain with folds until the log is empty takes {ratio}"]
