"""The top-customers report: refreshed from the rollups, published in Redis, read with its age.

A window is a number of whole days in UTC, today included, by the day an order was created; `all` is
every order. Orders whose status stands in `uncounted_statuses` count in no report.
"""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
import redis
import sqlalchemy as sa

from orders import names
from orders.changes import Invalidate, fold
from orders.redis import Redis, publish_if_newer, read_published
from orders.schema import (
    customer_daily,
    customer_totals,
    customers,
    orders,
    uncounted_statuses,
)


class Window(StrEnum):
    """What span of days a report covers."""

    ALL = "all"
    YEAR = "365d"
    QUARTER = "90d"
    MONTH = "30d"
    WEEK = "7d"
    DAY = "1d"

    @property
    def days(self) -> int | None:
        """How many days, today included; None without a bound."""
        return None if self is Window.ALL else int(self.value.removesuffix("d"))


class TopCustomer(msgspec.Struct, frozen=True):
    """One line of the report; `total` is money with two decimals."""

    customer_id: int
    name: str
    orders: int
    total: Decimal


class Report(msgspec.Struct, frozen=True):
    """A published report.

    Attributes:
        as_of: whatever was committed before this moment is in it.
        rows: highest total first, ties by customer id.
        complete: whether every customer with orders is listed, not only the highest.
    """

    window: Window
    as_of: datetime
    rows: list[TopCustomer]
    complete: bool

    def sliced(self, limit: int, min_orders: int) -> "Report | None":
        """The first `limit` customers of at least `min_orders` orders; None if some are not listed."""
        rows = [row for row in self.rows if row.orders >= min_orders][:limit]
        if len(rows) < limit and not self.complete:
            return None
        return msgspec.structs.replace(self, rows=rows, complete=False)


class Refreshed(msgspec.Struct, frozen=True):
    """What a refresh did: log rows folded, windows published, and how fresh they are."""

    folded: int
    published: int
    as_of: datetime


def refresh(
    engine: sa.Engine, client: Redis, invalidate: Invalidate, depth: int
) -> Refreshed | None:
    """Fold the change log, then publish every window; None if another refresh is at it.

    Running it twice publishes the same; an older refresh that ends late overwrites nothing.
    """
    folded = fold(engine, invalidate)
    if folded is None:
        return None
    published = sum(
        _publish(client, report) for report in _read_rollups(engine, folded.as_of, depth)
    )
    return Refreshed(folded.rows, published, folded.as_of)


def top_customers(
    engine: sa.Engine, client: Redis, window: Window, limit: int = 10, min_orders: int = 1
) -> Report:
    """The published report; straight from the orders table where nothing published can answer."""
    found = None
    with suppress(redis.RedisError):
        published = published_report(client, window)
        found = published and published.sliced(limit, min_orders)
    return found or compute(engine, window, limit, min_orders)


def published_report(client: Redis, window: Window) -> Report | None:
    """The report that the last refresh left, as deep as `REPORT_DEPTH`."""
    body = read_published(client, names.top_customers_report(window))
    return None if body is None else msgspec.json.decode(body, type=Report)


def compute(engine: sa.Engine, window: Window, limit: int, min_orders: int = 1) -> Report:
    """The report straight from the orders table: slow, and what every published one must equal."""
    with engine.connect() as connection:
        as_of: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
        rows = _lines(connection.execute(top_customers_query(window, as_of, limit, min_orders)))
        return Report(window, as_of, rows, complete=False)


def top_customers_query(
    window: Window, as_of: datetime, limit: int, min_orders: int = 1
) -> sa.Select[int, str, int, Decimal]:
    """The oracle: customers joined to their orders, summed, the highest totals first."""
    count, total = sa.func.count(), sa.func.sum(orders.c.total)
    query = (
        sa.select(customers.c.id, customers.c.name, count, total)
        .join(orders, orders.c.customer_id == customers.c.id)
        .where(orders.c.status.not_in(sa.select(uncounted_statuses.c.status)))
        .group_by(customers.c.id)
        .having(count >= min_orders)
        .order_by(total.desc(), customers.c.id)
        .limit(limit)
    )
    if window.days is not None:
        query = query.where(orders.c.created_at >= _first_moment(window.days, as_of))
    return query


def _first_moment(days: int, as_of: datetime) -> datetime:
    """Midnight in UTC at which a window of so many days begins."""
    today = as_of.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days - 1)


def _publish(client: Redis, report: Report) -> bool:
    """Replace the published report unless that one is as of later."""
    fence = int(report.as_of.timestamp() * 1_000_000)
    key = names.top_customers_report(report.window)
    return publish_if_newer(client, key, fence, msgspec.json.encode(report))


def _read_rollups(engine: sa.Engine, as_of: datetime, depth: int) -> list[Report]:
    """All windows from one snapshot."""
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.begin() as connection:
        return [_read_window(connection, window, as_of, depth) for window in Window]


def _read_window(connection: sa.Connection, window: Window, as_of: datetime, depth: int) -> Report:
    rows = _lines(connection.execute(_rollup_query(window, as_of, depth)))
    return Report(window, as_of, rows, complete=len(rows) < depth)


def changed_windows(
    connection: sa.Connection, difference: sa.FromClause, depth: int
) -> list[Window]:
    """The windows whose list, as deep as `depth`, would change with a difference in the orders.

    `difference` has signed rows: customer_id, created_at, status, total, and a sign of 1 or -1.
    """
    as_of: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    added = _by_customer_and_day(difference)
    return [
        window
        for window in Window
        if _top_of(connection, window, as_of, depth)
        != _top_of(connection, window, as_of, depth, added)
    ]


def windows_listing(
    connection: sa.Connection, customer_ids: sa.Select[int], depth: int
) -> list[Window]:
    """The windows whose list, as deep as `depth`, has one of these customers on it."""
    as_of: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    ids = set(connection.scalars(customer_ids))
    return [
        window
        for window in Window
        if any(row[0] in ids for row in _top_of(connection, window, as_of, depth))
    ]


def _by_customer_and_day(difference: sa.FromClause) -> sa.Select[Any]:
    """The difference in the form of the rollup."""
    day = sa.cast(sa.func.timezone("UTC", difference.c.created_at), sa.Date)
    counted = difference.c.status.not_in(sa.select(uncounted_statuses.c.status))
    return (
        sa.select(
            difference.c.customer_id,
            day.label("day"),
            sa.func.sum(difference.c.sign).label("orders"),
            sa.func.sum(difference.c.sign * difference.c.total).label("total"),
        )
        .where(counted)
        .group_by(difference.c.customer_id, day)
    )


def _top_of(
    connection: sa.Connection,
    window: Window,
    as_of: datetime,
    depth: int,
    added: sa.Select[Any] | None = None,
) -> list[Any]:
    """The list of a window from the rollups, with something added to them."""
    columns = customer_daily.c["customer_id", "day", "orders", "total"]
    parts = [sa.select(*columns), *([] if added is None else [added])]
    days = sa.union_all(*parts).subquery("days")
    count, total = sa.func.sum(days.c.orders), sa.func.sum(days.c.total)
    query = (
        sa.select(days.c.customer_id, count, total)
        .group_by(days.c.customer_id)
        .having(count > 0)
        .order_by(total.desc(), days.c.customer_id)
        .limit(depth)
    )
    if window.days is not None:
        query = query.where(days.c.day >= _first_moment(window.days, as_of).date())
    return list(connection.execute(query))


def _rollup_query(window: Window, as_of: datetime, depth: int) -> sa.Select[int, str, int, Decimal]:
    """The same list as the oracle's, from the rollups."""
    top = _all_days(depth) if window.days is None else _last_days(window.days, as_of, depth)
    return (
        sa.select(top.c.customer_id, customers.c.name, top.c.orders, top.c.total)
        .join(customers, customers.c.id == top.c.customer_id)
        .order_by(top.c.total.desc(), top.c.customer_id)
    )


def _all_days(depth: int) -> sa.Subquery:
    return (
        sa.select(customer_totals)
        .where(customer_totals.c.orders > 0)
        .order_by(customer_totals.c.total.desc(), customer_totals.c.customer_id)
        .limit(depth)
        .subquery("top")
    )


def _last_days(days: int, as_of: datetime, depth: int) -> sa.Subquery:
    """Sums over the days of a window. A day in the future counts, as it does for the oracle."""
    count, total = sa.func.sum(customer_daily.c.orders), sa.func.sum(customer_daily.c.total)
    return (
        sa.select(customer_daily.c.customer_id, count.label("orders"), total.label("total"))
        .where(customer_daily.c.day >= _first_moment(days, as_of).date())
        .group_by(customer_daily.c.customer_id)
        .having(count > 0)
        .order_by(total.desc(), customer_daily.c.customer_id)
        .limit(depth)
        .subquery("top")
    )


def _lines(rows: Iterable[sa.Row[int, str, int, Decimal]]) -> list[TopCustomer]:
    return [
        TopCustomer(customer_id, name, int(count), Decimal(total).quantize(Decimal("0.01")))
        for customer_id, name, count, total in rows
    ]
