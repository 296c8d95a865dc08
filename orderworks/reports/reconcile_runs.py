"""Runs that compare all rollups with the orders table: where each has come to, and what it found.

A run goes from customer to customer by steps, a range each in a transaction of its own. A step says
from which customer it goes on, and is done only if the run has come to just there: so one that is asked
for twice is done once. A run that recounts for a change of statuses keeps all others away: what differs
until it ends is no drift.
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from orderworks.core.database import retry_transient
from orderworks.core.errors import RebuildStopped
from orderworks.core.schema import change_log, rollup_checks
from orderworks.reports import excluded_statuses
from orderworks.reports.reconcile import (
    MAX_ID,
    MIN_ID,
    ReconcileCounts,
    lock_out_folds,
    log_customers_with,
    next_range,
    reconcile_range,
)

MAX_LOG_ENTRIES = 500_000
"""A log of more than these is folded before a range is compared, as each range reads all of it."""

RESUME_WITHIN = timedelta(hours=1)
"""A check that moved as lately is at work, if it did not end."""

RETENTION = timedelta(days=90)

COUNT_COLUMNS = ReconcileCounts.__struct_fields__

FoldLog = Callable[[], object]
"""Folds the change log."""


class ReconcilePosition(NamedTuple):
    """Where a run has come to: the next customer; None at its end."""

    run: int
    customer: int | None


class ReconcileRun(msgspec.Struct, frozen=True):
    """A run that ended."""

    finished_at: datetime
    counted: ReconcileCounts


def start_run(connection: sa.Connection, for_statuses: set[str] | None = None) -> ReconcilePosition:
    """A new run. With statuses, one that recounts for their change."""
    old = rollup_checks.c.moved_at < sa.func.now() - RETENTION
    connection.execute(sa.delete(rollup_checks).where(old))
    values = {"statuses": sorted(for_statuses) if for_statuses else None, "next_customer": MIN_ID}
    started = sa.insert(rollup_checks).values(values).returning(rollup_checks.c.id)
    return ReconcilePosition(connection.execute(started).scalar_one(), MIN_ID)


def start_run_if_due(
    connection: sa.Connection, ended_within: timedelta
) -> ReconcilePosition | None:
    """A new run, unless one ended as lately, or statuses were changed and not recounted yet.

    One that moved lately and did not end is gone on with: the message that began it may have been
    delivered again, as its child was killed. If its own messages are under way after all, each step is
    done once all the same.
    """
    if unfinished_change(connection):
        return None
    age = sa.func.now() - rollup_checks.c.moved_at
    columns = rollup_checks.c["id", "next_customer", "finished_at"]
    query = sa.select(*columns, age.label("age")).order_by(rollup_checks.c.id.desc()).limit(1)
    last = connection.execute(query).one_or_none()
    if last is None or last.age >= (ended_within if last.finished_at else RESUME_WITHIN):
        return start_run(connection)
    return None if last.finished_at else ReconcilePosition(last.id, last.next_customer)


def start_status_change(
    connection: sa.Connection, excluded: tuple[str, ...]
) -> ReconcilePosition | None:
    """Put statuses in force, and begin the recount for that; None if they are, and it has ended.

    What an earlier recount left undone is done by this one.

    Raises:
        RebuildStopped, sa.exc.DBAPIError: see `statuses.block_writers`.
    """
    if excluded == excluded_statuses.read_excluded(connection) and not unfinished_change(
        connection
    ):
        return None
    excluded_statuses.block_writers(connection)
    changed = excluded_statuses.replace_excluded(connection, excluded) | unfinished_change(
        connection
    )
    connection.execute(sa.delete(rollup_checks).where(_IS_UNFINISHED_CHANGE))
    return start_run(connection, changed) if changed else None


@retry_transient
def reconcile_next_range(
    engine: sa.Engine, fold_log: FoldLog, position: ReconcilePosition
) -> tuple[ReconcilePosition, ReconcileCounts] | None:
    """Compare the next range and mend it; where the run is then, and what was counted.

    None, and nothing is done, if the run is not there, or has to make way for a recount.

    Raises:
        RebuildStopped: folds were at work all the time.
    """
    _fold_long_log(engine, fold_log)
    with engine.begin() as connection:
        if not lock_out_folds(connection):
            raise RebuildStopped("Folds of the change log are at work all the time")
        found = connection.execute(_STATE, {"run": position.run}).one_or_none()
        if found is None or found.next_customer != position.customer or found.makes_way:
            return None
        span = next_range(connection, found.next_customer)
        counted = reconcile_range(connection, span)
        if found.statuses:
            log_customers_with(connection, span, found.statuses)
        following = None if span.last == MAX_ID else span.last + 1
        connection.execute(_advance(position.run, following, counted))
    return ReconcilePosition(position.run, following), counted


def reconcile_for(
    engine: sa.Engine, fold_log: FoldLog, position: ReconcilePosition, seconds: float
) -> tuple[ReconcilePosition, ReconcileCounts] | None:
    """Step after step for some seconds; None if the first one is not to be done."""
    deadline, total = time.monotonic() + seconds, ReconcileCounts()
    while stepped := reconcile_next_range(engine, fold_log, position):
        position, counted = stepped
        total += counted
        if position.customer is None or time.monotonic() > deadline:
            return position, total
    return None


@retry_transient
def dry_run_range(engine: sa.Engine, customer: int) -> tuple[int | None, ReconcileCounts]:
    """What a step from this customer on would find, and from which customer it would go on.

    All that it mends is rolled back.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        if _log_is_long(connection):
            raise RebuildStopped("The change log is too long to be compared: wait for a refresh")
        if not lock_out_folds(connection):
            raise RebuildStopped("Folds of the change log are at work all the time")
        span = next_range(connection, customer)
        counted = reconcile_range(connection, span)
        transaction.rollback()
    return (None if span.last == MAX_ID else span.last + 1), counted


def counts_of_run(connection: sa.Connection, run: int) -> ReconcileCounts:
    """What the run has counted so far."""
    query = sa.select(*rollup_checks.c[COUNT_COLUMNS]).where(rollup_checks.c.id == run)
    return ReconcileCounts(*connection.execute(query).one())


def last_finished_run(connection: sa.Connection) -> ReconcileRun | None:
    """The newest check that ended; recounts are none."""
    query = (
        sa.select(*rollup_checks.c[("finished_at", *COUNT_COLUMNS)])
        .where(rollup_checks.c.finished_at.is_not(None), rollup_checks.c.statuses.is_(None))
        .order_by(rollup_checks.c.finished_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else ReconcileRun(row.finished_at, ReconcileCounts(*row[1:]))


def unfinished_change(connection: sa.Connection) -> set[str]:
    """The statuses that were changed, and are not recounted to the end."""
    query = sa.select(rollup_checks.c.statuses).where(_IS_UNFINISHED_CHANGE)
    return {status for each in connection.scalars(query) for status in each or ()}


_IS_UNFINISHED_CHANGE = rollup_checks.c.statuses.is_not(None) & rollup_checks.c.finished_at.is_(
    None
)


def _state() -> sa.Select[Any]:
    """A run's place and statuses, and whether another one recounts, which it has to make way for."""
    other = rollup_checks.alias("other")
    recounts = sa.exists().where(
        other.c.statuses.is_not(None),
        other.c.finished_at.is_(None),
        other.c.id != rollup_checks.c.id,
    )
    columns = rollup_checks.c["next_customer", "statuses"]
    return sa.select(*columns, recounts.label("makes_way")).where(
        rollup_checks.c.id == sa.bindparam("run")
    )


_STATE = _state()


def _advance(run: int, following: int | None, counted: ReconcileCounts) -> sa.Update:
    counts = {name: rollup_checks.c[name] + getattr(counted, name) for name in COUNT_COLUMNS}
    finished = None if following is not None else sa.func.now()
    return (
        sa.update(rollup_checks)
        .where(rollup_checks.c.id == run)
        .values(next_customer=following, moved_at=sa.func.now(), finished_at=finished, **counts)
    )


def _fold_long_log(engine: sa.Engine, fold_log: FoldLog) -> None:
    """Fold the log if it is long; raise if it stays so, because others fold it at this time."""
    for wait in (0, 2, 10):
        with engine.connect() as connection:
            if not _log_is_long(connection):
                return
        time.sleep(wait)
        fold_log()
    raise RebuildStopped("The change log is too long: refreshes are folding it. Try again later")


def _log_is_long(connection: sa.Connection) -> bool:
    return bool(connection.scalar(sa.select(sa.func.sum(change_log.c.entries) > MAX_LOG_ENTRIES)))
