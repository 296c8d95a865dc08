"""Reconciliation: comparison of the rollups with the orders, by range of customers, and correction.

In every snapshot, the orders by customer and day equal `customer_daily` plus the entries of the change
log, from the first day of `customer_daily` on; the orders by customer equal `customer_totals` plus the
log. Triggers keep this true for all writers, and so do folds; a reconciliation excludes folds by their
lock. So a range is compared in one statement while others write, and every difference is drift. Runs
over all ranges are in `reconcile_runs`.
"""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert

from orderworks.core.locks import Lock, wait_for_lock
from orderworks.core.schema import (
    change_log,
    customer_changes,
    customer_daily,
    customer_totals,
    customer_windows,
    orders,
    report_windows,
    uncounted_statuses,
)
from orderworks.reports.sums import ALL_DAYS, FIRST_KEPT, add_sums, summed, summed_by_window

RANGE_ROWS = 50_000
"""Approximate rows of a range; a third of a second. Folds wait for as long as a range takes."""

FOLD_LOCK_WAIT = 30
"""Seconds to wait for folds. A pass takes one or two; a frozen one is disconnected after 15."""

MIN_ID, MAX_ID = -(2**63), 2**63 - 1
"""The lowest and the highest id. Ranges cover all ids, also those of deleted customers."""

ROLLUPS = ("customer_daily", "customer_totals", "customer_windows")

Condition = sa.ColumnElement[bool]
Within = Callable[[sa.ColumnElement[int], sa.ColumnElement[date]], Condition]
"""Returns the condition for rows, by customer and day, to be compared."""


class CustomerRange(NamedTuple):
    """Customers from an id to an id, both included."""

    first: int
    last: int

    def contains(self, customer_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Return the condition that the customer is in the range."""
        return customer_id.between(self.first, self.last)


class ReconcileCounts(msgspec.Struct, frozen=True):
    """The orders that a reconciliation counted, and the rows of each rollup that differed.

    Attributes:
        orders: number of orders that count in reports.
        customers: number of customers with such orders.
        customer_daily, customer_totals, customer_windows: number of rows that differed.
    """

    orders: int = 0
    customers: int = 0
    customer_daily: int = 0
    customer_totals: int = 0
    customer_windows: int = 0

    def __add__(self, other: "ReconcileCounts") -> "ReconcileCounts":
        """Return the sums of both."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return ReconcileCounts(*map(sum, pairs))

    @property
    def by_table(self) -> dict[str, int]:
        """Return the rows that differed, by rollup."""
        return {table: getattr(self, table) for table in ROLLUPS}

    @property
    def total_differences(self) -> int:
        """Return the rows that differed, in all rollups."""
        return sum(self.by_table.values())


def lock_out_folds(connection: sa.Connection) -> bool:
    """Exclude folds, hence changes of the rollups, until the transaction ends.

    Returns false if folds held their lock for all of `FOLD_LOCK_WAIT`.
    """
    return wait_for_lock(connection, Lock.FOLD, FOLD_LOCK_WAIT)


def next_range(connection: sa.Connection, first: int) -> CustomerRange:
    """Return a range from this customer on, with at most about `RANGE_ROWS` rows of each table.

    All orders of a customer are in one range, so one customer may exceed that.
    """
    cuts = [_nth(table, first) for table in (orders, customer_daily, customer_totals)]
    cut = connection.scalar(sa.select(sa.func.least(*cuts)))
    return CustomerRange(first, MAX_ID if cut is None else max(first, cut - 1))


def reconcile_range(connection: sa.Connection, span: CustomerRange) -> ReconcileCounts:
    """Compare the rollups of these customers with their orders, and correct them.

    The caller has called `lock_out_folds`. Corrected customers are logged, so that a refresh follows.
    """
    row = connection.execute(_corrected_from_orders(span)).one()
    counted, owners, days, of_days, totals, of_totals = row
    windows, of_windows = connection.execute(_corrected_windows(span)).one()
    for table in (customer_daily, customer_totals, customer_windows):
        connection.execute(_delete_zeros(table, span))
    for table in (customer_totals, customer_windows):
        connection.execute(_unrank_below_floor(table, span))
    corrected = {customer for ids in (of_days, of_totals, of_windows) for customer in ids or ()}
    _log(connection, corrected)
    return ReconcileCounts(int(counted), owners, days, totals, windows)


def backfill_days(connection: sa.Connection, first: date, until: date) -> None:
    """Fill the days from `first` until `until` of `customer_daily` from all orders.

    Rows left there of deleted days are corrected. The caller holds `Lock.FOLD`.
    """

    def between(_customer_id: sa.ColumnElement[int], day: sa.ColumnElement[date]) -> Condition:
        return (day >= first) & (day < until)

    expected = _without_log(_counted(between).cte("counted"), between).cte("expected")
    connection.execute(_corrected_days(expected, between))


def log_customers_with(connection: sa.Connection, span: CustomerRange, statuses: list[str]) -> None:
    """Log the customers with orders of these statuses, so that their cached reads are invalidated."""
    owners = sa.select(orders.c.customer_id).where(
        span.contains(orders.c.customer_id), orders.c.status.in_(statuses)
    )
    _log(connection, set(connection.scalars(owners.distinct())))


def _log(connection: sa.Connection, customers: set[int]) -> None:
    """Log the customers, without any orders. An insert of no rows would also notify of a change."""
    if customers:
        ids = sorted(customers)
        connection.execute(sa.insert(change_log).values(entries=len(ids), customer_ids=ids))


def _nth(table: sa.Table, first: int) -> sa.ScalarSelect[int]:
    """Return the customer of the row after the first `RANGE_ROWS`, by an index-only scan."""
    customer_id = table.c.customer_id
    rows = sa.select(customer_id).where(customer_id >= first).order_by(customer_id)
    return rows.offset(RANGE_ROWS).limit(1).scalar_subquery()


def _corrected_from_orders(span: CustomerRange) -> sa.Select[Any]:
    """Return one statement, hence one snapshot: compare, correct by the difference, and count."""

    def within(customer_id: sa.ColumnElement[int], _day: sa.ColumnElement[date]) -> Condition:
        return span.contains(customer_id)

    counted = _counted(within).cte("counted")
    expected = _without_log(counted, within).cte("expected")
    counts = sa.select(
        sa.func.coalesce(sa.func.sum(counted.c.orders), 0),
        sa.func.count(counted.c.customer_id.distinct()),
    )
    by_customer = summed(expected, "customer_id").add_columns(ALL_DAYS.label("days"))
    totals = _corrected_sums(customer_totals, by_customer, span)
    return _with_corrections(_with_corrections(counts, _corrected_days(expected, within)), totals)


def _corrected_windows(span: CustomerRange) -> sa.Select[Any]:
    """Return the statement that corrects rows that differ from the sum of their window's days."""
    by_window = summed_by_window(customer_daily).where(span.contains(customer_daily.c.customer_id))
    return _with_corrections(sa.select(), _corrected_sums(customer_windows, by_window, span))


def _counted(within: Within) -> sa.Select[Any]:
    """Return the orders by customer and day, as the change log counts them."""
    day = sa.cast(sa.func.timezone("UTC", orders.c.created_at), sa.Date)
    return (
        sa.select(
            orders.c.customer_id,
            day.label("day"),
            sa.func.count().label("orders"),
            sa.func.sum(orders.c.total).label("total"),
        )
        .where(within(orders.c.customer_id, day))
        .where(orders.c.status.not_in(sa.select(uncounted_statuses.c.status)))
        .group_by(orders.c.customer_id, day)
    )


def _without_log(counted: sa.CTE, within: Within) -> sa.CompoundSelect[Any]:
    """Return the rows that the rollups must add up to: the orders minus the entries of the log."""
    pending = _negated(customer_changes, within).where(customer_changes.c.day.is_not(None))
    return sa.union_all(sa.select(counted), pending)


def _corrected_days(expected: sa.CTE, within: Within) -> ReturningInsert[Any]:
    """Return the statement that adds the difference, of either sign, to `customer_daily`."""
    stored = _negated(customer_daily, within)
    parts = sa.union_all(sa.select(expected), stored).subquery("parts")
    differing = summed(parts, "customer_id", "day").where(parts.c.day >= FIRST_KEPT)
    return add_sums(customer_daily, differing).returning(customer_daily.c.customer_id)


def _negated(table: sa.FromClause, within: Within) -> sa.Select[Any]:
    rows = sa.select(table.c.customer_id, table.c.day, -table.c.orders, -table.c.total)
    return rows.where(within(table.c.customer_id, table.c.day))


def _corrected_sums(
    table: sa.Table, expected: sa.Select[Any], span: CustomerRange
) -> ReturningInsert[Any]:
    """Return the statement that corrects rows of a rollup that differ from the expected sums."""
    compared = _compared(table, expected.subquery("expected_sums"), span).subquery("compared")
    key = [column.name for column in table.primary_key]
    due = sa.case((compared.c.is_due, compared.c.total)).label("ranked")
    differing = (
        sa.select(*compared.c[(*key, "orders", "total")], due)
        .where(_differs(compared))
        .order_by(*compared.c[tuple(key)])
    )
    values = ("orders", "total", "ranked")
    statement = insert(table).from_select([*key, *values], differing)
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in values}
    ).returning(table.c.customer_id)


def _compared(table: sa.Table, expected: sa.Subquery, span: CustomerRange) -> sa.Select[Any]:
    """Return each customer's expected and stored sums, with zeros where one is missing.

    `is_due`: the customer must be ranked.
    """
    stored = _stored_sums(table, span).subquery("stored")
    same = (expected.c.days == stored.c.days) & (expected.c.customer_id == stored.c.customer_id)
    days = sa.func.coalesce(expected.c.days, stored.c.days)
    count, total = (sa.func.coalesce(expected.c[name], 0) for name in ("orders", "total"))
    floor = report_windows.c.floor
    return sa.select(
        days.label("days"),
        sa.func.coalesce(expected.c.customer_id, stored.c.customer_id).label("customer_id"),
        count.label("orders"),
        total.label("total"),
        ((count > 0) & (floor.is_(None) | (total >= floor))).label("is_due"),
        sa.func.coalesce(stored.c.orders, 0).label("stored_orders"),
        sa.func.coalesce(stored.c.total, 0).label("stored_total"),
        stored.c.ranked,
    ).select_from(
        expected.join(stored, same, full=True).outerjoin(
            report_windows, report_windows.c.days == days
        )
    )


def _stored_sums(table: sa.Table, span: CustomerRange) -> sa.Select[Any]:
    days = table.c.get("days", ALL_DAYS)
    columns = table.c["customer_id", "orders", "total", "ranked"]
    return sa.select(days.label("days"), *columns).where(span.contains(table.c.customer_id))


def _differs(compared: sa.Subquery) -> sa.ColumnElement[bool]:
    """Return the condition that a row is wrong.

    Customers with orders that need not be ranked may be ranked, with the right total.
    """
    wrongly_ranked = sa.case(
        (compared.c.ranked.is_(None), compared.c.is_due),
        else_=(compared.c.orders <= 0) | (compared.c.ranked != compared.c.total),
    )
    return (
        (compared.c.stored_orders != compared.c.orders)
        | (compared.c.stored_total != compared.c.total)
        | wrongly_ranked
    )


def _with_corrections(query: sa.Select[Any], correction: ReturningInsert[Any]) -> sa.Select[Any]:
    """Add a correction to a query, and as columns its number of rows and its customers, or null."""
    rows = correction.cte()
    aggregates = sa.func.count(), sa.func.array_agg(rows.c.customer_id.distinct())
    return query.add_columns(
        *(sa.select(each).select_from(rows).scalar_subquery() for each in aggregates)
    )


def _unrank_below_floor(table: sa.Table, span: CustomerRange) -> sa.Update:
    """Return the update of customers that fell below the floor since ranking; not counted as drift."""
    days = table.c.get("days", ALL_DAYS)
    below = (report_windows.c.days == days) & (table.c.ranked < report_windows.c.floor)
    return sa.update(table).where(span.contains(table.c.customer_id), below).values(ranked=None)


def _delete_zeros(table: sa.Table, span: CustomerRange) -> sa.Delete:
    """Return the deletion of rows with zeros, which mean the same as no row; not counted as drift."""
    is_zero = (table.c.orders == 0) & (table.c.total == 0)
    return sa.delete(table).where(span.contains(table.c.customer_id), is_zero)
