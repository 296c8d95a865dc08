"""The rollups: sums of the counted orders by customer and day, by customer, and by customer and window.

Days are kept for as long as a window may need them; sums of all time need none. Only the holder of
`Lock.FOLD` writes rollups: a fold adds entries of the change log, and moves the windows past the days
that are over. Writers of orders never wait for it.
"""

from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from orderworks.core.schema import customer_daily, customer_totals, customer_windows, report_windows
from orderworks.core.sql import ctid
from orderworks.reports.ranking import rerank_all
from orderworks.reports.reconcile import backfill_days
from orderworks.reports.sums import FIRST_KEPT, add_sums, summed, summed_by_window
from orderworks.reports.windows import BOUNDED, Window

MAX_MOVED_ROWS = 50_000
"""Rows by customer and day that one transaction subtracts from a window, and that it deletes."""

KEPT_DAYS = 400
"""Days in `customer_daily`: the 365 of the longest window, and five weeks, by which a clock may be set
back without a query of the orders."""

FIRST_ID = -(1 << 63)


class WindowStart(NamedTuple):
    """The key in `customer_daily` at which a window starts: it includes all rows from there on."""

    day: date
    customer_id: int


def upsert_statements(entries: sa.CTE) -> list[sa.CTE]:
    """Return the statements that add entries of the change log to all rollups, in key order."""
    counted = entries.c.day.is_not(None)
    by_customer = summed(entries, "customer_id").where(counted)
    # Most entries are older than every window; the days of all windows are kept.
    by_day = summed(entries, "customer_id", "day").where(entries.c.day >= FIRST_KEPT).cte("by_day")
    return [
        add_sums(customer_daily, sa.select(by_day)).cte("daily"),
        add_sums(customer_totals, by_customer).cte("totals"),
        add_sums(customer_windows, summed_by_window(by_day)).cte("windows"),
    ]


def move_windows(connection: sa.Connection, as_of: datetime, depth: int) -> bool:
    """Move the windows' starts towards those at `as_of`, and delete days that no window needs.

    One call moves a limited number of rows. If the clock was set back, days are added to the windows
    again. When all starts are reached, which is once a day, customers are ranked again for lists of
    `depth` lines. Returns whether they are reached.
    """
    rows = connection.execute(sa.select(report_windows)).all()
    starts = {row.days: WindowStart(row.first_day, row.first_customer) for row in rows}
    goals = {window: WindowStart(window.first_day(as_of), FIRST_ID) for window in BOUNDED}
    kept = starts[Window.ALL.days].day
    first = as_of.astimezone(UTC).date() - timedelta(days=KEPT_DAYS)
    if min(goals.values()).day < kept:
        _set_first_day(connection, first)
        backfill_days(connection, first, kept)
    moving = [window for window in BOUNDED if starts[window.days] != goals[window]]
    if not all(_move(connection, each, starts[each.days], goals[each]) for each in moving):
        return False
    if moving:
        rerank_all(connection, depth)
    if kept < first:
        _set_first_day(connection, first)
    _delete_old_days(connection)
    return True


def _set_first_day(connection: sa.Connection, first: date) -> None:
    """Set the first day of `customer_daily`. No window starts before it."""
    begins = sa.update(report_windows).where(report_windows.c.days == Window.ALL.days)
    connection.execute(begins.values(first_day=first))


def _move(connection: sa.Connection, window: Window, start: WindowStart, goal: WindowStart) -> bool:
    """Move the window's start towards `goal`; return whether it is reached."""
    stop = _next_stop(connection, start, goal)
    first, last = sorted((start, stop))
    _shift(connection, window, _between(first, last), -1 if start < stop else 1)
    connection.execute(
        sa.update(report_windows)
        .where(report_windows.c.days == window.days)
        .values(first_day=stop.day, first_customer=stop.customer_id)
    )
    return stop == goal


def _next_stop(connection: sa.Connection, start: WindowStart, goal: WindowStart) -> WindowStart:
    """Return the goal, or a start before it if more than `MAX_MOVED_ROWS` rows are between."""
    key = (customer_daily.c.day, customer_daily.c.customer_id)
    order = key if start < goal else [column.desc() for column in key]
    between = _between(*sorted((start, goal)))
    query = sa.select(*key).where(between).order_by(*order).offset(MAX_MOVED_ROWS).limit(1)
    row = connection.execute(query).one_or_none()
    return goal if row is None else WindowStart(*row)


def _between(first: WindowStart, last: WindowStart) -> sa.ColumnElement[bool]:
    key = sa.tuple_(customer_daily.c.day, customer_daily.c.customer_id)
    return (key >= sa.tuple_(*first)) & (key < sa.tuple_(*last))


def _shift(
    connection: sa.Connection, window: Window, where: sa.ColumnElement[bool], sign: int
) -> None:
    """Add rows by day to a window (`sign` 1) or subtract them (-1); delete customers without orders."""
    moved = sa.select(
        sa.literal(window.days, sa.SmallInteger).label("days"),
        customer_daily.c.customer_id,
        (sign * customer_daily.c.orders).label("orders"),
        (sign * customer_daily.c.total).label("total"),
    ).where(where)
    rows = moved.subquery()
    connection.execute(add_sums(customer_windows, summed(rows, "days", "customer_id")))
    empty = sa.delete(customer_windows).where(
        customer_windows.c.days == window.days,
        customer_windows.c.orders == 0,
        customer_windows.c.customer_id.in_(sa.select(rows.c.customer_id)),
    )
    connection.execute(empty)


def _delete_old_days(connection: sa.Connection) -> None:
    """Delete rows of days before the first kept one, up to `MAX_MOVED_ROWS`, the oldest first.

    Nothing reads these rows, so the remaining ones may stay for other transactions. Without such rows
    this reads one entry of an index.
    """
    old = (
        sa.select(ctid)
        .select_from(customer_daily)
        .where(customer_daily.c.day < FIRST_KEPT)
        .order_by(customer_daily.c.day, customer_daily.c.customer_id)
        .limit(MAX_MOVED_ROWS)
    )
    addresses = sa.func.any(sa.func.array(old.scalar_subquery()))
    connection.execute(sa.delete(customer_daily).where(ctid == addresses))
