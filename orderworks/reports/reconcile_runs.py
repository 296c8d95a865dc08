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
    FIRST,
    LAST,
    Counted,
    keep_folds_out,
    log_owners,
    recount,
    span_from,
)

LOG_ENTRIES = 500_000
"""A log of more than these is folded before a range is compared, as each range reads all of it."""

RECENT = timedelta(hours=1)
"""A check that moved as lately is at work, if it did not end."""

KEPT = timedelta(days=90)

COUNTS = Counted.__struct_fields__

FoldLog = Callable[[], object]
"""Folds the change log."""


class Place(NamedTuple):
    """Where a run has come to: the next customer; None at its end."""

    run: int
    customer: int | None


class Check(msgspec.Struct, frozen=True):
    """A run that ended."""

    finished_at: datetime
    counted: Counted


def begin(connection: sa.Connection, for_statuses: set[str] | None = None) -> Place:
    """A new run. With statuses, one that recounts for their change."""
    old = rollup_checks.c.moved_at < sa.func.now() - KEPT
    connection.execute(sa.delete(rollup_checks).where(old))
    values = {"statuses": sorted(for_statuses) if for_statuses else None, "next_customer": FIRST}
    started = sa.insert(rollup_checks).values(values).returning(rollup_checks.c.id)
    return Place(connection.execute(started).scalar_one(), FIRST)


def begin_if_due(connection: sa.Connection, ended_within: timedelta) -> Place | None:
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
    if last is None or last.age >= (ended_within if last.finished_at else RECENT):
        return begin(connection)
    return None if last.finished_at else Place(last.id, last.next_customer)


def begin_change(connection: sa.Connection, wanted: tuple[str, ...]) -> Place | None:
    """Put statuses in force, and begin the recount for that; None if they are, and it has ended.

    What an earlier recount left undone is done by this one.

    Raises:
        RebuildStopped, sa.exc.DBAPIError: see `statuses.hold_writers_off`.
    """
    if wanted == excluded_statuses.in_force(connection) and not unfinished_change(connection):
        return None
    excluded_statuses.hold_writers_off(connection)
    changed = excluded_statuses.replace(connection, wanted) | unfinished_change(connection)
    connection.execute(sa.delete(rollup_checks).where(_IS_UNFINISHED_CHANGE))
    return begin(connection, changed) if changed else None


@retry_transient
def step(engine: sa.Engine, fold_log: FoldLog, place: Place) -> tuple[Place, Counted] | None:
    """Compare the next range and mend it; where the run is then, and what was counted.

    None, and nothing is done, if the run is not there, or has to make way for a recount.

    Raises:
        RebuildStopped: folds were at work all the time.
    """
    _shorten_log(engine, fold_log)
    with engine.begin() as connection:
        if not keep_folds_out(connection):
            raise RebuildStopped("Folds of the change log are at work all the time")
        found = connection.execute(_STATE, {"run": place.run}).one_or_none()
        if found is None or found.next_customer != place.customer or found.makes_way:
            return None
        span = span_from(connection, found.next_customer)
        counted = recount(connection, span)
        if found.statuses:
            log_owners(connection, span, found.statuses)
        following = None if span.last == LAST else span.last + 1
        connection.execute(_moved(place.run, following, counted))
    return Place(place.run, following), counted


def work(
    engine: sa.Engine, fold_log: FoldLog, place: Place, seconds: float
) -> tuple[Place, Counted] | None:
    """Step after step for some seconds; None if the first one is not to be done."""
    deadline, total = time.monotonic() + seconds, Counted()
    while stepped := step(engine, fold_log, place):
        place, counted = stepped
        total += counted
        if place.customer is None or time.monotonic() > deadline:
            return place, total
    return None


@retry_transient
def rehearse(engine: sa.Engine, customer: int) -> tuple[int | None, Counted]:
    """What a step from this customer on would find, and from which customer it would go on.

    All that it mends is rolled back.
    """
    with engine.connect() as connection, connection.begin() as transaction:
        if _is_long(connection):
            raise RebuildStopped("The change log is too long to be compared: wait for a refresh")
        if not keep_folds_out(connection):
            raise RebuildStopped("Folds of the change log are at work all the time")
        span = span_from(connection, customer)
        counted = recount(connection, span)
        transaction.rollback()
    return (None if span.last == LAST else span.last + 1), counted


def found_by(connection: sa.Connection, run: int) -> Counted:
    """What the run has counted so far."""
    query = sa.select(*rollup_checks.c[COUNTS]).where(rollup_checks.c.id == run)
    return Counted(*connection.execute(query).one())


def last_check(connection: sa.Connection) -> Check | None:
    """The newest check that ended; recounts are none."""
    query = (
        sa.select(*rollup_checks.c[("finished_at", *COUNTS)])
        .where(rollup_checks.c.finished_at.is_not(None), rollup_checks.c.statuses.is_(None))
        .order_by(rollup_checks.c.finished_at.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Check(row.finished_at, Counted(*row[1:]))


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


def _moved(run: int, following: int | None, counted: Counted) -> sa.Update:
    counts = {name: rollup_checks.c[name] + getattr(counted, name) for name in COUNTS}
    finished = None if following is not None else sa.func.now()
    return (
        sa.update(rollup_checks)
        .where(rollup_checks.c.id == run)
        .values(next_customer=following, moved_at=sa.func.now(), finished_at=finished, **counts)
    )


def _shorten_log(engine: sa.Engine, fold_log: FoldLog) -> None:
    """Fold the log if it is long; raise if it stays so, because others fold it at this time."""
    for wait in (0, 2, 10):
        with engine.connect() as connection:
            if not _is_long(connection):
                return
        time.sleep(wait)
        fold_log()
    raise RebuildStopped("The change log is too long: refreshes are folding it. Try again later")


def _is_long(connection: sa.Connection) -> bool:
    return bool(connection.scalar(sa.select(sa.func.sum(change_log.c.entries) > LOG_ENTRIES)))
