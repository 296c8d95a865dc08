"""The rollups: sums of the counted orders a customer and day, a customer, and a customer and window.

Days are kept for as long as a window may need them; sums of all time need none. Whoever holds
`Lock.FOLD` writes them, nobody else: a fold adds what the change log holds, and takes the days that are
over out of the windows. Writers of orders never wait for it.
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
"""Rows of a customer and day that one transaction takes out of a window, or forgets."""

KEPT_DAYS = 400
"""Days that `customer_daily` has: the 365 of the longest window, and five weeks, by which a clock may be
set back without a look at the orders."""

FIRST_ID = -(1 << 63)


class WindowStart(NamedTuple):
    """Where a window begins: it has all rows of `customer_daily` from this one on."""

    day: date
    customer_id: int


def upsert_statements(entries: sa.CTE) -> list[sa.CTE]:
    """Statements that add rows taken from the change log to all rollups, in key order."""
    counted = entries.c.day.is_not(None)
    by_customer = summed(entries, "customer_id").where(counted)
    # Most rows are too old for any window, whose days are all kept.
    by_day = summed(entries, "customer_id", "day").where(entries.c.day >= FIRST_KEPT).cte("by_day")
    return [
        add_sums(customer_daily, sa.select(by_day)).cte("daily"),
        add_sums(customer_totals, by_customer).cte("totals"),
        add_sums(customer_windows, summed_by_window(by_day)).cte("windows"),
    ]


def move_windows(connection: sa.Connection, as_of: datetime, depth: int) -> bool:
    """Take days that are over out of the windows, and forget those that none needs: some rows at a time.

    If the clock was set back, days come into the windows again. When all begin where they should, seen
    from `as_of`, which is once a day, customers are ranked anew for lists as deep as `depth`. Returns
    whether they do.
    """
    rows = connection.execute(sa.select(report_windows)).all()
    starts = {row.days: WindowStart(row.first_day, row.first_customer) for row in rows}
    goals = {window: WindowStart(window.first_day(as_of), FIRST_ID) for window in BOUNDED}
    kept, first = starts[Window.ALL.days].day, _first_to_keep(as_of)
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


def _first_to_keep(as_of: datetime) -> date:
    return as_of.astimezone(UTC).date() - timedelta(days=KEPT_DAYS)


def _set_first_day(connection: sa.Connection, first: date) -> None:
    """Let `customer_daily` begin with this day. No window begins before it."""
    begins = sa.update(report_windows).where(report_windows.c.days == Window.ALL.days)
    connection.execute(begins.values(first_day=first))


def _delete_old_days(connection: sa.Connection) -> None:
    """Delete rows of days before those that are kept, the oldest first.

    They are in use by nobody, so what is left of them may stay for other transactions. Without any,
    it is a look at the beginning of the index.
    """
    old = (
        sa.select(ctid)
        .select_from(customer_daily)
        .where(customer_daily.c.day < FIRST_KEPT)
        .order_by(customer_daily.c.day, customer_daily.c.customer_id)
        .limit(MAX_MOVED_ROWS)
    )
    places = sa.func.any(sa.func.array(old.scalar_subquery()))
    connection.execute(sa.delete(customer_daily).where(ctid == places))


def _move(connection: sa.Connection, window: Window, start: WindowStart, goal: WindowStart) -> bool:
    """Let the window begin elsewhere; whether it has come to its goal."""
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
    """How far to go: to the goal, unless more rows than one transaction takes lie between."""
    place = (customer_daily.c.day, customer_daily.c.customer_id)
    order = place if start < goal else [column.desc() for column in place]
    way = _between(*sorted((start, goal)))
    query = sa.select(*place).where(way).order_by(*order).offset(MAX_MOVED_ROWS).limit(1)
    row = connection.execute(query).one_or_none()
    return goal if row is None else WindowStart(*row)


def _between(first: WindowStart, last: WindowStart) -> sa.ColumnElement[bool]:
    place = sa.tuple_(customer_daily.c.day, customer_daily.c.customer_id)
    return (place >= sa.tuple_(*first)) & (place < sa.tuple_(*last))


def _shift(
    connection: sa.Connection, window: Window, where: sa.ColumnElement[bool], sign: int
) -> None:
    """Add rows of days to a window, or take them out; forget whom nothing is left of."""
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
