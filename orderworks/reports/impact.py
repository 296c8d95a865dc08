"""Predicted effect of a dry run on the reports: the windows whose lists would change."""

from typing import Any

import sqlalchemy as sa

from orderworks.core.schema import uncounted_statuses
from orderworks.reports.ranking import read_top, rows_of
from orderworks.reports.top_customers import TopCustomer
from orderworks.reports.windows import BOUNDED, Window


def changed_windows(
    connection: sa.Connection, difference: sa.FromClause, depth: int
) -> list[Window]:
    """Return the windows whose list of `depth` lines would change with a difference in the orders.

    `difference` has signed rows: customer_id, created_at, status, total, and a sign of 1 or -1.
    """
    as_of = connection.execute(sa.select(sa.func.now())).scalar_one()
    counted = difference.c.status.not_in(sa.select(uncounted_statuses.c.status))
    query = (
        sa.select(
            difference.c.customer_id,
            sa.func.sum(difference.c.sign).label("orders"),
            sa.func.sum(difference.c.sign * difference.c.total).label("total"),
        )
        .where(counted)
        .group_by(difference.c.customer_id)
    )
    sums: dict[Window, sa.Select[Any]] = {
        window: query.where(difference.c.created_at >= window.first_moment(as_of))
        for window in BOUNDED
    }
    sums[Window.ALL] = query
    return [
        window
        for window in Window
        if _would_change(connection, window, depth, sums[window].subquery("sums"))
    ]


def windows_with_customers(
    connection: sa.Connection, customer_ids: sa.Select[int], depth: int
) -> list[Window]:
    """Return the windows whose list of `depth` lines includes one of these customers."""
    ids = set(connection.scalars(customer_ids))
    return [
        window
        for window in Window
        if any(each.customer_id in ids for each in read_top(connection, window, depth))
    ]


def _would_change(connection: sa.Connection, window: Window, depth: int, sums: sa.Subquery) -> bool:
    """Return whether the list of `depth` lines would change with these sums added to the rollup.

    `sums` has a row per customer: customer_id, orders, total. The list changes if one of them is on it
    before or after.
    """
    rollup, belongs = rows_of(window)
    listed = read_top(connection, window, depth)
    last = listed[-1] if len(listed) == depth else None
    with_rollup = sums.outerjoin(rollup, (rollup.c.customer_id == sums.c.customer_id) & belongs)
    count, total = sa.func.coalesce(rollup.c.orders, 0), sa.func.coalesce(rollup.c.total, 0)
    reaches = [
        (orders > 0) & _makes_the_list(last, amount, sums.c.customer_id)
        for orders, amount in ((count, total), (count + sums.c.orders, total + sums.c.total))
    ]
    changed = (sums.c.orders != 0) | (sums.c.total != 0)
    listed_rows = sa.select(sa.literal(1)).select_from(with_rollup).where(changed, sa.or_(*reaches))
    return bool(connection.scalar(sa.select(listed_rows.exists())))


def _makes_the_list(
    last: TopCustomer | None, total: sa.ColumnElement[Any], customer_id: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    """Return the condition that a customer with this total is on a list with this last line."""
    if last is None:
        return sa.true()
    is_first = customer_id <= last.customer_id
    return (total > last.total) | ((total == last.total) & is_first)
