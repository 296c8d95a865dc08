"""Who is among the first of a window.

Only customers with a total of at least the window's floor are ranked, that is, have their total in the
index. So most changes of a total touch no index, and the list is read from its beginning.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from orderworks.core.schema import customer_totals, customer_windows, customers, report_windows
from orderworks.reports.top_customers import TopCustomer
from orderworks.reports.windows import Window

RANKED_FACTOR = 4
"""Times the length of a report: with so many customers ranked, few refreshes find too few of them."""


MAX_RANKED_FACTOR = 4
"""Times the contenders: with so many ranked, most changes of a total change the index too."""

EMPTY_WINDOW_FLOOR = sa.literal_column("'Infinity'::numeric", sa.Numeric)


def rank_of(
    days: sa.ColumnElement[int], count: sa.ColumnElement[Any], total: sa.ColumnElement[Any]
) -> sa.ColumnElement[Any]:
    """What stands in `ranked` of a window's row with so many orders: its total, or null if too low."""
    floor = _floor(days).scalar_subquery()
    return sa.case(((count > 0) & (total >= sa.func.coalesce(floor, total)), total))


def top(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer]:
    """The customers with the highest totals, ties by id: as many as there are, `depth` at the most.

    Ranks more of them first if those that are ranked do not suffice: for who holds `Lock.FOLD`.
    """
    found = _ranked(connection, window, depth)
    if found is None:
        rank(connection, window, depth)
        found = _ranked(connection, window, depth)
    return found or []


def read_top(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer]:
    """The same list, read only: from all customers if those that are ranked do not suffice."""
    found = _ranked(connection, window, depth)
    if found is None:
        rollup, belongs = rows_of(window)
        order = (rollup.c.total.desc(), rollup.c.customer_id)
        found = _first(connection, rollup, belongs & (rollup.c.orders > 0), order, depth)
    return found


def rerank_all(connection: sa.Connection, depth: int) -> None:
    """Rank the customers of every window anew."""
    for window in Window:
        rank(connection, window, depth)


def rerank_overfull(connection: sa.Connection, depth: int) -> None:
    """Rank anew where the floor lets in far more customers than a list comes to need."""
    for window in Window:
        if _is_overfull(connection, window, depth):
            rank(connection, window, depth)


def _is_overfull(connection: sa.Connection, window: Window, depth: int) -> bool:
    rollup, belongs = rows_of(window)
    ranked = sa.select(rollup.c.ranked).where(belongs, rollup.c.ranked.is_not(None))
    crowd = (
        ranked.order_by(rollup.c.ranked.desc())
        .offset(MAX_RANKED_FACTOR * RANKED_FACTOR * depth)
        .limit(1)
    )
    floor = _floor(sa.literal(window.days)).scalar_subquery()
    last = crowd.scalar_subquery()
    return bool(connection.scalar(sa.select(last >= sa.func.coalesce(floor, last))))


def rank(connection: sa.Connection, window: Window, depth: int) -> None:
    """Find anew from what total on customers are ranked, for reports of so many; and rank those.

    Reads all customers of the window: for when too few are ranked, and once in a while. Some below the
    floor may stay ranked until they change; that does no harm.
    """
    rollup, belongs = rows_of(window)
    counted = belongs & (rollup.c.orders > 0)
    by_total = sa.select(rollup.c.total).where(counted).order_by(rollup.c.total.desc())
    floor = by_total.offset(RANKED_FACTOR * depth).limit(1).scalar_subquery()
    anybody = sa.exists().where(counted)
    connection.execute(
        sa.update(report_windows)
        .where(report_windows.c.days == window.days)
        # In an empty window nobody is ranked before its list is read: a shop's first import may come.
        .values(floor=sa.case((anybody, floor), else_=EMPTY_WINDOW_FLOOR))
    )
    right = rank_of(sa.literal(window.days), rollup.c.orders, rollup.c.total)
    left_out = counted & rollup.c.ranked.is_(None) & right.is_not(None)
    connection.execute(sa.update(rollup).where(left_out).values(ranked=rollup.c.total))


def _ranked(connection: sa.Connection, window: Window, depth: int) -> list[TopCustomer] | None:
    """The list from the index; None if it may lack somebody, because too few are ranked."""
    rollup, belongs = rows_of(window)
    order = (rollup.c.ranked.desc(), rollup.c.customer_id)
    found = _first(connection, rollup, belongs & rollup.c.ranked.is_not(None), order, depth)
    floor = connection.scalar(_floor(sa.literal(window.days)))
    suffices = floor is None or (len(found) == depth and found[-1].total >= floor)
    return found if suffices else None


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


def rows_of(window: Window) -> tuple[sa.Table, sa.ColumnElement[bool]]:
    """The rollup of a window, and which of its rows belong to it."""
    if window is Window.ALL:
        return customer_totals, sa.true()
    return customer_windows, customer_windows.c.days == window.days


def _floor(days: sa.ColumnElement[int]) -> sa.Select[Decimal]:
    return sa.select(report_windows.c.floor).where(report_windows.c.days == days)
