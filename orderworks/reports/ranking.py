"""The ranking: the customers with the highest totals of a window, read from the rollups.

Only customers with a total of at least the window's floor are ranked, that is, have a value in the
indexed column `ranked`. So most changes of a total touch no index, and a list is read from the
beginning of the index.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from orderworks.core.schema import customer_totals, customer_windows, customers, report_windows
from orderworks.reports.top_customers import TopCustomer
from orderworks.reports.windows import Window

RANKED_FACTOR = 4
"""Customers ranked per line of a report: with that many, few refreshes find too few of them."""

MAX_RANKED_FACTOR = 4
"""Multiple of these above which too many are ranked: most changes of a total then change the index."""

EMPTY_WINDOW_FLOOR = sa.literal_column("'Infinity'::numeric", sa.Numeric)


def top(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer]:
    """Return up to `depth` customers with the highest totals, ties by id.

    Ranks more customers first if those that are ranked do not suffice; the caller holds `Lock.FOLD`.
    """
    ranked_rows = _ranked(connection, window, depth)
    if ranked_rows is None:
        rank(connection, window, depth)
        ranked_rows = _ranked(connection, window, depth)
    return ranked_rows or []


def read_top(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer]:
    """Return the same list without writing: from all customers if those ranked do not suffice."""
    ranked_rows = _ranked(connection, window, depth)
    if ranked_rows is not None:
        return ranked_rows
    rollup, belongs = rows_of(window)
    order = (rollup.c.total.desc(), rollup.c.customer_id)
    return _first(connection, rollup, belongs & (rollup.c.orders > 0), order, depth)


def rank(connection: sa.Connection, window: Window, depth: int) -> None:
    """Compute the window's floor for reports of `depth` lines, and rank the customers above it.

    Reads all customers of the window: for when too few are ranked, and once a day. Some below the floor
    may stay ranked until they change, which does no harm.
    """
    rollup, belongs = rows_of(window)
    counted = belongs & (rollup.c.orders > 0)
    by_total = sa.select(rollup.c.total).where(counted).order_by(rollup.c.total.desc())
    floor = by_total.offset(RANKED_FACTOR * depth).limit(1).scalar_subquery()
    has_customers = sa.exists().where(counted)
    connection.execute(
        sa.update(report_windows)
        .where(report_windows.c.days == window.days)
        # In an empty window no customer is ranked until its list is read: a first import may follow.
        .values(floor=sa.case((has_customers, floor), else_=EMPTY_WINDOW_FLOOR))
    )
    new_rank = rank_of(sa.literal(window.days), rollup.c.orders, rollup.c.total)
    unranked = counted & rollup.c.ranked.is_(None) & new_rank.is_not(None)
    connection.execute(sa.update(rollup).where(unranked).values(ranked=rollup.c.total))


def rerank_all(connection: sa.Connection, depth: int) -> None:
    """Rank the customers of every window again."""
    for window in Window:
        rank(connection, window, depth)


def rerank_overfull(connection: sa.Connection, depth: int) -> None:
    """Rank again in windows whose floor admits far more customers than a list needs."""
    for window in Window:
        if _is_overfull(connection, window, depth):
            rank(connection, window, depth)


def rank_of(
    days: sa.ColumnElement[int], count: sa.ColumnElement[Any], total: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """Return the value of `ranked` for a row of the window of `days`: its total, or null if too low."""
    floor = _floor(days).scalar_subquery()
    return sa.case(((count > 0) & (total >= sa.func.coalesce(floor, total)), total))


def rows_of(window: Window) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """Return the rollup of a window, and the condition of its rows there."""
    if window is Window.ALL:
        return customer_totals, sa.true()
    return customer_windows, customer_windows.c.days == window.days


def _ranked(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer] | None:
    """Return the list from the index; None if it may be incomplete, because too few are ranked."""
    rollup, belongs = rows_of(window)
    order = (rollup.c.ranked.desc(), rollup.c.customer_id)
    rows = _first(connection, rollup, belongs & rollup.c.ranked.is_not(None), order, depth)
    floor = connection.scalar(_floor(sa.literal(window.days)))
    suffices = floor is None or (len(rows) == depth and rows[-1].total >= floor)
    return rows if suffices else None


def _first(
    connection: sa.Connection,
    rollup: sa.Table,
    where: sa.ColumnElement[bool],
    order: Sequence[sa.ColumnElement[Any]],
    depth: int,
) -> list[TopCustomer]:
    query = (
        sa.select(rollup.c.customer_id, customers.c.name, rollup.c.orders, rollup.c.total)
        .join(customers, customers.c.id == rollup.c.customer_id)
        .where(where)
        .order_by(*order)
        .limit(depth)
    )
    return [TopCustomer(*row) for row in connection.execute(query).all()]


def _is_overfull(connection: sa.Connection, window: Window, depth: int) -> bool:
    rollup, belongs = rows_of(window)
    ranked = sa.select(rollup.c.ranked).where(belongs, rollup.c.ranked.is_not(None))
    limit = MAX_RANKED_FACTOR * RANKED_FACTOR * depth
    beyond = ranked.order_by(rollup.c.ranked.desc()).offset(limit).limit(1).scalar_subquery()
    floor = _floor(sa.literal(window.days)).scalar_subquery()
    return bool(connection.scalar(sa.select(beyond >= sa.func.coalesce(floor, beyond))))


def _floor(days: sa.ColumnElement[int]) -> sa.Select[Decimal]:
    return sa.select(report_windows.c.floor).where(report_windows.c.days == days)
