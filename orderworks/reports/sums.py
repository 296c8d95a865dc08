"""SQL of the rollups' sums, which the fold adds to and the reconciliation compares. Executes nothing."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import Insert, insert

from orderworks.core.schema import customer_daily, report_windows
from orderworks.reports.ranking import rank_of

ALL_DAYS: sa.ColumnElement[int] = sa.literal_column("0", sa.SmallInteger)
"""The days of the window without a bound, whose sums are in `customer_totals`."""

FIRST_KEPT = (
    sa.select(report_windows.c.first_day).where(report_windows.c.days == ALL_DAYS).scalar_subquery()
)
"""The first day of `customer_daily`. Rows of earlier days may be left there; nothing reads them."""


def summed(rows: sa.FromClause, *keys: str | sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Return orders and totals of the rows, summed by a key; keys with zero in both are left out."""
    group = [rows.c[key] if isinstance(key, str) else key for key in keys]
    count, total = sa.func.sum(rows.c.orders), sa.func.sum(rows.c.total)
    return (
        sa.select(*group, count.label("orders"), total.label("total"))
        .group_by(*group)
        .having((count != 0) | (total != 0))
    )


def summed_by_window(rows: sa.FromClause) -> sa.Select[Any]:
    """Return the sums by bounded window and customer of the rows, by day, that belong to the window."""
    belongs = sa.tuple_(rows.c.day, rows.c.customer_id) >= sa.tuple_(
        report_windows.c.first_day, report_windows.c.first_customer
    )
    return (
        summed(rows, report_windows.c.days, "customer_id")
        .select_from(rows.join(report_windows, belongs))
        .where(report_windows.c.days > ALL_DAYS)
    )


def add_sums(rollup: sa.Table, sums: sa.Select[Any]) -> Insert:
    """Return a statement that adds sums to a rollup in key order, and updates `ranked` by the result."""
    rows = sums.subquery()
    keys = [column.name for column in rollup.primary_key]
    values: dict[str, sa.ColumnElement[Any]] = {
        name: rows.c[name] for name in (*keys, "orders", "total")
    }
    if rollup is not customer_daily:
        days = rows.c.days if "days" in keys else ALL_DAYS
        values["ranked"] = rank_of(days, rows.c.orders, rows.c.total)
    ordered = sa.select(*values.values()).order_by(*(rows.c[key] for key in keys))
    statement = insert(rollup).from_select([*values], ordered)
    changed = {
        "orders": rollup.c.orders + statement.excluded.orders,
        "total": rollup.c.total + statement.excluded.total,
    }
    if "ranked" in values:
        # A literal: SQLAlchemy would add the column's table to the subquery.
        days = sa.literal_column(f"{rollup.name}.days") if "days" in keys else ALL_DAYS
        changed["ranked"] = rank_of(days, changed["orders"], changed["total"])
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)
