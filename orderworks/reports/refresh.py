"""Refreshing the reports: fold the change log, move the windows, publish what follows.

It costs in proportion to what changed, not to what there is.
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
"""Seconds after which a refresh that has still more to fold lets others go on; it is to be called
again."""

FOLD_LOCK_WAIT = 5.0
"""Seconds to wait for a range of customers that is recounted; a third of one is usual."""

Invalidate = Callable[[Collection[int]], None]


class RefreshResult(msgspec.Struct, frozen=True):
    """What a refresh did: entries of the log folded, windows with other lines, and how fresh they are.

    Attributes:
        more: the time slice was over before the log was folded, so nothing is published.
    """

    folded: int
    published: int
    as_of: datetime
    more: bool


class _RefreshPass(NamedTuple):
    """A pass over the log; and after the last one every window's list, as deep as asked for."""

    fold_pass: FoldPass
    lists: dict[Window, list[TopCustomer]]


def refresh(
    engine: sa.Engine, client: Redis, invalidate: Invalidate, depth: int
) -> RefreshResult | None:
    """Fold the change log, then publish every window; None if another refresh is at it, or came to be.

    Running it twice publishes the same; an older refresh that ends late overwrites nothing.

    Raises:
        redis.RedisError: the cache is away. What is not folded stays in the log.
    """
    began = time.perf_counter()
    folded = 0
    while step := _next_pass(engine, client, invalidate, depth, is_first=not folded):
        folded += step.fold_pass.entries
        seconds = time.perf_counter() - began
        if step.lists or seconds > TIME_SLICE:
            published = publish(client, _reports(step, seconds, depth), step.fold_pass.number)
            return RefreshResult(folded, published, step.fold_pass.as_of, more=not step.lists)
    return None


def _next_pass(
    engine: sa.Engine, client: Redis, invalidate: Invalidate, depth: int, *, is_first: bool
) -> _RefreshPass | None:
    """One pass in one transaction; None if another refresh, or a recount, does not let it.

    A second refresh is sent away and not waited for: it would fold by turns with this one, and keep one
    more worker busy with the same log.
    """
    with engine.begin() as connection:
        # What a crash takes back of it stands in the log still.
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        if not try_lock(connection, Lock.REFRESH):
            return None
        if not wait_for_lock(connection, Lock.FOLD, FOLD_LOCK_WAIT):
            return None
        step = _fold(connection, invalidate, depth, is_first=is_first)
        stale = _seconds_since(connection, step.fold_pass.stale_since)
    invalidation.record(client, invalidation.Path.LOG, stale)
    return step


def _seconds_since(connection: sa.Connection, moments: Sequence[datetime]) -> list[float]:
    """Return the seconds from each moment to now, by the database's clock."""
    if not moments:
        return []
    now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return [(now - each).total_seconds() for each in moments]


def _fold(
    connection: sa.Connection, invalidate: Invalidate, depth: int, *, is_first: bool
) -> _RefreshPass:
    """Fold some of the log, and read the lists from the same state if that was all.

    Whatever fails, nothing is folded: the cached reads are gone before the commit.
    """
    taken = fold_batch(connection)
    invalidate(taken.customers)
    is_done = taken.is_last and rollups.move_windows(connection, taken.as_of, depth)
    if is_done and not is_first:
        # After so many changes, an import's for one, far too many may be ranked. Then each change of
        # theirs would change the index too, until the next day.
        ranking.rerank_overfull(connection, depth)
    lists = _lists(connection, depth) if is_done else {}
    return _RefreshPass(taken, lists)


def _lists(connection: sa.Connection, depth: int) -> dict[Window, list[TopCustomer]]:
    return {window: ranking.top(connection, window, depth) for window in Window}


def _reports(step: _RefreshPass, seconds: float, depth: int) -> list[Report]:
    taken = step.fold_pass
    return [
        Report(window, taken.as_of, taken.watermark, seconds, rows, complete=len(rows) < depth)
        for window, rows in step.lists.items()
    ]
