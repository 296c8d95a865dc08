"""The top-customers report: its content and its reads, from Redis or computed. `refresh` publishes it.

Orders with a status in `uncounted_statuses` count in no report.
"""

import time
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Self

import msgspec
import redis
import sqlalchemy as sa

from orderworks.cache import Cache
from orderworks.core import keys
from orderworks.core.database import make_engine
from orderworks.core.redis import Redis, is_wrong_type, make_redis
from orderworks.core.schema import customers, orders, uncounted_statuses
from orderworks.core.settings import Settings
from orderworks.reports.windows import Window

COMPUTED_TTL = 30.0
"""Seconds for which a computed report is cached, unless an order changes."""

PAGE_SIZES = (10, 100)
"""Numbers of first lines that have a field of their own, because few readers need all lines."""


class TopCustomer(msgspec.Struct, frozen=True):
    """One line of the report; `total` is money with two decimals."""

    customer_id: int
    name: str
    orders: int
    total: Decimal


class Shown(msgspec.Struct, frozen=True):
    """A report as a JSON document: attributes of `Report`, its seconds rounded to milliseconds."""

    window: Window
    as_of: datetime
    watermark: str
    seconds: float
    rows: list[TopCustomer]


class Report(msgspec.Struct, frozen=True):
    """A report, published or computed.

    Attributes:
        as_of: all transactions committed before this moment are included.
        watermark: the snapshot (`pg_snapshot`) that states exactly which transactions are included;
            PostgreSQL's `pg_visible_in_snapshot` checks one.
        seconds: time it took to compute, or to refresh the reports of all windows.
        rows: highest total first, ties by customer id.
        complete: all customers with orders are listed, not only the highest.
    """

    window: Window
    as_of: datetime
    watermark: str
    seconds: float
    rows: list[TopCustomer]
    complete: bool

    def sliced(self, limit: int, min_orders: int) -> "Report | None":
        """Return the first `limit` customers with `min_orders` orders; None if some are not listed."""
        report = self.cut(limit, min_orders)
        return report if len(report.rows) == limit or self.complete else None

    def cut(self, limit: int, min_orders: int) -> "Report":
        """Return the first `limit` listed customers with `min_orders` orders, or those there are."""
        rows = [row for row in self.rows if row.orders >= min_orders][:limit]
        return msgspec.structs.replace(self, rows=rows, complete=False)

    def shown(self) -> Shown:
        """Return the report as it is encoded for commands and the gateway."""
        return Shown(self.window, self.as_of, self.watermark, round(self.seconds, 3), self.rows)


class Head(msgspec.Struct, frozen=True):
    """The part of a published report without the lines; replaced even if these stay the same."""

    as_of: Annotated[datetime, msgspec.Meta(tz=True)]
    watermark: str
    seconds: float
    lines: int
    complete: bool


_LINES = msgspec.json.Decoder(list[TopCustomer])
_HEAD = msgspec.json.Decoder(Head)


class TopCustomers:
    """Reads of the report. Create one per process and share it among threads."""

    def __init__(self, engine: sa.Engine, client: Redis, cache: Cache) -> None:
        """`client`: reads published reports. `cache`: caches computed ones."""
        self._engine = engine
        self._client = client
        self._computed = cache.shared(ttl=COMPUTED_TTL, name="top_customers")(self._compute)

    @classmethod
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Return reads with connections of their own to the servers that the environment names."""
        settings = settings or Settings.load()
        engine = make_engine(settings, "orderworks-reads")
        client = make_redis(settings.cache, settings.cache_timeout)
        return cls(engine, client, Cache.from_settings(settings))

    def read(self, window: Window, limit: int = 10, min_orders: int = 1) -> Report:
        """Return the first `limit` customers of at least `min_orders` orders.

        They are from the published report, however old it is. If that lists too few, they are computed
        from the orders, once for concurrent readers; while PostgreSQL is unavailable or has no free
        connection, the published ones are returned. This waits for a frozen server: a query is bounded
        by the server's own `statement_timeout`, and its host still acknowledges TCP packets.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: no report is published, and PostgreSQL is unavailable or has
                no free connection.
        """
        published = self._published(window, limit)
        report = published and published.sliced(limit, min_orders)
        if published and not report:
            published = self._published(window)
            report = published and published.sliced(limit, min_orders)
        if report:
            return report
        try:
            return self._computed(window.value, limit, min_orders)
        except sa.exc.SQLAlchemyError:
            if published is None:
                raise
            return published.cut(limit, min_orders)

    def _published(self, window: Window, limit: int | None = None) -> Report | None:
        try:
            return published_report(self._client, window, limit)
        except redis.RedisError:
            return None

    def _compute(self, window: str, limit: int, min_orders: int) -> Report:
        return compute(self._engine, Window(window), limit, min_orders)


def published_report(client: Redis, window: Window, limit: int | None = None) -> Report | None:
    """Return the report of the last refresh, with at most `REPORT_DEPTH` lines; None without one.

    With `limit`, only its first lines: that number or more. A damaged report is deleted: then the next
    refresh publishes all of it.
    """
    key = keys.top_customers_report(window)
    try:
        encoded_head, lines = client.hmget(key, "head", page_field(limit))
        if encoded_head is None or lines is None:
            return None
        head, rows = _HEAD.decode(encoded_head), _LINES.decode(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, redis.ResponseError) as error:
        if isinstance(error, redis.ResponseError) and not is_wrong_type(error):
            raise
        client.unlink(key)
        return None
    complete = head.complete and len(rows) == head.lines
    return Report(window, head.as_of, head.watermark, head.seconds, rows, complete)


def page_field(limit: int | None) -> str:
    """Return the field of a published report with `limit` lines at least; with all lines for None."""
    fitting = [page for page in PAGE_SIZES if limit is not None and limit <= page]
    return f"lines:{fitting[0]}" if fitting else "lines"


def compute(engine: sa.Engine, window: Window, limit: int, min_orders: int = 1) -> Report:
    """Compute the report from the orders table: slow, and equal to a published one of that moment."""
    started = time.perf_counter()
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    with snapshot.connect() as connection:
        as_of, watermark = connection.execute(MOMENT).one()
        query = top_customers_query(window, as_of, limit, min_orders)
        rows = [TopCustomer(*row) for row in connection.execute(query)]
    seconds = time.perf_counter() - started
    return Report(window, as_of, watermark, seconds, rows, complete=False)


MOMENT = sa.select(sa.func.now(), sa.cast(sa.func.pg_current_snapshot(), sa.Text))
"""The transaction's time, and the snapshot of what is visible."""


def top_customers_query(
    window: Window, as_of: datetime, limit: int, min_orders: int = 1
) -> sa.Select[int, str, int, Decimal]:
    """Return the query that defines the report: customers with their orders' sums, highest first."""
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
    if window is not Window.ALL:
        query = query.where(orders.c.created_at >= window.first_moment(as_of))
    return query
