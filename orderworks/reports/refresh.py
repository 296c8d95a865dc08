"""The refresh of the reports: fold the change log, move the windows, publish the lists.

Its cost is proportional to the number of changes, not of orders.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from orderworks.cache import invalidation
from orderworks.core.locks import Lock, try_lock, wait_for_lock
from orderworks.core.redis import Redis
from orderworks.reports import ranking, rollups
from orderworks.reports.fold import FoldPass, fold_batch
from orderworks.reports.publisher import publish
from orderworks.reports.top_customers import Report, TopCustomer
from orderworks.reports.windows import Window

TIME_SLICE = 30
"""Seconds after which a refresh with more to fold returns, so that the worker can do other tasks; it has
to be called again."""

FOLD_LOCK_WAIT = 5.0
"""Seconds to wait while a range of customers is reconciled; a third of a second is usual."""

Invalidate = Callable[[Collection[int]], None]


class RefreshResult(msgspec.Struct, frozen=True):
    """The result of a refresh.

    Attributes:
        folded: number of folded entries of the change log.
        published: number of windows whose lines changed.
        as_of: the moment up to which the reports include all commits.
        more: the time slice ended before the log was folded, so nothing was published.
    """

    folded: int
    published: int
    as_of: datetime
    more: bool


class _RefreshPass(NamedTuple):
    """A pass of the fold, and the list of every window if it was the last one; else none."""

    fold_pass: FoldPass
    lists: dict[Window, list[TopCustomer]]


def refresh(
    engine: sa.Engine, client: Redis, invalidate: Invalidate, depth: int
) -> RefreshResult | None:
    """Fold the change log, then publish every window; return None if another refresh runs.

    Another one may also start between two passes of this one.

    Running it twice publishes the same; an older refresh that ends late overwrites nothing.

    Raises:
        redis.RedisError: the cache is unavailable. Entries that are not folded stay in the log.
    """
    started = time.perf_counter()
    folded = 0
    while step := _next_pass(engine, client, invalidate, depth, is_first=not folded):
        folded += step.fold_pass.entries
        seconds = time.perf_counter() - started
        if step.lists or seconds > TIME_SLICE:
            published = publish(client, _reports(step, seconds, depth), step.fold_pass.number)
            return RefreshResult(folded, published, step.fold_pass.as_of, more=not step.lists)
    return None


def _next_pass(
    engine: sa.Engine, client: Redis, invalidate: Invalidate, depth: int, *, is_first: bool
) -> _RefreshPass | None:
    """Run one pass in one transaction; return None if another refresh or a reconciliation blocks it.

    A second refresh does not wait for the first: the two would fold in turns, and keep one more worker
    busy with the same log.
    """
    with engine.begin() as connection:
        # If a crash undoes this commit, the entries are still in the log.
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        if not try_lock(connection, Lock.REFRESH):
            return None
        if not wait_for_lock(connection, Lock.FOLD, FOLD_LOCK_WAIT):
            return None
        step = _fold(connection, invalidate, depth, is_first=is_first)
        stale = _seconds_since(connection, step.fold_pass.stale_since)
    invalidation.record(client, invalidation.Path.LOG, stale)
    return step


def _fold(
    connection: sa.Connection, invalidate: Invalidate, depth: int, *, is_first: bool
) -> _RefreshPass:
    """Fold a part of the log, and read the lists in the same transaction if the log is then folded.

    Invalidation comes before the commit: if it fails, nothing is folded.
    """
    fold_pass = fold_batch(connection)
    invalidate(fold_pass.customers)
    is_done = fold_pass.is_last and rollups.move_windows(connection, fold_pass.as_of, depth)
    if not is_done:
        return _RefreshPass(fold_pass, {})
    if not is_first:
        # After many changes, as of an import, far too many customers may be ranked. Each change of
        # their totals would change the index too, until the next day.
        ranking.rerank_overfull(connection, depth)
    lists = {window: ranking.top(connection, window, depth) for window in Window}
    return _RefreshPass(fold_pass, lists)


def _seconds_since(connection: sa.Connection, moments: Sequence[datetime]) -> list[float]:
    """Return the seconds from each moment to now, by the database's clock."""
    if not moments:
        return []
    now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return [(now - each).total_seconds() for each in moments]


def _reports(step: _RefreshPass, seconds: float, depth: int) -> list[Report]:
    fold_pass = step.fold_pass
    return [
        Report(
            window, fold_pass.as_of, fold_pass.watermark, seconds, rows, complete=len(rows) < depth
        )
        for window, rows in step.lists.items()
    ]
