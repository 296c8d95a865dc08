"""Recorded runs of the reconciliation over all customers: their position, and what they counted.

A run proceeds by steps, each for one range of customers in a transaction of its own. A step names the
customer at which it starts, and is executed only if the run's position is just there: so a step that is
requested twice is executed once. A run that recounts for a change of statuses excludes all others:
until it ends, differences are no drift.
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
    CustomerRange,
    ReconcileCounts,
    lock_out_folds,
    log_customers_with,
    next_range,
    reconcile_range,
)

MAX_LOG_ENTRIES = 500_000
"""A log of more than these is folded before a range is compared, as each range reads all of it."""

RESUME_WITHIN = timedelta(hours=1)
"""Age of the last step up to which an unfinished check is continued."""

RETENTION = timedelta(days=90)

COUNT_COLUMNS = ReconcileCounts.__struct_fields__

FoldLog = Callable[[], object]
"""Folds the change log: runs a refresh."""


class ReconcilePosition(NamedTuple):
    """A run and the next customer to reconcile; None at its end."""

    run: int
    customer: int | None


class ReconcileRun(msgspec.Struct, frozen=True):
    """A finished run."""

    finished_at: datetime
    counted: ReconcileCounts


def start_run(connection: sa.Connection, for_statuses: set[str] | None = None) -> ReconcilePosition:
    """Start a run; with statuses, one that recounts for their change. Delete expired runs."""
    expired = rollup_checks.c.moved_at < sa.func.now() - RETENTION
    connection.execute(sa.delete(rollup_checks).where(expired))
    values = {"statuses": sorted(for_statuses) if for_statuses else None, "next_customer": MIN_ID}
    new_run = sa.insert(rollup_checks).values(values).returning(rollup_checks.c.id)
    return ReconcilePosition(connection.execute(new_run).scalar_one(), MIN_ID)


def start_run_if_due(
    connection: sa.Connection, ended_within: timedelta
) -> ReconcilePosition | None:
    """Start a run; return None if one ended within this time, or a change of statuses is unfinished.

    An unfinished run with a recent step is continued: the message that started it may have been
    redelivered, because its pool child was killed. If the run's own messages are still being processed,
    each step is executed once nevertheless.
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
    """Put statuses in force and start the recount for them; return None if none is needed.

    The recount includes the statuses of an earlier unfinished one, which it replaces.

    Raises:
        RebuildStopped, sa.exc.DBAPIError: see `excluded_statuses.block_writers`.
    """
    is_in_force = excluded == excluded_statuses.read_excluded(connection)
    if is_in_force and not unfinished_change(connection):
        return None
    excluded_statuses.block_writers(connection)
    changed = excluded_statuses.replace_excluded(connection, excluded)
    changed |= unfinished_change(connection)
    connection.execute(sa.delete(rollup_checks).where(_IS_UNFINISHED_CHANGE))
    return start_run(connection, changed) if changed else None


@retry_transient
def reconcile_next_range(
    engine: sa.Engine, fold_log: FoldLog, position: ReconcilePosition
) -> tuple[ReconcilePosition, ReconcileCounts] | None:
    """Reconcile the run's next range; return the new position and what was counted.

    Returns None without doing anything if the run is not at `position`, or another run recounts.

    Raises:
        RebuildStopped: folds held their lock for longer than the wait for it, or the change log stays
            long.
    """
    _fold_long_log(engine, fold_log)
    with engine.begin() as connection:
        if not lock_out_folds(connection):
            raise RebuildStopped("Folds of the change log are running all the time")
        state = connection.execute(_STATE, {"run": position.run}).one_or_none()
        if state is None or state.next_customer != position.customer or state.makes_way:
            return None
        span = next_range(connection, state.next_customer)
        counted = reconcile_range(connection, span)
        if state.statuses:
            log_customers_with(connection, span, state.statuses)
        next_customer = _next_customer(span)
        connection.execute(_advance(position.run, next_customer, counted))
    return ReconcilePosition(position.run, next_customer), counted


def reconcile_for(
    engine: sa.Engine, fold_log: FoldLog, position: ReconcilePosition, seconds: float
) -> tuple[ReconcilePosition, ReconcileCounts] | None:
    """Execute steps for some seconds; return None if a step is refused (see `reconcile_next_range`)."""
    deadline, total = time.monotonic() + seconds, ReconcileCounts()
    while result := reconcile_next_range(engine, fold_log, position):
        position, counted = result
        total += counted
        if position.customer is None or time.monotonic() > deadline:
            return position, total
    return None


@retry_transient
def dry_run_range(engine: sa.Engine, customer: int) -> tuple[int | None, ReconcileCounts]:
    """Return the next customer, and what a step from this customer on would count.

    Its corrections are rolled back.

    Raises:
        RebuildStopped: as `reconcile_next_range`.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        if _log_is_long(connection):
            raise RebuildStopped("The change log is too long to be compared: wait for a refresh")
        if not lock_out_folds(connection):
            raise RebuildStopped("Folds of the change log are running all the time")
        span = next_range(connection, customer)
        counted = reconcile_range(connection, span)
        transaction.rollback()
    return _next_customer(span), counted


def counts_of_run(connection: sa.Connection, run: int) -> ReconcileCounts:
    """Return what the run has counted so far."""
    query = sa.select(*rollup_checks.c[COUNT_COLUMNS]).where(rollup_checks.c.id == run)
    return ReconcileCounts(*connection.execute(query).one())


def last_finished_run(connection: sa.Connection) -> ReconcileRun | None:
    """Return the newest finished check; runs for a change of statuses do not count."""
    query = (
        sa.select(*rollup_checks.c[("finished_at", *COUNT_COLUMNS)])
        .where(rollup_checks.c.finished_at.is_not(None), rollup_checks.c.statuses.is_(None))
        .order_by(rollup_checks.c.finished_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else ReconcileRun(row.finished_at, ReconcileCounts(*row[1:]))


def unfinished_change(connection: sa.Connection) -> set[str]:
    """Return the changed statuses for which the recount is not finished."""
    query = sa.select(rollup_checks.c.statuses).where(_IS_UNFINISHED_CHANGE)
    return {status for each in connection.scalars(query) for status in each or ()}


_IS_UNFINISHED_CHANGE = rollup_checks.c.statuses.is_not(None) & rollup_checks.c.finished_at.is_(
    None
)


def _fold_long_log(engine: sa.Engine, fold_log: FoldLog) -> None:
    """Fold the log if it is long; raise RebuildStopped if it stays long, as when a refresh runs."""
    for wait in (0, 2, 10):
        with engine.connect() as connection:
            if not _log_is_long(connection):
                return
        time.sleep(wait)
        fold_log()
    raise RebuildStopped("The change log is too long: refreshes are folding it. Try again later")


def _log_is_long(connection: sa.Connection) -> bool:
    return bool(connection.scalar(sa.select(sa.func.sum(change_log.c.entries) > MAX_LOG_ENTRIES)))


def _state() -> sa.Select[Any]:
    """Return the query for a run's position and statuses; `makes_way`: another run recounts."""
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


def _next_customer(span: CustomerRange) -> int | None:
    return None if span.last == MAX_ID else span.last + 1


def _advance(run: int, next_customer: int | None, counted: ReconcileCounts) -> sa.Update:
    counts = {name: rollup_checks.c[name] + getattr(counted, name) for name in COUNT_COLUMNS}
    finished = None if next_customer is not None else sa.func.now()
    return (
        sa.update(rollup_checks)
        .where(rollup_checks.c.id == run)
        .values(next_customer=next_customer, moved_at=sa.func.now(), finished_at=finished, **counts)
    )
