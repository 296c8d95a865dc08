"""Comparing the rollups with the orders table, a range of customers at a time, and mending them.

At any one snapshot, orders by customer and day = `customer_daily` + what waits in the log, from the day
on that `customer_daily` begins with; and by customer alone, = `customer_totals` + the log. Triggers keep
that so, whoever writes; folds do too, and whoever recounts keeps folds out. So a range is compared in
one statement while others write, and what differs is drift. Which run compares which range when is in
`rollup_checks`.
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
"""Orders in a range, about; a third of a second. Folds wait for as long as a range takes."""

FOLD_LOCK_WAIT = 30
"""Seconds to wait for folds. A pass of theirs takes one or two; a frozen one is cut off after 15."""

MIN_ID, MAX_ID = -(2**63), 2**63 - 1
"""The least and the greatest id. Ranges cover all, for what is left of customers that are gone."""


Condition = sa.ColumnElement[bool]
Within = Callable[[sa.ColumnElement[int], sa.ColumnElement[date]], Condition]
"""Whether a row of this customer and day is among those that are compared."""


class CustomerRange(NamedTuple):
    """Customers from an id to an id, both of them included."""

    first: int
    last: int

    def contains(self, customer_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Whether the customer is in it."""
        return customer_id.between(self.first, self.last)


ROLLUPS = ("customer_daily", "customer_totals", "customer_windows")


class ReconcileCounts(msgspec.Struct, frozen=True):
    """What was counted, and what of each rollup was not as it had to be.

    Attributes:
        orders: those that count in reports.
        customers: those who have such orders.
        customer_daily, customer_totals, customer_windows: rows that differed.
    """

    orders: int = 0
    customers: int = 0
    customer_daily: int = 0
    customer_totals: int = 0
    customer_windows: int = 0

    def __add__(self, other: "ReconcileCounts") -> "ReconcileCounts":
        """Both together."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return ReconcileCounts(*(mine + theirs for mine, theirs in pairs))

    @property
    def by_table(self) -> dict[str, int]:
        """Rows that differed, by rollup."""
        return {table: getattr(self, table) for table in ROLLUPS}

    @property
    def total_differences(self) -> int:
        """Rows that differed, of all rollups."""
        return sum(self.by_table.values())


def lock_out_folds(connection: sa.Connection) -> bool:
    """Keep the rollups from being changed by others until the transaction ends.

    False if folds were at it all the time.
    """
    return wait_for_lock(connection, Lock.FOLD, FOLD_LOCK_WAIT)


def next_range(connection: sa.Connection, first: int) -> CustomerRange:
    """A range from this customer on, with about `RANGE_ROWS` rows at the most in each table.

    All orders of a customer are in one range, however many.
    """
    cuts = [_nth(table, first) for table in (orders, customer_daily, customer_totals)]
    cut = connection.scalar(sa.select(sa.func.least(*cuts)))
    return CustomerRange(first, MAX_ID if cut is None else max(first, cut - 1))


def reconcile_range(connection: sa.Connection, span: CustomerRange) -> ReconcileCounts:
    """Compare the rollups of these customers with their orders, and make them right.

    Nobody else may change the rollups meanwhile (`lock_out_folds`). Whoever differed is put into the
    log, so that the next refresh looks at him again.
    """
    row = connection.execute(_corrected_from_orders(span)).one()
    counted, owners, days, of_days, totals, of_totals = row
    windows, of_windows = connection.execute(_corrected_windows(span)).one()
    for table in (customer_daily, customer_totals, customer_windows):
        connection.execute(_without_orders(table, span))
    for table in (customer_totals, customer_windows):
        connection.execute(_without_rank(table, span))
    mended = {customer for ids in (of_days, of_totals, of_windows) for customer in ids or ()}
    _log(connection, mended)
    return ReconcileCounts(int(counted), owners, days, totals, windows)


def backfill_days(connection: sa.Connection, first: date, until: date) -> None:
    """Give `customer_daily` the days from the first one until another, which it has: from all orders.

    What is left there of days that were forgotten is corrected. For who holds `Lock.FOLD`.
    """

    def between(_customer_id: sa.ColumnElement[int], day: sa.ColumnElement[date]) -> Condition:
        return (day >= first) & (day < until)

    expected = _without_log(_counted(between).cte("counted"), between).cte("expected")
    connection.execute(_corrected_days(expected, between))


def log_customers_with(connection: sa.Connection, span: CustomerRange, statuses: list[str]) -> None:
    """Put those who have orders of these statuses into the log: their cached reads may be others now."""
    owners = sa.select(orders.c.customer_id).where(
        span.contains(orders.c.customer_id), orders.c.status.in_(statuses)
    )
    _log(connection, set(connection.scalars(owners.distinct())))


def _log(connection: sa.Connection, customers: set[int]) -> None:
    """Let the next fold look at these customers. An insert without rows would call for it as well."""
    if customers:
        ids = sorted(customers)
        connection.execute(sa.insert(change_log).values(entries=len(ids), customer_ids=ids))


def _nth(table: sa.Table, first: int) -> sa.ScalarSelect[int]:
    """Whose is the row after the first `RANGE_ROWS`, by customer. Read from an index alone."""
    customer_id = table.c.customer_id
    rows = sa.select(customer_id).where(customer_id >= first).order_by(customer_id)
    return rows.offset(RANGE_ROWS).limit(1).scalar_subquery()


def _corrected_from_orders(span: CustomerRange) -> sa.Select[Any]:
    """One statement, so one snapshot: compare, correct by the difference, say how much there was."""

    def within(customer_id: sa.ColumnElement[int], _day: sa.ColumnElement[date]) -> Condition:
        return span.contains(customer_id)

    counted = _counted(within).cte("counted")
    expected = _without_log(counted, within).cte("expected")
    what = sa.select(
        sa.func.coalesce(sa.func.sum(counted.c.orders), 0),
        sa.func.count(counted.c.customer_id.distinct()),
    )
    by_customer = summed(expected, "customer_id").add_columns(ALL_DAYS.label("days"))
    totals = _corrected_sums(customer_totals, by_customer, span)
    return _with_corrections(_with_corrections(what, _corrected_days(expected, within)), totals)


def _corrected_windows(span: CustomerRange) -> sa.Select[Any]:
    """Make those rows right that are not the sum of their window's days."""
    by_window = summed_by_window(customer_daily).where(span.contains(customer_daily.c.customer_id))
    return _with_corrections(sa.select(), _corrected_sums(customer_windows, by_window, span))


def _counted(within: Within) -> sa.Select[Any]:
    """The orders by customer and day, as the log counts them."""
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
    """What the rollups have to add up to: the orders, and with the opposite sign what waits."""
    waiting = _negated(customer_changes, within).where(customer_changes.c.day.is_not(None))
    return sa.union_all(sa.select(counted), waiting)


def _corrected_days(expected: sa.CTE, within: Within) -> ReturningInsert[Any]:
    """Add to `customer_daily` what is missing in it; negative where there is too much."""
    found = _negated(customer_daily, within)
    parts = sa.union_all(sa.select(expected), found).subquery("parts")
    differing = summed(parts, "customer_id", "day").where(parts.c.day >= FIRST_KEPT)
    return add_sums(customer_daily, differing).returning(customer_daily.c.customer_id)


def _negated(table: sa.FromClause, within: Within) -> sa.Select[Any]:
    rows = sa.select(table.c.customer_id, table.c.day, -table.c.orders, -table.c.total)
    return rows.where(within(table.c.customer_id, table.c.day))


def _corrected_sums(
    table: sa.Table, right: sa.Select[Any], span: CustomerRange
) -> ReturningInsert[Any]:
    """Make those rows of a rollup right that are not these sums."""
    compared = _compared(table, right.subquery("right"), span).subquery("compared")
    key = [column.name for column in table.primary_key]
    due = sa.case((compared.c.is_due, compared.c.total)).label("ranked")
    wrong = (
        sa.select(*compared.c[(*key, "orders", "total")], due)
        .where(_differs(compared))
        .order_by(*compared.c[tuple(key)])
    )
    values = ("orders", "total", "ranked")
    statement = insert(table).from_select([*key, *values], wrong)
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in values}
    ).returning(table.c.customer_id)


def _compared(table: sa.Table, right: sa.Subquery, span: CustomerRange) -> sa.Select[Any]:
    """Each customer's sums beside those that the rollup has, zeros where one is missing.

    `is_due` says whether the customer has to be ranked.
    """
    found = _stored_sums(table, span).subquery("found")
    same = (right.c.days == found.c.days) & (right.c.customer_id == found.c.customer_id)
    days = sa.func.coalesce(right.c.days, found.c.days)
    count, total = (sa.func.coalesce(right.c[name], 0) for name in ("orders", "total"))
    floor = report_windows.c.floor
    return sa.select(
        days.label("days"),
        sa.func.coalesce(right.c.customer_id, found.c.customer_id).label("customer_id"),
        count.label("orders"),
        total.label("total"),
        ((count > 0) & (floor.is_(None) | (total >= floor))).label("is_due"),
        sa.func.coalesce(found.c.orders, 0).label("found_orders"),
        sa.func.coalesce(found.c.total, 0).label("found_total"),
        found.c.ranked,
    ).select_from(
        right.join(found, same, full=True).outerjoin(report_windows, report_windows.c.days == days)
    )


def _stored_sums(table: sa.Table, span: CustomerRange) -> sa.Select[Any]:
    days = table.c.get("days", ALL_DAYS)
    columns = table.c["customer_id", "orders", "total", "ranked"]
    return sa.select(days.label("days"), *columns).where(span.contains(table.c.customer_id))


def _differs(compared: sa.Subquery) -> sa.ColumnElement[bool]:
    """Whether a row is wrong. Who need not be ranked may be, with the right total, if he has orders."""
    wrongly_ranked = sa.case(
        (compared.c.ranked.is_(None), compared.c.is_due),
        else_=(compared.c.orders <= 0) | (compared.c.ranked != compared.c.total),
    )
    return (
        (compared.c.found_orders != compared.c.orders)
        | (compared.c.found_total != compared.c.total)
        | wrongly_ranked
    )


def _with_corrections(what: sa.Select[Any], mended: ReturningInsert[Any]) -> sa.Select[Any]:
    """Mend, and select besides how many rows it were, and whose; None if nobody's."""
    rows = mended.cte()
    aggregates = sa.func.count(), sa.func.array_agg(rows.c.customer_id.distinct())
    return what.add_columns(
        *(sa.select(each).select_from(rows).scalar_subquery() for each in aggregates)
    )


def _without_rank(table: sa.Table, span: CustomerRange) -> sa.Update:
    """Who came to be below the floor since it was ranked; that is no drift."""
    days = table.c.get("days", ALL_DAYS)
    below = (report_windows.c.days == days) & (table.c.ranked < report_windows.c.floor)
    return sa.update(table).where(span.contains(table.c.customer_id), below).values(ranked=None)


def _without_orders(table: sa.Table, span: CustomerRange) -> sa.Delete:
    """What says no more than a row that is missing."""
    nothing = (table.c.orders == 0) & (table.c.total == 0)
    return sa.delete(table).where(span.contains(table.c.customer_id), nothing)
